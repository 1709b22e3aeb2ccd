"""How long ago was it last proved that everything can be brought back?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from checks.host import parse_time
from roles.interface import Finding

# A rehearsal each quarter, and a little patience for holidays.
OLD = timedelta(days=100)
MAX_BYTES = 4 << 20


def read(folder: Path) -> list[Mapping[str, Any]]:
    """The evidence files in `folder`; what cannot be read or understood is left out."""
    found: list[Mapping[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            if path.stat().st_size <= MAX_BYTES and isinstance(
                said := json.loads(path.read_bytes()), dict
            ):
                found.append(said)
        except (OSError, ValueError):
            continue
    return found


def judge(
    evidence: Iterable[Mapping[str, Any]], organisation: str, now: datetime
) -> Finding | None:
    """Judge the newest rehearsal of this organisation; None when there is no evidence at all."""
    dated: list[tuple[datetime, bool]] = []
    for said in evidence:
        try:
            if said["organisation"] == organisation:
                dated.append((parse_time(said["finished"]), said["passed"] is True))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    if not dated:
        return None
    passed = [at for at, held in dated if held]
    if not passed:
        return Finding(
            "critical", "no rehearsal has ever passed: read its evidence, then repeat it"
        )
    age = now - max(passed)
    said_ = f"the last rehearsal that passed was {age.days} days ago"
    if max(dated)[1] is False:
        return Finding("critical", f"the newest rehearsal failed; {said_}: read its evidence")
    if age > OLD:
        return Finding("warning", f"{said_}: releve drill")
    return Finding("ok", said_)
