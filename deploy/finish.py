"""The first and last words of a deploy on a host: waiting for the others, and remembering."""

from __future__ import annotations

from collections.abc import Generator
from importlib.metadata import version
from typing import Any

from pyinfra.api.command import FileUploadCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from deploy import applied, begin
from deploy.events import failed_services
from platforms import ops


@operation()
def barrier() -> Generator[Any, None, None]:
    """Nothing. Pyinfra orders operations per host only; one that every host has is where they
    wait for each other."""
    yield from ()


@operation()
def remember() -> Generator[FileUploadCommand, None, None]:
    """Write down what was applied, if that is not written there yet. The last operation."""
    data = host.connector_data
    before: applied.Applied = data["releve_applied"]
    failed = failed_services(host)
    entry = applied.after(
        before,
        digest=data["releve_digest"],
        at=begin.now(),
        who=begin.who(),
        releve=version("releve"),
        # A service that failed may have placed some of its files: what they were stays known.
        placed=begin.seen_to(host, but=failed),
        found=data["releve_found"],
        stages=data["releve_stages"],
        all_of_it=data["releve_all"] and not failed,
        picture=data.get("releve_picture"),
    )
    if entry is before:
        return
    text = applied.render(entry).encode()
    yield ops.Placed(ops.File(applied.PATH, text, mode=0o600, secret=True))
