"""What a rebuild remembers while it is under way: when the host was lost, and where it stood.

Its first step changes the inventory, which then says nothing of the lost machine any more. So
that one that was cut off still knows it, a small file lies beside the inventory until all is done.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from inventories.model import Host
from recovery.errors import RecoveryError
from recovery.phases import Phase
from tools.files import replace_file


@dataclass(frozen=True)
class Machine:
    """A machine that was given up, as the inventory knew it."""

    address: str
    port: int
    host_key: str | None
    provider: str
    datacenter: str

    @classmethod
    def of(cls, host: Host) -> Machine:
        """The machine that a host of the inventory is."""
        return cls(str(host.address), host.port, host.host_key, host.provider, host.datacenter)

    def apply(self, host: Host) -> Host:
        """The host as it was on this machine."""
        known = {**asdict(self), "address": ip_address(self.address), "address6": None}
        return host.model_copy(update=known)


@dataclass(frozen=True)
class Loss:
    """What is known of a loss. Times are UTC.

    `machines`: those that were given up, the lost one first; after it machines on which a rebuild
    was begun and not ended. `back_at`: when every service was back. `names_until`: until when
    resolvers may remember where the names led before. `phases`: what was done until now.
    """

    lost_at: datetime
    machines: tuple[Machine, ...]
    back_at: datetime | None = None
    names_until: datetime | None = None
    phases: tuple[Phase, ...] = ()


def begun(known: Loss | None, host: Host, *, moved: bool, at: datetime) -> Loss:
    """The loss that a rebuild of `host` beginning now is about: the one that is `known`, or a new
    one at `at`. `moved`: the inventory has the host at its new place already. What lies between a
    run that was cut off and this one is a phase as well. Pure."""
    here = Machine.of(host)
    if known is None or (known.back_at is not None and not moved):
        return Loss(at, (here,))
    ends = [phase.started + timedelta(seconds=phase.seconds) for phase in known.phases]
    since = max((end.replace(microsecond=0) for end in ends), default=known.lost_at)
    seconds = max(0.0, (at - since).total_seconds())
    between = Phase("cut-off", since, seconds, ok=True, counted=known.back_at is None)
    known = replace(known, phases=(*known.phases, between))
    if moved or here in known.machines:
        return known
    return replace(known, machines=(*known.machines, here))


def path(file: Path, host_id: str) -> Path:
    """Where the loss of a host of the inventory `file` is remembered."""
    return file.with_name(f"{file.stem}.{host_id}.rebuild.json")


def read(file: Path, host_id: str) -> Loss | None:
    """What is remembered, None when nothing is. Raise RecoveryError when it cannot be read."""
    remembered = path(file, host_id)
    try:
        said = json.loads(remembered.read_bytes())
        times = {
            name: datetime.fromisoformat(said[name]) if said[name] else None
            for name in ("back_at", "names_until")
        }
        machines = tuple(Machine(**machine) for machine in said["machines"])
        phases = tuple(
            Phase(**{**phase, "started": datetime.fromisoformat(phase["started"])})
            for phase in said["phases"]
        )
        return Loss(datetime.fromisoformat(said["lost_at"]), machines, **times, phases=phases)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RecoveryError(
            f"{remembered} is damaged ({error}). It says when {host_id} was lost and where it "
            "stood. Remove it, and the rebuild goes on without: its time counts from now."
        ) from None


def remember(file: Path, host_id: str, loss: Loss) -> None:
    """Keep it beside the inventory, in one step. Raise OSError."""
    text = json.dumps(asdict(loss), indent=1, default=lambda moment: moment.isoformat())
    replace_file(path(file, host_id), text.encode() + b"\n", mode=0o644)


class Memory:
    """The loss that a run is about: what is changed here is remembered at once."""

    def __init__(self, file: Path, host_id: str, loss: Loss) -> None:
        self._file, self._host_id, self.loss = file, host_id, loss
        remember(file, host_id, loss)

    def update(self, **changes: Any) -> None:
        """Change fields of the loss. Raise OSError."""
        self.loss = replace(self.loss, **changes)
        remember(self._file, self._host_id, self.loss)

    def note(self, phases: tuple[Phase, ...]) -> None:
        """Note what was done until now. A rebuild does not end because that cannot be written."""
        with contextlib.suppress(OSError):
            self.update(phases=phases)


def forget(file: Path, host_id: str) -> None:
    """All is done. Raise OSError."""
    path(file, host_id).unlink(missing_ok=True)
