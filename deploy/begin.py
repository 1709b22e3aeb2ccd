"""What happens on a host before the first operation: its lock, its memory, its drift."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.util import CommandOutput

from deploy import applied
from deploy.events import emit, told
from deploy.refusal import misplaced
from inventories.load import digest
from inventories.model import Host, Inventory
from platforms.ops import Packages, Paths, RefusedError, Units, is_on, parse_paths
from tools import words
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
    data["releve_seen_to"] = {}
    data["releve_gone"] = set()
    _lock(host)
    memory = applied.parse(_read(host, f"cat -- {applied.PATH} 2>/dev/null || :").stdout)
    data["releve_applied"] = memory
    data["releve_found"] = _found(host, memory.left)
    data["releve_digest"] = digest(inventory)
    if applied.is_older(data["releve_digest"], memory) and not os.environ.get(OLDER_VARIABLE):
        raise RefusedError(
            f"{wanted.id} has a newer inventory than this one: the last was applied {memory.at} by "
            f"{memory.who}, and what this one says was applied before it. If somebody else changed "
            "the file meanwhile, fetch the newest version; if you took a change back, deploy with "
            "--older."
        )


def tell_drift(host: Any) -> None:
    """Name what was changed by hand, now that it is known what this deploy wants: a file that is so
    already was placed by a deploy that did not come to its end."""
    data = host.connector_data
    if "releve_found" not in data:
        return
    memory: applied.Applied = data["releve_applied"]
    changed = applied.drift(memory, data["releve_found"], seen_to(host))
    if changed:
        emit("drift", host=host.name, since=memory.at, files=[list(item) for item in changed])
    for what, how in changed:
        host.log(f"changed by hand since {memory.at}: {what} ({how})")


def _note(host: Any, kind: str, **values: Any) -> None:
    data = host.connector_data
    if kind == "file":
        noted = (values["sha256"], values["mode"])
        data["releve_seen_to"][kind, values["path"]] = (noted, host.current_op_hash)
    elif kind == "copy":
        # Of a file that was noted before: either may be changed by hand.
        if of := data["releve_seen_to"].get(("file", values["of"])):
            data["releve_seen_to"]["file", values["path"]] = (of[0], host.current_op_hash)
    elif kind in ("unit", "package"):
        data["releve_seen_to"][kind, values["name"]] = (values["words"], host.current_op_hash)
    elif kind == "gone":
        # By this deploy, not by hand.
        data["releve_gone"].add(values["name"])
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


def seen_to(host: Any, but: Collection[str] = ()) -> applied.Things:
    """What this deploy wants on the host, as far as its operations said; `but`: leave out what is
    only for these services."""
    owners: Mapping[str, str] = host.connector_data.get("releve_owners", {})
    seen = host.connector_data["releve_seen_to"]
    here = {thing: noted for thing, (noted, op) in seen.items() if owners.get(op) not in but}
    return applied.Things(
        files={name: noted for (kind, name), noted in here.items() if kind == "file"},
        units={name: noted for (kind, name), noted in here.items() if kind == "unit"},
        packages=frozenset(name for kind, name in here if kind == "package"),
    )


_UNITS, _PACKAGES = "-- units", "-- packages"


def _found(host: Any, left: applied.Things) -> applied.Things:
    """How all that earlier deploys left is now, asked by one command."""
    asked = []
    if left.files:
        asked.append(Paths().command(list(left.files)).get_raw_value())
    asked.append(f"echo '{_UNITS}'")
    if left.units:
        asked.append(Units().command(list(left.units)))
    asked.append(f"echo '{_PACKAGES}'")
    if left.packages:
        asked.append(f"{Packages().command()} -- {words.line(sorted(left.packages))} 2>/dev/null")
    if len(asked) == 2:
        return applied.Things()
    lines = _read(host, "; ".join((*asked, ":"))).stdout_lines
    at_units, at_packages = lines.index(_UNITS), lines.index(_PACKAGES)
    units = Units().process(lines[at_units + 1 : at_packages])
    return applied.Things(
        files={
            path: (found.sha256, f"{found.mode:o} {found.owner}:{found.group}")
            for path, found in parse_paths(lines[:at_units]).items()
            if found.sha256  # what else stands there is not the file any more
        },
        units={
            # One that failed is not one that somebody stopped.
            name: " ".join(["enabled"] * is_on(enabled) + ["running"] * (active != "inactive"))
            for name, (load, active, enabled) in units.items()
            if load != "not-found"
        },
        packages=frozenset(Packages().process(lines[at_packages + 1 :])),
    )


def fail(state: Any, host: Any, error: Exception) -> None:
    """Leave this host out from here on, and say why; the others go on."""
    kind = error.kind if isinstance(error, RefusedError) else "failed"
    message = told(error)
    emit(kind, host=host.name, message=message)
    host.log_styled(message, fg="red")
    try:
        state.fail_hosts({host})
    except PyinfraError:
        if not state.active_hosts:
            raise  # "No hosts remaining!": pyinfra ends here, and so do we
