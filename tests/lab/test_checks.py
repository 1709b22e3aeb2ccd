"""Checks of real hosts: what is broken on them is what they name, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import roles
from deploy import everything
from inventories.access import ssh_target
from lab import Lab
from tools import ssh

pytestmark = pytest.mark.lab

INVENTORY = """
schema = 1
[organisation]
name = "Deux machines"
contact = "contact@atelier.test"
[hosts.web]
platform = "debian"
address = "192.0.2.1"
provider = "one"
datacenter = "GRA"
repository = "coffre"
[hosts.coffre]
platform = "debian"
address = "192.0.2.2"
provider = "two"
datacenter = "NTE"
roles = ["repository"]
[repositories.coffre]
url = "ssh-append://releve@coffre.atelier.test/atelier"
host = "coffre"
provider = "two"
datacenter = "NTE"
[domains."atelier.test"]
[services.site]
role = "wordpress"
host = "web"
url = "https://site.atelier.test"
"""


@pytest.fixture(scope="module")
def lab(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A site and a repository, deployed, remembered as such."""
    file = tmp_path_factory.mktemp("inventory") / "two.toml"
    file.write_text(INVENTORY)
    made = make_lab()
    made.up(roles.load(file))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEVE_SSH_KEY", str(made.key_file))
        patch.setenv("RELEVE_IDENTITY", str(made.key_file))
        assert everything.deploy(made.inventory_file).report.ok
        yield made


def on(lab: Lab, host: str, *argv: str) -> str:
    """What a command says on a host."""
    with ssh.session(ssh_target(roles.load(lab.inventory_file).hosts[host])) as connection:
        return connection.run(argv).stdout.decode()


def check(lab: Lab, *words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """`releve check`: its exit code, and id -> (level, message)."""
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "check", str(lab.inventory_file), "--format", "json",
         *words],
        capture_output=True, text=True, check=False, timeout=120,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout)["results"]
    return ended.returncode, {r["id"]: (r["level"], r["message"]) for r in found}


def test_deployed_hosts_are_well(lab: Lab) -> None:
    _, found = check(lab)
    # Hosts of a lab share this machine's kernel: its load and its clock are not theirs.
    shared = (".load", ".memory", ".clock")
    bad = {
        i: said
        for i, said in found.items()
        if said[0] not in ("ok", "skipped") and not i.endswith(shared)
    }
    # Nothing was saved yet, which is said; all else is as deploy left it.
    assert bad.pop("web.backup", ("", ""))[1].startswith("nothing was saved")
    assert bad == {}
    expected = {"site.dns", "site.tls", "site.https", "site.api", "site.state", "site.files"}
    assert expected | {"web.ssh", "coffre.keys-releve"} <= found.keys()


def test_a_copy_is_well_only_while_the_repository_holds_it(lab: Lab) -> None:
    on(lab, "web", "systemctl", "start", "--wait", "releve-backup.service")
    code, found = check(lab, "--only", "web.backup")
    assert (code, found["web.backup"][0]) == (0, "ok"), found
    assert "signed word" not in found["web.backup"][1]  # the repository was asked
    folder = "/srv/releve/releve/atelier/web/snapshots"
    on(lab, "coffre", "mv", folder, f"{folder}.gone")
    try:
        code, found = check(lab, "--only", "web.backup")
        assert (code, found["web.backup"][0]) == (2, "critical")
        assert "does not hold that snapshot" in found["web.backup"][1]
    finally:
        on(lab, "coffre", "mv", f"{folder}.gone", folder)


def test_a_dead_database_is_seen_from_outside_and_inside(lab: Lab) -> None:
    on(lab, "web", "systemctl", "stop", "mariadb.service")
    try:
        code, found = check(lab, "--only", "site")
        assert code == 2
        assert {i for i, said in found.items() if said[0] == "critical"} >= {
            "site.https", "site.api", "site.state",
        }  # fmt: skip
        assert found["site.tls"][0] == found["site.dns"][0] == "ok"
    finally:
        on(lab, "web", "systemctl", "start", "mariadb.service")
    assert check(lab, "--only", "site")[0] == 0


def test_changed_program_files_and_failed_units_are_named(lab: Lab) -> None:
    login = "/usr/share/wordpress/wp-login.php"
    on(lab, "web", "cp", "-a", login, "/root/wp-login.php")
    on(lab, "web", "sh", "-c", f"echo '// x' >> {login}; systemd-run --unit=broken false")
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            code, found = check(lab, "--only", "site.files", "--only", "web.units")
            if found["web.units"][0] == "warning":
                break
        assert code == 2
        assert login in found["site.files"][1]
        assert "broken.service" in found["web.units"][1]
    finally:
        on(lab, "web", "cp", "-a", "/root/wp-login.php", login)
        on(lab, "web", "systemctl", "reset-failed", "broken.service")


def test_a_host_that_is_cut_off_is_one_line_and_in_time(lab: Lab) -> None:
    lab.cut("web")
    try:
        began = time.monotonic()
        code, found = check(lab)
        assert time.monotonic() - began < 40
        assert code == 2
        assert "cannot be reached" in found["web.ssh"][1]
        assert {said[0] for i, said in found.items() if i.startswith("web.")} == {
            "critical", "skipped",
        }  # fmt: skip
        assert found["site.https"][0] == "critical"
        assert found["coffre.ssh"][0] == "ok"
    finally:
        lab.mend("web")
