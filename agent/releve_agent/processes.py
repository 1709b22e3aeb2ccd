"""Start programs, with an end to their patience, and end them with everything they started."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time

from .common import Failed

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Done:
    """How a program ended."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out, err

    def said(self, lines: int = 3) -> str:
        """The last lines of what it complained."""
        found = [x.strip() for x in self.err.decode(errors="replace").splitlines() if x.strip()]
        return " / ".join(found[-lines:]) or f"it ended with code {self.code}"


_prctl: list[Any] = []  # loaded once, and before the fork: each child would pay for it


def _tie() -> None:
    """In a child: end when the agent ends, however that happens (PR_SET_PDEATHSIG is 1)."""
    _prctl[0](1, signal.SIGTERM)


def environment() -> dict[str, str]:
    """What programs get to see: nothing of whoever started us."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "RESTIC_PROGRESS_FPS": "2",
    }


def start(argv: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
    """Start a program that ends when we do. Raise Failed when there is no such program."""
    streams.setdefault("stdin", subprocess.DEVNULL)
    if not _prctl:
        import ctypes

        _prctl.append(ctypes.CDLL(None).prctl)
    try:
        return subprocess.Popen(list(argv), cwd="/", env=environment(), preexec_fn=_tie, **streams)
    except OSError as error:
        raise Failed(f"{argv[0]} cannot be started: {error.strerror}. Is it installed?") from None


def stop(process: subprocess.Popen[bytes], ask: int = signal.SIGTERM) -> None:
    """End a program we started: politely, by the signal `ask`, then not."""
    if process.poll() is None:
        process.send_signal(ask)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether a program ends within that time. `Popen.wait` would see its end up to 50 ms late."""
    if process.poll() is None:
        try:
            handle = os.pidfd_open(process.pid)
        except OSError:  # a kernel before 5.3
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        else:
            with open(handle, "rb"), selectors.DefaultSelector() as waiting:
                waiting.register(handle, selectors.EVENT_READ)
                waiting.select(seconds)
    return process.poll() is not None


def run(
    argv: Sequence[str],
    *,
    give: bytes | None = None,
    stdin: Any = None,
    stdout: Any = None,
    timeout: float = 600.0,
    tick: Callable[[], None] | None = None,
    on_line: Callable[[bytes], None] | None = None,
    ask: int = signal.SIGTERM,
) -> Done:
    """Run a program to its end. `tick` is called about twice a second and may raise: the program
    is ended then, at first by the signal `ask`. `on_line` gets each line of stdout and of stderr
    as it comes."""
    memory = None
    if give is not None:
        memory = os.memfd_create("give")
        os.write(memory, give)
        os.lseek(memory, 0, os.SEEK_SET)
        stdin = memory
    try:
        process = start(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
        )
    finally:
        if memory is not None:
            os.close(memory)
    kept: dict[int, bytearray] = {}
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as waiting:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                kept[stream.fileno()] = bytearray()
                waiting.register(stream, selectors.EVENT_READ)
        partial: dict[int, bytes] = dict.fromkeys(kept, b"")
        try:
            while waiting.get_map():
                for key, _ in waiting.select(0.5):
                    data = os.read(key.fd, 65536)
                    if not data:
                        waiting.unregister(key.fileobj)
                    if on_line:
                        *lines, partial[key.fd] = (partial[key.fd] + data).split(b"\n")
                        if not data and partial[key.fd]:
                            lines.append(partial[key.fd])
                        for line in lines:
                            on_line(line)
                        if process.stdout is not None and key.fd == process.stdout.fileno():
                            continue
                    kept[key.fd] += data
                    if process.stderr is not None and key.fd == process.stderr.fileno():
                        del kept[key.fd][:-65536]
                if tick:
                    tick()
                if time.monotonic() > deadline:
                    raise Failed(f"{argv[0]} gave no end within {timeout:.0f} s and was stopped")
            while not _ends(process, 0.5):
                if tick:
                    tick()
        except BaseException:
            stop(process, ask)
            raise
        out = kept.get(process.stdout.fileno(), bytearray()) if process.stdout else bytearray()
        err = kept.get(process.stderr.fileno(), bytearray()) if process.stderr else bytearray()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return Done(process.returncode, bytes(out), bytes(err))


class Launched:
    """A program that runs while we do something else; what it prints is kept in memory, or goes
    into the file `stdout`."""

    def __init__(self, argv: Sequence[str], stdout: Any = None) -> None:
        self.argv = argv
        self.streams = [os.memfd_create(name) for name in ("out", "err")]
        try:
            self.process = start(argv, stdout=stdout or self.streams[0], stderr=self.streams[1])
        except BaseException:
            self.close()
            raise

    def ended(self, timeout: float = 600.0, tick: Callable[[], None] | None = None) -> Done:
        """Wait for its end; `tick` is called about twice a second meanwhile and may raise: the
        program is ended then. Raise Failed when the end does not come."""
        deadline = time.monotonic() + timeout
        try:
            while not _ends(self.process, min(timeout, 0.5) if tick else timeout):
                if tick:
                    tick()
                if time.monotonic() >= deadline:
                    raise Failed(
                        f"{self.argv[0]} gave no end within {timeout:.0f} s and was stopped"
                    )
            texts = []
            for stream in self.streams:
                os.lseek(stream, 0, os.SEEK_SET)
                with os.fdopen(os.dup(stream), "rb") as file:
                    texts.append(file.read())
        finally:
            self.close()
        return Done(self.process.returncode, *texts)

    def close(self) -> None:
        """End it if it still runs."""
        if hasattr(self, "process"):
            stop(self.process)
        while self.streams:
            os.close(self.streams.pop())


def json_of(
    argv: Sequence[str], what: str, timeout: float = 120.0, launched: Launched | None = None
) -> Any:
    """Run a program that prints one JSON value, or wait for the one that was launched so. Raise
    Failed, naming `what`."""
    done = launched.ended(timeout) if launched else run(argv, timeout=timeout)
    if done.code != 0:
        raise Failed(f"{what}: {done.said()}")
    try:
        return json.loads(done.out)
    except ValueError:
        raise Failed(f"{what}: {argv[0]} did not print JSON") from None
