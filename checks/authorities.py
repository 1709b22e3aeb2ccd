"""This machine's certificate authorities, read while the rest of a run prepares itself.

Reading all of them takes OpenSSL as long as reading an inventory, and needs nothing of Python
meanwhile: a thread does it. Stands alone, so that it can begin before anything else is imported.
"""

from __future__ import annotations

import ssl
import threading


class _Reading(threading.Thread):
    """Makes one context; `made` or `failed` says what came of it."""

    def __init__(self) -> None:
        super().__init__()  # no daemon: OpenSSL must not be taken down under it
        self.made: ssl.SSLContext | None = None
        self.failed: OSError | None = None

    def run(self) -> None:
        try:
            self.made = ssl.create_default_context()
        except OSError as error:
            self.failed = error


_begun: list[_Reading] = []


def begin() -> None:
    """Begin to read the authorities. The next `context()` waits for it and takes it."""
    reading = _Reading()
    reading.start()
    _begun.append(reading)


def context() -> ssl.SSLContext:
    """A context that verifies chains and names by this machine's authorities, for its caller
    alone: what was begun, or a new one. Raise OSError when they cannot be read."""
    if not _begun:
        return ssl.create_default_context()
    reading = _begun.pop()
    reading.join()
    if reading.made is None:
        raise reading.failed or OSError("the machine's certificate authorities cannot be read")
    return reading.made
