"""One at work on this host at a time, who that is, and how far it has come."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time

from .common import Busy, Root, canonical, iso

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


@contextlib.contextmanager
def locked(at: Root, verb: str, patience: float = 2.0) -> Iterator[None]:
    """Hold this host's one lock. Raise Busy when somebody else keeps holding it.

    The kernel gives it back when this process ends. Who holds it stands in the file.
    """
    handle = os.open(at.v("lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    other = holder(at) or {}
                    raise Busy(
                        f"{verb} did not start: {other.get('verb', 'something')} has held this "
                        f"host's lock since {other.get('since', 'a moment ago')}. Nothing was "
                        "touched. Run it again when that has ended."
                    ) from None
                time.sleep(0.1)
        record = {"verb": verb, "pid": os.getpid(), "since": iso()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, canonical(record), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def holder(at: Root) -> dict[str, Any] | None:
    """Who holds the lock: {"verb", "since", …}, or None when it is free."""
    try:
        handle = os.open(at.v("lock"), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            found = json.loads(os.pread(handle, 4096, 0))
        except ValueError:
            found = {}
        return {"verb": "something", "since": None, **(found if isinstance(found, dict) else {})}
    else:
        return None
    finally:
        os.close(handle)


def progress(at: Root, verb: str, phase: str, **more: Any) -> None:
    """Where we are, for whoever looks from outside. Failing to tell is no failure."""
    try:
        temporary = f"{at.run}/progress.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump({"verb": verb, "phase": phase, "at": iso(), **more}, file)
        os.rename(temporary, f"{at.run}/progress")
    except OSError:
        pass
