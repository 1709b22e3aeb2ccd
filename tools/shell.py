"""One root shell on a host that stays open: a command costs one round trip.

`ssh.Connection.run` opens a channel for each command, which costs two round trips and the
start of a login process. Here one `sh` reads commands from its standard input. What a command
prints lies between two marks with a number that nobody can guess, on both streams, so that any
bytes may be printed. A command's own standard input is empty.

The shell also holds the host's lock (`take_lock`): the kernel gives it back when the shell
ends, and the shell ends when the session does, however that happens.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import paramiko

from tools import words
from tools.ssh import Result, SshError

if TYPE_CHECKING:
    from tools.ssh import Connection

# File descriptor of the lock inside the shell; commands get it closed, so that a daemon
# started by one of them does not keep the lock for ever.
_LOCK_FD = 9


class BusyError(Exception):
    """Somebody else holds the host's lock. `holder` is what they wrote into it, if anything."""

    def __init__(self, host: str, path: str, holder: Mapping[str, Any]) -> None:
        self.holder = holder
        verb = holder.get("verb") or "something"
        who = f" by {holder['who']}" if holder.get("who") else ""
        since = f" since {holder['since']}" if holder.get("since") else ""
        super().__init__(
            f"{host} is busy: {verb}{who} has held its lock ({path}){since}. "
            "Nothing was changed there. Run this again when that has ended."
        )


class Shell:
    """Runs shell command lines one after another. Thread-safe; not for commands with input."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: paramiko.Channel | None = None
        self._ready = threading.Event()
        self._turn = threading.Lock()
        self._locked = False
        # The lock that was taken, (path, holder), for whoever opens a new session in its place.
        self.lock: tuple[str, Mapping[str, Any]] | None = None
        self._spoke = False  # whether any command came to its end

    def run(self, line: str, *, timeout: float = 1800.0) -> Result:
        """Run `line` with `sh -c` as root and wait for its end.

        `line` is shell text by intention: this is where a program that already speaks in shell
        commands (pyinfra) is served; values in it must have been quoted by who built it.
        `timeout` in seconds: the remote side ends the command then, with exit code 124.
        Raise SshError when the session is lost or nothing is heard 15 s after the timeout.
        """
        with self._turn:
            limit = max(1, int(timeout))
            bounded = words.line(("timeout", "-k", "5", str(limit), "sh", "-c", line))
            command = f"{bounded} </dev/null {_LOCK_FD}>&-"
            return self._round(command, time.monotonic() + limit + 15)

    def take_lock(self, path: str, holder: Mapping[str, Any]) -> None:
        """Take the exclusive lock on the file `path` and keep it until the session ends.

        `holder` is written into the file for whoever finds it locked. The folder is made, for
        root only. Raise BusyError when it is held.
        """
        with self._turn:
            if self._locked:
                return
            result = self._round(lock_line(path, holder), time.monotonic() + 30)
        if result.exit_code == 75:
            raise BusyError(self._connection.target.name, path, _parsed(result.stdout))
        if result.exit_code != 0:
            raise SshError(
                f"{self._connection.target.name}: the lock {path} cannot be taken: "
                f"{result.stderr.decode(errors='replace').strip()}"
            )
        self._locked = True
        self.lock = (path, dict(holder))

    def close(self) -> None:
        """End the shell, and with it the lock."""
        channel, self._channel = self._channel, None
        self._locked = False
        if channel is not None:
            channel.close()

    def _open(self) -> paramiko.Channel:
        if self._channel is not None and not self._channel.closed:
            return self._channel
        if self._locked:
            # A new shell would not hold the lock, and going on without it would be a lie.
            raise SshError(
                f"{self._connection.target.name}: the session was lost, and the lock with it"
            )
        prefix = "" if self._connection.target.user == "root" else "sudo -n -- "
        channel = self._connection.open_channel()
        channel.exec_command(prefix + "sh")
        # Set by paramiko when either stream has something to read, or ends.
        self._ready = threading.Event()
        channel.in_buffer.set_event(self._ready)
        channel.in_stderr_buffer.set_event(self._ready)
        channel.sendall(b"umask 022; cd /\n")
        self._channel = channel
        return channel

    def _round(self, command: str, deadline: float) -> Result:
        name = self._connection.target.name
        try:
            channel = self._open()
            mark = secrets.token_hex(16)
            # Split in two, so that a shell that echoes what it reads could not fake the mark.
            begin, end = f"{mark}B", f"{mark}E"
            both = f"printf %s {mark}''B; printf %s {mark}''B >&2\n"
            done = f"c=$?; printf '%s%s\\n' {mark}''E $c; printf '%s\\n' {mark}''E >&2\n"
            channel.sendall((both + command + "\n" + done).encode())
            out, err = _Stream(begin, end), _Stream(begin, end)
            last = time.monotonic()
            while True:
                self._ready.clear()
                busy = False
                while channel.recv_ready():
                    out.feed(channel.recv(1 << 20))
                    busy = True
                while channel.recv_stderr_ready():
                    err.feed(channel.recv_stderr(1 << 20))
                    busy = True
                if busy:
                    if out.tail is not None and err.tail is not None:
                        self._spoke = True
                        return Result(int(out.tail), out.body, err.body)
                    last = time.monotonic()
                    continue
                if channel.closed or channel.eof_received:
                    said = (
                        bytes(err.data).decode(errors="replace").replace(begin, "").strip()[-300:]
                    )
                    self.close_quietly()
                    user = self._connection.target.user
                    if user != "root" and not self._spoke:
                        raise SshError(
                            f"{name}: {user} cannot become root"
                            + (f" ({said})" if said else "")
                            + ". Everything is done through `sudo -n` there: allow it without a "
                            "password (on YunoHost the setting "
                            "security.password.passwordless_sudo), or name another user"
                        )
                    raise SshError(f"{name}: the session was lost" + (f": {said}" if said else ""))
                if time.monotonic() > deadline:
                    self.close_quietly()
                    raise SshError(f"{name}: no answer in time; the session was closed")
                # Not for long, because two streams share one event: paramiko clears it when one
                # of them has been read to its end. What was silent for long may be told later:
                # looking costs a processor, and a deploy waits for many hosts.
                silent = time.monotonic() - last
                self._ready.wait(min(0.2, 0.02 + silent / 20))
        except (OSError, EOFError, paramiko.SSHException) as error:
            self.close_quietly()
            raise SshError(f"{name}: the session was lost: {error}") from error

    def close_quietly(self) -> None:
        """Close the channel but remember that a lock was held, so that nobody goes on."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


# In the shell itself, which holds the lock from then on. $1 the file, $2 its folder, $3 the text.
_LOCK = (
    f'{{ mkdir -p -m 0700 -- "$2" && exec {_LOCK_FD}>>"$1" && '
    f'if flock -n {_LOCK_FD}; then printf \'%s\\n\' "$3" >"$1"; '
    f'else exec {_LOCK_FD}>&-; cat -- "$1"; (exit 75); fi; }} </dev/null'
)


def lock_line(path: str, holder: Mapping[str, Any]) -> str:
    """The line with which a shell takes the lock `path` and writes into it who holds it; it ends
    with 75, and what is written there, when somebody else does. Pure."""
    values = (path, str(PurePosixPath(path).parent), json.dumps(dict(holder)))
    return f"{words.line(('set', '--', *values))}; {_LOCK}"


class _Stream:
    """One stream of a command: `body` between the marks, `tail` the end mark's line or None.

    What stands before the first mark or after the last was printed by something that an earlier
    command left running; it belongs to nobody.
    """

    def __init__(self, begin: str, end: str) -> None:
        self.data = bytearray()
        self.body = b""
        self.tail: bytes | None = None
        self._begin, self._end = begin.encode(), end.encode()
        self._searched = 0

    def feed(self, more: bytes) -> None:
        if self.tail is not None:
            return
        self.data += more
        stop = self.data.find(self._end, self._searched)
        if stop < 0:
            self._searched = max(0, len(self.data) - len(self._end))
            return
        self._searched = stop
        line_end = self.data.find(b"\n", stop)
        if line_end < 0:
            return
        start = self.data.find(self._begin) + len(self._begin)
        self.body = bytes(self.data[start:stop])
        self.tail = bytes(self.data[stop + len(self._end) : line_end])


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
