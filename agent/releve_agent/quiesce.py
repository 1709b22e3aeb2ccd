"""Hold services still while they are copied, and let go: at the end, when killed, at boot."""

from __future__ import annotations

import contextlib
import os
import time

from .common import Failed, Root, iso, read_json, read_text, say, write_json
from .processes import run

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def _identity(pid: int) -> str:
    """What tells a process from a later one with the same number: its start time and the boot."""
    try:
        # The second field may hold spaces and brackets; the 22nd is the start time (proc(5)).
        born = read_text(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[19]
    except IndexError:
        return ""
    return f"{pid} {born} {read_text('/proc/sys/kernel/random/boot_id').strip()}"


class Still:
    """What is held still now, and until when. A mark lies on disk before anything is held."""

    def __init__(self, at: Root) -> None:
        self.at = at
        self.until: dict[str, float] = {}  # mark -> monotonic time
        self.late: dict[str, float] = {}  # services whose time was up, and that time in seconds
        self._at_most: dict[str, float] = {}

    def hold(self, service: str, number: int, quiesce: Mapping[str, Any]) -> None:
        """Hold one thing still. Raise Failed; it is undone then."""
        mark = self.at.v("quiesced", f"{service}.{number}")
        record = {
            "service": service,
            "undo": quiesce["undo"],
            "at": iso(),
            "owner": _identity(os.getpid()),
        }
        write_json(mark, record)
        self.until[mark] = time.monotonic() + quiesce["at_most"]
        self._at_most[mark] = quiesce["at_most"]
        done = run(quiesce["do"], timeout=max(30, quiesce["at_most"]))
        if done.code != 0:
            undo_mark(mark)
            self.until.pop(mark, None)
            raise Failed(f"{service}: it could not be held still: {done.said()}")

    def watch(self) -> None:
        """Undo whatever was held for as long as it may be."""
        for mark, until in list(self.until.items()):
            if time.monotonic() > until:
                del self.until[mark]
                record = read_json(mark) or {}
                self.late.setdefault(str(record.get("service")), self._at_most[mark])
                undo_mark(mark)

    def release(self) -> list[str]:
        """Undo everything. Return messages of what would not be undone."""
        failed = [text for mark in list(self.until) if (text := undo_mark(mark))]
        self.until.clear()
        return failed


def undo_mark(mark: str) -> str:
    """Undo what one mark names and remove it. Return "" or what went wrong; it stays then."""
    record = read_json(mark)
    if record is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(mark)
        return ""
    try:
        done = run(record["undo"], timeout=300)
    except Failed as error:
        return f"{record['service']} is still held still: {error}"
    if done.code != 0:
        return f"{record['service']} is still held still: {done.said()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(mark)
    return ""


def undo(at: Root) -> dict[str, Any]:
    """Undo every quiescing whose maker is gone. Repeatable; harmless while a backup runs."""
    undone, failed = [], []
    for name in sorted(os.listdir(at.v("quiesced")) if os.path.isdir(at.v("quiesced")) else ()):
        mark = at.v("quiesced", name)
        if name.endswith(".new"):
            os.unlink(mark)
            continue
        owner = str((read_json(mark) or {}).get("owner", ""))
        if owner and _identity(int(owner.split()[0])) == owner:
            continue
        text = undo_mark(mark)
        if text:
            failed.append(text)
            say(text)
        else:
            undone.append(name)
            whom = name.rsplit(".", 1)[0]
            if whom == "_around":
                say("what an earlier run had gathered and not cleared away is gone")
            else:
                say(f"{whom} serves again: an earlier run had left it held still")
    if failed:
        raise Failed(f"{len(failed)} thing(s) could not be undone; look at the service and repeat")
    return {"undone": undone}
