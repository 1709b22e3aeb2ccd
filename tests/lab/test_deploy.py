"""Deploys to real hosts: what is there afterwards, and what happens when it goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import testinfra  # type: ignore[import-untyped]

import roles
from deploy import applied, dns
from deploy.run import run
from inventories import load
from inventories.access import ssh_target
from inventories.model import Inventory, Service
from inventories.secrets import Secrets
from lab.inventory import TSIG_SECRET
from roles.etherpad import settings as etherpad
from tests.lab.house import MINUTES, REPO, House
from tools import ssh

pytestmark = pytest.mark.lab
CRON = "/etc/cron.d/releve-backup"


@pytest.fixture
def edited(house: House, tmp_path: Path) -> Path:
    """A copy of the inventory, with the same secrets, to be changed."""
    return house.copy(tmp_path / "edited.toml")


def change(file: Path, **values: object) -> Inventory:
    """Rewrite an inventory file with some top-level fields replaced."""
    inventory = roles.load(file).model_copy(update=values)
    load.dump(inventory, file)
    return inventory


def look(house: House, host: str) -> testinfra.host.Host:
    """The host as testinfra sees it, over plain ssh."""
    wanted = house.inventory.hosts[host]
    known = house.lab.folder / f"known-{host}"
    known.write_text(f"{wanted.address} {wanted.host_key}\n")
    config = house.lab.folder / f"ssh-{host}"
    config.write_text(
        f"Host *\n  UserKnownHostsFile {known}\n  IdentityFile {house.lab.key_file}\n"
        f"  IdentitiesOnly yes\n  ControlMaster auto\n  ControlPath {house.lab.folder}/%C\n"
        "  ControlPersist 20\n"
    )
    return testinfra.get_host(f"ssh://root@{wanted.address}", ssh_config=str(config))


def test_first_deploy_reaches_every_host(house: House) -> None:
    assert {h.host: (h.state, h.error) for h in house.first.hosts.values()} == {
        "monts": ("ok", ""),
        "rivage": ("ok", ""),
        "coffre": ("ok", ""),
        "vigie": ("ok", ""),
    }
    assert all(h.changed for h in house.first.hosts.values())
    # The repository host cannot open what it keeps, so it has no restic key of its own.
    assert "host.monts.restic" in house.first.made_secrets
    assert "host.coffre.restic" not in house.first.made_secrets


def test_second_deploy_changes_nothing_and_says_so(house: House) -> None:
    states = [(h, "stat", "--format=%Z", applied.PATH) for h in house.first.hosts]
    before = [house.on(*words) for words in states]
    again = run(house.file)
    assert again.ok
    assert [(h.host, h.changes) for h in again.hosts.values() if h.changed] == []
    assert before == [house.on(*words) for words in states]
    assert house.releve("plan", house.file) == "Nothing to change.\n"


def test_what_stands_on_a_service_host(house: House) -> None:
    host = look(house, "monts")
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


def test_service_answers_under_its_name_with_a_real_certificate(house: House) -> None:
    inventory = house.inventory
    assert dns.plan(inventory) != ()
    assert all(not zone.differences and not zone.error for zone in dns.plan(inventory))
    address = str(inventory.hosts["monts"].address)
    said = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--cacert", str(house.lab.ca_file),
         "--resolve", f"atelier.example:443:{address}", "https://atelier.example/wp-json/"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "wp/v2" in json.loads(said.stdout)["namespaces"]


def test_repository_lets_hosts_append_through_the_gate_only(house: House) -> None:
    host = look(house, "coffre")
    keys = host.file("/srv/releve/releve/.ssh/authorized_keys")
    assert keys.user == "root"
    lines = [line for line in keys.content_string.splitlines() if not line.startswith("#")]
    assert len(lines) == 3  # monts, rivage, and vigie, which may ask for names and dates
    assert all(
        line.startswith('restrict,command="/usr/local/lib/releve/repository/gate ')
        for line in lines
    )
    assert host.file("/usr/local/lib/releve/repository/gate").mode == 0o755


def test_watch_runs_the_checks_and_holds_no_key_but_its_own(house: House) -> None:
    host = look(house, "vigie")
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
    inventory = house.inventory
    target = ssh_target(inventory.hosts["monts"])
    key = house.lab.folder / "watch-key"
    key.write_text(house.on("vigie", "cat", "/etc/releve/watch-key"))
    key.chmod(0o600)
    # Whatever the watch's key asks for on another host, the agent's status is what it gets.
    said = subprocess.run(
        ["ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
         "-o", "IdentitiesOnly=yes", "-i", str(key), f"root@{target.address}", "cat /etc/shadow"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "root:" not in said.stdout
    assert json.loads(said.stdout)["host"] == "monts"


def test_drift_is_named_and_put_right(house: House) -> None:
    path, closed = "/etc/apt/apt.conf.d/60releve-periodic", "/etc/nftables.conf"
    house.on("monts", "sh", "-c", 'echo "// by hand" >> "$1"; chmod 777 "$2"', "sh", path, closed)
    house.on("monts", "systemctl", "disable", "--quiet", "apt-daily.timer")
    house.on("monts", "systemctl", "stop", "nginx")
    house.on("monts", "dpkg", "--remove", "unattended-upgrades")
    pad = etherpad.unit(house.service("pad"))
    began = house.on("monts", "systemctl", "show", "-P", "ActiveEnterTimestamp", pad)
    house.on("monts", "systemctl", "disable", "--quiet", pad)
    read = "/etc/nginx/sites-enabled/blog"
    house.on("monts", "sh", "-c", 'echo "# by hand" >> "$1"', "sh", read)
    by_hand = {
        (read, "changed"),
        (path, "changed"),
        (closed, "755 root:root → 777 root:root"),
        ("apt-daily.timer", "disabled"),
        ("nginx.service", "stopped"),
        ("package unattended-upgrades", "removed"),
        (pad, "disabled"),
    }
    planned = run(house.file, limit=["monts"], dry=True)
    assert set(planned.hosts["monts"].drift) == by_hand
    assert planned.exit_code == 2
    difference = "\n".join(d for c in planned.hosts["monts"].changes for d in c.details)
    assert "-// by hand" in difference
    done = run(house.file, limit=["monts"])
    assert set(done.hosts["monts"].drift) == by_hand
    assert "by hand" not in house.on("monts", "cat", path, read)
    assert house.on("monts", "systemctl", "is-enabled", "apt-daily.timer").strip() == "enabled"
    # What runs with its files need not start again to be there after the next boot.
    assert house.on("monts", "systemctl", "is-enabled", pad).strip() == "enabled"
    assert house.on("monts", "systemctl", "show", "-P", "ActiveEnterTimestamp", pad) == began
    again = run(house.file, limit=["monts"])
    assert (again.hosts["monts"].drift, again.changed) == ((), False)


def test_the_plain_pyinfra_command_knows_the_hosts_and_the_deploy(house: House) -> None:
    def pyinfra(*words: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("pyinfra")), f"@releve/{house.file}", *words],
            capture_output=True, text=True, cwd=REPO, stdin=subprocess.DEVNULL, timeout=300,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    # Side by side: each is under way before any of them is done.
    said = pyinfra(
        *("-y", "--limit", "datacenter-gra", "exec", "--"),
        "sh -c 'echo began $(hostname) $(date +%s%N); sleep 4; echo ended - $(date +%s%N)'",
    )
    began = dict(re.findall(r"began (\S+) ([0-9]+)", said))
    ended = re.findall(r"ended - ([0-9]+)", said)
    assert (began.keys(), len(ended)) == ({"monts", "rivage"}, 2), said
    assert max(map(int, began.values())) < min(map(int, ended))
    said = pyinfra("--dry", "--limit", "coffre", "deploy/site.py")
    assert "Remember what was applied" in said
    assert "[monts]" not in said


def test_a_deploy_of_a_part_is_not_remembered_as_one_of_the_whole(
    house: House, edited: Path
) -> None:
    organisation = roles.load(edited).organisation.model_copy(update={"name": "Renommée"})
    change(edited, organisation=organisation)
    look = ("check", edited, "--only", "monts.inventory")
    assert run(edited, limit=["pad"]).ok
    assert "another state of the inventory" in house.releve(*look, code=1)
    # What is older than that part is older than the host.
    assert run(house.file, limit=["monts"]).hosts["monts"].state == "refused"
    assert run(edited, stages=("install", "configure"), limit=["monts"]).ok
    assert "another state of the inventory" in house.releve(*look, code=1)
    assert run(edited, stages=("activate",), limit=["monts"]).ok
    house.releve(*look)
    assert run(house.file, limit=["monts"], older=True).ok


@pytest.mark.long
def test_what_left_the_inventory_is_named_and_switched_off_when_asked_for(
    house: House, edited: Path
) -> None:
    services = dict(house.inventory.services)
    pad = services.pop("pad")
    change(edited, services=services)
    left = "/etc/nginx/releve/pad, etherpad@pad.service"
    words = ("--limit", "monts")
    said = house.releve("deploy", edited, "--yes", *words)
    assert f"asks for these no more, and they go on here: {left}." in said
    assert house.visit("pad").status == 200
    look = ("check", edited, "--only", "monts.inventory")
    assert left in house.releve(*look, code=1).replace("\n            ", " ")
    # One whose name leads elsewhere by now is no reason to let the others' certificates expire.
    certs, away = "/var/lib/dehydrated/certs", "aaa.elsewhere.example"
    renew = "systemctl start releve-certificates.service"
    house.sh(
        "monts",
        f"echo '# /certs/{away}/' >/etc/nginx/sites-enabled/aaa; : >/etc/dehydrated/releve/{away}; "
        f"rm {certs}/blog.*/cert.pem; {renew} && exit 1; ls {certs}/blog.*/cert.pem; "
        "rm /etc/nginx/sites-enabled/aaa; systemctl reset-failed",
    )
    there = house.sh("monts", "ls /etc/dehydrated/releve").split()
    assert {pad.domain, away} < set(there)
    assert "etherpad@pad.service: switched off" in house.releve(
        "plan", edited, "--retire", *words, code=2
    )
    house.releve("deploy", edited, "--yes", "--retire", *words)
    assert house.visit("pad").status == 0
    assert house.visit("blog").status == 200
    assert house.releve("plan", edited, "--retire", *words) == "Nothing to change.\n"
    house.releve(*look)
    house.sh("monts", renew)
    left_of_it = set(there) - set(house.sh("monts", "ls /etc/dehydrated/releve").split())
    assert left_of_it == {pad.domain, away}
    # It was a mistake: all of it is there again.
    assert run(house.file, limit=["monts"], older=True).ok
    assert house.visit("pad").status == 200
    assert MINUTES in house.on("monts", *house.program("pad", "read", "reunion"))


def test_secrets_are_not_in_a_plan(house: House) -> None:
    secret = house.on("monts", "cat", "/etc/releve/restic-password").strip()
    house.on("monts", "sh", "-c", "echo wrong > /etc/releve/restic-password")
    plan = house.releve("plan", house.file, "--limit", "monts", code=2)
    assert "/etc/releve/restic-password: secret, not shown" in plan
    assert secret not in plan
    assert run(house.file, limit=["monts"]).ok
    assert house.on("monts", "cat", "/etc/releve/restic-password").strip() == secret


def test_older_inventory_is_refused(house: House, edited: Path) -> None:
    organisation = roles.load(edited).organisation.model_copy(update={"name": "Renommée"})
    change(edited, organisation=organisation)
    assert run(edited, limit=["coffre"]).ok
    refused = run(house.file, limit=["coffre"]).hosts["coffre"]
    assert refused.state == "refused"
    assert "newer inventory" in refused.error
    assert "--older" in refused.error
    back = run(house.file, limit=["coffre"], older=True)
    assert back.ok
    # Now it is the one that is applied, so it needs no word any more.
    assert run(house.file, limit=["coffre"]).ok


def test_secrets_that_are_missing_are_not_made_anew(house: House, edited: Path) -> None:
    file = edited.with_suffix(".secrets.age")
    kept = Secrets.open(edited).get(TSIG_SECRET)
    file.unlink()
    other = Secrets.open(edited)
    other.set(TSIG_SECRET, kept)
    other.save()
    before = file.read_bytes()
    said = house.releve("deploy", edited, "--yes", "--older", code=64)
    assert "monts, rivage: deployed before" in said
    assert file.read_bytes() == before
    house.on("monts", "/usr/local/lib/releve/agent.py", "status")
    assert house.releve("backup", "list", house.file, "--host", "monts")


def test_another_host_key_is_refused(house: House, edited: Path) -> None:
    hosts = dict(roles.load(edited).hosts)
    other = hosts["coffre"].host_key
    hosts["monts"] = hosts["monts"].model_copy(update={"host_key": other})
    change(edited, hosts=hosts)
    report = run(edited, limit=["monts"])
    assert report.hosts["monts"].state == "unreachable"
    assert "another host key" in report.hosts["monts"].error
    assert report.exit_code == 69


def test_removed_operator_is_gone_and_nobody_locks_himself_out(house: House, edited: Path) -> None:
    inventory = roles.load(edited)
    person = next(iter(inventory.people.values()))
    gone = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIODxoCB7EBrYiBCLI7Q0rsyjOZzn3I6vgDCtlb2wKqJr"
    second = person.model_copy(update={"id": "second", "keys": (gone,)})
    change(edited, people={**inventory.people, "second": second})
    assert run(edited, limit=["coffre"]).ok
    assert gone in house.on("coffre", "cat", "/root/.ssh/authorized_keys")
    alone = change(edited, people={person.id: person.model_copy(update={"keys": (gone,)})})
    assert alone.people[person.id].keys == (gone,)
    refused = run(edited, limit=["coffre"]).hosts["coffre"]
    assert not refused.ok
    assert "lock you out" in refused.error
    assert run(house.file, limit=["coffre"], older=True).ok
    assert gone not in house.on("coffre", "cat", "/root/.ssh/authorized_keys")


def test_a_busy_host_is_left_alone(house: House) -> None:
    inventory = house.inventory
    with ssh.session(ssh_target(inventory.hosts["monts"])) as connection:
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
        report = run(house.file, limit=["monts"])
        assert report.hosts["monts"].state == "busy"
        assert "backup" in report.hosts["monts"].error
        assert "since 2030-01-01T00:00:00Z" in report.hosts["monts"].error
        assert report.exit_code == 75
        connection.run(("sh", "-c", "kill $(ps -eo pid,args | awk '$2==\"sleep\"{print $1}')"))
        holder.join()


def test_a_dead_host_does_not_stop_the_others(house: House) -> None:
    path = "/etc/apt/apt.conf.d/60releve-periodic"
    for host in ("monts", "coffre"):
        house.on(host, "rm", "--", path)
    house.lab.cut("vigie")
    try:
        report = run(house.file)
    finally:
        house.lab.mend("vigie")
    assert report.hosts["vigie"].state == "unreachable"
    assert "cannot be reached" in report.hosts["vigie"].error
    assert report.exit_code == 69
    for host in ("monts", "coffre"):
        assert report.hosts[host].ok
        assert report.hosts[host].drift == ((path, "removed"),)
        assert house.on(host, "cat", path)


def test_a_host_that_fails_says_where_and_the_others_go_on(house: House) -> None:
    # A folder where a file must be: the operation on it cannot succeed.
    path = "/etc/apt/apt.conf.d/60releve-periodic"
    house.on("monts", "sh", "-c", 'rm -- "$1" && mkdir -p -- "$1/x"', "sh", path)
    house.on("coffre", "rm", "--", path)
    report = run(house.file, limit=["monts", "coffre"])
    assert report.hosts["coffre"].ok
    assert report.hosts["monts"].state == "failed"
    assert report.hosts["monts"].operation == "base: Security upgrades install themselves"
    assert path in report.hosts["monts"].error
    assert report.hosts["monts"].remedy
    assert report.exit_code == 1
    house.on("monts", "rm", "-r", "--", path)
    assert run(house.file, limit=["monts"]).ok


def test_a_service_that_fails_leaves_its_neighbours_and_the_copies_alone(house: House) -> None:
    # A folder where a file of the site must be; a neighbour and the nightly run lack something.
    broken, others = "/etc/wordpress/fpm-blog.conf", ("/etc/nginx/releve/pad", CRON)
    house.on("monts", "sh", "-c", 'rm -- "$@" && mkdir -p -- "$1/x"', "sh", broken, *others)
    report = run(house.file, limit=["monts"])
    monts = report.hosts["monts"]
    assert (monts.state, monts.ok, report.exit_code) == ("ok", False, 1)
    assert list(monts.services) == ["blog"]
    assert broken in monts.services["blog"].error
    house.on("monts", "ls", *others)
    assert not any("blog" in change.operation for change in monts.changes)
    # What it could not place was not remembered as placed.
    house.on("monts", "rm", "-r", "--", broken)
    mended = run(house.file, limit=["monts"]).hosts["monts"]
    assert (mended.ok, mended.drift) == (True, ())
    house.on("monts", "ls", broken)


@pytest.fixture(scope="module")
def newcomer(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One more host, blank, with the next Debian and a site; the inventory in which it stands. Its
    first deploy met a full disk, the second was killed in the middle."""
    file = house.copy(tmp_path_factory.mktemp("newcomer") / "newcomer.toml")
    blank = house.lab.blank("neuf", datacenter="PAR", release="trixie", disk=1_800_000_000)
    blank = blank.model_copy(update={"repository": "coffre"})
    change(
        file,
        hosts={**house.inventory.hosts, "neuf": blank},
        services={**house.inventory.services, "neuf": on_newcomer(house, "neuf")},
    )
    rest = int(house.sh("neuf", "df --output=avail -k /var | tail -n 1"))
    house.sh("neuf", f"fallocate -l {rest - 40_000}K /var/full")
    began = time.monotonic()
    said = house.releve("deploy", file, "--limit", "neuf", "--yes", code=1)
    # What root may use beyond that is gone in the middle of an installation.
    assert re.search(r"the disk is full: [0-9]+ kB are left where /var lies", said), said
    assert time.monotonic() - began < 120  # apt alone would try for many minutes
    assert house.sh("neuf", "dpkg --audit")
    house.sh("neuf", "rm /var/full")
    with house.start("deploy", file, "--limit", "neuf", "--limit", "coffre", "--yes") as first:
        assert first.stdout is not None
        # Packages are in, keys and firewall are not.
        seen = []
        for line in first.stdout:
            seen.append(line)
            if line.startswith("neuf: base: Folders"):
                break
        else:
            raise AssertionError("".join(seen))
        os.killpg(first.pid, signal.SIGKILL)
    yield file
    house.lab.destroy("neuf")


def on_newcomer(house: House, name: str) -> Service:
    return house.service("site").model_copy(
        update={"id": name, "host": "neuf", "url": f"https://{name}.atelier.example"}
    )


def test_cut_off_in_the_middle_a_deploy_goes_on(house: House, newcomer: Path) -> None:
    words = ("deploy", newcomer, "--limit", "neuf", "--limit", "coffre", "--yes")
    assert "Done: 2 hosts as the inventory says." in house.releve(*words)
    status, body = house.get(
        "/",
        host="neuf.atelier.example",
        address=roles.load(newcomer).hosts["neuf"].address,
        ca=house.lab.ca_file,
    )
    assert (status, "<title>L&#039;Atelier en Santé</title>" in body) == (200, True)
    assert "Bonjour tout le monde" in body
    assert "Nothing to change" in house.releve(*words)


def test_a_site_serves_before_dns_and_gets_its_certificate_after(
    house: House, newcomer: Path
) -> None:
    there = roles.load(newcomer)
    change(newcomer, services={**there.services, "plus": on_newcomer(house, "plus")})
    assert run(newcomer, stages=("install", "configure"), limit=["plus"]).ok
    get = partial(house.get, host="plus.atelier.example", address=there.hosts["neuf"].address)
    # With a certificate that is only a placeholder so far.
    assert get("/")[0] == 200
    assert get("/", ca=house.lab.ca_file)[0] == 0
    assert get("/wp-admin/install.php")[0] == 403
    early = run(newcomer, stages=("activate",), limit=["plus"]).hosts["neuf"]
    warned = "\n".join(early.warnings)
    assert "No certificate for plus.atelier.example" in warned
    assert "Does DNS name this host" in warned
    assert get("/")[0] == 200  # goes on with what it has
    house.releve("deploy", newcomer, "--limit", "neuf", "--yes")
    assert get("/", ca=house.lab.ca_file)[0] == 200
