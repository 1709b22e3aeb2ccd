"""What happens on a host before the first operation: its lock, its memory, its drift."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import sys
from datetime import UTC, datetime
from typing import Any

from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.util import CommandOutput

from deploy import applied
from deploy.events import emit
from deploy.refusal import misplaced
from inventories.load import digest
from inventories.model import Host, Inventory
from platforms.ops import RefusedError
from tools.shell import BusyError
from tools.ssh import SshError

OLDER_VARIABLE = "RELEVE_OLDER"


class LockedError(RefusedError):
    kind = "busy"


def who() -> str:
    """Who runs this, for people who wonder later: user and machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def begin(host: Any, wanted: Host, inventory: Inventory) -> None:
    """Take the lock (unless this is a dry run), read what was applied and what became of it. What
    was read stays in `host.connector_data` for `tell_drift` and `deploy.finish`.

    Raise RefusedError: wrong platform, busy, an older inventory, or a memory that is damaged.
    """
    if refusal := misplaced(wanted, inventory):
        raise RefusedError(refusal)
    data = host.connector_data
    data["releve_note"] = lambda kind, **values: _note(host, kind, **values)
    data["releve_placed"], data["releve_placed_by"] = {}, {}
    _lock(host)
    memory = applied.parse(_read(host, f"cat -- {applied.PATH} 2>/dev/null || :").stdout)
    data["releve_applied"] = memory
    data["releve_found"] = _hashes(host, memory)
    data["releve_digest"] = digest(inventory)
    if applied.is_older(data["releve_digest"], memory) and not os.environ.get(OLDER_VARIABLE):
        raise RefusedError(
            f"{wanted.id} has a newer inventory than this one: the last was applied {memory.at} by "
            f"{memory.who}, and this one was applied before it. Fetch the newest version of the "
            "file; or, to really go back, deploy with --older."
        )


def tell_drift(host: Any) -> None:
    """Name the files that were changed by hand, now that it is known what this deploy wants in
    them: one that is so already was placed by a deploy that did not come to its end."""
    data = host.connector_data
    if "releve_found" not in data:
        return
    memory: applied.Applied = data["releve_applied"]
    changed = applied.drift(memory, data["releve_found"], data["releve_placed"])
    if changed:
        emit("drift", host=host.name, since=memory.at, files=[list(item) for item in changed])
    for path, what in changed:
        host.log(f"{path} was {what} by hand since {memory.at}")


def _note(host: Any, kind: str, **values: Any) -> None:
    data = host.connector_data
    if kind == "file":
        data["releve_placed"][values["path"]] = values["sha256"]
        data["releve_placed_by"][values["path"]] = host.current_op_hash
    elif kind == "picture":
        # The first is what the last deploy is compared with, the last is what is remembered.
        if "releve_picture" not in data and (
            lines := values["told"](data["releve_applied"].picture)
        ):
            emit("by hand", host=host.name, since=data["releve_applied"].at, lines=list(lines))
        data["releve_picture"] = values["picture"]
    else:
        emit(kind, host=host.name, op=host.current_op_hash, **values)


def dry() -> bool:
    """Whether this pyinfra only predicts."""
    return "--dry" in sys.argv


def _lock(host: Any) -> None:
    shell = getattr(host.connector, "shell", None)
    if shell is None or dry():
        return
    try:
        shell.take_lock(applied.LOCK, {"verb": "deploy", "since": now(), "who": who()})
    except BusyError as error:
        raise LockedError(str(error)) from error
    except SshError as error:
        raise RefusedError(str(error)) from error


def _read(host: Any, command: str) -> CommandOutput:
    output: CommandOutput
    done, output = host.run_shell_command(command)
    if not done:
        raise RefusedError(f"{host.name}: {command.split()[0]} failed: {output.stderr}")
    return output


def _hashes(host: Any, memory: applied.Applied) -> dict[str, str]:
    """path -> SHA-256 now, of the files that the last deploy placed and that are still there."""
    if not memory.files:
        return {}
    # -z: names as they are, without escapes.
    command = f"sha256sum -z -- {shlex.join(memory.files)} 2>/dev/null | tr '\\0' '\\n'; :"
    lines = _read(host, command).stdout_lines
    return {line[66:]: line[:64] for line in lines if line[64:66] == "  "}


def fail(state: Any, host: Any, error: Exception) -> None:
    """Leave this host out from here on, and say why; the others go on."""
    kind = error.kind if isinstance(error, RefusedError) else "failed"
    message = str(error) if kind != "failed" else f"{type(error).__name__}: {error}"
    emit(kind, host=host.name, message=message)
    host.log_styled(message, fg="red")
    try:
        state.fail_hosts({host})
    except PyinfraError:
        if not state.active_hosts:
            raise  # "No hosts remaining!": pyinfra ends here, and so do we
