"""The judgement of a drill: what counts as passed, and what a reader is told when it did not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.drill import report
from recovery import evidence as ev
from recovery.errors import NoEvidence
from recovery.page import bars, page
from recovery.phases import Phase, Stopwatch
from recovery.summary import summary

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
        (replace(GOOD, names_until=T0 + timedelta(hours=3)), "rto-names"),
        (replace(GOOD, rpo_target=1799), "rpo"),
        (replace(GOOD, problems=("the link broke",)), "problem"),
    ],
)
def test_what_makes_a_drill_fail(broken: ev.Evidence, key: str) -> None:
    assert [failure.key for failure in broken.failures] == [key]
    english, french = broken.failures[0].text("en"), broken.failures[0].text("fr")
    assert english != french
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


BLOG = replace(SITE, id="blog", found=(), counts_before={}, counts_after={}, checks={})
STOPPED = replace(
    GOOD,
    rto=None,
    services=(SITE, BLOG, replace(BLOG, id="pad")),
    phases=(Phase("restore", T0, 60.0, False, True, note="blog: a pack is damaged"),),
    problems=("blog: a pack is damaged",),
)


def test_one_cause_is_one_reason_in_both_languages() -> None:
    (only,) = replace(STOPPED, services=(replace(SITE, checks={}), *STOPPED.services[1:])).failures
    assert only.text("fr") == "« Ramener les données » a échoué."
    assert [detail.text("fr") for detail in only.details] == ["Pas revenus : blog, pad."]
    french, _, english = page(STOPPED).partition('<main id="en"')
    # What the program said is there, marked as what it is, and nothing else is in English.
    assert french.count('<span lang="en">blog: a pack is damaged</span>') == 1
    assert english.count('<span lang="en">blog: a pack is damaged</span>') == 1
    assert "“Bring the data back” failed." in english
    assert "“Bring" not in french
    assert ev.to_json(STOPPED)["failures"] == [
        "“Bring the data back” failed. Not back: blog, pad. blog: a pack is damaged"
    ]
    assert "    blog: a pack is damaged" in summary(STOPPED)


def test_checks_that_are_not_well_are_named_in_the_readers_words() -> None:
    bad = replace(SITE, checks={"https": "critical", "tls": "unknown", "unheard-of": "critical"})
    said = "Not well after the restore: site.https: the page answers HTTP 502"
    broken = replace(
        STOPPED,
        services=(bad,),
        phases=(Phase("check-after", T0, 60.0, False, True, note=said),),
        problems=(said,),
    )
    (only,) = broken.failures
    assert only.text("fr") == "« Vérifier de nouveau » a échoué."
    assert [detail.text("fr") for detail in only.details] == [
        "site ne va pas bien après la restauration : page web (ne marche pas), certificat "
        "(n’a pas pu être vérifié), unheard-of (ne marche pas)."
    ]
    french, _, english = page(broken).partition('<main id="en"')
    assert "critical" not in french + english
    assert "page web\N{NO-BREAK SPACE}: ne marche pas" in french
    assert "web page: does not work" in english


def test_what_is_true_of_several_services_is_said_once() -> None:
    broken = replace(GOOD, services=(replace(SITE, checks={}), replace(SITE, id="pad", checks={})))
    assert [failure.text("en") for failure in broken.failures] == [
        "Nothing was checked after the restore: site, pad."
    ]


def test_time_counts_for_those_whose_providers_remember_the_old_address() -> None:
    moved = replace(GOOD, names_until=GOOD.lost_at + timedelta(minutes=50))
    assert moved.passed
    assert ev.to_json(moved)["rto"] == {
        "seconds": 61.0, "everybody_seconds": 3000.0, "target_seconds": 3600
    }  # fmt: skip
    assert "jusqu’à 02/01/2026 04:54 UTC" in page(moved)
    assert "until 2026-01-02 04:54:05 UTC some people" in summary(moved)
    assert "until" not in summary(GOOD)


def test_the_picture_has_a_bar_for_each_phase_in_each_language() -> None:
    assert page(GOOD).count("<rect") == 2 * len(GOOD.phases)
    assert page(STOPPED).count('fill="#a6261d"') == 2
    assert "a échoué</p>" in page(STOPPED)
    assert "a échoué</p>" not in page(GOOD)


def test_a_rebuild_says_when_the_loss_was_however_late_it_ends() -> None:
    assert "Perdu le 02/01/2026, 04:04 UTC" in page(replace(GOOD, kind="rebuild"))
    assert "Perdu le" not in page(GOOD)


def test_a_folder_that_takes_no_evidence_is_refused_before_anything_begins(tmp_path: Path) -> None:
    ev.insist_writable(tmp_path / "new/evidence")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    ev.insist_writable(tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(NoEvidence, match="Nothing was begun"):
        ev.insist_writable(tmp_path / "file/evidence")


def test_evidence_is_not_lost_when_its_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evidence").write_text("somebody put a file there meanwhile")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert report(GOOD, tmp_path / "evidence") == 0
    said = capsys.readouterr()
    (data,) = tmp_path.glob("releve-evidence-*/*.json")
    assert f"Evidence: {data}" in said.out
    assert "It worked" in said.out
    assert "Written elsewhere" in said.err


def test_bars_are_to_scale() -> None:
    wait, boot = bars(GOOD.phases, "en")
    assert wait.counted
    assert not boot.counted
    assert wait.width == pytest.approx(60 * boot.width, rel=0.8)
    assert bars((), "en") == ()


def test_evidence_is_written_and_never_over_another(tmp_path: Path) -> None:
    data, _ = ev.write(GOOD, tmp_path, page(GOOD))
    ev.write(replace(GOOD, started=T0 + timedelta(1), rto=None), tmp_path, "x")
    (tmp_path / "other.json").write_text("{")
    written = json.loads(data.read_text())
    assert written["rpo"] == {"seconds": 1800.0, "target_seconds": 86400}
    assert written["rto"]["seconds"] == 61.0
    assert written["canaries"]["site"]["newest"] == "2026-01-02T03:34:05Z"
    assert (tmp_path / "index.html").read_text() == "x"


def test_a_failed_phase_is_kept() -> None:
    said: list[str] = []
    watch = Stopwatch(said.append)
    with pytest.raises(ValueError), watch.phase("restore", counted=True):
        raise ValueError("pack is damaged")
    assert [(p.name, p.ok, p.note) for p in watch.phases] == [("restore", False, "pack is damaged")]
    with pytest.raises(KeyboardInterrupt), watch.phase("configure", counted=True):
        raise KeyboardInterrupt
    assert said.pop() == "Set up …"
    assert len(watch.phases) == 1, "whoever stops it does not make it fail"
    # In words that people know, as everywhere.
    assert said == ["Bring the data back …", "Bring the data back: FAILED in 0.0 s"]
