"""Is the new machine large enough? The sizes, as receipts and `df` tell them."""

from __future__ import annotations

import pytest

from backup.receipts import Receipt
from recovery.errors import RecoveryError
from recovery.room import disks, fits, free, needed


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


SAID = "Mounted on       Avail\n/          100000000\n/srv/data  200000000\n"


def test_what_services_need_is_counted_disk_by_disk() -> None:
    needs = {"site": {"/srv/data/x": 5, "/srv/database": 7, "/srv/data": 1}, "pad": {"/var": 2}}
    assert fits(needs, disks(SAID), "monts") == {
        "site": {
            "/srv/data": {"needed": 6, "free": 200000000},
            "/": {"needed": 7, "free": 100000000},
        },
        "pad": {"/": {"needed": 2, "free": 100000000}},
    }
    # Each would fit alone.
    half = {"site": {"/var": 20_000_000}, "pad": {"/var": 20_000_000}}
    with pytest.raises(RecoveryError, match=r"site, pad would need 40.0 MB .* 100.0 MB are free"):
        fits(half, disks(SAID), "monts")
