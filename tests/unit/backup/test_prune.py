"""Which snapshots stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from backup.prune import plan
from inventories.model import Keep
from tools.restic import Snapshot, parse_snapshots, parse_time

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def snapshot(age: timedelta, number: int = 0) -> Snapshot:
    time = NOW - age
    run = f"run={time:%Y%m%dT%H%M%SZ}-monts-{number}"
    return Snapshot(f"{number:064x}", time, "monts", (), (run, "service=site"))


def nightly(nights: int) -> list[Snapshot]:
    return [snapshot(timedelta(days=n, hours=1), n) for n in reversed(range(nights))]


def test_within_then_a_week_then_a_month_each() -> None:
    keep = Keep(within=timedelta(days=7), weekly=8, monthly=12)
    found = plan(nightly(365), keep, NOW)
    ages = [(NOW - s.time).days for s in found.keep]
    assert [a for a in ages if a < 7] == [6, 5, 4, 3, 2, 1, 0]
    assert 16 <= len(ages) <= 7 + 8 + 12
    assert max(ages) > 300
    assert {s.id for s in found.keep} | {s.id for s in found.remove} == {s.id for s in nightly(365)}


def test_false_dates_count_for_nothing_and_stay_as_evidence() -> None:
    real = nightly(3)
    keep = Keep(within=timedelta(days=7), weekly=0, monthly=0)
    forged = [snapshot(timedelta(days=-400 - n), 900 + n) for n in range(50)]
    lying = Snapshot("f" * 64, NOW - timedelta(days=1), "monts", (), ("run=20200101T000000Z-x",))
    found = plan([*real, lying, *forged], keep, NOW)
    assert [s.id for s in found.keep] == [s.id for s in real]
    assert found.remove == ()
    assert len(found.doubtful) == 51


def test_the_newest_good_one_stays_however_old() -> None:
    real = nightly(60)
    keep = Keep(within=timedelta(days=1), weekly=0, monthly=0)
    found = plan(real, keep, NOW, good={real[3].id})
    assert real[3] in found.keep
    assert real[-1] in found.keep


@settings(max_examples=200)
@given(
    st.lists(st.integers(-1000, 100000), max_size=60, unique=True),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.data(),
)
def test_a_prune_never_leaves_nothing(
    hours: list[int], daily: int, weekly: int, monthly: int, data: st.DataObject
) -> None:
    found = sorted(
        (snapshot(timedelta(hours=h), i) for i, h in enumerate(hours)), key=lambda s: s.time
    )
    good = {s.id for s in found if data.draw(st.booleans())}
    keep = Keep(within=timedelta(hours=1), daily=daily, weekly=weekly, monthly=monthly)
    wanted = plan(found, keep, NOW, good)
    odd = {s.id for s, _ in wanted.doubtful}
    assert not odd & {s.id for s in wanted.remove}
    believable = [s for s in found if s.id not in odd]
    assert bool(wanted.keep) == bool(believable)
    if any(s.id in good for s in believable):
        assert any(s.id in good for s in wanted.keep)


def test_what_restic_prints_is_read() -> None:
    text = (
        '[{"time":"2026-11-23T20:22:13.849540476+01:00","paths":["/a"],"hostname":"monts",'
        '"tags":["run=1"],"id":"62fb622ba2694c873bdb99bbfc416e3e0919ef3538bc4dd31d70a1c5affcf2c8"}]'
    )
    (found,) = parse_snapshots(text)
    assert found.short == "62fb622b"
    assert found.time == datetime(2026, 11, 23, 19, 22, 13, 849540, tzinfo=UTC)
    assert found.values("run") == ("1",)
    assert parse_snapshots("null") == ()
    assert parse_time("2026-11-23T20:22:13Z").hour == 20
