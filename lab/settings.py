"""The two settings of this machine that labs change. The last lab to go puts them back."""

from __future__ import annotations

import json
from pathlib import Path

from tools.files import replace_file

_FILE = "settings-before.json"
_KERNEL = Path("/proc/sys")

# setting -> the least that labs need
NEEDED = {
    # Hosts reach the package mirrors through this machine.
    "net/ipv4/ip_forward": 1,
    # Each booted systemd takes about six of root's, of usually 128: with twenty hosts on one
    # machine, one that boots would stop half-way and wait for ever.
    "fs/inotify/max_user_instances": 4096,
}


def apply(root: Path) -> None:
    """Raise what is too low, remembering in the folder `root` what it was."""
    before = _before(root)
    low = {}
    for name, least in NEEDED.items():
        value = int((_KERNEL / name).read_text())
        if value < least:
            low[name] = least
            before.setdefault(name, value)
    if low:  # remembered first: a crash in between must not lose what it was
        replace_file(root / _FILE, json.dumps(before).encode(), mode=0o600)
        for name, least in low.items():
            (_KERNEL / name).write_text(f"{least}\n")


def restore(root: Path) -> None:
    """Put back what `apply` found, unless somebody has changed it since, or a lab is left."""
    if any(Path("/sys/class/net").glob("rl-*")):
        return
    for name, value in _before(root).items():
        if name in NEEDED and int((_KERNEL / name).read_text()) == NEEDED[name]:
            (_KERNEL / name).write_text(f"{value}\n")
    (root / _FILE).unlink(missing_ok=True)


def _before(root: Path) -> dict[str, int]:
    try:
        return {str(k): int(v) for k, v in json.loads((root / _FILE).read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}
