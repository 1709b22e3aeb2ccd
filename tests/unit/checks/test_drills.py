"""The age of the last rehearsal that passed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from checks import drills

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("found", "level"),
    [
        ([], None),
        ([("2026-05-01", True, "other")], None),
        ([("2026-05-01", True, "us")], "ok"),
        ([("2026-05-01", True, "us"), ("2026-04-01", False, "us")], "ok"),
        ([("2026-05-01", False, "us"), ("2026-04-01", True, "us")], "critical"),
        ([("2026-05-01", False, "us")], "critical"),
        ([("2026-01-01", True, "us")], "warning"),
    ],
)
def test_rehearsals(tmp_path: Path, found: list[tuple[str, bool, str]], level: str | None) -> None:
    for number, (day, passed, who) in enumerate(found):
        said = {"organisation": who, "passed": passed, "finished": f"{day}T00:00:00Z"}
        (tmp_path / f"{number}.json").write_text(json.dumps(said))
    (tmp_path / "x.json").write_text("{")
    (tmp_path / "y.json").write_text('{"organisation": "us", "finished": 5}')
    judged = drills.judge(drills.read(tmp_path), "us", NOW)
    assert (judged.level if judged else None) == level
