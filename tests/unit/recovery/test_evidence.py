"""The judgement of a drill: what counts as passed, and what a reader is told when it did not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recovery import evidence as ev
from recovery.page import bars, page
from recovery.phases import Phase, Stopwatch

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

SITE = ev.ServiceEvidence(
    id="site",
    role="wordpress",
    url="https://atelier.example",
    found=(ev.Mark("r1", T0), ev.Mark("r2", T0 + timedelta(minutes=30))),
    counts_before={"posts": 5},
    counts_after={"posts": 5},
    versions_before={},
    versions_after={"wordpress": "6.1.9"},
    checks={"https": "ok"},
)
GOOD = ev.Evidence(
    kind="disaster",
    organisation="L'Atelier <en> Santé",
    locale="fr",
    who="root",
    started=T0,
    finished=T0 + timedelta(hours=2),
    lost_at=T0 + timedelta(hours=1),
    was=ev.Place("monts", "OVH", "GRA"),
    now=ev.Place("monts", "Ailleurs", "NTE"),
    snapshot="abc",
    phases=(Phase("restore", T0, 60.0, True, True), Phase("boot", T0, 1.0, True, False)),
    services=(SITE,),
    rpo_target=86400,
    rto_target=3600,
    rto=61.0,
    inventory="d" * 64,
    version="0.1.0",
)


def test_the_newest_mark_is_the_loss() -> None:
    assert GOOD.passed
    assert GOOD.rpo == 1800


def test_the_worst_service_decides_the_loss() -> None:
    older = replace(SITE, id="pad", found=(ev.Mark("r1", T0),))
    assert replace(GOOD, services=(SITE, older)).rpo == 3600


@pytest.mark.parametrize(
    ("broken", "key"),
    [
        (replace(GOOD, services=()), "nothing"),
        (replace(GOOD, services=(replace(SITE, found=()),)), "no-mark"),
        (replace(GOOD, services=(replace(SITE, counts_after={"posts": 4}),)), "missing"),
        (replace(GOOD, services=(replace(SITE, counts_after={}),)), "missing"),
        (replace(GOOD, services=(replace(SITE, checks={"https": "critical"}),)), "not-well"),
        (replace(GOOD, services=(replace(SITE, checks={"https": "unknown"}),)), "not-well"),
        (replace(GOOD, services=(replace(SITE, checks={}),)), "not-checked"),
        (replace(GOOD, rto=None), "never"),
        (replace(GOOD, rto=3601.0), "rto"),
        (replace(GOOD, rpo_target=1799), "rpo"),
        (replace(GOOD, problems=("the link broke",)), "problem"),
    ],
)
def test_what_makes_a_drill_fail(broken: ev.Evidence, key: str) -> None:
    assert [failure.key for failure in broken.failures] == [key]
    english, french = broken.failures[0].text("en"), broken.failures[0].text("fr")
    assert "{" not in english + french
    assert english in page(broken).replace("&#39;", "'")
    assert "Cela n’a pas fonctionné." in page(broken)


def test_the_page_holds_both_languages_and_escapes() -> None:
    html = page(GOOD)
    assert html.index('lang="fr"') < html.index('id="en"')
    assert "L&#39;Atelier &lt;en&gt; Santé" in html
    assert "Bring the data back" in html
    assert "Ramener les données" in html
    assert "<script" not in html


def test_bars_are_to_scale() -> None:
    wait, boot = bars(GOOD.phases, "en")
    assert wait.counted
    assert not boot.counted
    assert wait.width == pytest.approx(60 * boot.width, rel=0.8)
    assert bars((), "en") == ()


def test_evidence_is_found_again(tmp_path: Path) -> None:
    data, _ = ev.write(GOOD, tmp_path, page(GOOD))
    ev.write(replace(GOOD, started=T0 + timedelta(1), rto=None), tmp_path, "x")
    (tmp_path / "other.json").write_text("{")
    written = json.loads(data.read_text())
    assert written["rpo"] == {"seconds": 1800.0, "target_seconds": 86400}
    assert written["rto"]["seconds"] == 61.0
    assert written["canaries"]["site"]["newest"] == "2026-01-02T03:34:05Z"
    assert ev.newest_passed(tmp_path, "monts") == GOOD.finished
    assert ev.newest_passed(tmp_path, "other") is None
    assert ev.newest_passed(tmp_path / "none", "monts") is None


def test_a_failed_phase_is_kept() -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError), watch.phase("restore", counted=True):
        raise ValueError("pack is damaged")
    assert [(p.name, p.ok, p.note) for p in watch.phases] == [("restore", False, "pack is damaged")]
