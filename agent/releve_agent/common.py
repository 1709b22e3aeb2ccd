"""What everything here stands on: errors, places, messages, times, files that are written whole."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from typing import Any


VERSION = "0.1.0"

# restic retries a failing repository for a quarter of an hour; nobody is served by that.
STALL_S = 90


class Failed(Exception):
    """Something did not work. The message says what, where, what it means, what to do next."""


class Busy(Failed):
    """Somebody else is at work on this host or its repository; later it will go."""


class Root:
    """Where things lie. `prefix` is "" but in tests."""

    def __init__(self, prefix: str = "") -> None:
        self.etc = f"{prefix}/etc/releve"
        self.var = f"{prefix}/var/lib/releve"
        self.run = f"{prefix}/run/releve"
        self.cron = f"{prefix}/etc/cron.d"
        self.units = f"{prefix}/etc/systemd/system"
        self.os_release = f"{prefix}/etc/os-release"

    def v(self, *parts: str) -> str:
        return "/".join((self.var, *parts))


def say(text: str) -> None:
    """A message for people. Nobody listening is no reason to fail."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"releve: {text}\n")
        sys.stderr.flush()


def iso(at: float | None = None) -> str:
    """A time as ISO 8601 in UTC, whole seconds; now by default."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def parse_iso(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 time. Raise ValueError."""
    from datetime import datetime, timezone

    # Nine digits of a second, as restic writes them, are more than Python reads.
    text = re.sub(r"(\.\d{1,6})\d*", r"\1", text.strip().replace("Z", "+00:00"))
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        found = found.replace(tzinfo=timezone.utc)  # noqa: UP017 (one spelling for all Pythons)
    return found.timestamp()


def human(size: float) -> str:
    """A size in bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def span(seconds: float) -> str:
    """A length of time for people."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value that is signed and digested."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_json(path: str) -> Any:
    """The value in a file, or None when it is not there or broken."""
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def sync_folder(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: str, data: bytes, mode: int = 0o600, *, sync: bool = True) -> None:
    """Replace a file in one step; it is on disk when this returns, unless `sync` is false: a busy
    disk takes tenths of a second for that."""
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if sync:
        sync_folder(os.path.dirname(path))


def write_json(path: str, value: Any, mode: int = 0o600) -> None:
    write(path, json.dumps(value, sort_keys=True, ensure_ascii=False).encode() + b"\n", mode)


def remove_tree(path: str) -> None:
    """Remove a file or a folder with all in it, never following a link."""
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.lexists(path):
        import shutil

        shutil.rmtree(path)


def file_sha256(path: str) -> str:
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folders(at: Root) -> None:
    """The folders this agent keeps things in; none is for anybody but root."""
    for path in (at.var, at.run, *(at.v(n) for n in ("stage", "receipts", "quiesced", "restore"))):
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chmod(path, 0o700)
