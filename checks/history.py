"""What a watch remembers between runs: a small JSON file, written in one step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from checks.result import PROBLEMS, Level, Result
from tools.files import replace_file

VERSION = 2


@dataclass
class Memory:
    """One check: how often in a row it was bad or well, and since when it is bad (seconds since
    1970, 0 when it is well). `bad`: problem -> how often in a row it was that bad or worse."""

    level: Level
    message: str
    bad: dict[Level, int] = field(default_factory=dict)
    well: int = 0
    since: float = 0.0


@dataclass
class Channel:
    """One alert channel: what it was told, as check -> level, when each of these began, and
    since when it cannot be reached (0: it can)."""

    told: dict[str, Level] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    unreachable_since: float = 0.0
    error: str = ""


@dataclass
class State:
    """Everything. `disks`: host -> mount -> samples (see `checks.trend`)."""

    checks: dict[str, Memory] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    disks: dict[str, dict[str, list[tuple[float, float]]]] = field(default_factory=dict)


def as_bad(level: Level) -> tuple[Level, ...]:
    """The problems that a check of this level has: its own, and all that are less bad."""
    return PROBLEMS[PROBLEMS.index(level) :] if level in PROBLEMS else ()


def remember(state: State, results: Iterable[Result], now: float) -> None:
    """Count a run's results into the state.

    What was skipped keeps what was known of it: not looking is no recovery. Checks that no
    longer exist are forgotten.
    """
    kept: dict[str, Memory] = {}
    for result in results:
        before = state.checks.get(result.id)
        if result.level != "skipped":
            kept[result.id] = counted(before, result, now)
        elif before:
            kept[result.id] = before
    state.checks = kept


def counted(before: Memory | None, result: Result, now: float) -> Memory:
    """What is known of a check after one more result (not "skipped")."""
    memory = Memory(result.level, result.message)
    if result.level in PROBLEMS:
        held = before.bad if before else {}
        memory.bad = {level: held.get(level, 0) + 1 for level in as_bad(result.level)}
        memory.since = before.since if before and before.since else now
    else:
        memory.well = before.well + 1 if before else 1
    return memory


def load(path: Path, now: datetime) -> tuple[State, str | None]:
    """Read the state; without a file, a new one.

    A file that cannot be understood is set aside beside it, and the second value says so: the
    watch goes on, and somebody can look at the old file. Raise OSError when it cannot be read.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return State(), None
    try:
        return _from_json(json.loads(text)), None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        aside = path.with_name(f"{path.name}.damaged-{now:%Y%m%dT%H%M%SZ}")
        path.rename(aside)
        return State(), (
            f"the watch's memory {path} was damaged ({type(error).__name__}) and lies now at "
            f"{aside}; counting begins anew, so problems may be told once more"
        )


def save(path: Path, state: State, now: datetime) -> None:
    """Write the state, so that a crash leaves the old one or the new one. Raise OSError."""
    document: dict[str, Any] = {
        "version": VERSION,
        "at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        **asdict(state),
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(path, json.dumps(document, ensure_ascii=False).encode())


def _from_json(document: Mapping[str, Any]) -> State:
    if document["version"] not in (1, VERSION):
        raise ValueError("another version")
    checks = {str(name): Memory(**entry) for name, entry in document["checks"].items()}
    if document["version"] == 1:  # it counted problems of all levels together
        for memory in checks.values():
            memory.bad = dict.fromkeys(as_bad(memory.level), int(cast("Any", memory.bad)))
    return State(
        checks,
        {str(name): Channel(**entry) for name, entry in document["channels"].items()},
        {
            str(host): {
                str(mount): [(float(at), float(size)) for at, size in samples]
                for mount, samples in mounts.items()
            }
            for host, mounts in document["disks"].items()
        },
    )
