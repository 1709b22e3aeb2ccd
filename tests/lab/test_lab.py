"""The lab itself, on real hosts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inventories.model import Inventory
from inventories.secrets import Secrets
from lab import Lab, LabError
from lab.inventory import TSIG_SECRET
from tools import dns
from tools.ssh import SshError

pytestmark = pytest.mark.lab

REPO = Path(__file__).resolve().parents[2]


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
                }
                for host in hosts
            },
            "repositories": {
                "coffre": {
                    "url": "ssh-append://releve@coffre.depot.example/atelier",
                    "host": hosts[-1],
                    "provider": "a hoster",
                    "datacenter": "B",
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
    changed = lab.up(atelier("a1", "a2", "b1"))
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
        assert lab.delay("B", 40) in ("netem", "forwarder")
        assert 40 <= round_trip(lab, "a1", "b1") < 60
        assert round_trip(lab, "a1", "a2") < 20
        # Large packets pass, both ways, and are what they were.
        data = os.urandom(8_000_000)
        assert lab.run("b1", ["tee", "/tmp/data"], stdin=data, timeout=60).stdout == data
    finally:
        lab.delay("B", 0)
    assert round_trip(lab, "a1", "b1") < 20


def test_a_cut_cable_and_lost_packets(lab: Lab) -> None:
    lab.cut("b1")
    with pytest.raises(SshError):
        lab.run("b1", ["true"])
    lab.mend("b1")
    assert say(lab, "b1", "echo", "back") == "back"
    lab.loss("b1", 50)
    said = lab.run("a1", ["ping", "-4", "-n", "-q", "-c60", "-i0.01", "-W1", "b1.lab.internal"],
                   check=False).stdout.decode()  # fmt: skip
    lab.mend("b1")
    lost = re.search(r"([0-9.]+)% packet loss", said)
    assert lost, said
    assert 40 < float(lost[1]) < 98  # half of the requests, half of the answers: 75


def test_a_disk_has_the_size_it_was_given(lab: Lab) -> None:
    lab.blank("a4", datacenter="A", disk=64_000_000)
    result = lab.run(
        "a4", ["dd", "if=/dev/zero", "of=/root/big", "bs=1M", "count=100"], check=False
    )
    assert result.exit_code != 0
    assert b"No space left" in result.stderr
    lab.destroy("a4")


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


@pytest.mark.parametrize("moment", ["booting inet", "all up"])
def test_killed_midway_up_repairs_and_down_leaves_nothing(
    lab: Lab, killed: Lab, moment: str
) -> None:
    inventory = atelier("a1", "b1")
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVE, killed.name, inventory.model_dump_json(by_alias=True)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPO,
    )  # fmt: skip
    assert driver.stdout is not None
    said: list[str] = []
    for line in driver.stdout:
        said.append(line)
        if line.strip() == moment:
            break
    else:
        pytest.fail(f"ended before {moment!r}: {''.join(said)}")
    time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
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
