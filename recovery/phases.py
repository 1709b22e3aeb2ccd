"""Measured phases of a recovery: what was done, when, how long it took, whether it held."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from recovery.wording import PHASES, word

Progress = Callable[[str], None]


def now() -> datetime:
    """The present, in UTC, to the second: what evidence is written with."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Phase:
    """One measured step. Members wait for a `counted` one: only these add up to the RTO."""

    name: str
    started: datetime
    seconds: float
    ok: bool
    counted: bool
    note: str = ""


@dataclass
class Stopwatch:
    """Collects phases in the order in which they ended; tells `progress` as they begin and end.

    `earlier`: those of a run that was cut off, which this one goes on with. `ended` is called after
    each phase."""

    progress: Progress = lambda _: None
    phases: list[Phase] = field(default_factory=list)
    earlier: tuple[Phase, ...] = ()
    ended: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def phase(self, name: str, *, counted: bool) -> Iterator[None]:
        """Measure the block. A phase that raises is kept as failed, and the exception goes on; one
        that somebody interrupts did not fail, and is not kept."""
        started, clock = now(), time.monotonic()
        called = word(PHASES, name, "en")
        self.progress(f"{called} …")

        def end(how: str, *, ok: bool, note: str = "") -> None:
            seconds = time.monotonic() - clock
            self.phases.append(Phase(name, started, round(seconds, 1), ok, counted, note))
            self.progress(f"{called}: {how} in {seconds:.1f} s")
            self.ended()

        try:
            yield
        except Exception as error:
            end("FAILED", ok=False, note=str(error) or type(error).__name__)
            raise
        end("done", ok=True)
