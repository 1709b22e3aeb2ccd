"""Running programs, and finding and ending the lab's own processes.

No process id is remembered: after a crash it may belong to somebody else. A process is ours when
an argument of it is a path inside this very lab, or when it lives in one of this lab's network
namespaces. It is held by a pidfd, judged again, and only then signalled.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lab import locks
from lab.errors import LabError

Done = subprocess.CompletedProcess[bytes]
_PROC = Path("/proc")


def run(
    argv: Sequence[str], *, stdin: bytes = b"", check: bool = True, timeout: float = 120.0
) -> Done:
    """Run a program of this machine and wait. `timeout` in seconds.

    Raise LabError with its last words when `check` and it fails, when it hangs, or is missing.
    """
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
            pass_fds=tuple(locks.held),
        )
    except FileNotFoundError:
        raise LabError(
            f"{argv[0]} is not on this machine. Missing packages: run `python3 -m lab.requirements`"
        ) from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{argv[0]} did not end within {timeout:.0f} s") from None
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise LabError(f"{' '.join(argv[:6])} failed: {' / '.join(said[-4:])}")
    return done


def has_argument(argument: str) -> Callable[[int], bool]:
    """A judge: does the process have exactly this argument?"""
    wanted = os.fsencode(argument)

    def judge(pid: int) -> bool:
        try:
            return wanted in (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    return judge


def in_network(namespace: Path) -> Callable[[int], bool]:
    """A judge: does the process live in the network namespace that is mounted at this path?"""
    try:
        wanted = namespace.stat()
        own = Path("/proc/self/ns/net").stat()
    except OSError:
        return lambda _: False
    if (wanted.st_dev, wanted.st_ino) == (own.st_dev, own.st_ino):
        return lambda _: False  # never our own, whatever the file claims

    def judge(pid: int) -> bool:
        try:
            there = (_PROC / str(pid) / "ns/net").stat()
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino)

    return judge


def find(judge: Callable[[int], bool]) -> tuple[int, ...]:
    """The ids of the processes that the judge says yes to, oldest id first."""
    pids = sorted(int(p.name) for p in _PROC.iterdir() if p.name.isdecimal())
    return tuple(pid for pid in pids if judge(pid))


@contextlib.contextmanager
def _held(pid: int, judge: Callable[[int], bool]) -> Iterator[int | None]:
    """A pidfd of the process if the judge still says yes once we hold it."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield fd if judge(pid) else None
    finally:
        os.close(fd)


def send(judge: Callable[[int], bool], number: int) -> int:
    """Send a signal to each process that the judge says yes to; return how many there were."""
    count = 0
    for pid in find(judge):
        with _held(pid, judge) as fd:
            if fd is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, number)
                    count += 1
    return count


def wait_gone(judge: Callable[[int], bool], seconds: float) -> bool:
    """Wait until no process satisfies the judge; False when some still do after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        pids = find(judge)
        if not pids:
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        with _held(pids[0], judge) as fd:
            if fd is not None:
                select.select([fd], [], [], min(left, 1.0))
        _reap()


def kill(judge: Callable[[int], bool], seconds: float = 10.0) -> None:
    """End with SIGKILL whatever satisfies the judge. Raise LabError when something survives."""
    deadline = time.monotonic() + seconds
    while send(judge, signal.SIGKILL):
        wait_gone(judge, 0.3)
        if time.monotonic() > deadline:
            raise LabError(f"Processes {find(judge)} of the lab cannot be ended")


_children: list[subprocess.Popen[bytes]] = []


def spawn(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that outlives us, detached from our terminal, writing to `log`."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    _children.append(child)
    return child


def _reap() -> None:
    # Our own ended children stay zombies, with an empty command line, until somebody asks.
    for child in list(_children):
        if child.poll() is not None:
            with contextlib.suppress(ValueError):
                _children.remove(child)


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask until `condition` holds; False when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
