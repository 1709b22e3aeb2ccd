"""Copies on real hosts: systemd, SSH, the gate, other user ids, disks that are full."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import roles
from agent import plan as plans
from backup import lend
from backup import run as saving
from backup.epoch import write_epoch_notice
from backup.errors import BackupError
from backup.restore import restore_service
from deploy.run import run as deploy
from inventories import load
from inventories.access import ssh_target
from inventories.model import Inventory
from inventories.secrets import Secrets
from lab import Lab
from roles.registry import SERVICES
from tests.cheap_keys import cheapen_on
from tests.lab.house import REPO
from tools import ssh

pytestmark = pytest.mark.lab

INVENTORY = """
schema = 1
[organisation]
name = "Copies"
contact = "contact@atelier.test"
[hosts.web]
platform = "debian"
address = "192.0.2.1"
provider = "one"
datacenter = "GRA"
repository = "coffre"
[hosts.other]
platform = "debian"
address = "192.0.2.3"
provider = "three"
datacenter = "PAR"
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
keep = { within = "1s", daily = 0, weekly = 0, monthly = 0 }
[domains."atelier.test"]
"""

_COUNT = "import json; print(json.dumps({'lines': len(open('/srv/forum.db').readlines())}))"
_FIND = (
    "import json; print(json.dumps([json.loads(x) for x in open('/srv/forum.db') "
    "if x.startswith('{')]))"
)
_PLANT = 'printf \'{"run": "%s", "at": "%s"}\\n\' "$1" "$2" >> /srv/forum.db'

# A service of files that belong to a user, and a database that is a file.
FORUM: dict[str, Any] = {
    "role": "tiny",
    "paths": ["/srv/forum"],
    "excludes": [],
    "dumps": [
        {
            "name": "lines",
            "save": ["cat", "/srv/forum.db"],
            "load": ["sh", "-c", "cat > /srv/forum.db"],
        }
    ],
    "quiesce": [
        {
            "do": ["touch", "/srv/forum-is-still"],
            "undo": ["rm", "-f", "/srv/forum-is-still"],
            "at_most": 120,
        }
    ],
    "counts": ["python3", "-c", _COUNT],
    "versions": [],
    "canary": {
        "plant": ["sh", "-c", _PLANT, "plant"],
        "find": ["python3", "-c", _FIND],
    },
    "restore": {"stop": [], "prepare": [], "accept": []},
    "units": ["forum.service"],
}
COPIES = "/srv/releve/releve/atelier"
LARGE = "/srv/forum/large"
_UNIT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


class World:
    """Three hosts that were deployed; `web` and `other` have a forum, under different user ids."""

    def __init__(self, lab: Lab, inventory: Inventory) -> None:
        self.lab, self.inventory = lab, inventory
        self.secrets = Secrets.open(lab.inventory_file, lab.key_file)

    def target(self, host: str) -> ssh.Target:
        return ssh_target(self.inventory.hosts[host])

    def sh(self, host: str, script: str, *, code: int | None = 0) -> str:
        with ssh.session(self.target(host)) as session:
            done = session.run(("sh", "-c", script), check=False, timeout=120)
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert code is None or done.exit_code == code, f"{script}: {done.exit_code}: {said}"
        return said

    def forum(self, host: str, **more: Any) -> None:
        """Give a host's plan the forum."""
        plan = plans.render(self.inventory, host)
        plan["services"]["forum"] = {**FORUM, **more}
        with ssh.session(self.target(host)) as session:
            session.write("/etc/releve/plan.json", json.dumps(plan).encode())

    def listed(self) -> list[dict[str, Any]]:
        """What `releve backup list` says of the copies of `web`."""
        rows: list[dict[str, Any]] = json.loads(
            self.releve("list", "--host", "web", "--format", "json")
        )
        return rows

    def save(self, host: str = "web") -> saving.Saved:
        with ssh.session(self.target(host)) as session:
            return saving.run(session)

    def releve(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "backup", words[0], str(self.lab.inventory_file),
             *words[1:]],
            capture_output=True, text=True, check=False, timeout=300, cwd=REPO,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr


@pytest.fixture(scope="module")
def world(make_lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    file: Path = tmp_path_factory.mktemp("inventory") / "copies.toml"
    file.write_text(INVENTORY)
    lab = make_lab()
    lab.up(load.load(file, {name: role.settings for name, role in SERVICES.items()}))
    patch = pytest.MonkeyPatch()
    patch.setenv("RELEVE_SSH_KEY", str(lab.key_file))
    patch.setenv("RELEVE_IDENTITY", str(lab.key_file))
    report = deploy(lab.inventory_file)
    assert report.ok, report
    made = World(lab, roles.load(lab.inventory_file))
    made.releve("list")  # adds the operators' keys
    cheapen_on(lab, made.inventory, "web", "other")
    for host, uid in (("web", 2001), ("other", 2002)):
        made.sh(host, f"useradd --uid {uid} forumer")
        made.forum(host)
    made.sh("other", "useradd --uid 2001 somebody-else")
    made.sh(
        "web",
        "mkdir /srv/forum; echo hello > /srv/forum/page; head -c 20000000 /dev/urandom > "
        "/srv/forum/large; chown -R forumer: /srv/forum; echo a line > /srv/forum.db; "
        f"printf '{_UNIT}' > /etc/systemd/system/forum.service; systemctl daemon-reload; "
        "systemctl enable --now forum.service",
    )
    made.sh("other", "mkdir -p /srv/forum; : > /srv/forum.db")
    yield made
    patch.undo()


def test_saved_listed_verified_pruned_from_the_admins_machine(world: World) -> None:
    saved = world.save()
    assert saved.ok
    assert saved.bytes > 20_000_000
    world.sh("web", f"head -c 20000000 /dev/urandom > {LARGE}; sleep 1")
    again = world.save()
    listed = world.listed()
    assert [row["snapshot"][:8] for row in listed] == [saved.snapshot, again.snapshot]
    assert listed[-1]["services"] == ["forum"]
    assert listed[-1]["complete"] is True
    assert "0 problem(s)" in world.releve("verify", "--host", "web", "--read", "100%")
    size = f"du -sm {COPIES}/web | cut -f1"
    before = int(world.sh("coffre", size))
    goes = f"web: {saved.snapshot} of "
    for words, stay in ((("--dry-run",), 2), (("--yes",), 1)):
        said = world.releve("prune", "--host", "web", *words)
        assert goes in said
        assert "web: 1 stay, 1 go, and 1 receipts of runs without one" in said
        assert len(world.listed()) == stay
    assert [row["snapshot"][:8] for row in world.listed()] == [again.snapshot]
    assert int(world.sh("coffre", size)) <= before - 19
    assert world.sh("coffre", f"ls {COPIES}/web.receipts") == f"{again.run}.json\n"
    assert "0 problem(s)" in world.releve("verify", "--host", "web", "--read", "100%")
    assert "web: 1 stay, 0 go\n" in world.releve("prune", "--host", "web", "--yes")


def test_what_is_wrong_with_copies_is_told(world: World) -> None:
    good = world.save()
    count = len(world.listed())
    words = ("verify", "--host", "web", "--read", "100%")
    world.sh("coffre", f"rm -rf /srv/kept; mkdir /srv/kept; cp -a {COPIES}/web* /srv/kept/")
    back = f"rm -rf {COPIES}/web*; cp -a /srv/kept/* {COPIES}/"
    try:
        flip = 'f=$(find "$1"/data -type f -size +1M | head -n 1); chmod u+w $f; '
        flip += "printf damage | dd of=$f bs=1 seek=5000 conv=notrunc status=none; echo $f"
        pack = world.sh("coffre", f"set -- {COPIES}/web; {flip}").strip().rpartition("/")[2]
        said = world.releve(*words, code=1)
        assert "releve: web: the repository is damaged" in said
        assert pack in said
        assert "does not match" in said
        world.sh("coffre", back)
        # What the host said, but for its favour.
        receipt = f"{COPIES}/web.receipts/{good.run}.json"
        change = f"""sed -i 's/"bytes":[0-9]*/"bytes":1/' {receipt}; grep -q bytes.:1, {receipt}"""
        world.sh("coffre", change)
        said = world.releve(*words, code=1)
        assert f"snapshot {good.snapshot} of " in said
        assert "its receipt is not signed with the receipt key noted for this host" in said
        world.sh("coffre", back)
        # A thief's snapshots, one with a date that cannot be.
        restic = [*plans.render(world.inventory, "web")["repository"]["restic"]]
        restic += ["--option=rclone.args=restic 1", "backup", "-q", "--host=web", "/etc/hostname"]
        world.sh("web", subprocess.list2cmdline([*restic, "--tag=service=forum"]))
        world.sh("web", subprocess.list2cmdline([*restic, "--time=2046-01-01 00:00:00"]))
        said = world.releve(*words, code=1)
        assert "has no receipt: its run was broken off, or somebody else made it" in said
        assert "it is dated in the future" in said
        assert f"web: {count + 2} snapshots; {count} newest verified" in said
        listed = world.releve("list", "--host", "web")
        assert listed.count("no receipt") == 2
        assert "LEFT OUT: it is dated in the future" in listed
        # They do not push out what is good.
        said = world.releve("prune", "--host", "web", "--yes")
        assert "stays and counts for nothing: it is dated in the future" in said
        assert f"web: 2 stay, {count - 1} go" in said
        assert good.snapshot in {row["snapshot"][:8] for row in world.listed()}
    finally:
        world.sh("coffre", f"{back}; rm -rf /srv/kept")
    assert "0 problem(s)" in world.releve(*words)


def test_a_stolen_append_key_can_only_append(world: World) -> None:
    world.save()
    plan = plans.render(world.inventory, "web")
    gate = subprocess.list2cmdline(plan["repository"]["gate"])
    before = world.sh("coffre", "find /srv/releve/releve/atelier/web -type f | sort")
    for attack in (
        "rm -rf /srv/releve",
        "sh -c id",
        "snapshots other",
        "restic 1 ../other; rm -rf x",
        "rclone serve restic --stdio /srv/releve/releve/atelier/web",
        "receipt ../../../../tmp/x",
        "",
    ):
        said = world.sh("web", f"{gate} '{attack}' < /dev/null | head -c 300", code=None)
        assert "uid=" not in said
    # Whatever name restic asks for, the key's own repository answers.
    restic = [w.replace("rclone:web", "rclone:other") for w in plan["repository"]["restic"]]
    words = [*restic, "--option=rclone.args=restic 1"]
    listing = world.sh("web", subprocess.list2cmdline([*words, "snapshots", "--no-lock"]))
    assert "web" in listing
    forget = ["timeout", "100", *words, "forget", "--keep-last", "0", "--tag", "service=forum"]
    world.sh("web", subprocess.list2cmdline(forget), code=None)
    newest = listing.split("\n")[-3].split()[0] if "\n" in listing else "latest"
    world.sh("web", subprocess.list2cmdline(["timeout", "20", *words, "forget", newest]), code=None)
    after = world.sh("coffre", "find /srv/releve/releve/atelier/web -type f | sort")
    assert set(before.split()) <= {*after.split(), *(p for p in before.split() if "/locks/" in p)}
    assert "x" not in world.sh("coffre", "ls /tmp").split()


def test_owners_come_back_by_name_where_the_numbers_differ(world: World) -> None:
    world.save()
    with (
        ssh.session(world.target("other")) as other,
        ssh.session(world.target("coffre")) as coffre,
        lend.lent(world.inventory, "web", world.secrets, other, coffre) as source,
    ):
        restored = restore_service(other, "forum", source=source)
    assert restored.counts_now == restored.counts_saved
    assert restored.canaries[0].run == restored.run
    assert world.sh("other", "stat -c '%U %G %u' /srv/forum/page").split() == [
        "forumer", "forumer", "2002",
    ]  # fmt: skip
    assert world.sh("other", "ls /run/releve").split() in (["progress"], [])
    keys = world.sh("coffre", "cat /srv/releve/releve/.ssh/authorized_keys2")
    assert "releve-lend" not in keys
    # Without being lent the copies stay closed.
    with ssh.session(world.target("other")) as other, pytest.raises(BackupError, match="no snap"):
        restore_service(other, "forum", replace=True, no_snapshot=True)


def test_a_disk_that_is_too_small_is_refused_before_anything_starts(world: World) -> None:
    world.sh("web", "mkdir -p /srv/small; mount -t tmpfs -o size=30M none /srv/small")
    try:
        world.sh("web", "mkdir -p /srv/small/forum; cp /srv/forum/page /srv/small/forum/")
        world.forum("web", paths=["/srv/small/forum"])
        world.sh("web", "head -c 25000000 /dev/urandom > /srv/small/forum/large")
        world.save()
        with (
            ssh.session(world.target("web")) as web,
            pytest.raises(BackupError, match=r"needs 25\.0 MB .* MB are free"),
        ):
            restore_service(web, "forum", replace=True)
        assert "page" in world.sh("web", "ls /srv/small/forum")
    finally:
        world.forum("web")
        world.sh("web", "umount /srv/small")


def test_kill_9_and_a_power_cut_leave_nothing_held_still(world: World) -> None:
    slow = [{"name": "slow", "save": ["sleep", "100"], "load": ["true"]}]
    world.forum("web", dumps=slow)
    try:
        start = "systemctl start --no-block releve-backup.service; "
        wait = "for i in $(seq 100); do test -e /srv/forum-is-still && break; sleep 0.1; done; "
        kill = "kill -9 $(systemctl show -P MainPID releve-backup.service); sleep 2; "
        world.sh("web", f"{start}{wait}test -e /srv/forum-is-still && {kill}"
                 "! test -e /srv/forum-is-still && ! pgrep -x sleep -a | grep ' 100'")  # fmt: skip
        world.sh("web", f"systemctl reset-failed; {start}{wait}test -e /srv/forum-is-still")
        # Cron's run while another is under way: it defers, and the journal says so.
        busy = world.releve("run", "--host", "web", code=75)
        assert "has held this host's lock" in busy
        # Held still by what outlives the power cut: the unit at boot has to undo it.
        assert world.sh("web", "stat -f -c %T /srv/forum-is-still").strip() != "tmpfs"
        world.lab.crash("web")
        world.lab.start("web")
        deadline = time.monotonic() + 30
        while "inactive" not in world.sh("web", "systemctl is-active releve-undo", code=None):
            assert time.monotonic() < deadline
            time.sleep(1)
        assert world.sh("web", "ls /var/lib/releve/quiesced") == ""
        world.sh("web", "! test -e /srv/forum-is-still")
        said = world.sh("web", "journalctl -b -u releve-undo -o cat")
        assert "forum serves again: an earlier run had left it held still" in said
    finally:
        world.forum("web")
    assert world.save().ok


def test_a_repository_that_is_full_or_read_only_loses_nothing(world: World) -> None:
    world.save()
    world.sh("web", f"head -c 20000000 /dev/urandom > {LARGE}")
    newest = world.save().snapshot
    listed = world.listed()
    assert len(listed) >= 2
    world.sh("web", "head -c 25000000 /dev/urandom > /srv/forum/more")
    # As the agent is, but less patient: the test need not wait until it gives up.
    module = "/usr/local/lib/releve/releve_agent/common.py"
    world.sh("web", f"grep -qx 'STALL_S = 90' {module}")
    world.sh("web", f"sed -i 's/^STALL_S = .*/STALL_S = 6/' {module}")
    one, whole = ("--host", "web"), ("--host", "web", "--read", "100%")
    world.sh("coffre", f"mount --bind {COPIES} {COPIES}; mount -o remount,ro,bind {COPIES}")
    try:
        assert "the repository is read-only" in world.releve("run", *one, code=1)
        assert "on a read-only file system" in world.releve("prune", *one, "--yes", code=1)
        assert world.listed() == listed
        assert "0 problem(s)" in world.releve("verify", *whole)
    finally:
        world.sh("coffre", f"umount {COPIES}")
    # On a disk that has room for a third of what is new.
    world.sh(
        "coffre",
        f"mount -t tmpfs -o size=$(($(du -sm {COPIES} | cut -f1) + 9))M none /mnt && "
        f"cp -a {COPIES}/. /mnt/ && chown --reference={COPIES} /mnt && "
        f"mount --bind /mnt {COPIES}",
    )
    try:
        said = world.releve("run", *one, code=1)
        assert "releve: web: nothing was saved: the disk of the repository host is full" in said
        assert "releve backup prune" in said
        assert world.listed() == listed
        assert "0 problem(s)" in world.releve("verify", *whole)
        world.sh("web", "! test -e /srv/forum-is-still; ! ls /var/lib/releve/quiesced | grep .")
        # What it says helps.
        assert f"{len(listed) - 1} go" in world.releve("prune", *one, "--yes")
        assert [row["snapshot"][:8] for row in world.listed()] == [newest]
        assert "snapshot" in world.releve("run", *one)
        assert len(world.listed()) == 2
        assert "0 problem(s)" in world.releve("verify", *whole)
    finally:
        world.sh("coffre", f"umount {COPIES}; umount /mnt")
        world.sh("web", f"sed -i 's/^STALL_S = .*/STALL_S = 90/' {module}; rm /srv/forum/more")
    assert world.save().ok


def test_a_host_key_that_changed_is_refused(world: World) -> None:
    world.sh(
        "web",
        "cp /etc/releve/known_hosts /root/kept; ssh-keygen -q -t ed25519 -N '' -f /root/k; "
        "echo releve-repository $(cat /root/k.pub) > /etc/releve/known_hosts",
    )
    try:
        with pytest.raises(BackupError, match="another host key"):
            world.save()
    finally:
        world.sh("web", "cp /root/kept /etc/releve/known_hosts")


def test_a_host_that_was_replaced_stops_serving_and_saving(world: World) -> None:
    repository = world.inventory.repositories["coffre"]
    key = world.secrets.get("host.web.fence")
    assert "active" in world.sh("web", "systemctl is-active forum.service")
    with ssh.session(world.target("coffre")) as coffre:
        write_epoch_notice(coffre, repository, "web", 5, key)
        with pytest.raises(BackupError, match="there already"):
            write_epoch_notice(coffre, repository, "web", 4, key)
    world.sh("web", "systemctl start releve-guard.service")
    assert "inactive" in world.sh("web", "systemctl is-active forum.service", code=None)
    world.sh("web", "systemctl start forum.service", code=None)
    assert "inactive" in world.sh("web", "systemctl is-active forum.service", code=None)
    assert not [n for n in world.sh("web", "ls /etc/cron.d").split() if n == "releve-backup"]
    with pytest.raises(BackupError, match="must neither serve nor save"):
        world.save()
