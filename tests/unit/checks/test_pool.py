"""A run ends in time, whatever its looks do."""

from __future__ import annotations

import threading
import time

from checks.pool import Job, run
from checks.result import Result, exit_code, worst


def job(name: str, seconds: float, *, stubborn: bool = False, broken: bool = False) -> Job:
    def look(deadline: float) -> list[Result]:
        if broken:
            raise KeyError("x")
        time.sleep(seconds if stubborn else min(seconds, max(0, deadline - time.monotonic())))
        return [Result(name, "service", "ok", "")]

    return Job((name,), "service", 10, look)


def test_many_slow_looks_run_at_once_and_keep_their_order() -> None:
    began = time.monotonic()
    found, complete = run([job(f"s{n}.x", 0.3) for n in range(200)], 30)
    assert [result.id for result in found] == [f"s{n}.x" for n in range(200)]
    assert complete
    assert time.monotonic() - began < 3  # one after another: a minute


def test_the_run_ends_though_a_look_does_not() -> None:
    began = time.monotonic()
    found, complete = run(
        [job("a.x", 60, stubborn=True), job("b.x", 0), job("c.x", 0, broken=True)], 1
    )
    assert time.monotonic() - began < 3
    assert [result.level for result in found] == ["unknown", "ok", "unknown"]
    assert "time" not in found[1].message
    assert "KeyError" in found[2].message
    assert not complete
    assert threading.active_count() < 20


def test_levels_become_one_exit_code() -> None:
    def code(*levels: str) -> int:
        return exit_code(Result("a.b", "host", level, "") for level in levels)  # type: ignore[arg-type]

    assert code() == code("ok", "skipped") == 0
    assert code("ok", "unknown") == 3
    assert code("unknown", "warning") == 1
    assert code("unknown", "warning", "critical", "ok") == 2
    assert worst(["skipped", "ok"]) == "ok"
