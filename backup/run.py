"""`releve backup run`: have a host save itself now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backup import remote
from backup.remote import Progress
from tools.ssh import Connection


@dataclass(frozen=True)
class Saved:
    """What a run left: its id, the snapshot, sizes in bytes, seconds, and each service's errors."""

    run: str
    host: str
    snapshot: str
    bytes: int
    bytes_added: int
    seconds: float
    errors: dict[str, tuple[str, ...]]

    @property
    def ok(self) -> bool:
        """Whether every service was saved completely, and the server itself."""
        return not any(errors for name, errors in self.errors.items() if not is_stranger(name))


def is_stranger(name: str) -> bool:
    """Whether a result of a run is of an app that is no service of the inventory."""
    return name.startswith("apps/")


def called(name: str) -> str:
    """What people call the name of a result: duties of a host begin with _."""
    return "the server itself" if name == "_base" else name.lstrip("_")


def parse(receipt: dict[str, Any]) -> Saved:
    """Given the agent's receipt of a run that made a snapshot, return what counts of it."""
    return Saved(
        run=str(receipt["run"]),
        host=str(receipt["host"]),
        snapshot=str(receipt["snapshot"]),
        bytes=int(receipt.get("bytes") or 0),
        bytes_added=int(receipt.get("bytes_added") or 0),
        seconds=float(receipt.get("seconds") or 0),
        errors={
            name: tuple(map(str, about["errors"]))
            for name, about in receipt.get("services", {}).items()
        },
    )


def run(connection: Connection, *, on_progress: Progress | None = None) -> Saved:
    """Have the host at the other end save itself; wait for it.

    Raise BusyError when something else holds its lock, BackupError when nothing was saved,
    SshError when the session is lost (the run then goes on by itself).
    """
    return parse(remote.call(connection, ("backup",), on_progress=on_progress))
