"""The inventory, as pyinfra sees it: `pyinfra @releve/inventories/atelier.toml deploy/site.py`.

Each host of the inventory becomes a pyinfra host of the same name, in groups named after its
duties, the roles of its services, the services themselves, its platform and its datacenter.

Commands run in one root shell that stays open (`tools.shell`): one round trip each.

**The fact cache.** Pyinfra asks every fact twice: while it prepares, to predict changes, and
again while it executes. Whatever runs in the first phase only reads, since operations are
merely queued there; so each answer is kept, under the exact text of its command. In the
second phase a command whose answer is known is answered from memory, *until* a command that was
not seen before runs on that host, or a file is written: that may have changed anything, so
everything remembered of that host is dropped then, for good. A deploy that finds nothing to
change thus asks each fact once; one that changes something asks again from there on, and never
acts on an old answer. One thing it cannot know: what somebody else changes on the host between
the two phases. The host's lock keeps Relève itself from doing that.
"""

# ruff: noqa: ARG002 (pyinfra gives these methods their arguments)
from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from io import IOBase
from pathlib import Path
from typing import IO, Any, cast

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, InventoryError
from pyinfra.api.output import echo
from pyinfra.api.state import StateStage
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command_for_host

import inventories.problems
import roles
from deploy.events import LOST, emit
from inventories.access import ssh_target
from inventories.model import Host, Inventory
from tools.shell import BusyError, Shell
from tools.ssh import (
    CommandError,
    Connection,
    HostKeyError,
    RefusedKeyError,
    Result,
    SshError,
    connect,
)

# What a command may take when the operation names no limit: a distribution's slowest package.
DEFAULT_TIMEOUT = 1800.0
# How long a session that was lost is replaced for, in seconds: a host may be restarting, or not
# have noticed yet that the old session, and with it the lock, is gone.
RECONNECT = 300.0

_PUT = """
set -eu; umask 077
d=$(readlink -f -- "$1" || printf %s "$1"); t=$(mktemp -- "$d.XXXXXX"); trap 'rm -f -- "$t"' EXIT
cat > "$t"
if [ -n "$3" ]; then chown -- "$3" "$t"; elif [ -e "$d" ]; then chown --reference="$d" -- "$t"; fi
if [ -n "$2" ]; then chmod -- "$2" "$t"; elif [ -e "$d" ]; then chmod --reference="$d" -- "$t"; fi
mv -f -T -- "$t" "$d"; trap - EXIT
"""

_inventories: dict[Path, Inventory] = {}


def inventory_of(path: str | Path) -> Inventory:
    """The inventory in `path`, read once per process. Raise pyinfra's InventoryError."""
    resolved = Path(path).resolve()
    if resolved not in _inventories:
        try:
            _inventories[resolved] = roles.load(resolved)
        except inventories.problems.InventoryError as error:
            raise InventoryError(str(error)) from error
    return _inventories[resolved]


def groups_of(host: Host, inventory: Inventory) -> list[str]:
    """The pyinfra groups of a host: duties, roles of services, services, platform, datacenter."""
    datacenter = re.sub(r"[^a-z0-9]+", "-", host.datacenter.lower()).strip("-")
    services = inventory.services_on(host.id)
    names = [*host.roles, *(s.role for s in services), *(s.id for s in services)]
    names += [host.platform, f"datacenter-{datacenter}"]
    # `--limit NAME` takes a group before a host: a service called like another host must not
    # turn that limit to the wrong one.
    return [name for name in dict.fromkeys(names) if name not in inventory.hosts]


class ReleveConnector(BaseConnector):
    """See the module's docstring."""

    handles_execution = True

    def __init__(self, state: Any, host: Any) -> None:
        super().__init__(state, host)
        self._connection: Connection | None = None
        self._shell: Shell | None = None
        self._answers: dict[str, Result] = {}
        self._wrote = False

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """`name` is the path of the inventory file, as after `@releve/`."""
        if not name:
            raise InventoryError("write @releve/PATH, such as @releve/inventories/atelier.toml")
        inventory = inventory_of(name)
        for host in inventory.hosts.values():
            data = {
                "releve_inventory": str(Path(name).resolve()),
                "releve_host": host.id,
                # The state is owned by root; `user` reaches it through sudo in the shell.
                "ssh_hostname": str(host.address),
                "ssh_user": host.user,
                "ssh_port": host.port,
            }
            yield host.id, data, groups_of(host, inventory)

    @property
    def releve_host(self) -> Host:
        """The host of the inventory behind this connection."""
        return inventory_of(self.host.data.releve_inventory).hosts[self.host.data.releve_host]

    @property
    def connection(self) -> Connection:
        """The open session. Raise ConnectionError when there is none."""
        if self._connection is None:
            raise ConnectionError(f"{self.host.name}: not connected")
        return self._connection

    @property
    def shell(self) -> Shell:
        """The root shell that stays open. Raise ConnectionError when there is none."""
        if self._shell is None:
            raise ConnectionError(f"{self.host.name}: not connected")
        return self._shell

    def connect(self) -> None:
        """Open the session. Raise ConnectError with what happened and what to do."""
        try:
            self._connection = connect(ssh_target(self.releve_host))
        except SshError as error:
            # What is wrong with a key is said by the error itself, with what to do.
            told = isinstance(error, RefusedKeyError | HostKeyError)
            denied = isinstance(error, RefusedKeyError)
            about = {"message": str(error), "told": told, "denied": denied}
            emit("unreachable", host=self.host.name, **about)
            raise ConnectError(str(error)) from error
        self._shell = Shell(self._connection)

    def disconnect(self) -> None:
        """End the shell (and with it the host's lock) and the session."""
        if self._shell is not None:
            self._shell.close()
        if self._connection is not None:
            self._connection.close()
        self._shell = self._connection = None

    def run_shell_command(
        self,
        command: StringCommand,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> tuple[bool, CommandOutput]:
        """Run a command line as root, or as `_sudo_user`/`_su_user`; see BaseConnector.

        Raise ConnectionError (an OSError, which pyinfra turns into a failed host) on a lost
        session, TimeoutError after `_timeout` seconds.
        """
        arguments.pop("_get_pty", None)
        timeout = arguments.pop("_timeout", None) or DEFAULT_TIMEOUT
        stdin = arguments.pop("_stdin", None)
        success = arguments.pop("_success_exit_codes", None) or [0]
        _as_root(arguments)
        unix = make_unix_command_for_host(self.state, self.host, command, **arguments)
        if print_input:
            echo(f"{self.host.print_prefix}>>> {unix}", err=True)
        result = self._answer(unix.get_raw_value(), stdin, float(timeout))
        if result.exit_code == 124 and 124 not in success:
            message = f"{self.host.name}: no end after {timeout:.0f} s; it was stopped"
            self.host.connector_data["releve_error"] = message
            raise TimeoutError(message)
        output = _output(result)
        if result.exit_code not in success and self.state.current_stage < StateStage.Execute:
            # Whoever asked may give the host up for it, and says nothing then.
            asked, said = _short(unix.get_raw_value()), " / ".join(output.output_lines[-3:])
            self.host.connector_data["releve_error"] = (
                f"{asked} ended with code {result.exit_code}" + (f": {said}" if said else "")
            )
        if print_output:
            for line in output.output_lines:
                echo(f"{self.host.print_prefix}{line}", err=True)
        return result.exit_code in success, output

    def _answer(self, line: str, stdin: Any, timeout: float) -> Result:
        preparing = self.state.current_stage < StateStage.Execute
        if stdin is None and not self._wrote and line in self._answers:
            return self._answers[line]
        if not preparing:
            self.forget()
        try:
            if stdin is not None:
                argv = ("sh", "-c", line)
                data = _stdin_bytes(stdin)
                result = self.connection.run(argv, stdin=data, timeout=timeout, check=False)
            else:
                result = self.shell.run(line, timeout=timeout)
        except SshError as error:
            raise self._lost(str(error)) from error
        if preparing and stdin is None:
            self._answers[line] = result
        return result

    def _lost(self, message: str, *, session: bool = True) -> ConnectionError:
        """An error of the kind that pyinfra turns into a failed operation. Pyinfra only logs its
        text, so that it is kept for the report here."""
        self.host.connector_data["releve_error"] = message
        if session:
            self.host.connector_data[LOST] = True
        return ConnectionError(message)

    def outlast(self, argv: Sequence[str], stdin: bytes, *, timeout: float) -> Result:
        """Run a command whose work goes on when the session is lost, and which, given the same
        input again, answers with the result of that work instead of repeating it.

        When the session is lost, a new one is opened, the host's lock is taken again, and the
        command is asked again, for some minutes. `timeout` in seconds. Raise ConnectionError.
        """
        self.forget()
        deadline = time.monotonic() + timeout
        while True:
            try:
                left = max(30.0, deadline - time.monotonic())
                return self.connection.run(argv, stdin=stdin, timeout=left, check=False)
            except SshError as error:
                if time.monotonic() > deadline:
                    raise self._lost(str(error)) from error
                emit("progress", host=self.host.name, message=f"{error}. Asking again …")
                self._reconnect(error)

    def _reconnect(self, lost: SshError) -> None:
        """Replace a session that was lost. Raise ConnectionError when that does not succeed."""
        lock = self.shell.lock
        self.disconnect()
        deadline = time.monotonic() + RECONNECT
        while True:
            time.sleep(2)
            try:
                self._connection = connect(ssh_target(self.releve_host))
                self._shell = Shell(self._connection)
                if lock is not None:
                    self._shell.take_lock(*lock)
                return
            except (SshError, BusyError) as error:
                # The lock of the lost session is free when the host has noticed the loss.
                if time.monotonic() > deadline:
                    raise self._lost(f"{lost}; and then: {error}") from error

    def forget(self) -> None:
        """Drop every remembered answer of this host, for good: something may have changed."""
        self._wrote = True
        self._answers.clear()

    def put_file(
        self,
        filename_or_io: str | IOBase,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Replace a file in one step.

        The content first lies in a file beside it that only root may read. A file that was there
        keeps its owner and mode; a new one is root's, 0600, until the operation says otherwise
        (so give `mode=`).
        """
        with get_file_io(cast(IO[Any], filename_or_io)) as source:
            content = source.read()
        data = content.encode() if isinstance(content, str) else bytes(content)
        owner = arguments.get("_su_user") or arguments.get("_sudo_user") or ""
        self.place(remote_filename, data, owner=owner)
        if print_output:
            echo(f"{self.host.print_prefix}file uploaded: {remote_filename}", err=True)
        return True

    def place(self, path: str, content: bytes, *, mode: str = "", owner: str = "") -> None:
        """Make `content` the file `path` in one step, with `mode` (octal) and `owner` (as chown
        reads it) from the first moment on. Empty: as the file was. Raise ConnectionError."""
        self.forget()
        # A megabyte per second is the slowest line we wait for.
        timeout = 60.0 + len(content) / 1_000_000
        argv = ("sh", "-c", _PUT, "put", path, mode, owner)
        try:
            self.connection.run(argv, stdin=content, timeout=timeout)
        except (SshError, CommandError) as error:
            lost = not isinstance(error, CommandError)
            raise self._lost(f"{path}: {error}", session=lost) from error

    def get_file(
        self,
        remote_filename: str,
        filename_or_io: str | IOBase,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Read a file as root; no readable copy of it is made on the host."""
        try:
            result = self.connection.run(("cat", "--", remote_filename), timeout=600)
        except (SshError, CommandError) as error:
            raise self._lost(str(error), session=not isinstance(error, CommandError)) from error
        with get_file_io(cast(IO[Any], filename_or_io), "wb") as target:
            target.write(result.stdout)
        return True


def _short(line: str) -> str:
    text = " ".join(line.split())
    return text if len(text) <= 200 else f"{text[:160]} … {text[-36:]}"


def _as_root(arguments: dict[str, Any]) -> None:
    """The shell is root's: plain sudo is nothing to do, sudo to a user is su (always there)."""
    if arguments.pop("_sudo", False) or arguments.get("_sudo_user"):
        user = arguments.pop("_sudo_user", None)
        for key in ("_sudo_password", "_use_sudo_login", "_preserve_sudo_env"):
            arguments.pop(key, None)
        if user and not arguments.get("_su_user"):
            arguments["_su_user"] = user
            arguments["_su_shell"] = "sh"


def _stdin_bytes(stdin: Any) -> bytes:
    """What pyinfra calls stdin (text, lines, or something to read) as it would send it."""
    if hasattr(stdin, "readlines"):
        stdin = stdin.readlines()
    lines = stdin if isinstance(stdin, (list, tuple)) else [stdin]
    return b"".join((line if line.endswith("\n") else f"{line}\n").encode() for line in lines)


def _output(result: Result) -> CommandOutput:
    lines = [
        OutputLine(name, line)
        for name, data in (("stdout", result.stdout), ("stderr", result.stderr))
        for line in data.decode(errors="replace").removesuffix("\n").split("\n")
        if data
    ]
    return CommandOutput(lines)
