"""What checks are about, in people's words."""

from __future__ import annotations

from pathlib import Path

import pytest

import roles
from checks import host, wording
from roles.registry import SERVICES

HOUSE = roles.load(Path("inventories/lab.toml"))


@pytest.mark.parametrize(
    ("check", "fr", "en"),
    [
        ("site.tls", "Site web (WordPress), son certificat",
         "Website (WordPress), its certificate"),
        ("site.files", "Site web (WordPress)", "Website (WordPress)"),
        ("monts.disk", "Machine monts, la place sur ses disques",
         "Host monts, the space on its disks"),
        ("watch.sight", "La vigie elle-même", "The watch itself"),
        ("gone.https", "gone.https", "gone.https"),
    ],
)  # fmt: skip
def test_a_check_is_called_by_what_people_know(check: str, fr: str, en: str) -> None:
    assert wording.about(check, HOUSE, SERVICES, "fr") == fr
    assert wording.about(check, HOUSE, SERVICES, "en") == en


def test_everything_that_is_judged_of_a_host_has_words() -> None:
    assert {*host.CHECKS, "backup", "disk-trend"} <= wording.PARTS.keys()
