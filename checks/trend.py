"""When a disk will be full, told from how it filled so far. Pure.

Samples are (seconds since 1970, free bytes). At least four over at least two days are needed,
the last fourteen days count: one night's copy or one big upload is not a trend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from roles.interface import Finding

DAY = 86400.0
EVERY = 6 * 3600.0
WINDOW = 14 * DAY
LEAST_SAMPLES, LEAST_SPAN = 4, 2 * DAY
WARNING_DAYS, CRITICAL_DAYS = 14.0, 3.0

Samples = Sequence[tuple[float, float]]


def keep(samples: Samples, now: float, free: float) -> list[tuple[float, float]]:
    """The samples with the newest added, when the last is old enough, and the oldest dropped."""
    kept = [(at, size) for at, size in samples if now - WINDOW <= at <= now]
    if not kept or now - kept[-1][0] >= EVERY:
        kept.append((now, free))
    return kept


def days_to_full(samples: Samples) -> float | None:
    """Days until nothing is free, by least squares; None without enough samples or when the
    disk does not fill."""
    if len(samples) < LEAST_SAMPLES or samples[-1][0] - samples[0][0] < LEAST_SPAN:
        return None
    start = samples[0][0]
    xs = [(at - start) / DAY for at, _ in samples]
    ys = [size for _, size in samples]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    if slope >= 0:
        return None
    return max(0.0, ys[-1] / -slope)


def judge(by_mount: Mapping[str, Samples]) -> Finding | None:
    """Judge a host's disks; None when no history tells anything yet."""
    known = {
        mount: days
        for mount, samples in by_mount.items()
        if (days := days_to_full(samples)) is not None
    }
    if not known:
        enough = any(len(samples) >= LEAST_SAMPLES for samples in by_mount.values())
        return Finding("ok", "no disk is filling up") if enough else None
    mount = min(known, key=lambda name: known[name])
    said = f"at the pace of the last days, {mount} is full in {known[mount]:.0f} days"
    if known[mount] < CRITICAL_DAYS:
        return Finding("critical", f"{said}: free space or enlarge the disk now")
    if known[mount] < WARNING_DAYS:
        return Finding("warning", f"{said}: find out what grows (du -xh / | sort -h | tail)")
    return Finding("ok", said)


def free_bytes(status: Mapping[str, Any]) -> dict[str, float]:
    """Mount -> free bytes, from what a host's agent said; nothing for what is malformed."""
    try:
        return {str(m["mount"]): float(m["bytes_free"]) for m in status["disk"]}
    except (KeyError, TypeError, ValueError):
        return {}
