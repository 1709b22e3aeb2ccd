"""What `verify` makes of a copy whose own host called it incomplete."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from backup.receipts import Receipt
from backup.repository import Opened
from backup.trust import Trust
from backup.verify import verify
from tools.restic import Snapshot

NOW = datetime(2026, 1, 10, tzinfo=UTC)


def snapshot(number: int) -> Snapshot:
    at = NOW - timedelta(days=3 - number)
    return Snapshot(f"{number}" * 64, at, "monts", ("/srv",), (f"run=run{number}",))


def receipt(number: int, *, ok: bool) -> Receipt:
    manifest = hashlib.sha256(b"{}").hexdigest()
    body: dict[str, Any] = {"ok": ok, "snapshot": f"{number}" * 64, "manifest": manifest}
    return Receipt(body, "")


def look(*whole: bool) -> Any:
    opened = cast(Opened, SimpleNamespace(host="monts", run=lambda *_: "{}"))
    copies = [snapshot(number) for number in range(len(whole))]
    receipts = {f"run{number}": receipt(number, ok=ok) for number, ok in enumerate(whole)}
    return verify(opened, copies, receipts, Trust(()), NOW)


def test_the_newest_must_be_whole() -> None:
    assert look(True, True).ok
    earlier = look(False, True)
    assert earlier.ok
    assert "snapshot 00000000 was reported incomplete by its host" in earlier.notes
    newest = look(True, False)
    assert not newest.ok
    assert "snapshot 11111111 was reported incomplete" in newest.problems[0]
    assert newest.verified == ("0" * 64,)
