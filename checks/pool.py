"""Run many looks at once, and end when the time is up whatever they do."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from checks.result import Kind, Result

# Quick looks are limited by the processor: measured on two cores with 500 endpoints that answer
# at once, 8 to 12 threads are fastest. Slow looks wait: many at once
# keep a run short. So a run begins with few threads, and gets more while looks take long.
FEW, MANY = 8, 96
INTERVAL = 0.1


@dataclass(frozen=True)
class Job:
    """One look that yields one or more results. `ids` are what it will report on; `seconds`
    is its own limit; `look` gets its deadline (monotonic seconds)."""

    ids: tuple[str, ...]
    kind: Kind
    seconds: float
    look: Callable[[float], Sequence[Result]]


def run(jobs: Sequence[Job], at_most: float) -> tuple[list[Result], bool]:
    """Run all jobs within `at_most` seconds; return their results, in the order of the jobs, and
    whether every job reported.

    A job that has not reported by then gets level unknown, and so does one that fails in a way
    it does not know. Its thread is left behind as a daemon: it cannot keep the program.
    """
    end = time.monotonic() + at_most
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    found: dict[int, Sequence[Result]] = {}
    finished = threading.Event()
    for index in range(len(jobs)):
        waiting.put(index)

    def work() -> None:
        while True:
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            job = jobs[index]
            now = time.monotonic()
            if now >= end:
                return
            try:
                results = job.look(min(now + job.seconds, end))
            except Exception as error:  # one broken check must not hide the others
                message = f"this check itself failed: {type(error).__name__}: {error}"
                results = [Result(i, job.kind, "unknown", message) for i in job.ids]
            found[index] = results
            # The run wakes up for the last result only: waking it for each one cost a sixth of
            # the processor time of a quick look.
            if len(found) == len(jobs):
                finished.set()

    threads = 0

    def add(number: int) -> None:
        nonlocal threads
        for _ in range(min(number, MANY - threads, waiting.qsize())):
            threading.Thread(target=work, daemon=True).start()
            threads += 1

    add(FEW)
    before = 0
    # Looks end at `end` by themselves; a second for those just ending.
    while len(found) < len(jobs) and (left := end + 1 - time.monotonic()) > 0:
        if not finished.wait(min(INTERVAL, left)):
            if len(found) - before < threads:  # a look takes longer than the interval: it waits
                add(threads)
            before = len(found)
    seen = dict(found)  # a look that was left behind may still write
    late = f"not looked at: the run's {at_most:.0f} s were over"
    results = [
        result
        for index, job in enumerate(jobs)
        for result in seen.get(index, [Result(i, job.kind, "unknown", late) for i in job.ids])
    ]
    return results, len(seen) == len(jobs)
