"""How a host's own words are judged."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import host, trend

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GIB = 1 << 30
WELL: dict[str, Any] = {
    "agent": "0.1.0", "host": "web1", "epoch": 2, "fenced": False, "now": "2026-01-02T03:04:04Z",
    "digest": "abc", "uptime_s": 5,
    "disk": [
        {"mount": "/", "bytes_total": 20 * GIB, "bytes_free": 10 * GIB, "inodes_total": 100,
         "inodes_free": 50},
        {"mount": "/srv", "bytes_total": 20 * GIB, "bytes_free": 15 * GIB, "inodes_total": 0,
         "inodes_free": 0},
    ],
    "memory": {"total": 4 * GIB, "available": GIB}, "load": [0.1, 0.2, 0.3], "cpus": 2,
    "failed_units": [], "updates": {"security": 0, "reboot": False,
                                    "checked_at": "2026-01-02T00:00:00Z"},
    "clock": {"synchronized": True}, "probes": {}, "receipts": [], "lock": None,
}  # fmt: skip


def judged(*changes: tuple[tuple[str | int, ...], Any]) -> dict[str, str]:
    status = copy.deepcopy(WELL)
    for path, value in changes:
        at: Any = status
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value
    found = host.judge(status, now=NOW, agent_version="0.1.0", epoch_=2, digest="abc")
    return {name: finding.level for name, finding in found.items() if finding.level != "ok"}


def test_a_well_host_is_well() -> None:
    assert judged() == {}
    assert set(host.CHECKS) == {"ssh", *host.judge(
        WELL, now=NOW, agent_version=None, epoch_=2, digest=None)}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "level"),
    [
        (("disk", 1, "bytes_free"), 4 * GIB + 1, {}),
        (("disk", 1, "bytes_free"), 4 * GIB, {"disk": "warning"}),
        (("disk", 1, "bytes_free"), 2 * GIB, {"disk": "critical"}),
        (("disk", 0, "inodes_free"), 10, {"disk": "critical"}),
        (("memory", "available"), GIB // 3, {"memory": "warning"}),
        (("memory", "available"), GIB // 10, {"memory": "critical"}),
        (("load", 2), 4.5, {"load": "warning"}),
        (("load", 2), 16.5, {"load": "critical"}),
        (("failed_units",), ["nginx.service"], {"units": "warning"}),
        (("updates", "security"), 3, {"updates": "warning"}),
        (("updates", "security"), None, {"updates": "unknown"}),
        (("updates", "checked_at"), "2025-12-29T00:00:00Z", {"updates": "warning"}),
        (("updates", "reboot"), True, {"reboot": "warning"}),
        (("now",), "2026-01-02T03:04:15Z", {"clock": "warning"}),
        (("now",), "2026-01-02T03:02:15Z", {"clock": "critical"}),
        (("clock", "synchronized"), False, {"clock": "warning"}),
        (("clock", "synchronized"), None, {}),
        (("agent",), "0.0.9", {"agent": "warning"}),
        (("epoch",), 1, {"epoch": "critical"}),
        (("epoch",), 3, {"epoch": "warning"}),
        (("fenced",), True, {"epoch": "critical"}),
        (("digest",), "abd", {"inventory": "warning"}),
        (("digest",), None, {"inventory": "warning"}),
        (("unclaimed",), ["/etc/nginx/releve/pad"], {"inventory": "warning"}),
    ],
)
def test_each_limit(path: tuple[str | int, ...], value: Any, level: dict[str, str]) -> None:
    assert judged((path, value)) == level


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(WELL)), json_values)
def test_whatever_an_agent_says_is_judged(key: str, value: Any) -> None:
    found = host.judge({**WELL, key: value}, now=NOW, agent_version="x", epoch_=1, digest="y")
    assert set(found) == set(host.CHECKS) - {"ssh"}


def test_days_to_full_come_from_history_only() -> None:
    start = NOW.timestamp()
    samples: list[tuple[float, float]] = []
    for day in range(4):
        at = start + timedelta(days=day).total_seconds()
        samples = trend.keep(samples, at, (10 - day) * GIB)
        assert len(trend.keep(samples, at + 60, 0)) == len(samples)  # too soon for another
        if day < 3:
            assert trend.judge({"/": samples}) is None
    assert trend.days_to_full(samples) == pytest.approx(7)
    finding = trend.judge({"/": samples, "/srv": [(at, 5.0) for at, _ in samples]})
    assert finding is not None
    assert finding.level == "warning"
    assert "/ is full in 7 days" in finding.message
