"""A wire that takes its time: moves Ethernet frames between two TAP devices, each a bit later.

For kernels without netem. Run as a program: forwarder.py TAP TAP MILLISECONDS MARK, in the network
namespace of the devices; it creates the file MARK.ready once it works. Standard library only.
TAP devices announce no offloads, so the kernel cuts and checksums each packet before we see it.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from pathlib import Path

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME = 65536
_BURST = 256
_MOST = 200_000  # frames on the wire; more are lost, as in a real queue


def _open_tap(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return fd


def _take(fd: int, queue: deque[tuple[float, bytes]], delay: float) -> None:
    for _ in range(_BURST):
        try:
            frame = os.read(fd, _FRAME)
        except (BlockingIOError, InterruptedError):
            return
        if len(queue) < _MOST:
            queue.append((time.monotonic() + delay, frame))


def _deliver(fd: int, queue: deque[tuple[float, bytes]]) -> float | None:
    """Write what is due; return in how many seconds the next frame is."""
    while queue:
        left = queue[0][0] - time.monotonic()
        if left > 0:
            return left
        _, frame = queue.popleft()
        try:
            os.write(fd, frame)
        except OSError:
            continue  # lost, as on a wire that is unplugged
    return None


def forward(left: int, right: int, delay: float) -> None:
    """Move frames between two open TAP devices for ever, each `delay` seconds later."""
    queues: dict[int, deque[tuple[float, bytes]]] = {left: deque(), right: deque()}
    other = {left: right, right: left}
    while True:
        waits = [wait for fd in queues if (wait := _deliver(other[fd], queues[fd])) is not None]
        ready, _, _ = select.select([left, right], [], [], min(waits) if waits else None)
        for fd in ready:
            _take(fd, queues[fd], delay)


def main() -> None:
    """See the module's description."""
    first, second, milliseconds, mark = sys.argv[1:]
    taps = _open_tap(first), _open_tap(second)
    Path(f"{mark}.ready").touch()
    forward(*taps, float(milliseconds) / 1000)


if __name__ == "__main__":
    main()
