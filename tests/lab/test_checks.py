"""Checks of real hosts: what is broken on them is what they name, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from inventories import load
from roles.watch.deploy import JITTER
from tests.lab.house import REPO, WATCH, House

pytestmark = pytest.mark.lab


def check(
    house: House, *words: str, file: Path | None = None
) -> tuple[int, dict[str, tuple[str, str]]]:
    """`releve check`: its exit code, and id -> (level, message)."""
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "check", str(file or house.file), "--format", "json",
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
    assert bad.pop("rivage.backup", ("", ""))[1].startswith("this machine has saved nothing")
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


def test_pads_are_read_from_their_database_each_time(house: House) -> None:
    def asked() -> int:
        said = house.sh("monts", "cat /var/log/postgresql/*.log | grep -c pad:releve-", code=None)
        return int(said)

    def log(what: str) -> None:
        for words in (f"ALTER SYSTEM SET log_statement = {what}", "SELECT pg_reload_conf()"):
            house.on("monts", "runuser", "-u", "postgres", "--", "psql", "-qc", words)

    log("'all'")
    try:
        # A pad that Etherpad has once looked for, it does not look for again.
        for _ in range(2):
            before = asked()
            assert check(house, "--only", "pad.pad")[0] == 0
            assert asked() > before
    finally:
        log("DEFAULT")
    # Etherpad wants its database whenever it starts, and would have it started again.
    house.sh("monts", "systemctl mask --runtime postgresql@15-main; systemctl stop 'postgresql@*'")
    try:
        for _ in range(2):
            _, found = check(house, "--only", "pad.pad")
            assert found["pad.pad"][0] == "critical"
    finally:
        house.sh("monts", "systemctl unmask --runtime postgresql@15-main")
        house.on("monts", "systemctl", "start", "postgresql@15-main.service")
        # That it was started again and again was no fault of its own.
        house.on("monts", "systemctl", "reset-failed")
    deadline = time.monotonic() + 60
    while check(house, "--only", "pad")[0] != 0:
        assert time.monotonic() < deadline


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


# Overlays over file systems in memory of a few megabytes and a hundred inodes.
SMALL = """set -eu; mkdir -p /srv/small; mount -t tmpfs -o size=4m,nr_inodes=100 small /srv/small
cd /srv/small; mkdir lower upper work /srv/seen
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work small /srv/seen; cd /srv/seen; """
FULL = SMALL + "head -c 3800k /dev/zero > full"
MANY = SMALL + "touch $(seq 90)"
EMPTIED = "umount /srv/seen /srv/small; rmdir /srv/seen /srv/small"

# A host of a lab has this machine's memory, and reads about it here.
HEAVY = """set -eu; printf 'MemTotal: 4000000 kB\\nMemAvailable: 200000 kB\\n' > /run/meminfo
mount --bind /run/meminfo /proc/meminfo"""
LIGHT = "umount /proc/meminfo; rm /run/meminfo"

# A package that is there, and its successor in a source that calls itself as Debian's does.
PENDING = r"""set -eu; mkdir -p /root/later/DEBIAN /root/source; cd /root
package() { printf 'Package: releve-later\nVersion: %s\nArchitecture: all\n' "$1"
 printf 'Maintainer: Nobody <nobody@test.example>\nDescription: nothing\n'; }
package 1 > later/DEBIAN/control; dpkg-deb -b later one.deb; dpkg -i one.deb
package 2 > later/DEBIAN/control; dpkg-deb -b later source/two.deb; cd source
{ package 2; printf 'Filename: ./two.deb\nSize: %s\nSHA256: %s\n' "$(stat -c %s two.deb)" \
 "$(sha256sum two.deb | cut -d' ' -f1)"; } > Packages
printf 'Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\n' > Release
printf 'SHA256:\n %s %s Packages\n' "$(sha256sum Packages | cut -d' ' -f1)" \
 "$(stat -c %s Packages)" >> Release
echo 'deb [trusted=yes] file:/root/source ./' > /etc/apt/sources.list.d/later.list
apt-get update -qq -o Dir::Etc::sourcelist=sources.list.d/later.list \
 -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0"""
SETTLED = """dpkg -P releve-later; cd /root; rm -rf later source one.deb \
 /etc/apt/sources.list.d/later.list /var/lib/apt/lists/*_root_source_*"""

AGENT = "/usr/local/lib/releve/releve_agent/common.py"
OLD = f"cp -a {AGENT} /root/; sed -i 's/^VERSION = .*/VERSION = \"0.0.1\"/' {AGENT}"
RENEWED = f"mv /root/common.py {AGENT}"


def test_what_is_wrong_with_a_host_is_named(house: House, tmp_path: Path) -> None:
    # Of this host there is a newer life, of which it has not heard.
    edited = house.copy(tmp_path / "edited.toml")
    rivage = house.inventory.hosts["rivage"].model_copy(update={"epoch": 2})
    hosts = {**house.inventory.hosts, "rivage": rivage}
    load.dump(house.inventory.model_copy(update={"hosts": hosts}), edited)
    try:
        for script in (FULL, HEAVY, PENDING, OLD, "touch /run/reboot-required"):
            house.sh("rivage", script)
        house.sh("coffre", MANY)
        code, found = check(house, "--only", "rivage", "--only", "coffre", file=edited)
        assert code == 2
        for name, level, said in (
            ("rivage.disk", "critical", "/srv/seen: 9[0-9]% space used, 0.0 GiB left"),
            ("coffre.disk", "critical", "/srv/seen: 9[0-9]% inodes used, [0-9] inodes left"),
            ("rivage.memory", "warning", "0.2 of 3.8 GiB memory available"),
            ("rivage.updates", "warning", r"1 security update\(s\) wait"),
            ("rivage.reboot", "warning", "after a restart"),
            ("rivage.agent", "warning", "agent 0.0.1, this Relève brings"),
            ("rivage.epoch", "critical", "has epoch 1, the inventory says 2"),
            ("rivage.inventory", "warning", "from another state of the inventory"),
        ):
            assert found[name][0] == level, (name, found[name])
            assert re.search(said, found[name][1]), (name, found[name])
    finally:
        house.sh("coffre", EMPTIED)
        for script in (EMPTIED, LIGHT, SETTLED, RENEWED, "rm /run/reboot-required"):
            house.sh("rivage", script, code=None)
    names = ("disk", "updates", "reboot", "agent", "epoch", "inventory")
    only = [f"--only=rivage.{name}" for name in names]
    assert check(house, *only, "--only=coffre.disk")[0] == 0


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


STATE = "/var/lib/releve/checks/state.json"


def watch(house: House, rounds: int = 1) -> Any:
    """Rounds of the watch, one after the other; what it remembers after the last."""
    for _ in range(rounds):
        house.on("vigie", WATCH)
    return json.loads(house.on("vigie", "cat", STATE))


@contextmanager
def by_hand(house: House) -> Iterator[None]:
    """Nobody but the test starts rounds of the watch."""
    # A round that cron has begun ends first.
    house.sh("vigie", "systemctl stop cron && flock /run/releve-checks.lock true")
    try:
        yield
    finally:
        house.on("vigie", "systemctl", "start", "cron")


def told(house: House, check: str) -> list[str]:
    """The titles of what was told since the last call, of messages that name this check."""
    messages = [m["title"] for m in house.heard.messages if f"- {check} " in m["message"]]
    house.heard.messages.clear()
    return messages


def test_the_watch_tells_an_outage_once_and_lets_know_that_it_lives(house: House) -> None:
    with by_hand(house):
        state = watch(house, 2)
        well = {name for name, memory in state["checks"].items() if memory["level"] == "ok"}
        assert well >= {"monts.ssh", "coffre.ssh", "site.https", "site.state", "pad.unit"}
        # What is not well from the beginning is said as well.
        assert state["channels"]["equipe"]["told"]["rivage.backup"] == "warning"
        told(house, "site.https")
        house.heard.pings = 0
        house.on("monts", "systemctl", "stop", "mariadb.service")
        try:
            watch(house)
            assert told(house, "site.https") == []
            state = watch(house, 2)
            assert state["checks"]["site.https"]["level"] == "critical"
            [title] = told(house, "site.https")
            assert "problème" in title
        finally:
            house.on("monts", "systemctl", "start", "mariadb.service")
            # What WordPress does by the clock may have failed meanwhile.
            house.on("monts", "systemctl", "reset-failed")
        watch(house)
        assert told(house, "site.https") == []
        watch(house)
        [title] = told(house, "site.https")
        assert "rétabli" in title
        # Somebody else's outage is no reason to be silent.
        assert house.heard.pings == 5


@contextmanager
def blind(house: House) -> Iterator[None]:
    """The watch reaches nothing any more, but for whom it tells, and itself."""
    channel = str(house.heard.server_address[0])
    rules = (
        "table inet blind { chain output { type filter hook output priority -10; "
        "ct state established accept; oifname lo accept; "
        f"ip daddr {channel} accept; reject; }}; }}"
    )
    house.sh("vigie", f"echo '{rules}' | nft -f -")
    try:
        yield
    finally:
        house.sh("vigie", "nft delete table inet blind")


def test_a_watch_that_sees_nothing_says_so_and_is_not_taken_for_alive(house: House) -> None:
    with by_hand(house):
        before = watch(house)["checks"]
        told(house, "watch.sight")
        house.heard.pings = 0
        with blind(house):
            known = watch(house, 2)["checks"]
        assert known.pop("watch.sight")["level"] == "critical"
        assert known == {i: memory for i, memory in before.items() if i != "watch.sight"}
        assert len(told(house, "watch.sight")) == 1
        assert house.heard.pings == 0
        watch(house)
        assert house.heard.pings == 1


def test_cron_starts_rounds_and_copies(house: House) -> None:
    entries = {"monts": "/etc/cron.d/releve-backup", "vigie": "/etc/cron.d/releve-checks"}

    def receipts() -> set[str]:
        return set(house.sh("monts", "ls /var/lib/releve/receipts").split())

    def looked() -> str:
        return house.sh("vigie", f"stat --format=%Y {STATE}")

    # While one round is under way, another one ends at once.
    look = f"stat --format=%y {STATE}"
    first, second = house.sh(
        "vigie", f"flock /run/releve-checks.lock sh -c '{look}; {WATCH}; {look}'"
    ).splitlines()
    assert first == second
    copies, before = receipts(), looked()
    for host, entry in entries.items():
        house.sh(
            host,
            f"cp -a {entry} /root/entry; sed -i -E 's/^[0-9].* root /* * * * * root /' {entry}",
        )
    try:
        deadline = time.monotonic() + 60 + JITTER + 25
        while receipts() == copies or looked() == before:
            assert time.monotonic() < deadline, (receipts() - copies, looked(), before)
            time.sleep(1)
    finally:
        for host, entry in entries.items():
            house.sh(host, f"mv /root/entry {entry}")
    [new] = receipts() - copies
    document = json.loads(house.sh("monts", f"cat /var/lib/releve/receipts/{new}"))
    assert document["receipt"]["ok"] is True
