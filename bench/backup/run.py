"""Backup with nothing changed, and restore: the agent against plain restic on the same files.

    .venv/bin/python bench/backup/run.py

Both use the same repository host's way (rclone behind the gate, append-only) and take turns, so
that neither gains from a warm cache. RELEVE_BENCH_BYTES: how much to save (default 2 GB).
Both ratios should be at most 1.10, or the bench ends with code 1. Needs Debian's `restic` and
`rclone`; installs them when root.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MAIN = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(MAIN))

from bench.packages import need  # noqa: E402

AGENT = MAIN / "agent" / "agent.py"
GATE = MAIN / "roles" / "repository" / "files" / "gate"
ROUNDS = 5
QUICK_ROUNDS = 11  # of what takes a second: what else the machine does weighs more
AT_MOST = 1.10


def fill(folder: Path, size: int) -> int:
    """Mixed files, as a website has them: many small, some large. Return how many."""
    chance, count, left = random.Random(1), 0, size  # noqa: S311 (sizes, no secrets)
    while left > 0:
        one = min(left, int(chance.lognormvariate(11.5, 2.0)) + 1)
        place = folder / f"{count % 97:02d}"
        place.mkdir(exist_ok=True)
        (place / f"{count}.bin").write_bytes(os.urandom(one))
        count, left = count + 1, left - one
    return count


def timed(argv: Sequence[str]) -> float:
    """Seconds that a command takes. Raise CalledProcessError."""
    began = time.monotonic()
    subprocess.run(argv, check=True, capture_output=True)
    return time.monotonic() - began


Row = tuple[float, float, float]


def turns(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Row:
    """The medians of both, measured in turn, and the median of the ratios of the pairs."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in pairs)
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs), ratio


def main() -> None:
    """Measure, print times and ratios, exit 1 when a limit is missed."""
    need({"restic": "restic", "rclone": "rclone"})
    size = int(os.environ.get("RELEVE_BENCH_BYTES", 2 * 10**9))
    base = Path(tempfile.mkdtemp(prefix="releve-bench-"))
    try:
        found = measure(base, size)
    finally:
        shutil.rmtree(base)
    print(f"{size / 1e9:.1f} GB in {found.files} files, {ROUNDS} turns or more, medians")
    ratios = []
    for name, ours, theirs, ratio in found.rows:
        print(f"  {name:22} releve {ours:7.2f} s   restic {theirs:7.2f} s   {ratio:5.2f}")
        ratios.append(ratio)
    print(f"  the last two at most {AT_MOST:.2f}")
    sys.exit(0 if max(ratios[1:]) <= AT_MOST else 1)


@dataclass(frozen=True)
class Found:
    """How many files, and (what was done, our seconds, restic's seconds, the ratio)."""

    files: int
    rows: tuple[tuple[str, float, float, float], ...]


def measure(base: Path, size: int) -> Found:
    """Set everything up in `base`, and measure."""
    data, etc, out = base / "srv" / "data", base / "etc" / "releve", base / "out"
    for folder in (data, etc, base / "home", out):
        folder.mkdir(parents=True)
    count = fill(data, size)
    (etc / "restic-password").write_text("bench")
    links = {}
    for name in ("ours", "theirs"):
        links[name] = base / name
        links[name].write_text(
            f'#!/bin/sh\nHOME="{base}/home" SSH_ORIGINAL_COMMAND="$*" '
            f'exec sh "{GATE}" bench/{name}\n'
        )
        links[name].chmod(0o755)

    def restic(name: str) -> list[str]:
        return [
            "restic",
            f"--repo=rclone:{name}",
            f"--password-file={etc}/restic-password",
            f"--cache-dir={base}/cache",
            f"--option=rclone.program={links[name]}",
        ]

    plan = {
        "format": 1,
        "host": "ours",
        "epoch": 1,
        "repository": {
            "name": "bench",
            "host": "ours",
            "restic": restic("ours"),
            "gate": [str(links["ours"])],
        },
        "services": {
            "files": {
                "role": "files",
                "paths": [str(data)],
                "excludes": [],
                "dumps": [],
                "quiesce": [],
                "counts": [],
                "versions": [],
                "canary": None,
                "restore": {"stop": [], "prepare": [], "accept": []},
                "units": [],
            }
        },
        "duties": {},
        "probes": {},
    }
    (etc / "plan.json").write_text(json.dumps(plan))
    agent = [str(AGENT), f"--root={base}"]  # as on a host: by its first line
    plain = [*restic("theirs"), "--option=rclone.args=restic 1"]
    subprocess.run([*agent, "init"], check=True, capture_output=True)
    subprocess.run([*plain, "init"], check=True, capture_output=True)

    def ours_again() -> float:
        return timed([*agent, "backup"])

    def theirs_again() -> float:
        return timed([*plain, "backup", str(data)])

    first = turns(ours_again, theirs_again, 1)
    again = turns(ours_again, theirs_again, QUICK_ROUNDS)

    def ours_back() -> float:
        shutil.rmtree(data)
        data.mkdir()
        return timed([*agent, "restore", "--service=files"])

    def theirs_back() -> float:
        shutil.rmtree(out)
        return timed([*plain, "restore", "latest", f"--target={out}"])

    back = turns(ours_back, theirs_back, ROUNDS)
    rows = (("first copy", *first), ("nothing changed", *again), ("restore", *back))
    return Found(count, rows)


if __name__ == "__main__":
    main()
