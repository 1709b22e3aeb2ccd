"""End waits at sockets when their time is up.

A timeout of Python's own costs two system calls more for each wait, and begins anew with each byte
that comes. A socket that is watched here just blocks; one thread shuts it when its time is up, and
whoever waits there is told that the other side has hung up: `left` tells that it was us.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

TICK = 0.1  # seconds by which a wait may be longer than what is left

_lock = threading.Lock()
_watched: dict[socket.socket, float] = {}
_some = threading.Event()
_begun: list[threading.Thread] = []


def left(deadline: float) -> float:
    """Seconds until `deadline` (monotonic). Raise TimeoutError when it has passed."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def watch(sock: socket.socket, deadline: float) -> None:
    """Shut `sock` at `deadline` (monotonic seconds), unless it was closed before."""
    with _lock:
        _watched[sock] = deadline
        if not _begun:
            _begun.append(threading.Thread(target=_run, daemon=True))
            _begun[0].start()
    if not _some.is_set():
        _some.set()


def _run() -> None:
    while True:
        _some.wait()
        time.sleep(TICK)
        now = time.monotonic()
        with _lock:
            closed = [sock for sock in _watched if sock.fileno() < 0]
            late = [sock for sock, due in _watched.items() if due <= now]
            for sock in {*closed, *late}:
                del _watched[sock]
            if not _watched:
                _some.clear()
        for sock in late:
            # Of the plain socket: an encrypted one would first forget its session, in which another
            # thread waits.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
