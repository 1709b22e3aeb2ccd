"""What one check found, and how many findings become one exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "critical", "unknown", "skipped"]
Kind = Literal["service", "host", "external", "watch", "organisation"]

# Worst first. The order is that of the monitoring plugins (`max_state_alt` in their
# utils_base.c): what is known to be wrong outranks what could not be found out.
ORDER: tuple[Level, ...] = ("critical", "warning", "unknown", "ok", "skipped")
PROBLEMS: tuple[Level, ...] = ("critical", "warning", "unknown")
EXIT: dict[Level, int] = {"ok": 0, "skipped": 0, "warning": 1, "critical": 2, "unknown": 3}


@dataclass(frozen=True)
class Result:
    """One check's outcome. `id` is SUBJECT.CHECK, such as "site.https"; `seconds` is how long
    the look took (0 for what came with another look)."""

    id: str
    kind: Kind
    level: Level
    message: str
    seconds: float = 0.0

    @property
    def subject(self) -> str:
        """The service or host that was looked at."""
        return self.id.partition(".")[0]

    @property
    def check(self) -> str:
        """What was looked at: "https", "disk" …"""
        return self.id.partition(".")[2]


def worst(levels: Iterable[Level]) -> Level:
    """The level that a group of results has as a whole; "ok" for none at all."""
    found = set(levels)
    return next((level for level in ORDER if level in found), "ok")


def exit_code(results: Iterable[Result]) -> int:
    """0 ok, 1 warning, 2 critical, 3 unknown; the worst in ORDER wins, skipped counts as ok."""
    return EXIT[worst(result.level for result in results)]
