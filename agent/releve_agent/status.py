"""How this host is: disks, memory, units, updates, clock, probes, the newest receipts."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess

from .common import VERSION, Failed, Root, iso, read_json, read_text, write_json
from .lock import holder
from .processes import environment, run
from .repository import own_epoch, receipt_key

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


def disks() -> list[dict[str, Any]]:
    """Every file system that keeps things, once, in bytes and inodes."""
    kinds = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "vfat", "overlay", "jfs"}
    found: dict[int, dict[str, Any]] = {}
    for line in read_text("/proc/self/mounts").splitlines():
        fields = line.split()
        # /run/host: what a container's machine lends it.
        if len(fields) < 3 or fields[2] not in kinds or fields[1].startswith("/run/host"):
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1])
        try:
            device, about = os.stat(mount).st_dev, os.statvfs(mount)
        except OSError:
            continue
        if not about.f_blocks or (device in found and len(found[device]["mount"]) <= len(mount)):
            continue
        # What everybody may use: blocks reserved for root are counted as used, as df does.
        found[device] = {
            "mount": mount,
            "bytes_total": (about.f_blocks - about.f_bfree + about.f_bavail) * about.f_frsize,
            "bytes_free": about.f_bavail * about.f_frsize,
            "inodes_total": about.f_files,
            "inodes_free": about.f_favail,
        }
    return sorted(found.values(), key=lambda d: str(d["mount"]))


def memory() -> dict[str, int]:
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB", read_text("/proc/meminfo"), re.M))
    return {
        "total": int(values.get("MemTotal", 0)) * 1024,
        "available": int(values.get("MemAvailable", 0)) * 1024,
    }


def updates(at: Root) -> dict[str, Any]:
    """Security updates that wait; apt is asked again only when its lists or packages changed."""

    def changed(path: str) -> float:
        try:
            return os.stat(path).st_mtime
        except OSError:
            return 0.0

    lists = changed("/var/lib/apt/lists")
    stamp = [lists, changed("/var/lib/dpkg/status")]
    cached = read_json(at.v("updates.json")) or {}
    security = cached.get("security") if cached.get("stamp") == stamp else None
    if security is None:
        argv = ["apt-get", "-s", "-qq", "-o", "Debug::NoLocking=1", "dist-upgrade"]
        with contextlib.suppress(Failed):
            done = run(argv, timeout=30)
            if done.code == 0:
                lines = done.out.decode(errors="replace").splitlines()
                security = sum(x.startswith("Inst ") and "Debian-Security" in x for x in lines)
                with contextlib.suppress(OSError):
                    write_json(at.v("updates.json"), {"stamp": stamp, "security": security})
    checked = changed("/var/lib/apt/periodic/update-success-stamp") or lists
    return {
        "security": security,
        "reboot": os.path.exists("/run/reboot-required"),
        "checked_at": iso(checked) if checked else None,
    }


def failed_units() -> list[str]:
    with contextlib.suppress(Failed):
        argv = ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"]
        lines = run(argv, timeout=15).out.decode(errors="replace").splitlines()
        return [line.split()[0] for line in lines if line.split()]
    return []


def clock() -> bool | None:
    """Whether something keeps the clock right; None when that is not known, or not up to this
    host: a container has its machine's clock (systemd writes this file in one)."""
    if os.path.exists("/run/systemd/container"):
        return None
    with contextlib.suppress(Failed):
        argv = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
        said = run(argv, timeout=10).out.strip()
        return {b"yes": True, b"no": False}.get(said)
    return None


def newest_receipts(at: Root, count: int = 3) -> list[Any]:
    folder = at.v("receipts")
    if not os.path.isdir(folder):
        return []
    names = sorted(n for n in os.listdir(folder) if n.endswith(".json"))
    found = [read_json(f"{folder}/{n}") for n in reversed(names[-count:])]
    return [r for r in found if r is not None]


def probe(argv: Sequence[str], timeout: float) -> dict[str, Any]:
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            cwd="/",
            env=environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"exit": 124, "stdout": ""}
    except OSError:
        return {"exit": 127, "stdout": ""}
    return {"exit": done.returncode, "stdout": done.stdout[:65536].decode(errors="replace")}


def status(at: Root, plan: Mapping[str, Any], *, services: bool = False) -> dict[str, Any]:
    """How this host is. Read-only; probes run at the same time. With `services`, what must be
    asked for and concerns the host alone is left out: apt thinks for a second or more."""
    import threading

    probes: dict[str, dict[str, Any]] = {}
    facts: dict[str, Any] = {}

    def answer(group: str, name: str, about: Mapping[str, Any]) -> None:
        probes[group][name] = probe(about["argv"], about["timeout"])

    def fact(name: str, ask: Callable[[], Any]) -> None:
        facts[name] = ask()

    threads = []
    for group, named in plan.get("probes", {}).items():
        if services and group == "_host":
            continue
        probes[group] = {}
        for name, about in named.items():
            threads.append(threading.Thread(target=answer, args=(group, name, about)))
    asked = (("failed_units", failed_units), ("clock", clock), ("updates", lambda: updates(at)))
    threads += [threading.Thread(target=fact, args=pair) for pair in asked if not services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    applied = read_json(at.v("applied.json")) or {}
    lock = holder(at)
    return {
        "agent": VERSION,
        "host": plan["host"],
        "epoch": own_epoch(at),
        "fenced": os.path.exists(at.v("fenced")),
        "now": iso(),
        "digest": applied.get("digest"),
        "unclaimed": applied.get("unclaimed", []),
        "uptime_s": int(float(read_text("/proc/uptime").split()[0] or 0)),
        "disk": disks(),
        "memory": memory(),
        "load": list(os.getloadavg()),
        "cpus": os.cpu_count(),
        "failed_units": facts.get("failed_units", []),
        "updates": facts.get("updates", {"security": None, "reboot": False, "checked_at": None}),
        "clock": {"synchronized": facts.get("clock")},
        "probes": probes,
        "receipts": newest_receipts(at),
        "receipt_key": receipt_key(at),
        "lock": {"verb": lock.get("verb"), "since": lock.get("since")} if lock else None,
    }
