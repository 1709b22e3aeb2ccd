"""Which copy would come back, and what it takes: chosen by an operator as the host chooses it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup.errors import BackupError
from backup.foresee import foresee
from backup.repository import Opened

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW = T0 + timedelta(days=3)
MANIFEST = {
    "services": {
        "site": {
            "paths": {"/srv/site": {"bytes": 1000, "files": 2}},
            "dumps": {"site.sql": {"bytes": 50}},
            "counts": {"posts": 5},
        }
    }
}


class Copies(Opened):
    """A repository with a copy of each of two days, the later one half a second past the full."""

    def run(self, *verb: str, timeout: float | None = None) -> str:
        del timeout
        if verb[0] == "dump":
            return json.dumps(MANIFEST)
        return json.dumps([self._one("a", T0), self._one("b", T0 + timedelta(days=1, seconds=0.5))])

    @staticmethod
    def _one(sign: str, time: datetime) -> dict[str, Any]:
        run = f"{time:%Y%m%dT%H%M%SZ}-monts-1"
        tags = [f"run={run}", "service=site"]
        return {"id": sign * 64, "time": time.isoformat(), "hostname": "monts", "tags": tags}


@pytest.fixture
def copies() -> Copies:
    return Copies("monts", "coffre", "", {}, Path())


@pytest.mark.parametrize(
    ("words", "sign"),
    [
        ({}, "b"),
        ({"at": T0}, "a"),
        # As `releve backup list` shows it, and a second before.
        ({"at": T0 + timedelta(days=1)}, "b"),
        ({"at": T0 + timedelta(days=1, seconds=-1)}, "a"),
        ({"snapshot": "aaaaaaaa"}, "a"),
    ],
)
def test_the_copy_that_would_come(copies: Copies, words: dict[str, Any], sign: str) -> None:
    coming = foresee(copies, "site", NOW, **words)
    assert coming.snapshot["id"] == sign * 64
    assert coming.needs == {
        "/srv/site": 1000 + 2 * 4096, "/var/lib/releve": 50, "/var/lib": 50
    }  # fmt: skip
    restored = coming.restored({"/": {"needed": 1, "free": 2}})
    assert restored.counts_saved == {"posts": 5}
    assert restored.sizes == {"/": {"needed": 1, "free": 2}}


def test_none_that_fits_is_said(copies: Copies) -> None:
    with pytest.raises(BackupError, match="monts: no snapshot holds site until 2026"):
        foresee(copies, "site", NOW, at=T0 - timedelta(seconds=1))
    with pytest.raises(BackupError, match="no snapshot holds pad"):
        foresee(copies, "pad", NOW)
