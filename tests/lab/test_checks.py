"""Checks of real hosts: what is broken on them is what they name, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from tests.lab.house import REPO, House

pytestmark = pytest.mark.lab


def check(house: House, *words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """`releve check`: its exit code, and id -> (level, message)."""
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "check", str(house.file), "--format", "json",
         *words],
        capture_output=True, text=True, check=False, timeout=120,
        cwd=REPO,
    )  # fmt: skip
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout)["results"]
    return ended.returncode, {r["id"]: (r["level"], r["message"]) for r in found}


def test_deployed_hosts_are_well(house: House) -> None:
    _, found = check(house)
    # Hosts of a lab share this machine's kernel: its load and its clock are not theirs.
    shared = (".load", ".memory", ".clock")
    bad = {
        i: said
        for i, said in found.items()
        if said[0] not in ("ok", "skipped") and not i.endswith(shared)
    }
    # One host was never saved, which is said; all else is as deploy left it.
    assert bad.pop("rivage.backup", ("", ""))[1].startswith("nothing was saved")
    assert bad == {}
    expected = {"site.dns", "site.tls", "site.https", "site.api", "site.state", "site.files"}
    assert expected | {"monts.ssh", "coffre.keys-releve"} <= found.keys()


def test_a_copy_is_well_only_while_the_repository_holds_it(house: House) -> None:
    house.on("monts", "systemctl", "start", "--wait", "releve-backup.service")
    code, found = check(house, "--only", "monts.backup")
    assert (code, found["monts.backup"][0]) == (0, "ok"), found
    assert "signed word" not in found["monts.backup"][1]  # the repository was asked
    folder = "/srv/releve/releve/atelier/monts/snapshots"
    house.on("coffre", "mv", folder, f"{folder}.gone")
    try:
        code, found = check(house, "--only", "monts.backup")
        assert (code, found["monts.backup"][0]) == (2, "critical")
        assert "does not hold that snapshot" in found["monts.backup"][1]
    finally:
        house.on("coffre", "mv", f"{folder}.gone", folder)


def test_a_dead_database_is_seen_from_outside_and_inside(house: House) -> None:
    house.on("monts", "systemctl", "stop", "mariadb.service")
    try:
        code, found = check(house, "--only", "site")
        assert code == 2
        assert {i for i, said in found.items() if said[0] == "critical"} >= {
            "site.https", "site.api", "site.state",
        }  # fmt: skip
        assert found["site.tls"][0] == found["site.dns"][0] == "ok"
    finally:
        house.on("monts", "systemctl", "start", "mariadb.service")
    assert check(house, "--only", "site")[0] == 0


def test_changed_program_files_and_failed_units_are_named(house: House) -> None:
    login = "/usr/share/wordpress/wp-login.php"
    house.on("monts", "cp", "-a", login, "/root/wp-login.php")
    house.on("monts", "sh", "-c", f"echo '// x' >> {login}; systemd-run --unit=broken false")
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            code, found = check(house, "--only", "site.files", "--only", "monts.units")
            if found["monts.units"][0] == "warning":
                break
        assert code == 2
        assert login in found["site.files"][1]
        assert "broken.service" in found["monts.units"][1]
    finally:
        house.on("monts", "cp", "-a", "/root/wp-login.php", login)
        house.on("monts", "systemctl", "reset-failed", "broken.service")


def test_a_host_that_is_cut_off_is_one_line_and_in_time(house: House) -> None:
    house.lab.cut("monts")
    try:
        began = time.monotonic()
        code, found = check(house)
        assert time.monotonic() - began < 40
        assert code == 2
        assert "cannot be reached" in found["monts.ssh"][1]
        assert {said[0] for i, said in found.items() if i.startswith("monts.")} == {
            "critical", "skipped",
        }  # fmt: skip
        assert found["site.https"][0] == "critical"
        assert found["coffre.ssh"][0] == "ok"
    finally:
        house.lab.mend("monts")
