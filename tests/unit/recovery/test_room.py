"""Is the new machine large enough? The sizes, as receipts and `df` tell them."""

from __future__ import annotations

from backup.receipts import Receipt
from recovery.room import free, needed


def test_the_newest_complete_copy_says_how_much_is_needed() -> None:
    found = {
        "2026-02": Receipt({"ok": True, "bytes": 20}, ""),
        "2026-01": Receipt({"ok": True, "bytes": 10}, ""),
        "2026-03": Receipt({"ok": False, "bytes": 1}, ""),
    }
    assert needed(found) == 20
    assert needed({}) == 0


def test_each_disk_is_counted_once() -> None:
    said = "Filesystem     Avail\n/dev/my disk1     50\n/dev/my disk1     50\n/dev/sdb1     7\n"
    assert free(said) == 57
    assert free("") == 0
