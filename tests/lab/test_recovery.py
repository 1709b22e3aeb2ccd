"""Losing a host, and bringing it back: the whole story, on real hosts, by the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import roles
from deploy.dns import records as records_of
from inventories import edit
from inventories.model import Host
from lab import Lab
from recovery import loss
from recovery.drill import lab_name
from roles.etherpad import settings as etherpad
from roles.wordpress import settings as wordpress
from tests.lab.conftest import deployed
from tests.lab.house import JOURNAL, MINUTES, House, evidence, found_marks
from tests.lab.resolver import remembering
from tools import dns

pytestmark = pytest.mark.lab

ELSEWHERE = ("--provider", "Hébergeur du second site", "--datacenter", "NTE")
# An operator who left: the key was on the lost host, and is not in the inventory.
GONE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIODxoCB7EBrYiBCLI7Q0rsyjOZzn3I6vgDCtlb2wKqJr gone"


@pytest.fixture(scope="module")
def house(_sweep: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house of its own, in which a second host serves as well."""
    with deployed(tmp_path_factory.mktemp("house"), JOURNAL) as house:
        yield house


# --- the drill -----------------------------------------------------------------------------------


_STATE = (
    "cat /proc/1/stat | cut -d' ' -f22; systemctl is-active mariadb nginx postgresql; "
    "ls /var/lib/releve; cat /var/lib/releve/epoch; crontab -l 2>&1; ls /etc/cron.d"
)


@pytest.fixture(scope="module")
def journal(house: House) -> None:
    """rivage was written to, and saved."""
    house.write("kept", "rivage", ["journal"])
    house.releve("backup", "run", house.file, "--host", "rivage")


@pytest.mark.usefixtures("journal")
def test_a_rehearsal_from_the_real_copies_leaves_the_real_host_alone(
    house: House, new_file: Path, tmp_path: Path
) -> None:
    file = house.copy(new_file)
    before = house.sh("rivage", _STATE, code=None)
    house.releve(
        "drill", file, "--lab", "--release", "trixie", "--lost", "rivage", "--keep",
        "--evidence", tmp_path / "evidence",
    )  # fmt: skip
    proved, _ = evidence(tmp_path / "evidence")
    assert proved["kind"] == "rehearsal"
    assert proved["passed"] is True
    assert found_marks(proved, "journal") == {"kept", "run"}
    # It is shut in: the repository answers, and nothing else does, the real host included.
    rehearsal = Lab(lab_name(file))
    target = house.inventory.hosts["rivage"].address
    for host, port, answers in (
        (house.inventory.hosts["coffre"].address, 22, True),
        (house.inventory.hosts["coffre"].address, 25, False),
        (target, 443, False),
        (house.lab.dns_server.address, 53, False),
        (rehearsal.dns_server.address, 53, False),
    ):
        connect = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
        done = rehearsal.run(
            "rivage", ("python3", "-c", connect, str(host), str(port)), check=False
        )
        assert (done.exit_code == 0) is answers, (host, port, done.stderr)
    # It saves nothing over the real copies, and what it was lent is taken back.
    refused = rehearsal.run("rivage", ("/usr/local/lib/releve/agent.py", "backup"), check=False)
    assert refused.exit_code == 1
    assert b"no repository" in refused.stdout + refused.stderr
    left = rehearsal.run("rivage", ("find", "/run/releve", "-name", "lent-*"), check=False)
    assert left.stdout == b""
    keys = house.sh("coffre", "cat /srv/releve/releve/.ssh/authorized_keys2", code=None)
    assert "releve-lend" not in keys
    # The real host did not notice, and goes on saving itself.
    assert house.sh("rivage", _STATE, code=None).splitlines() == before.splitlines()
    assert house.visit("journal").status == 200
    house.releve("backup", "run", house.file, "--host", "rivage")


@pytest.mark.usefixtures("journal")
def test_a_rehearsal_on_a_blank_machine_of_ones_own(house: House, tmp_path: Path) -> None:
    rented = house.lab.blank("rented", datacenter="PAR", release="trixie")
    words = ("drill", house.file, "--lost", "rivage", "--evidence", tmp_path / "evidence")
    try:
        # Not over a host in use, and not before somebody compared the key.
        in_use = house.inventory.hosts["monts"].address
        assert "is monts, which is in use" in house.releve(*words, "--on", in_use, code=64)
        said = house.releve(*words, "--on", rented.address, code=64)
        assert " ".join(str(rented.host_key).split()[:2]) in said
        assert house.sh("rented", "ls /etc/releve", code=2)
        house.releve(*words, "--on", rented.address, "--host-key", rented.host_key)
        proved, _ = evidence(tmp_path / "evidence")
        assert (proved["kind"], proved["passed"]) == ("rehearsal", True)
        assert found_marks(proved, "journal") == {"kept", "run"}
        real = house.inventory.hosts["rivage"].address
        house.sh("rented", f"! timeout 3 bash -c '</dev/tcp/{real}/443'")
        assert house.visit("journal").status == 200
    finally:
        house.lab.destroy("rented")


# --- daily life, and what can go wrong in it -----------------------------------------------------


def test_a_restore_over_a_service_in_use_needs_a_word_and_saves_it_first(house: House) -> None:
    house.write("since", "monts", ["pad"])
    said = house.releve("restore", house.file, "pad", "--to", "monts", code=1)
    assert "pad is in use here" in said
    assert "--replace" in said
    assert house.marks("monts", "pad") == {"kept", "run", "since"}
    said = house.releve("restore", house.file, "pad", "--to", "monts", "--replace")
    assert "what was here before is in snapshot" in said
    assert house.marks("monts", "pad") == {"kept", "run"}
    before = said.partition("what was here before is in snapshot ")[2].split()[0]
    # What a later restore or rebuild would bring back is not what was just replaced.
    listed = house.releve("backup", "list", house.file, "--host", "monts", "--format", "json")
    newest = max(json.loads(listed), key=lambda row: row["time"])
    assert not newest["snapshot"].startswith(before)
    said = house.releve(
        "rebuild", house.file, "--host", house.inventory.hosts["coffre"].address, "--host-key",
        house.inventory.hosts["coffre"].host_key, *ELSEWHERE, "--lost", "monts", "--yes", code=64,
    )  # fmt: skip
    assert "is coffre, which is in use" in said
    house.releve(
        "restore", house.file, "pad", "--to", "monts", "--replace", "--no-snapshot",
        "--snapshot", before,
    )  # fmt: skip
    assert "since" in house.marks("monts", "pad")


def test_a_look_before_a_restore_says_what_would_come_and_changes_nothing(house: House) -> None:
    listed = house.releve("backup", "list", house.file, "--host", "monts", "--format", "json")
    copies = sorted(json.loads(listed), key=lambda row: row["time"])
    oldest, newest = copies[0], copies[-1]
    assert oldest["time"] < newest["time"]
    here = ("restore", house.file, "--all", "--to", "monts", "--dry-run")
    there = ("restore", house.file, "--all", "--from", "monts", "--to", "rivage", "--dry-run")
    before = house.file.read_bytes(), house.sh("rivage", "ls /srv /var/www /var/lib", code=None)
    marks = house.marks("monts", "pad")
    for words in (here, there):
        for more, copy in (((), newest), (("--at", oldest["time"]), oldest)):
            said = house.releve(*words, *more)
            for service in ("site", "blog", "pad"):
                assert f"{service}: would come back from {copy['snapshot'][:8]} of" in said
                in_use = f"{service} is in use here: it holds"
                assert (in_use in said) == (words[words.index("--to") + 1] == "monts")
            assert re.search(r"it takes [0-9.]+ [kM]B on the disk .* [0-9.]+ GB are free", said)
        said = house.releve(*words, "--at", "2020-01-01", code=1)
        assert "no snapshot holds site until 2020-01-01" in said
    after = house.file.read_bytes(), house.sh("rivage", "ls /srv /var/www /var/lib", code=None)
    assert after == before
    assert house.marks("monts", "pad") == marks
    said = house.releve("restore", house.file, "pad", "--from", "monts", "--to", "rivage", code=64)
    assert "--from says whose services --all means" in said


def test_all_of_a_host_moves_in_beside_others_of_its_kind(house: House, tmp_path: Path) -> None:
    file = house.copy(tmp_path / "moved.toml")
    house.sh("rivage", "useradd --system --user-group taken")
    house.write("mine", "rivage", ["journal"])
    counts = house.ask("rivage", "journal", "counts")
    said = house.releve("restore", file, "--all", "--from", "monts", "--to", "rivage")
    assert "site, pad, blog is on rivage from now on" in said
    address = house.inventory.hosts["rivage"].address
    status, body = house.visit("blog", address=address)
    assert (status, "d&#039;à côté &quot;$(id)&quot; `id`" in body) == (200, True)
    words = house.program("pad", "read", "reunion")
    assert house.lab.run("rivage", words).stdout.decode().strip() == MINUTES
    for service in ("site", "blog", "pad"):
        assert house.visit(service, address=address).status == 200
        # The newest five marks are found, and each of the copies made until here has left one.
        assert "run" in house.marks("rivage", service)
    # The one that was there is as it was.
    assert house.ask("rivage", "journal", "counts") == counts
    assert "mine" in house.marks("rivage", "journal")
    assert house.visit("journal").status == 200
    # Each keeps to its own.
    blog, journal = house.service("blog"), house.service("journal")
    for argv in (
        ("cat", wordpress.salts_file(journal)),
        ("mariadb", "-e", "SELECT 1", wordpress.database(journal)),
    ):
        tried = house.lab.run(
            "rivage", ("runuser", "-u", wordpress.user(blog), "--", *argv), check=False
        )
        assert tried.exit_code != 0, argv
    assert "Nothing to change" in house.releve("plan", file, "--limit", "rivage")


def test_the_nightly_backup_gives_way_to_a_restore(house: House) -> None:
    restore = "/usr/local/lib/releve/agent.py restore --service=pad --replace --no-snapshot"
    house.sh("monts", f"systemd-run --quiet --unit=slow-restore {restore}")
    house.sh("monts", "until grep -q restore /var/lib/releve/lock; do sleep 0.02; done")
    house.sh("monts", "systemctl start releve-backup.service")
    said = house.sh("monts", "journalctl -u releve-backup --no-pager -n 20")
    assert "restore has held this host's lock" in said
    said = house.releve("backup", "run", house.file, "--host", "monts", code=75)
    assert "Run it again when that has ended." in said
    house.sh("monts", "while systemctl is-active -q slow-restore; do sleep 0.2; done")
    house.releve("backup", "run", house.file, "--host", "monts")


def test_a_repository_that_cannot_be_reached_is_said_and_the_next_run_is_fine(
    house: House,
) -> None:
    house.lab.cut("coffre")
    try:
        said = house.releve("backup", "run", house.file, "--host", "monts", code=1)
        assert "the repository host cannot be reached" in said
        said = house.releve("backup", "list", house.file, "--host", "monts", code=69)
        assert re.search(r"coffre .*, which keeps the copies of monts, cannot be reached", said)
    finally:
        house.lab.mend("coffre")
    assert house.visit("site").status == 200
    house.releve("backup", "run", house.file, "--host", "monts")


def test_a_machine_that_is_too_small_is_refused_before_anything_changes(
    house: House, tmp_path: Path
) -> None:
    file = house.copy(tmp_path / "small.toml")
    before = file.read_bytes(), file.with_suffix(".secrets.age").read_bytes()
    house.sh("monts", "head -c 400000000 /dev/urandom > /srv/large")
    small = house.lab.blank("small", datacenter="NTE", disk=150_000_000)
    try:
        said = house.releve(
            "rebuild", file, "--host", small.address, "--host-key", small.host_key, *ELSEWHERE,
            "--lost", "monts", "--yes", "--evidence", tmp_path / "evidence", code=1,
        )  # fmt: skip
        assert "MB are free" in said
        assert (file.read_bytes(), file.with_suffix(".secrets.age").read_bytes()) == before
        assert house.sh("small", "ls /etc/releve", code=2)
    finally:
        house.lab.destroy("small")


@pytest.fixture
def two_copies(house: House) -> tuple[str, str]:
    """The ids of two copies of monts; the newer one holds a picture that the older has not."""
    root = wordpress.root(house.service("site"))
    house.sh("coffre", "touch /root/between; sleep 1.1")
    house.sh("monts", f"head -c 3000000 /dev/urandom > {root}/wp-content/uploads/picture")
    house.releve("backup", "run", house.file, "--host", "monts")
    listed = house.releve("backup", "list", house.file, "--host", "monts", "--format", "json")
    older, newer = sorted(json.loads(listed), key=lambda row: row["time"])[-2:]
    return older["snapshot"], newer["snapshot"]


def test_a_damaged_copy_is_named_nothing_is_lost_and_the_one_before_works(
    house: House, two_copies: tuple[str, str]
) -> None:
    older, newer = two_copies
    house.write("since", "monts", ["site"])
    # Whatever of the newer copy's own data is in a pack: some of its bytes are others now.
    house.sh(
        "coffre",
        "set -eu; cd /srv/releve/releve/atelier/monts/data; "
        'packs=$(find . -type f -newer /root/between -size +900k); test -n "$packs"; '
        "for pack in $packs; do chmod u+w $pack; "
        "for at in $(seq 5000 50000 $(stat -c %s $pack)); do "
        "printf damaged-damaged- | dd of=$pack bs=1 seek=$at conv=notrunc status=none; "
        "done; done",
    )
    said = house.releve(
        "restore", house.file, "site", "--to", "monts", "--replace", "--no-snapshot", code=1
    )
    assert "damaged" in said
    assert newer[:8] in said
    assert f"restore with --snapshot {older[:8]}" in said
    assert "since" in house.marks("monts", "site")
    assert house.visit("site").status == 200
    house.releve(
        "restore", house.file, "site", "--to", "monts", "--replace", "--no-snapshot",
        "--snapshot", older[:8],
    )  # fmt: skip
    assert "since" not in house.marks("monts", "site")
    assert house.visit("site").status == 200


# --- the disaster --------------------------------------------------------------------------------


ZONE = "atelier.example"
TTL = 600


@dataclass(frozen=True)
class Rebuilt:
    """monts was lost; a rebuild from the copy before the newest was killed half-way, and run
    again. People changed the zone by hand meanwhile, and this machine's resolver remembers."""

    house: House
    file: Path
    new: Host
    proved: dict[str, Any]
    page: str
    said: str  # by the second run
    waited: float  # seconds from the beginning of the first run to that of the second
    remembered: tuple[str, ...]  # the address that the resolver tells at the end
    numbers: dict[str, int]  # of users, on the lost machine


@pytest.fixture(scope="module")
def rebuilt(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rebuilt]:
    house.reset()
    folder = tmp_path_factory.mktemp("rebuild")
    file = house.copy(folder / "rebuilt.toml")
    by_hand = {"dns": "manual", "server": None, "key": None, "secret": None, "ttl": TTL}
    edit.change(file, "domains", ZONE, by_hand)
    house.sh("monts", f"echo '{GONE}' >> /root/.ssh/authorized_keys")
    house.releve("backup", "run", file, "--host", "monts")
    listed = house.releve("backup", "list", file, "--host", "monts", "--format", "json")
    wanted = max(json.loads(listed), key=lambda row: row["time"])["snapshot"]
    house.write("later", "monts")
    house.releve("backup", "run", file, "--host", "monts")
    house.write("lost", "monts")
    numbers = {
        name: int(house.sh("monts", f"id -u {name}"))
        for name in (wordpress.user(house.service("site")), etherpad.user(house.service("pad")))
    }
    # Nobody can say that it is off: it still runs, somewhere.
    new = house.lab.blank("monts-new", datacenter="NTE", provider=ELSEWHERE[1])
    # The users of the services will get other numbers than on the lost machine.
    house.sh("monts-new", "for i in 1 2 3 4 5; do useradd --system --user-group taken$i; done")
    words = (
        "rebuild", file, "--host", new.address, "--host-key", new.host_key, *ELSEWHERE,
        "--lost", "monts", "--snapshot", wanted[:8], "--yes", "--evidence",
    )  # fmt: skip
    back: list[str] = []
    began = time.monotonic()
    with house.start(*words, folder / "first") as first:
        assert first.stdout is not None
        for line in first.stdout:
            if "bringing the data back" in line:
                back.append(line.split()[1].rstrip(":"))
            if len(back) == 2:
                break
        time.sleep(1.5)
        os.killpg(first.pid, signal.SIGKILL)
    assert len(back) == 2
    # The machine itself goes on with what it was told last; until then it is busy, and says so.
    house.sh("monts-new", "flock --wait 120 /var/lib/releve/lock true")
    # What somebody writes into the one that is back must not be replaced by the copy again.
    house.lab.run(
        "monts-new", house.program(back[0], "canary-plant", "after-1", "2030-01-01T00:00:00Z")
    )
    records = records_of(house.inventory, ("site", "pad", "blog"))
    dns.update(house.lab.dns_server, ZONE, house.lab.dns_key, records, ttl=TTL)
    with remembering(house.lab.dns_server, folder) as (resolver, within):
        assert dns.resolve(resolver, ZONE, "A").values == (
            str(house.inventory.hosts["monts"].address),
        )
        waited = time.monotonic() - began
        said = ""
        with house.start(*words, folder / "second", within=within) as second:
            assert second.stdout is not None
            for line in second.stdout:
                said += line
                change_by_hand(house, line)
        assert second.returncode == 0, said
        remembered = dns.resolve(resolver, ZONE, "A").values
    proved, page = evidence(folder / "second")
    assert "after" in house.marks("monts-new", back[0])
    yield Rebuilt(house, file, new, proved, page, said, waited, remembered, numbers)
    house.lab.destroy("monts-new")


def change_by_hand(house: House, line: str) -> None:
    """Do at the registrar what a line of a zone fragment says, if it is one."""
    match = re.search(r"(; remove: )?(\S+)\. (?:[0-9]+ )?IN ([A-Z]+) (.+)$", line)
    if match:
        gone, name, kind, value = match.groups()
        wanted = dns.Wanted(name, kind, () if gone else (value,))
        dns.update(house.lab.dns_server, ZONE, house.lab.dns_key, (wanted,), ttl=TTL)


def test_a_rebuild_that_was_killed_goes_on_and_ends_well(rebuilt: Rebuilt) -> None:
    assert rebuilt.proved["passed"] is True
    assert rebuilt.proved["now"]["datacenter"] == "NTE"
    for service in ("site", "blog", "pad"):
        # From the copy that was asked for: "later" is in the newest only.
        assert {"kept", "run"} <= found_marks(rebuilt.proved, service) <= {"kept", "run", "after"}
        address = rebuilt.new.address
        assert rebuilt.house.visit(service, address=address).status == 200
    words = rebuilt.house.program("pad", "read", "reunion")
    assert rebuilt.house.lab.run("monts-new", words).stdout.decode().strip() == MINUTES
    host = roles.load(rebuilt.file).hosts["monts"]
    assert (host.address, host.epoch) == (rebuilt.new.address, 2)


def test_a_rebuild_that_has_ended_is_not_begun_anew(rebuilt: Rebuilt, tmp_path: Path) -> None:
    words = ("rebuild", rebuilt.file, "--host", rebuilt.new.address, "--lost", "monts", "--yes")
    said = rebuilt.house.releve(*words, "--evidence", tmp_path / "none", code=64)
    assert "no rebuild of it is under way: there is nothing to go on with" in said
    assert not loss.path(rebuilt.file, "monts").exists()
    assert not list((tmp_path / "none").glob("*.json"))


def test_a_rebuild_that_was_killed_has_not_forgotten_the_disaster(rebuilt: Rebuilt) -> None:
    assert rebuilt.proved["was"]["datacenter"] == "GRA"
    assert rebuilt.proved["rto"]["seconds"] >= int(rebuilt.waited) > 0
    # What the first run did, when nothing was done, and what the second did, with times that fit.
    phases = rebuilt.proved["phases"]
    names = [phase["name"] for phase in phases]
    assert names[:4] == ["access", "install", "cut-off", "access"], names
    assert phases[2]["seconds"] > 1
    counted = sum(phase["seconds"] for phase in phases if phase["counted"])
    assert abs(counted - rebuilt.proved["rto"]["seconds"]) < 10, phases
    assert not loss.path(rebuilt.file, "monts").exists()


def test_names_that_people_move_by_hand_may_be_remembered_for_a_while(rebuilt: Rebuilt) -> None:
    assert "Change these records at your registrar" in rebuilt.said
    # It was not misled by what this machine's resolver remembers, and tells that others may be.
    assert rebuilt.remembered == (str(rebuilt.house.inventory.hosts["monts"].address),)
    assert dns.resolve(rebuilt.house.lab.dns_server, ZONE, "A").values == (
        str(rebuilt.new.address),
    )
    assert set(rebuilt.proved["checks"]["site"].values()) == {"ok"}
    assert "dns" in rebuilt.proved["checks"]["site"]
    rto = rebuilt.proved["rto"]
    assert rto["everybody_seconds"] - rto["seconds"] > TTL / 2
    assert f"For up to {TTL // 60} min 00 s (the TTL of the records)" in rebuilt.said
    assert "certaines personnes peuvent encore être menées" in rebuilt.page


def test_the_old_host_that_still_runs_is_told_to_stop(rebuilt: Rebuilt) -> None:
    house = rebuilt.house
    assert "still running and has been stopped" in rebuilt.said
    assert house.sh("monts", "cat /var/lib/releve/fenced")
    assert "active" not in served(house)
    old = house.inventory.hosts["monts"].address
    assert house.visit("site", address=old).status != 200


def served(house: House) -> list[str]:
    """What the old host's units of services are."""
    units = [wordpress.unit(house.service("site")), etherpad.unit(house.service("pad"))]
    return house.sh("monts", f"systemctl is-active {' '.join(units)}", code=None).split()


def test_files_belong_to_the_same_users_under_other_numbers(rebuilt: Rebuilt) -> None:
    house = rebuilt.house
    for service, path, user in (
        ("site", f"{wordpress.root(house.service('site'))}/wp-content/uploads", wordpress.user),
        ("pad", etherpad.root(house.service("pad")), etherpad.user),
    ):
        name = user(house.service(service))
        owner, number = house.sh("monts-new", f"stat -c '%U %u' {path}").split()
        assert owner == name
        assert int(number) != rebuilt.numbers[name]
        stray = house.sh("monts-new", f"find {path} -nouser -o -nogroup | head -3")
        assert stray == ""


def test_an_operator_who_left_does_not_come_back_with_the_data(rebuilt: Rebuilt) -> None:
    keys = rebuilt.house.sh("monts-new", "cat /root/.ssh/authorized_keys")
    assert GONE.split()[1] not in keys
    people = roles.load(rebuilt.file).people.values()
    assert all(key.split()[1] in keys for person in people for key in person.keys)


def test_the_new_host_saves_itself_where_the_old_one_did(rebuilt: Rebuilt) -> None:
    def listed() -> list[dict[str, Any]]:
        words = ("backup", "list", rebuilt.file, "--host", "monts", "--format", "json")
        return list(json.loads(rebuilt.house.releve(*words)))

    before = listed()
    assert len(before) >= 2
    rebuilt.house.releve("backup", "run", rebuilt.file, "--host", "monts")
    after = listed()
    assert len(after) == len(before) + 1
    assert all(row["complete"] for row in after)


def test_the_old_host_that_returns_can_neither_serve_nor_save(rebuilt: Rebuilt) -> None:
    house = rebuilt.house
    # As it was before the disaster: nobody has told it anything.
    house.lab.reset("monts")
    deadline = time.monotonic() + 60
    while house.sh("monts", "test -e /var/lib/releve/fenced", code=None):
        assert time.monotonic() < deadline
        time.sleep(1)
    while "active" in served(house):
        assert time.monotonic() < deadline
    old = house.inventory.hosts["monts"].address
    assert house.visit("site", address=old).status != 200
    assert house.visit("pad", address=old).status != 200
    refused = house.sh("monts", "/usr/local/lib/releve/agent.py backup", code=1)
    assert "must neither serve nor save" in refused
    # Not even when somebody there forgets that it was told.
    house.sh("monts", "rm /var/lib/releve/fenced")
    refused = house.sh("monts", "/usr/local/lib/releve/agent.py backup", code=1)
    assert "another machine has taken this host's place" in refused or "refused" in refused
    assert house.visit("site", address=rebuilt.new.address).status == 200
    house.releve("backup", "run", rebuilt.file, "--host", "monts")
