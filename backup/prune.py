"""Which snapshots stay, and removing the others. From the admin's machine only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.releve_agent.repository import believable
from backup.repository import Opened
from inventories.model import Keep
from tools.restic import Snapshot


@dataclass(frozen=True)
class Plan:
    """What a prune would do. `doubtful`: a snapshot and why its date cannot be true; those count
    for nothing and are not removed either, because they are evidence."""

    keep: tuple[Snapshot, ...]
    remove: tuple[Snapshot, ...]
    doubtful: tuple[tuple[Snapshot, str], ...]


def doubt(snapshot: Snapshot, now: datetime) -> str:
    """Why a snapshot's date cannot be true, or ""."""
    run = snapshot.values("run")
    about = {"at": snapshot.time.timestamp(), "run": run[0] if run else None}
    return believable(about, now.timestamp())


def _newest_of_each(
    snapshots: Sequence[Snapshot], period: Callable[[Snapshot], object], count: int
) -> list[Snapshot]:
    """The newest snapshot of each of the newest `count` periods that have one."""
    found: dict[object, Snapshot] = {}
    for snapshot in reversed(snapshots):
        found.setdefault(period(snapshot), snapshot)
    return list(found.values())[:count]


def plan(
    snapshots: Sequence[Snapshot], keep: Keep, now: datetime, good: Collection[str] | None = None
) -> Plan:
    """Judge snapshots (oldest first). Pure.

    `good`: ids of those that a verified receipt calls complete, None when that is not known. Time
    is counted from `now` and not from the newest snapshot, so that one with a false date cannot
    push out the others (the trap that restic's own manual describes). The newest snapshot and the
    newest good one always stay.
    """
    doubtful = [(s, why) for s in snapshots if (why := doubt(s, now))]
    odd = {s.id for s, _ in doubtful}
    real = [s for s in snapshots if s.id not in odd]
    stay = {s.id for s in real if now - s.time <= keep.within}
    stay |= {s.id for s in real[-1:]}
    if good is not None:
        stay |= {s.id for s in [s for s in real if s.id in good][-1:]}
    for count, period in (
        (keep.daily, lambda s: s.time.date()),
        (keep.weekly, lambda s: s.time.isocalendar()[:2]),
        (keep.monthly, lambda s: (s.time.year, s.time.month)),
    ):
        stay |= {s.id for s in _newest_of_each(real, period, count)}
    return Plan(
        keep=tuple(s for s in real if s.id in stay),
        remove=tuple(s for s in real if s.id not in stay),
        doubtful=tuple(doubtful),
    )


def apply(opened: Opened, wanted: Plan) -> None:
    """Remove what the plan removes, and the data that nothing needs any more.

    Raise BusyError while a backup runs, BackupError.
    """
    # Locks of processes that are gone (restic judges by their age and their host).
    opened.run("unlock")
    if wanted.remove:
        opened.run("forget", "--prune", *(s.id for s in wanted.remove))
