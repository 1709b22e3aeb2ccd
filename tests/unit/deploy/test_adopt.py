"""What DNS says of an adopted server's mail, and what is written of it; what is left there."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from deploy import inside
from deploy.adopt import spf
from deploy.dns import ZonePlan, beside
from inventories.model import Zone
from roles.interface import Record
from tools import dns

OURS = "v=spf1 a mx -all"
NEWS = "v=spf1 a mx include:_spf.example.net ~all"
VERIFIED = "some-verification=1"


def plan(**there: list[str]) -> ZonePlan:
    """A zone in which these names have these texts."""
    wanted = tuple(Record(f"{n}.example.org", "TXT", (OURS,), prefix="v=spf1") for n in there)
    answered = {(f"{n}.example.org", "TXT"): tuple(dns.canonical("TXT", t) for t in texts)
                for n, texts in there.items()}  # fmt: skip
    whole = tuple(beside(r, answered[r.name, r.type]) for r in wanted)
    return ZonePlan(Zone(id="example.org"), whole, dns.compare(whole, answered))


@pytest.mark.parametrize(
    ("there", "chosen", "left"),
    [
        ({"a": [OURS, VERIFIED], "b": [OURS]}, "", []),
        ({"a": [NEWS, VERIFIED], "b": [NEWS]}, NEWS, []),
        ({"a": [NEWS], "b": []}, NEWS, []),  # nothing there: nothing to keep
        ({"a": [NEWS, OURS]}, "", []),  # two are none
        ({"a": [NEWS], "b": [OURS], "c": [OURS]}, "", ["a.example.org"]),
        ({"a": [NEWS], "b": [NEWS], "c": [OURS]}, NEWS, ["c.example.org"]),
    ],
)
def test_who_sends_stays_as_dns_says_it(
    there: dict[str, list[str]], chosen: str, left: list[str]
) -> None:
    found, lines = spf([plan(**there)])
    assert found == chosen
    assert [line.split("SPF record of ")[1].split(",")[0] for line in lines] == left


def test_a_zone_that_cannot_be_asked_is_told() -> None:
    found, (line,) = spf([ZonePlan(Zone(id="example.org"), (), error="no answer")])
    assert found == ""
    assert "example.org (SPF) is not known: no answer" in line


def test_what_was_left_by_somebody_who_was_killed_is_swept(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only what is root's is taken for ours")
    old = time.time() - 3600
    for name in ("releve-adopt.killed", "releve-adopt.at-work", "releve-adoption", "other"):
        (tmp_path / name / "app").mkdir(parents=True)
        if name != "releve-adopt.at-work":
            os.utime(tmp_path / name, (old, old))
    (tmp_path / "releve-adopt.file").write_text("")
    os.utime(tmp_path / "releve-adopt.file", (old, old))
    argv = inside.folder_argv(str(tmp_path))
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    made = Path(done.stdout.strip())
    assert made.stat().st_mode & 0o777 == 0o755
    assert {p.name for p in tmp_path.iterdir()} == {
        made.name, "releve-adopt.at-work", "releve-adopt.file", "releve-adoption", "other"
    }  # fmt: skip
