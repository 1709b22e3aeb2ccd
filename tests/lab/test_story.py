"""What `make drill` shows: a datacenter is lost, and everything comes back elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.lab import names
from recovery.drill import lab_name
from tests.lab.house import REPO, evidence, found_marks, releve, start

pytestmark = pytest.mark.lab


def test_the_whole_story_ends_with_every_service_back_elsewhere(
    new_file: Path, tmp_path: Path
) -> None:
    new_file.write_bytes((REPO / "inventories/lab.toml").read_bytes())
    words = ("drill", new_file, "--lab", "--disaster", "--evidence", tmp_path / "evidence")
    with start(*words) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert "Start the machines" in said
        # Whoever types it again meanwhile takes nothing away from it.
        second = releve(*words, code=75)
        assert f"another drill of {new_file} is under way" in second
        said += process.stdout.read()
    assert process.returncode == 0, said
    assert "Bring the data back: done in" in said
    assert "It worked: every service is back at Hébergeur du troisième site (PAR)." in said
    proved, page = evidence(tmp_path / "evidence")
    assert proved["passed"] is True
    assert proved["failures"] == []
    assert proved["who"]
    for service in ("site", "pad"):
        # What was written before the copy came back; what came after is seen to be lost.
        assert found_marks(proved, service) == {"kept", "run"}
        counts = proved["counts"][service]
        assert sum(counts["before"].values()) > 0
        assert counts["before"] == counts["after"]
        assert proved["versions"][service]["after"]
        assert set(proved["checks"][service].values()) == {"ok"}
    assert 0 < proved["rpo"]["seconds"] < proved["rpo"]["target_seconds"]
    assert 0 < proved["rto"]["seconds"] < proved["rto"]["target_seconds"]
    waited = [phase["name"] for phase in proved["phases"] if phase["counted"]]
    assert waited == [
        "blank", "access", "install", "restore", "configure", "check-address", "activate",
        "check-after",
    ]  # fmt: skip
    assert all(phase["ok"] for phase in proved["phases"])
    assert "Cela a fonctionné." in page
    assert "It worked." in page
    assert "http-equiv" not in page
    # A picture in each language, with a bar for each phase.
    assert page.count("<rect") == 2 * len(proved["phases"])
    assert lab_name(new_file) not in names()
