"""The first and last words of a deploy on a host: waiting for the others, what nothing asks for any
more, and remembering."""

from __future__ import annotations

import os
from collections.abc import Generator
from importlib.metadata import version
from typing import Any

from pyinfra.api.command import FileUploadCommand, QuoteString, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from deploy import applied, begin
from deploy.events import failed_services
from platforms import ops
from platforms.debian import steps, web

RETIRE_VARIABLE = "RELEVE_RETIRE"


@operation()
def barrier() -> Generator[Any, None, None]:
    """Nothing. Pyinfra orders operations per host only; one that every host has is where they
    wait for each other."""
    yield from ()


def _unclaimed() -> tuple[str, ...] | None:
    """What goes on here and nothing asks for any more; None when this run does not see to all that
    the host has, and cannot know. Every site and every unit is asked for when it is configured."""
    data = host.connector_data
    if not data["releve_all"] or "configure" not in data["releve_stages"]:
        return None
    memory: applied.Applied = data["releve_applied"]
    wanted = begin.seen_to(host)
    names = applied.unclaimed(memory.left, data["releve_found"], wanted, web.DEPLOYED)
    # What all sites share is no site.
    return tuple(name for name in names if name not in dict(web.SHARED_FILES))


@operation()
def retire() -> Generator[StringCommand, None, None]:
    """Tell what goes on here and nothing asks for any more; switch it off when that is wanted."""
    names = _unclaimed()
    if not names:
        return
    if not os.environ.get(RETIRE_VARIABLE):
        ops.note(
            "warning",
            message=f"the inventory asks for these no more, and they go on here: {', '.join(names)}"
            ". What they belong to is in no copy any more, and the firewall is shut for what "
            "nothing else here needs. To switch them off, with their data left where they are: "
            "releve deploy FILE --retire. If that is a mistake, put the service back into the "
            "inventory.",
        )
        return
    sites = [name for name in names if name.startswith("/")]
    for name in (*names, *map(web.live, sites)):
        ops.note("gone", name=name)
    for name in names:
        ops.note("diff", path="", text=f"{name}: switched off, its data stay")
    if units := [name for name in names if name not in sites]:
        yield StringCommand("systemctl disable --now --", *(QuoteString(name) for name in units))
    if sites:
        yield StringCommand(steps.sites_gone(*sites).run_command())


@operation()
def remember() -> Generator[FileUploadCommand, None, None]:
    """Write down what was applied, if that is not written there yet. The last operation."""
    data = host.connector_data
    before: applied.Applied = data["releve_applied"]
    failed = failed_services(host)
    unclaimed, gone = _unclaimed(), data["releve_gone"]
    entry = applied.after(
        before,
        digest=data["releve_digest"],
        at=begin.now(),
        who=begin.who(),
        releve=version("releve"),
        # A service that failed may have placed some of its files: what they were stays known.
        placed=begin.seen_to(host, but=failed),
        found=applied.without(data["releve_found"], gone),
        stages=data["releve_stages"],
        all_of_it=data["releve_all"] and not failed,
        picture=data.get("releve_picture"),
        unclaimed=unclaimed and tuple(name for name in unclaimed if name not in gone),
    )
    if entry is before:
        return
    text = applied.render(entry).encode()
    yield ops.Placed(ops.File(applied.PATH, text, mode=0o600, secret=True))
