"""A control group for each host.

Where no systemd runs this machine, systemd-nspawn makes the host's groups right below its own
caller's. All hosts would then share one tree, in which `ssh.service` of one host is that of the
other, and a systemd that stops a service waits for processes of a neighbour to end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

# The groups' folders, how many there are in front; then the program itself.
_JOIN = (
    'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1/cgroup.procs"; shift; n=$((n-1)); done; '
    'exec "$@"'
)


def hierarchies(mounts: str) -> tuple[Path, ...]:
    """Given /proc/self/mounts, return where the trees are that systemd uses."""
    found = []
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split(" ")
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(point))
    return tuple(found)


def _trees() -> tuple[Path, ...]:
    return hierarchies(Path("/proc/self/mounts").read_text(errors="replace"))


def _ours(name: str) -> tuple[Path, ...]:
    if not name.startswith("rl-") or "/" in name:
        raise ValueError(f"{name!r} is not the name of a lab host's control group")
    return tuple(tree / name for tree in _trees())


def inside(name: str, argv: Sequence[str]) -> list[str]:
    """Make the group `name` and return the command that runs `argv` in it."""
    if Path("/run/systemd/system").is_dir():
        # This machine's systemd keeps the tree: ask it for a part that it leaves alone.
        return [
            "systemd-run", "--quiet", "--scope", "--collect", "--slice=machine.slice",
            f"--unit={name}", "--property=Delegate=yes", "--", *argv,
        ]  # fmt: skip
    folders = _ours(name)
    for folder in folders:
        folder.mkdir(exist_ok=True)
    return ["sh", "-ec", _JOIN, "join", str(len(folders)), *map(str, folders), *argv]


def remove(name: str, seconds: float = 2.0) -> None:
    """Remove the group with all below it; its processes have ended."""
    deadline = time.monotonic() + seconds
    for folder in _ours(name):
        while folder.is_dir():
            groups = [folder, *(p for p in folder.rglob("*") if p.is_dir())]
            for group in reversed(groups):
                with contextlib.suppress(OSError):
                    group.rmdir()
            if time.monotonic() > deadline:
                return  # an empty group harms nobody
            if folder.is_dir():
                time.sleep(0.02)


def remove_all(prefix: str) -> None:
    """Remove every group whose name begins so."""
    for name in {group.name for tree in _trees() for group in tree.glob(f"{prefix}*")}:
        remove(name)
