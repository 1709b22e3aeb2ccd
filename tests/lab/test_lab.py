"""The lab itself, on real hosts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import roles
from inventories import load
from inventories.model import Inventory
from inventories.secrets import Secrets
from lab import Lab, LabError
from lab.inventory import TSIG_SECRET
from tests.lab.house import REPO, releve, start
from tools import dns
from tools.ssh import SshError

pytestmark = pytest.mark.lab


def atelier(*hosts: str) -> Inventory:
    """Hosts `a1`, `a2` … are in the datacenter A, `b1` … in B."""
    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "Atelier", "contact": "contact@atelier.example"},
            "hosts": {
                host: {
                    "platform": "debian",
                    "address": "192.0.2.1",
                    "provider": "a hoster",
                    "datacenter": host[0].upper(),
                    "roles": ["repository"] if host == hosts[-1] else [],
                }
                for host in hosts
            },
            "repositories": {
                "coffre": {
                    "url": "ssh-append://releve@coffre.depot.example/atelier",
                    "host": hosts[-1],
                    "provider": "a hoster",
                    "datacenter": hosts[-1][0].upper(),
                }
            },
            "domains": {"atelier.example": {"dns": "manual"}},
        }
    )


@pytest.fixture(scope="module")
def lab(make_lab: Callable[[], Lab]) -> Lab:
    lab = make_lab()
    lab.up(atelier("a1", "a2", "b1"))
    return lab


def say(lab: Lab, host: str, *argv: str, timeout: float = 60.0) -> str:
    return lab.run(host, argv, timeout=timeout).stdout.decode().strip()


def booted(lab: Lab, host: str) -> str:
    """When its first process started (proc(5), field 22): the kernel's own boot id is shared."""
    return say(lab, host, "cat", "/proc/1/stat").rpartition(")")[2].split()[19]


def lines_of(status: str, lab: Lab) -> dict[str, str]:
    """What `releve lab status` says of each host of a lab."""
    _, _, rest = status.partition(f"{lab.name}:\n")
    mine = re.match(r"(  .*\n)*", rest)
    assert mine, status
    return {line.split()[0]: line.strip() for line in mine[0].splitlines()}


def round_trip(lab: Lab, source: str, target: str) -> float:
    """In milliseconds, the best of five."""
    name = f"{target}.lab.internal"
    said = say(lab, source, "ping", "-4", "-n", "-c5", "-i0.05", "-W2", name)
    found = re.search(r"= ([0-9.]+)/", said)
    assert found, said
    return float(found[1])


def test_up_again_finds_what_runs_and_boots_what_is_missing(lab: Lab) -> None:
    started = {host: booted(lab, host) for host in ("inet", "a1", "a2")}
    lab.crash("a2")
    # What people wrote into the lab's inventory meanwhile is not lost.
    with lab.inventory_file.open("a") as file:
        file.write("# by hand\n")
    edited = lab.inventory_file.read_text()
    changed = lab.up(atelier("a1", "a2", "b1"))
    (kept,) = lab.folder.glob("inventory.2*.toml")
    assert (kept.read_text(), "by hand" in lab.inventory_file.read_text()) == (edited, False)
    lab.up(atelier("a1", "a2", "b1"))
    assert len(list(lab.folder.glob("inventory.2*.toml"))) == 1
    assert booted(lab, "inet") == started["inet"]
    assert booted(lab, "a1") == started["a1"]
    assert booted(lab, "a2") != started["a2"]
    assert changed.hosts["a1"].host_key == lab.host("a1").host_key
    assert len({host.host_key for host in changed.hosts.values()}) == 3
    assert len({say(lab, host, "cat", "/etc/machine-id") for host in changed.hosts}) == 3


def test_a_fresh_host_is_as_a_hoster_hands_it_over(lab: Lab) -> None:
    assert say(lab, "a1", "systemctl", "--failed", "--no-legend", "--plain") == ""
    assert say(lab, "a1", "systemctl", "is-active", "cron", "ssh") == "active\nactive"
    lab.run("a1", ["nft", "add", "table", "inet", "mine"])
    assert "inet mine" in say(lab, "a1", "nft", "list", "tables")
    lab.run("a1", ["nft", "delete", "table", "inet", "mine"])


def test_the_inventory_beside_it_can_be_used_with_its_secret(lab: Lab) -> None:
    secrets = Secrets.open(lab.inventory_file, identity_file=lab.key_file)
    assert secrets.get(TSIG_SECRET) == lab.dns_key.secret
    assert lab.key_file.stat().st_mode & 0o077 == 0


def test_an_update_is_seen_through_a_hosts_resolver(lab: Lab) -> None:
    name = "forum.atelier.example"
    wanted = [
        dns.Wanted(name, "A", (str(lab.host("a1").address),)),
        dns.Wanted(name, "TXT", ('a "quoted" text; é',)),
    ]
    dns.update(lab.dns_server, "atelier.example", lab.dns_key, wanted, ttl=30)
    assert dns.compare(wanted, dns.look(lab.dns_server, wanted)) == ()
    assert say(lab, "b1", "getent", "ahostsv4", name).startswith(str(lab.host("a1").address))
    # Another key changes nothing.
    stranger = dns.Key(lab.dns_key.name, "AAAA" * 11)
    gone = [dns.Wanted(name, "A", ())]
    with pytest.raises(dns.DnsError, match="TSIG"):
        dns.update(lab.dns_server, "atelier.example", stranger, gone, ttl=30)
    assert dns.ask(lab.dns_server, name, "A").values == (str(lab.host("a1").address),)
    dns.update(lab.dns_server, "atelier.example", lab.dns_key, gone, ttl=30)
    assert dns.ask(lab.dns_server, name, "A") == dns.Answer((), None)
    assert dns.ask(lab.dns_server, "coffre.depot.example", "A").values == (
        str(lab.host("b1").address),
    )


_DEHYDRATED = """
set -eu
mkdir -p /etc/dehydrated/conf.d
echo "CA=$1" > /etc/dehydrated/conf.d/lab.sh
apt-get -qq install -y --no-install-recommends dehydrated curl >/dev/null
mkdir -p /tmp/www/.well-known
ln -s /var/lib/dehydrated/acme-challenges /tmp/www/.well-known/acme-challenge
cd /tmp/www && (python3 -m http.server 80 >/dev/null 2>&1 & echo $! >/tmp/www.pid)
dehydrated --register --accept-terms
dehydrated --cron --domain "$2"
kill "$(cat /tmp/www.pid)"
openssl verify -untrusted "/var/lib/dehydrated/certs/$2/chain.pem" \\
    "/var/lib/dehydrated/certs/$2/cert.pem"
"""


def test_the_acme_authority_issues_a_certificate_that_hosts_trust(lab: Lab) -> None:
    name = "pad.atelier.example"
    wanted = [dns.Wanted(name, "A", (str(lab.host("a2").address),))]
    dns.update(lab.dns_server, "atelier.example", lab.dns_key, wanted, ttl=30)
    directory = "https://acme.lab.internal:14000/dir"
    argv = ("sh", "-c", _DEHYDRATED, "acme", directory, name)
    said = say(lab, "a2", *argv, timeout=180)
    assert said.endswith("cert.pem: OK")
    chain = lab.run("a2", ["cat", f"/var/lib/dehydrated/certs/{name}/chain.pem"]).stdout
    leaf = lab.run("a2", ["cat", f"/var/lib/dehydrated/certs/{name}/cert.pem"]).stdout
    folder = lab.folder / "seen"
    folder.mkdir()
    (folder / "chain.pem").write_bytes(chain)
    (folder / "leaf.pem").write_bytes(leaf)
    subprocess.run(
        ["openssl", "verify", "-CAfile", str(lab.ca_file), "-untrusted",
         str(folder / "chain.pem"), str(folder / "leaf.pem")],
        check=True,
    )  # fmt: skip


def test_downloaded_packages_are_shared(lab: Lab) -> None:
    assert list((lab.root / "cache/apt").glob("dehydrated_*.deb")) or lab.up(
        atelier("a1", "a2", "b1")
    )
    lab.blank("a3", datacenter="A")
    said = say(lab, "a3", "sh", "-c", "apt-get -s install --print-uris dehydrated; "
               "ls /var/cache/apt/archives")  # fmt: skip
    assert re.search(r"^dehydrated_.*\.deb$", said, re.MULTILINE)
    lab.destroy("a3")
    with pytest.raises(LabError, match="no host a3"):
        lab.run("a3", ["true"])


def test_delay_is_between_datacenters_only(lab: Lab) -> None:
    try:
        said = releve("lab", "delay", "B", "40", "--name", lab.name)
        assert re.search(r"40 ms more \(by (netem|forwarder)\)", said)
        assert 40 <= round_trip(lab, "a1", "b1") < 60
        assert round_trip(lab, "a1", "a2") < 20
        # Large packets pass, both ways, and are what they were.
        data = os.urandom(8_000_000)
        assert lab.run("b1", ["tee", "/tmp/data"], stdin=data, timeout=60).stdout == data
        shown = lines_of(releve("lab", "status"), lab)
        assert "delay 40 ms" in shown["b1"]
        assert "delay" not in shown["a1"]
    finally:
        ended = releve("lab", "delay", "B", "0", "--name", lab.name)
    assert said.endswith(f"To end it: releve lab delay B 0 --name {lab.name}\n")
    assert ended == "B is as near as before.\n"
    assert round_trip(lab, "a1", "b1") < 20
    said = releve("lab", "delay", "C", "40", "--name", lab.name, code=64)
    assert said == "releve: No host is in the datacenter C. There are: A, B\n"
    for impossible in (-1.0, 60_001.0, float("inf"), float("nan")):
        with pytest.raises(LabError, match="not possible: give 0 to 60000"):
            lab.delay("B", impossible)
    said = releve("lab", "delay", "B", "60001", "--name", lab.name, code=64)
    assert said == "releve: A delay of 60001 ms is not possible: give 0 to 60000\n"
    assert lab.status()["b1"]["delay"] == 0


def test_a_cut_cable_and_lost_packets(lab: Lab) -> None:
    said = releve("lab", "cut", "b1", "--name", lab.name)
    assert said.endswith(f"To plug it in: releve lab mend b1 --name {lab.name}\n")
    with pytest.raises(SshError):
        lab.run("b1", ["true"])
    assert "cable cut" in lines_of(releve("lab", "status"), lab)["b1"]
    releve("lab", "mend", "b1", "--name", lab.name)
    assert say(lab, "b1", "echo", "back") == "back"
    releve("lab", "loss", "b1", "50", "--name", lab.name)
    said = lab.run("a1", ["ping", "-4", "-n", "-q", "-c60", "-i0.01", "-W1", "b1.lab.internal"],
                   check=False).stdout.decode()  # fmt: skip
    shown = lines_of(releve("lab", "status"), lab)["b1"]
    lab.mend("b1")
    assert "loss 50 %" in shown
    lost = re.search(r"([0-9.]+)% packet loss", said)
    assert lost, said
    assert 40 < float(lost[1]) < 98  # half of the requests, half of the answers: 75
    for impossible in (-1.0, 0.001, 101.0, float("nan")):
        with pytest.raises(LabError, match=r"not possible: give 0, or 0\.01 to 100"):
            lab.loss("b1", impossible)
    said = releve("lab", "cut", "c1", "--name", lab.name, code=64)
    assert "has no host c1. There are: a1, a2, b1, inet" in said
    shown = lines_of(releve("lab", "status"), lab)["b1"]
    assert "cut" not in shown
    assert "loss" not in shown


def test_a_host_of_a_given_size_comes_and_goes_by_the_verbs(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "atelier.toml"
    load.dump(atelier("a1", "a2", "a4", "b1"), file)
    named = ("--name", lab.name)
    said = releve("lab", "up", file, "--host", "a4", "--disk", "64", *named, code=64)
    assert "'64' is not the size of a disk: give a whole number with M or G" in said
    started = booted(lab, "a1")
    said = releve("lab", "up", file, "--host", "a4", "--disk", "64M", *named)
    assert "booting a4" in said
    assert f"RELEVE_SSH_KEY={lab.key_file} " in said
    assert roles.load(lab.inventory_file).hosts["a4"].host_key == lab.host("a4").host_key
    assert booted(lab, "a1") == started
    assert lines_of(releve("lab", "status"), lab)["a4"].split()[:2] == ["a4", "on"]
    assert "disk 64M" in lines_of(releve("lab", "status"), lab)["a4"]

    fill = ("dd", "if=/dev/zero", "of=/root/big file", "bs=1M", "count=100")
    assert "No space left" in releve("lab", "ssh", *named, "a4", "--", *fill, code=1)
    # Each word stays one word, and the exit code is that of the command.
    lister = ("sh", "-c", "ls /root; exit 7")
    assert releve("lab", "ssh", *named, "a4", "--", *lister, code=7) == "big file\n"

    lab.crash("a4")
    assert lines_of(releve("lab", "status"), lab)["a4"].split()[:2] == ["a4", "off"]
    assert "a4 is off" in releve("lab", "cut", "a4", *named, code=1)
    assert releve("lab", "destroy", "a4", *named) == "a4 and its disk are gone.\n"
    assert "a4" not in lines_of(releve("lab", "status"), lab)
    assert not (lab.folder / "hosts/a4").exists()


def test_freeze_and_reset(lab: Lab) -> None:
    name = "www.atelier.example"
    before = [dns.Wanted(name, "A", ("192.0.2.7",))]
    dns.update(lab.dns_server, "atelier.example", lab.dns_key, before, ttl=30)
    lab.run("a1", ["sh", "-c", "echo kept >/root/kept; mkdir /srv/d; echo 1 >/srv/d/f"])
    lab.freeze()
    lab.run("a1", ["sh", "-c", "rm /root/kept; mv /srv/d /srv/e; touch /root/new"])
    after = [dns.Wanted(name, "A", ("192.0.2.8",))]
    dns.update(lab.dns_server, "atelier.example", lab.dns_key, after, ttl=30)
    lab.destroy("b1")
    began = time.monotonic()
    lab.reset()
    assert time.monotonic() - began < 20
    assert say(lab, "a1", "cat", "/root/kept", "/srv/d/f") == "kept\n1"
    assert say(lab, "a1", "ls", "/root", "/srv") == "/root:\nkept\n\n/srv:\nd"
    assert say(lab, "b1", "hostname") == "b1"
    assert dns.compare(before, dns.look(lab.dns_server, before)) == ()


def traces(lab_id: str, folder: Path) -> list[str]:
    """Everything on this machine that belongs to a lab."""
    found = [str(p) for p in Path("/run/netns").glob(f"rl-{lab_id}*")]
    found += [str(p) for p in Path("/sys/class/net").glob(f"rl-{lab_id}*")]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines()
              if str(folder) in line]  # fmt: skip
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    found += [line for line in tables.stdout.splitlines() if lab_id in line]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() + b"/" in process.read_bytes():
                found.append(str(process))
        except OSError:
            continue
    found += [str(p) for p in Path("/sys/fs/cgroup").glob(f"**/rl-{lab_id}-*")]
    return found + ([str(folder)] if folder.exists() else [])


_DRIVE = """
import sys
import roles
from inventories import load
from inventories.model import Inventory
from lab import Lab
# In one piece: hosts boot side by side.
lab = Lab(sys.argv[1], progress=lambda text: print(f"{text}\\n", end="", flush=True))
inventory = Inventory.model_validate_json(sys.argv[2])
lab.up(inventory)
lab.delay("A", 10)
print("all up", flush=True)
lab.reset()
lab.down()
"""


@pytest.fixture
def killed(make_lab: Callable[[], Lab]) -> Iterator[Lab]:
    lab = make_lab()
    yield lab
    lab.down()


def test_killed_midway_up_repairs_and_down_leaves_nothing(lab: Lab, killed: Lab) -> None:
    inventory = atelier("a1", "b1")
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVE, killed.name, inventory.model_dump_json(by_alias=True)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPO,
    )  # fmt: skip
    kill_after("all up", driver)
    lab_id = killed._state().id
    assert traces(lab_id, killed.folder)

    changed = killed.up(inventory)
    assert say(killed, "b1", "hostname") == "b1"
    # Two labs side by side: other networks, each its own answers.
    assert changed.hosts["a1"].address != lab.host("a1").address
    assert say(lab, "a1", "hostname") == "a1"
    killed.down()
    assert traces(lab_id, killed.folder) == []
    assert say(lab, "a1", "hostname") == "a1"


def kill_after(words: str, process: subprocess.Popen[str]) -> None:
    """Kill the process and its group's programs once it has said these words in a line."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            break
    else:
        pytest.fail(f"ended before {words!r}: {''.join(said)}")
    time.sleep(0.05)
    if os.getpgid(process.pid) == process.pid:
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    process.stdout.close()


# A machine of its own as far as a lab can see: other interfaces, rules, settings and processes,
# so that all of them can be compared, whatever other labs do meanwhile. Images are the real ones.
# All of it ends when its first process does, and that one when nobody holds its stdin.
_MACHINE = """
root=$1 labs=$2; shift 2
# What we would hold on to when other labs let go of it.
umount --lazy --recursive /run/netns 2>/dev/null || true
sed -n "s|^[^ ]* \\($labs/[^ ]*\\) .*|\\1|p" /proc/self/mounts | sort -r | xargs -r umount --lazy
mkdir -p "$root/images" "$root/cgroup" /run/netns /run/systemd
for image; do
    mkdir "$root/images/${image##*/}"
    mount --bind "$image" "$root/images/${image##*/}"
done
mount --rbind /sys/fs/cgroup "$root/cgroup"
umount --lazy /sys
mount -t sysfs sysfs /sys
mount --move "$root/cgroup" /sys/fs/cgroup
mount -t tmpfs tmpfs /run/netns
mount -t tmpfs tmpfs /run/systemd  # the real machine's systemd knows processes by other numbers
echo 0 >/proc/sys/net/ipv4/ip_forward
echo 128 >"$root/instances"
mount --bind "$root/instances" /proc/sys/fs/inotify/max_user_instances
ip link set lo up
ip link add rlx0 type veth peer name rlx1
ip addr add 10.213.1.1/24 dev rlx0
ip link set rlx0 up
ip link set rlx1 up
nft -f - <<RULES
table ip releve_lab_mine {
  chain postrouting {
    type nat hook postrouting priority 100
    ip saddr 10.213.1.0/24 masquerade
  }
}
table bridge loss {
  chain forward {
    type filter hook forward priority 0
    iifname "h10" accept
  }
}
RULES
echo ready
trap '' CHLD
exec cat
"""

_LOOK = r"""
import json, subprocess
from pathlib import Path
def say(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
def read(file):
    try: return file.read_text().strip()
    except OSError: return None
processes = {}
for folder in Path("/proc").glob("[0-9]*"):
    try: processes[folder.name] = (folder / "cmdline").read_text().replace("\0", " ")
    except OSError: pass
sys = Path("/proc/sys")
files = [sys / "net/ipv4/ip_forward", *(sys / "fs/inotify").iterdir()]
files += [f for v in "46" for f in (sys / f"net/ipv{v}/conf").glob("*/*")]
files += (sys / "net/bridge").glob("*")
print(json.dumps({
    "interfaces": say("ip", "-br", "link"),
    "addresses": say("ip", "-4", "-br", "addr"),
    "routes": say("ip", "-4", "route", "show", "table", "all"),
    "rules": say("nft", "list", "ruleset"),
    "namespaces": say("ip", "netns"),
    "mounts": read(Path("/proc/self/mounts")).splitlines(),
    "processes": {pid: argv for pid, argv in processes.items() if argv and LOOK not in argv},
    "settings": {str(f.relative_to(sys)): read(f) for f in files},
}))
"""


class Apart:
    """A machine as `_MACHINE` makes it. Its labs are in `folder`."""

    def __init__(self, holder: int, folder: Path) -> None:
        self.folder = folder
        self.within = ("nsenter", f"--target={holder}", "--net", "--mount", "--pid",
                       f"--wd={REPO}", "env", f"RELEVE_LAB={folder}")  # fmt: skip

    def python(self, script: str) -> str:
        argv = (*self.within, sys.executable, "-c", script)
        return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout

    def look(self) -> Any:
        """All that a lab could touch there; without the process that looks."""
        return json.loads(self.python(f"LOOK = 'those who look'\n{_LOOK}"))

    def releve(self, *words: object) -> str:
        with start(*words, within=self.within) as process:
            said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said


@pytest.fixture
def apart(lab: Lab) -> Iterator[Apart]:
    folder = lab.folder / "apart"
    folder.mkdir()
    images = sorted({image for host in lab._state().hosts.values() for image in host.images})
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
         "sh", "-euc", _MACHINE, "machine", str(folder), str(lab.root),
         *(str(lab.root / "images" / image) for image in images)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "ready\n"
        (first,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        yield Apart(int(first), folder)
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()
        shutil.rmtree(folder)


def test_a_lab_touches_nothing_that_is_not_its_own(apart: Apart, tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    load.dump(atelier("a1"), file)
    (apart.folder / "labs/mine").mkdir(parents=True)
    (apart.folder / "labs/mine/note").write_text("kept")
    # Somebody looks into the disk of a host to be: arguments that are nearly those of the lab's.
    root = f"--directory={apart.folder}/labs/lab/hosts/a1/root"
    foreign = subprocess.Popen(
        [*apart.within, sys.executable, "-c", "import time; time.sleep(600)", "systemd-nspawn",
         f"{root}/etc", f"{root}2", f"x{root}", f"{apart.folder}/labs/lab/link-11", "rl-a1"]
    )  # fmt: skip
    try:
        time.sleep(0.5)
        before = apart.look()
        assert any("systemd-nspawn" in argv for argv in before["processes"].values())

        def untouched() -> Any:
            now = apart.look()
            for kind in ("interfaces", "addresses", "routes", "rules", "mounts"):
                assert [line for line in before[kind] if line not in now[kind]] == []
            assert before["processes"].items() <= now["processes"].items()
            assert (apart.folder / "labs/mine/note").read_text() == "kept"
            return now

        kill_after("booting inet", start("lab", "up", file, within=apart.within))
        assert untouched()["namespaces"]

        apart.releve("lab", "up", file)
        apart.releve("lab", "delay", "A", 20)
        now = untouched()
        assert now["settings"]["net/ipv4/ip_forward"] == "1"
        assert now["settings"]["fs/inotify/max_user_instances"] == "4096"
        assert apart.releve("lab", "ssh", "a1", "hostname") == "a1\n"

        assert apart.releve("lab", "down") == "The lab lab is gone.\n"
        assert apart.releve("lab", "down") == "The lab lab is not there.\n"
        until = time.monotonic() + 10  # disks are emptied in the background
        while (after := apart.look()) != before and time.monotonic() < until:
            time.sleep(0.2)
        assert after == before
        assert [entry.name for entry in (apart.folder / "labs").iterdir()] == ["mine"]
        assert not (apart.folder / "settings-before.json").exists()
    finally:
        foreign.kill()
        foreign.wait()


def test_a_setting_that_somebody_changed_since_stays(apart: Apart) -> None:
    apart.python(f"""
from pathlib import Path
from lab import settings
root, kernel = Path({str(apart.folder)!r}), Path("/proc/sys")
def now():
    return [int((kernel / name).read_text()) for name in settings.NEEDED]
assert now() == [0, 128]
settings.apply(root)
settings.apply(root)  # by another lab: what it was is still known
assert now() == [1, 4096]
(kernel / "fs/inotify/max_user_instances").write_text("8192")
settings.restore(root)
assert now() == [0, 8192], now()
settings.apply(root)
settings.restore(root)
assert now() == [0, 8192], now()
""")


def test_only_debian_hosts_boot(lab: Lab) -> None:
    inventory = atelier("a1", "b1")
    yunohost = inventory.hosts["a1"].model_copy(update={"platform": "yunohost"})
    mixed = inventory.model_copy(update={"hosts": {**inventory.hosts, "a1": yunohost}})
    with pytest.raises(LabError, match="boots Debian hosts only"):
        lab.up(mixed)


def test_hosts_do_not_share_control_groups(lab: Lab) -> None:
    """A service that stops waits for its own processes, not for those of a neighbour."""
    unit = "[Service]\nExecStart=/bin/sleep 1000\nTimeoutStopSec=10s\n"
    for host in ("a1", "b1"):
        lab.run(host, ["tee", "/run/systemd/system/nap.service"], stdin=unit.encode())
        lab.run(host, ["systemctl", "start", "nap"])
    began = time.monotonic()
    lab.run("a1", ["systemctl", "stop", "nap"])
    assert time.monotonic() - began < 5
    assert say(lab, "b1", "systemctl", "is-active", "nap") == "active"
