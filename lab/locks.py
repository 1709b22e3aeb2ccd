"""One at a time: locks between processes, held by an open file, gone when the process is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from lab.errors import Busy

# Programs that we wait for hold our locks as well: when we are killed, nobody else begins before
# the last of them has ended. They see them under numbers from here on: mmdebstrap gives the numbers
# that it gets to a shell, and Debian's knows those of one digit only.
held: set[int] = set()
_FIRST = 64


@contextlib.contextmanager
def alone(file: Path, what: str, *, patience: float) -> Iterator[None]:
    """Hold `file` while the block runs. Wait at most `patience` seconds, then raise Busy
    saying that `what` is in use."""
    file.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fd = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    finally:
        os.close(opened)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy(
                        f"{what} is in use by another process since {patience:.0f} s ({file}). "
                        "Wait for it or end it, then try again"
                    ) from None
                time.sleep(0.05)
        held.add(fd)
        yield
    finally:
        held.discard(fd)
        os.close(fd)
