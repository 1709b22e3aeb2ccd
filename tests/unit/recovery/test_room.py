"""Can the new machine take it? Sizes and releases, as receipts, `df` and os-release tell them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.receipt_key import Known
from backup.receipts import Receipt
from backup.trust import Trust
from recovery.errors import RecoveryError
from recovery.room import (
    LOOKED_AT,
    candidates,
    coming,
    disks,
    fits,
    free,
    insist_release,
    size,
)
from recovery.steps import NEWEST, Choice


def signed(by: str = "monts", *, epoch: int = 1, **body: Any) -> Receipt:
    """A receipt whose signature is the name of who signed it."""
    return Receipt({"ok": True, "epoch": epoch, **body}, by)


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch) -> Trust:
    """The signature of `monts` counts, and no other. (tests/unit/backup has real ones.)"""
    monkeypatch.setattr("backup.trust.is_signed", lambda receipt, keys: receipt.signature in keys)
    return Trust((Known("monts", 1),))


def test_the_newest_complete_copy_says_how_much_is_needed(trust: Trust) -> None:
    found = {
        "2026-02": signed(bytes=20, snapshot="bb"),
        "2026-01": signed(bytes=10, snapshot="aa"),
        "2026-03": signed(ok=False, bytes=1),
    }
    assert size(coming(found, trust, NEWEST)) == 20
    assert size(coming(found, trust, Choice(snapshot="aa"))) == 10
    assert coming({}, trust, NEWEST) == {}
    assert size({}) == size({"bytes": "a lot"}) == 0


def test_what_a_host_did_not_sign_makes_no_machine_too_small(trust: Trust) -> None:
    found = {
        "2026-01": signed(bytes=10),
        "2026-02": signed("thief", bytes=10**18, system={"id": "debian", "version": "99"}),
        "2026-03": signed(epoch=2, bytes=10**18),  # a machine that was replaced
    }
    assert size(coming(found, trust, NEWEST)) == 10
    del found["2026-01"]
    assert coming(found, trust, NEWEST) == {}
    assert coming(found, Trust(()), NEWEST) == {}


def test_runs_after_the_wanted_time_are_not_asked_about() -> None:
    runs = [f"202611{day:02}T010000Z-monts-abc" for day in range(1, 31)] * 2
    assert len(candidates(sorted(runs), NEWEST)) == LOOKED_AT
    until = Choice(at=datetime(2026, 11, 3, 1, 0, tzinfo=UTC))
    assert set(candidates(sorted(runs), until)) == set(runs[:3])


BOOKWORM = 'NAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'


@pytest.mark.parametrize(
    ("saved", "here", "fits"),
    [
        ({"id": "debian", "version": "13"}, BOOKWORM, False),
        ({"id": "debian", "version": "12"}, BOOKWORM, True),
        ({"id": "debian", "version": "9"}, BOOKWORM, True),
        # What is not known is not refused: old copies, testing, something else than Debian.
        (None, BOOKWORM, True),
        ({"id": "debian", "version": ""}, BOOKWORM, True),
        ({"id": "ubuntu", "version": "24.04"}, BOOKWORM, True),
        ({"id": "debian", "version": "13"}, "ID=debian\n", True),
        ({"id": "debian", "version": "13"}, "", True),
        ("13", BOOKWORM, True),
        ({"id": "debian", "version": 13}, BOOKWORM, True),
    ],
)
def test_a_copy_does_not_come_back_on_an_older_debian(saved: Any, here: str, fits: bool) -> None:
    if fits:
        insist_release(saved, here, "monts cannot come back on 203.0.113.9")
        return
    with pytest.raises(
        RecoveryError,
        match=r"monts .* 203\.0\.113\.9: that copy was made on Debian 13, and this machine has "
        r"Debian 12: .* Take a machine with Debian 13, .* Nothing was changed",
    ):
        insist_release(saved, here, "monts cannot come back on 203.0.113.9")


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
