"""SSH to a host whose key is known beforehand. Knows nothing of Relève.

Paramiko, with three habits of our own: the host key is given and nothing else is accepted,
TCP_NODELAY is set (without it each command waits 40 ms for the kernel's delayed ACK), and
every command has a deadline, after which the remote process is ended too.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tools import words

if TYPE_CHECKING:
    # Read by those who open a session: most of what names a host opens none.
    import paramiko


class SshError(Exception):
    """No session, or a lost one. The message says with whom, what happened, what to do."""

    exit_code = 69


class RefusedKeyError(SshError):
    """The host was reached and is the right one; it does not take the key that we show. Or that
    key does not open, and nobody was asked."""

    exit_code = 77


class HostKeyError(SshError):
    """The host showed another key than the one it is known by, or none is known."""


class NotBegunError(SshError):
    """A command was never sent: the session had been lost before."""


class CommandError(SshError):
    """A command ended with another code than 0. `result` holds what it said."""

    def __init__(self, host: str, argv: Sequence[str], result: Result) -> None:
        self.result = result
        said = result.stderr.decode(errors="replace").strip().splitlines()
        super().__init__(
            f"{host}: {argv[0]} ended with code {result.exit_code}"
            + (f": {' / '.join(said[-3:])}" if said else "")
        )


@dataclass(frozen=True)
class Target:
    """Whom to speak to. `host_key` is one line as in a .pub file; the comment is ignored.

    `told_by` says where that line comes from, when it is not the inventory (an option, mostly).
    `key_file`: the private key to show; None asks the agent and the usual files. `others`: users
    to try, in this order, when the key does not open the door of `user`. `passphrase`: called
    with the name of a key file that is protected by one; raises SshError when nobody knows it.
    """

    name: str
    address: str
    host_key: str | None
    port: int = 22
    user: str = "root"
    key_file: Path | None = None
    others: tuple[str, ...] = ()
    told_by: str = ""
    passphrase: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: bytes
    stderr: bytes


def parse_public_key(line: str) -> paramiko.PKey:
    """Given "TYPE BASE64 [COMMENT]", return the key. Raise ValueError when it is none."""
    import base64
    import binascii

    import paramiko

    parts = line.split()
    if len(parts) < 2:
        raise ValueError("a public key has a type and a base64 part")
    try:
        return paramiko.PKey.from_type_string(parts[0], base64.b64decode(parts[1]))
    except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, binascii.Error) as error:
        raise ValueError(f"not a public key: {error}") from None


class _OnlyThisKey:
    """A policy of paramiko's: what is done when a host shows a key that is not in its list."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def missing_host_key(
        self,
        client: paramiko.SSHClient,  # noqa: ARG002 (paramiko's signature)
        hostname: str,  # noqa: ARG002
        key: paramiko.PKey,
    ) -> None:
        shown = f"{key.get_name()} {key.get_base64()}"
        if self.target.host_key is None:
            raise HostKeyError(
                f"{self.target.name} ({self.target.address}) has no host_key in the inventory. "
                f"It shows: {shown}. Compare that with the provider's console, then write it there."
            )
        if parse_public_key(self.target.host_key) == key:
            return
        if self.target.told_by:
            raise HostKeyError(
                f"{self.target.name} ({self.target.address}) shows another host key than "
                f"{self.target.told_by} says: {shown}. Compare it with what the console of that "
                "machine shows, and give the line that is there: nothing was sent."
            )
        raise HostKeyError(
            f"{self.target.name} ({self.target.address}) shows another host key than the "
            f"inventory says: {shown}. Either it was reinstalled (then write the new key into "
            "the inventory), or somebody stands between: nothing was sent."
        )


# $1 the file, $2 its mode; the content is read.
_WRITE = (
    'set -eu; umask 077; t=$(mktemp -- "$1.XXXXXX"); trap \'rm -f -- "$t"\' EXIT; '
    'cat > "$t"; chmod -- "$2" "$t"; mv -f -T -- "$t" "$1"; trap - EXIT'
)


class Connection:
    """An open session. Use as a context manager; commands may run from several threads."""

    def __init__(self, target: Target, client: paramiko.SSHClient) -> None:
        self.target = target
        self._client = client

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 60.0,
        check: bool = True,
    ) -> Result:
        """Run `argv` as root (through `sudo -n` for another user) and wait for its end.

        `timeout` is in seconds; the remote side ends the command then, by `timeout(1)`.
        Raise CommandError when `check` and the code is not 0, SshError on a lost session.
        """
        prefix = () if self.target.user == "root" else ("sudo", "-n", "--")
        limit = ("timeout", "-k", "5", str(max(1, int(timeout))))
        return self._exec(words.line((*prefix, *limit, *argv)), argv, stdin, timeout + 10, check)

    def request(self, asked: Sequence[str], *, timeout: float = 60.0) -> Result:
        """Send the words `asked` and nothing around them, for a key that is bound to a command
        which reads them itself. `timeout` in seconds. Raise SshError on a lost session."""
        return self._exec(words.line(asked), asked, b"", timeout, check=False)

    @property
    def own_key(self) -> str | None:
        """The public key that opened this session, "TYPE BASE64"; None when it was no key."""
        transport = self._client.get_transport()
        key = getattr(transport and transport.auth_handler, "private_key", None)
        return f"{key.get_name()} {key.get_base64()}" if key is not None else None

    def open_channel(self) -> paramiko.Channel:
        """A new channel of this session. Raise NotBegunError when the session is gone."""
        import paramiko

        transport = self._client.get_transport()
        if transport is None:
            raise NotBegunError(f"{self.target.name}: the session is closed")
        try:
            return transport.open_session(timeout=15)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise NotBegunError(f"{self.target.name}: the session was lost: {error}") from error

    def _exec(
        self, line: str, argv: Sequence[str], stdin: bytes, timeout: float, check: bool
    ) -> Result:
        import paramiko

        deadline = time.monotonic() + timeout
        try:
            channel = self.open_channel()
            with contextlib.closing(channel):
                channel.exec_command(line)
                # Both directions are served in turn: a command that writes before it has read
                # everything would otherwise wait for us while we wait for it.
                out, err, sent = bytearray(), bytearray(), 0
                channel.settimeout(0.0)
                if not stdin:
                    channel.shutdown_write()
                quiet_since = last = time.monotonic()
                while True:
                    # Asked before reading: what arrived ahead of it is then read below. The exit
                    # code may overtake output, so the end of output is waited for too; but not
                    # for ever, as a daemon that the command started may keep it open.
                    ended = channel.exit_status_ready()
                    finished = ended and (
                        channel.eof_received or time.monotonic() - quiet_since > 1.0
                    )
                    busy = False
                    if sent < len(stdin) and channel.send_ready():
                        sent += channel.send(stdin[sent : sent + 65536])
                        busy = True
                        if sent == len(stdin):
                            channel.shutdown_write()
                    while channel.recv_ready():
                        out += channel.recv(65536)
                        busy = True
                    while channel.recv_stderr_ready():
                        err += channel.recv_stderr(65536)
                        busy = True
                    if busy or not ended:
                        quiet_since = time.monotonic()
                    if finished and not busy:
                        break
                    if channel.closed and not busy and not channel.recv_ready():
                        break
                    if time.monotonic() > deadline:
                        raise SshError(
                            f"{self.target.name}: {argv[0]} gave no answer in {timeout:.0f} s"
                        )
                    if busy:
                        last = time.monotonic()
                    elif ended:
                        time.sleep(0.002)
                    else:
                        # Its end is told at once. For output, what was silent for long is looked
                        # at less often: looking costs a processor, and here wait many.
                        silent = time.monotonic() - last
                        channel.status_event.wait(min(0.1, 0.005 + silent / 20))
                if not channel.exit_status_ready():
                    raise SshError(f"{self.target.name}: the session was lost during {argv[0]}")
                code = channel.recv_exit_status()
                transport = self._client.get_transport()
                if code == -1 and (transport is None or not transport.is_active()):
                    # A session that ends has no exit code; nor has a command ended by a signal.
                    raise SshError(f"{self.target.name}: the session was lost during {argv[0]}")
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise SshError(f"{self.target.name}: the session was lost: {error}") from error
        result = Result(code, bytes(out), bytes(err))
        if check and code != 0:
            raise CommandError(self.target.name, argv, result)
        return result

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """Replace the file `path` by `data` in one step; no moment at which others may read it."""
        self.run(("sh", "-c", _WRITE, "write", path, f"{mode:o}"), stdin=data)


def connect(target: Target, *, timeout: float = 10.0) -> Connection:
    """Open a session to `target`, as the first of its users whose door our key opens; the
    session's own target names that one. Raise HostKeyError, RefusedKeyError (of the first user)
    or SshError; nothing is sent before the host key is verified."""
    refused: RefusedKeyError | None = None
    for user in dict.fromkeys((target.user, *target.others)):
        try:
            return _connect(replace(target, user=user), timeout)
        except RefusedKeyError as error:
            refused = refused or error
    assert refused is not None  # noqa: S101 (there is at least one user)
    raise refused


def is_protected(key_file: Path) -> bool:
    """Whether a private key is protected by a passphrase. What cannot be read is not: using it
    will tell what it is. (PROTOCOL.key in OpenSSH's source, RFC 7468.)"""
    import base64

    try:
        data = key_file.read_bytes().strip()
        if not data.startswith(b"-----BEGIN OPENSSH"):
            return data.startswith(b"-----BEGIN ") and b"ENCRYPTED" in data[:200]
        head = base64.b64decode(b"".join(data.splitlines()[1:-1]))[15:]
        return not head.startswith(b"\0\0\0\4none")  # the cipher
    except (OSError, ValueError):
        return False


@functools.cache
def unlocked(key_file: Path, passphrase: str) -> paramiko.PKey:
    """The private key. Raise RefusedKeyError when the passphrase does not open it."""
    import paramiko

    try:
        return paramiko.PKey.from_path(key_file, passphrase.encode())
    except (TypeError, ValueError, paramiko.SSHException):  # TypeError: an empty passphrase
        raise RefusedKeyError(
            f"wrong passphrase for the private key {key_file}: nothing was sent. Try again"
        ) from None


def _own_key(target: Target) -> dict[str, Any]:
    """Which key to show, in paramiko's words. Raise SshError."""
    file = target.key_file
    if file is None or target.passphrase is None or not is_protected(file):
        return {"key_filename": str(file) if file else None}
    return {"pkey": unlocked(file, target.passphrase(str(file)))}


def _hush() -> None:
    """What paramiko raises it prints as well, with a traceback; we say it in our words."""
    import logging

    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)


def _connect(target: Target, timeout: float) -> Connection:
    import paramiko

    _hush()
    own_key = _own_key(target)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(cast(Any, _OnlyThisKey(target)))
    try:
        sock = socket.create_connection((target.address, target.port), timeout=timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A host that vanishes without a word is noticed after a minute (with the keepalive
        # below), not after the quarter of an hour that Linux would go on sending.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
        disabled = {}
        if target.host_key is not None and not target.host_key.startswith("ssh-rsa"):
            # Ask for the kind of key that we know, or the host may show another of its own.
            kind = target.host_key.split()[0]
            known = paramiko.Transport._preferred_keys  # type: ignore[attr-defined]
            disabled = {"keys": [k for k in known if k != kind]}
        client.connect(
            target.address,
            port=target.port,
            username=target.user,
            **own_key,
            allow_agent=target.key_file is None and bool(os.environ.get("SSH_AUTH_SOCK")),
            look_for_keys=target.key_file is None,
            timeout=timeout,
            banner_timeout=timeout,
            auth_timeout=timeout,
            sock=sock,
            disabled_algorithms=disabled,
        )
        transport = client.get_transport()
        if transport is not None:
            transport.set_keepalive(15)
    except HostKeyError:
        client.close()
        raise
    except paramiko.PasswordRequiredException:
        client.close()
        raise RefusedKeyError(
            f"{target.name} ({target.address}): the private key is protected by a passphrase. Give "
            "it to an SSH agent (ssh-add), or name its file in RELEVE_SSH_KEY to be asked"
        ) from None
    except paramiko.AuthenticationException:
        client.close()
        raise RefusedKeyError(
            f"{target.name} ({target.address}) refused the key shown for {target.user}. "
            "Is your public key among the operators' keys, and is RELEVE_SSH_KEY the right file?"
        ) from None
    except (OSError, EOFError, paramiko.SSHException) as error:
        client.close()
        if str(error) == "No authentication methods available":
            raise RefusedKeyError(
                f"{target.name} ({target.address}) was reached, but there is no private key here "
                "to show it: no SSH agent holds one, and ~/.ssh has none of the usual names. Name "
                "yours: export RELEVE_SSH_KEY=FILE"
            ) from None
        raise SshError(
            f"{target.name} ({target.address}, port {target.port}) cannot be reached: {_why(error)}"
        ) from error
    return Connection(target, client)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENETUNREACH:
        return "this machine has no way there. Is its own network up?"
    return getattr(error, "strerror", None) or str(error)


def scan(address: str, port: int = 22, *, timeout: float = 10.0) -> str:
    """The ed25519 host key that a machine shows, "TYPE BASE64", unverified. Raise SshError."""
    import paramiko

    _hush()
    try:
        with contextlib.closing(
            paramiko.Transport(socket.create_connection((address, port), timeout=timeout))
        ) as transport:
            transport.get_security_options().key_types = ("ssh-ed25519",)
            transport.start_client(timeout=timeout)
            key = transport.get_remote_server_key()
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise SshError(f"{address}, port {port}, cannot be reached: {_why(error)}") from error
    return f"{key.get_name()} {key.get_base64()}"


@contextlib.contextmanager
def session(target: Target, *, timeout: float = 10.0) -> Iterator[Connection]:
    """`connect`, closed at the end."""
    connection = connect(target, timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()
