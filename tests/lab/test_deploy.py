"""Deploys to three real hosts: what is there afterwards, and what happens when it goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra  # type: ignore[import-untyped]

import roles
from deploy import applied, dns, everything
from deploy.report import Report
from deploy.run import run
from inventories import load
from inventories.access import ssh_target
from inventories.model import Inventory
from lab import Lab
from tools import ssh

pytestmark = pytest.mark.lab

INVENTORY = """
schema = 1
[organisation]
name = "Trois machines"
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
[hosts.vigie]
platform = "debian"
address = "192.0.2.3"
provider = "three"
datacenter = "PAR"
roles = ["watch"]
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
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three hosts as they come, remembered as such."""
    file = tmp_path_factory.mktemp("inventory") / "three.toml"
    file.write_text(INVENTORY)
    made = Lab("test-deploy")
    made.down()
    made.up(roles.load(file))
    made.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEVE_SSH_KEY", str(made.key_file))
        patch.setenv("RELEVE_IDENTITY", str(made.key_file))
        yield made
    made.down()


@pytest.fixture(scope="module")
def deployed(lab: Lab) -> Report:
    """The first deploy, DNS included."""
    done = everything.deploy(lab.inventory_file)
    assert done.zones == ()
    return done.report


@pytest.fixture
def edited(lab: Lab) -> Iterator[Path]:
    """A copy of the inventory beside the real one, with the same secrets, to be changed."""
    copy = lab.inventory_file.with_name("edited.toml")
    secrets = lab.inventory_file.with_suffix(".secrets.age")
    copy.write_bytes(lab.inventory_file.read_bytes())
    copy.with_suffix(".secrets.age").write_bytes(secrets.read_bytes())
    yield copy
    copy.unlink()
    copy.with_suffix(".secrets.age").unlink()


def on(lab: Lab, host: str, *argv: str, check: bool = True) -> str:
    """What a command says on a host."""
    inventory = roles.load(lab.inventory_file)
    with ssh.session(ssh_target(inventory.hosts[host])) as connection:
        return connection.run(argv, check=check).stdout.decode()


def change(file: Path, **values: object) -> Inventory:
    """Rewrite an inventory file with some top-level fields replaced."""
    inventory = roles.load(file).model_copy(update=values)
    load.dump(inventory, file)
    return inventory


def look(lab: Lab, host: str) -> testinfra.host.Host:
    """The host as testinfra sees it, over plain ssh."""
    wanted = roles.load(lab.inventory_file).hosts[host]
    known = lab.folder / f"known-{host}"
    known.write_text(f"{wanted.address} {wanted.host_key}\n")
    config = lab.folder / f"ssh-{host}"
    config.write_text(
        f"Host *\n  UserKnownHostsFile {known}\n  IdentityFile {lab.key_file}\n"
        f"  IdentitiesOnly yes\n  ControlMaster auto\n  ControlPath {lab.folder}/%C\n"
        "  ControlPersist 20\n"
    )
    return testinfra.get_host(f"ssh://root@{wanted.address}", ssh_config=str(config))


def test_first_deploy_reaches_every_host(deployed: Report) -> None:
    assert {h.host: (h.state, h.error) for h in deployed.hosts.values()} == {
        "web": ("ok", ""),
        "coffre": ("ok", ""),
        "vigie": ("ok", ""),
    }
    assert all(h.changed for h in deployed.hosts.values())
    # The repository host cannot open what it keeps, so it has no restic key of its own.
    assert "host.web.restic" in deployed.made_secrets
    assert "host.coffre.restic" not in deployed.made_secrets


def test_second_deploy_changes_nothing_and_says_so(lab: Lab, deployed: Report) -> None:
    before = {h: on(lab, h, "stat", "--format=%Z", applied.PATH) for h in deployed.hosts}
    again = run(lab.inventory_file)
    assert again.ok
    assert [(h.host, h.changes) for h in again.hosts.values() if h.changed] == []
    assert before == {h: on(lab, h, "stat", "--format=%Z", applied.PATH) for h in deployed.hosts}
    plan = subprocess.run(
        [sys.executable, "-m", "cli.main", "plan", str(lab.inventory_file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (plan.returncode, plan.stdout) == (0, "Nothing to change.\n"), plan.stderr


def test_what_stands_on_a_service_host(lab: Lab, deployed: Report) -> None:
    host = look(lab, "web")
    assert host.check_output("sshd -T | grep -i ^passwordauthentication").endswith("no")
    rules = host.check_output("nft list chain inet releve input")
    assert "policy drop" in rules
    assert "tcp dport { 22, 80, 443 } accept" in rules
    assert host.file("/var/lib/releve").mode == 0o700
    for path in (applied.PATH, "/etc/releve/restic-password", "/etc/releve/append-key"):
        assert (host.file(path).mode, host.file(path).user) == (0o600, "root"), path
    assert host.service("nftables").is_enabled
    assert 'Unattended-Upgrade "1"' in host.check_output("apt-config dump")
    assert host.file("/etc/cron.d/releve-backup").exists


def test_service_answers_under_its_name_with_a_real_certificate(lab: Lab, deployed: Report) -> None:
    inventory = roles.load(lab.inventory_file)
    assert dns.plan(inventory) != ()
    assert all(not zone.differences and not zone.error for zone in dns.plan(inventory))
    address = str(inventory.hosts["web"].address)
    said = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--cacert", str(lab.ca_file),
         "--resolve", f"site.atelier.test:443:{address}", "https://site.atelier.test/wp-json/"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "wp/v2" in json.loads(said.stdout)["namespaces"]


def test_repository_lets_hosts_append_through_the_gate_only(lab: Lab, deployed: Report) -> None:
    host = look(lab, "coffre")
    keys = host.file("/srv/releve/releve/.ssh/authorized_keys")
    assert keys.user == "root"
    lines = [line for line in keys.content_string.splitlines() if not line.startswith("#")]
    assert len(lines) == 2
    assert all(
        line.startswith('restrict,command="/usr/local/lib/releve/repository/gate ')
        for line in lines
    )
    assert host.file("/usr/local/lib/releve/repository/gate").mode == 0o755


def test_watch_runs_the_checks_and_holds_no_key_but_its_own(lab: Lab, deployed: Report) -> None:
    host = look(lab, "vigie")
    assert (
        "root /usr/local/lib/releve/watch/checks"
        in host.file("/etc/cron.d/releve-checks").content_string
    )
    helped = host.run(
        "cd / && PYTHONPATH=/usr/local/lib/releve/watch/source "
        "/usr/local/lib/releve/watch/venv/bin/python -m cli.main check --help"
    )
    assert helped.rc == 0, helped.stderr
    assert "--watch" in helped.stdout
    assert not host.file("/etc/releve/inventory.secrets.age").exists
    inventory = roles.load(lab.inventory_file)
    target = ssh_target(inventory.hosts["web"])
    key = lab.folder / "watch-key"
    key.write_text(on(lab, "vigie", "cat", "/etc/releve/watch-key"))
    key.chmod(0o600)
    # Whatever the watch's key asks for on another host, the agent's status is what it gets.
    said = subprocess.run(
        ["ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
         "-o", "IdentitiesOnly=yes", "-i", str(key), f"root@{target.address}", "cat /etc/shadow"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "root:" not in said.stdout
    assert json.loads(said.stdout)["host"] == "web"


def test_drift_is_named_and_put_right(lab: Lab, deployed: Report) -> None:
    path = "/etc/apt/apt.conf.d/60releve-periodic"
    on(lab, "web", "sh", "-c", 'echo "// by hand" >> "$1"', "sh", path)
    planned = run(lab.inventory_file, limit=["web"], dry=True)
    assert planned.hosts["web"].drift == ((path, "changed"),)
    assert planned.exit_code == 2
    difference = "\n".join(d for c in planned.hosts["web"].changes for d in c.details)
    assert "-// by hand" in difference
    done = run(lab.inventory_file, limit=["web"])
    assert done.hosts["web"].drift == ((path, "changed"),)
    assert len(done.hosts["web"].changes) == 1
    assert "by hand" not in on(lab, "web", "cat", path)


def test_secrets_are_not_in_a_plan(lab: Lab, deployed: Report) -> None:
    secret = on(lab, "web", "cat", "/etc/releve/restic-password").strip()
    on(lab, "web", "sh", "-c", "echo wrong > /etc/releve/restic-password")
    plan = subprocess.run(
        [sys.executable, "-m", "cli.main", "plan", str(lab.inventory_file), "--limit", "web"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert plan.returncode == 2, plan.stderr
    assert "/etc/releve/restic-password: secret, not shown" in plan.stdout
    assert secret not in plan.stdout + plan.stderr
    assert run(lab.inventory_file, limit=["web"]).ok
    assert on(lab, "web", "cat", "/etc/releve/restic-password").strip() == secret


def test_older_inventory_is_refused(lab: Lab, deployed: Report, edited: Path) -> None:
    organisation = roles.load(edited).organisation.model_copy(update={"name": "Renommée"})
    change(edited, organisation=organisation)
    assert run(edited, limit=["coffre"]).ok
    refused = run(lab.inventory_file, limit=["coffre"]).hosts["coffre"]
    assert refused.state == "refused"
    assert "newer inventory" in refused.error
    assert "--older" in refused.error
    back = run(lab.inventory_file, limit=["coffre"], older=True)
    assert back.ok
    # Now it is the one that is applied, so it needs no word any more.
    assert run(lab.inventory_file, limit=["coffre"]).ok


def test_another_host_key_is_refused(lab: Lab, deployed: Report, edited: Path) -> None:
    hosts = dict(roles.load(edited).hosts)
    other = hosts["coffre"].host_key
    hosts["web"] = hosts["web"].model_copy(update={"host_key": other})
    change(edited, hosts=hosts)
    report = run(edited, limit=["web"])
    assert report.hosts["web"].state == "unreachable"
    assert "another host key" in report.hosts["web"].error
    assert report.exit_code == 69


def test_removed_operator_is_gone_and_nobody_locks_himself_out(
    lab: Lab, deployed: Report, edited: Path
) -> None:
    inventory = roles.load(edited)
    person = next(iter(inventory.people.values()))
    gone = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIODxoCB7EBrYiBCLI7Q0rsyjOZzn3I6vgDCtlb2wKqJr"
    second = person.model_copy(update={"id": "second", "keys": (gone,)})
    change(edited, people={**inventory.people, "second": second})
    assert run(edited, limit=["coffre"]).ok
    assert gone in on(lab, "coffre", "cat", "/root/.ssh/authorized_keys")
    alone = change(edited, people={person.id: person.model_copy(update={"keys": (gone,)})})
    assert alone.people[person.id].keys == (gone,)
    refused = run(edited, limit=["coffre"]).hosts["coffre"]
    assert not refused.ok
    assert "lock you out" in refused.error
    assert run(lab.inventory_file, limit=["coffre"], older=True).ok
    assert gone not in on(lab, "coffre", "cat", "/root/.ssh/authorized_keys")


def test_a_busy_host_is_left_alone(lab: Lab, deployed: Report) -> None:
    inventory = roles.load(lab.inventory_file)
    with ssh.session(ssh_target(inventory.hosts["web"])) as connection:
        hold = (
            'echo "{\\"verb\\": \\"backup\\", \\"since\\": \\"2030-01-01T00:00:00Z\\"}" > "$1"; '
            'exec flock "$1" sleep 30'
        )
        holder = threading.Thread(
            target=lambda: connection.run(("sh", "-c", hold, "sh", applied.LOCK), check=False)
        )
        holder.start()
        while "sleep" not in connection.run(("ps", "-eo", "args"), check=False).stdout.decode():
            pass
        report = run(lab.inventory_file, limit=["web"])
        assert report.hosts["web"].state == "busy"
        assert "backup" in report.hosts["web"].error
        assert "since 2030-01-01T00:00:00Z" in report.hosts["web"].error
        assert report.exit_code == 75
        connection.run(("sh", "-c", "kill $(ps -eo pid,args | awk '$2==\"sleep\"{print $1}')"))
        holder.join()


def test_a_dead_host_does_not_stop_the_others(lab: Lab, deployed: Report) -> None:
    path = "/etc/apt/apt.conf.d/60releve-periodic"
    for host in ("web", "coffre"):
        on(lab, host, "rm", "--", path)
    lab.cut("vigie")
    try:
        report = run(lab.inventory_file)
    finally:
        lab.mend("vigie")
    assert report.hosts["vigie"].state == "unreachable"
    assert "cannot be reached" in report.hosts["vigie"].error
    assert report.exit_code == 69
    for host in ("web", "coffre"):
        assert report.hosts[host].ok
        assert report.hosts[host].drift == ((path, "removed"),)
        assert on(lab, host, "cat", path)


def test_a_host_that_fails_says_where_and_the_others_go_on(lab: Lab, deployed: Report) -> None:
    # A folder where a file must be: the operation on it cannot succeed.
    path = "/etc/apt/apt.conf.d/60releve-periodic"
    on(lab, "web", "sh", "-c", 'rm -- "$1" && mkdir -p -- "$1/x"', "sh", path)
    on(lab, "coffre", "rm", "--", path)
    report = run(lab.inventory_file, limit=["web", "coffre"])
    assert report.hosts["coffre"].ok
    assert report.hosts["web"].state == "failed"
    assert report.hosts["web"].operation == "base: Security upgrades install themselves"
    assert path in report.hosts["web"].error
    assert report.hosts["web"].remedy
    assert report.exit_code == 1
    on(lab, "web", "rm", "-r", "--", path)
    assert run(lab.inventory_file, limit=["web"]).ok


def test_cut_off_in_the_middle_and_run_again(lab: Lab, deployed: Report) -> None:
    lab.reset()
    words = [sys.executable, "-u", "-m", "cli.main", "deploy", str(lab.inventory_file), "--yes"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=os.environ, start_new_session=True
    ) as first:
        assert first.stdout is not None
        # Packages are in, keys and firewall are not.
        for line in first.stdout:
            if line.startswith("web: base: Folders"):
                break
        os.killpg(first.pid, signal.SIGKILL)
    again = everything.deploy(lab.inventory_file).report
    assert {h.host: (h.state, h.error) for h in again.hosts.values()} == dict.fromkeys(
        again.hosts, ("ok", "")
    )
    assert not run(lab.inventory_file).changed
