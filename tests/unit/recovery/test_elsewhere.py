"""Where a rehearsed loss brings a host back, and in which lab."""

from __future__ import annotations

from pathlib import Path

import pytest

import roles
from lab import Lab
from recovery.drill import _other_datacenter, lab_name

INVENTORIES = Path(__file__).parents[3] / "inventories"


@pytest.mark.parametrize(("file", "host", "place"), [
    ("lab.toml", "monts", "PAR"),  # not NTE, where the copies are
    ("lab-mail.toml", "poste", "PAR"),  # nothing else is left
])  # fmt: skip
def test_not_where_the_copies_are_if_there_is_another_place(
    file: str, host: str, place: str
) -> None:
    inventory = roles.load(INVENTORIES / file)
    assert _other_datacenter(inventory, inventory.hosts[host]).datacenter == place


@pytest.mark.parametrize(
    ("stem", "begins"),
    [("centre", "drill-centre-"), ("Centre_2026 (neu)", "drill-centre-2026-neu-"),
     ("Évreux", "drill-evreux-"), ("中心", "drill-"), ("a" * 200, "drill-aaaaaaaaaaaaaaaa-")],
)  # fmt: skip
def test_every_file_has_a_lab_of_its_own(tmp_path: Path, stem: str, begins: str) -> None:
    here, there = tmp_path / f"{stem}.toml", tmp_path / "other" / f"{stem}.toml"
    assert lab_name(here) == lab_name(tmp_path / "x" / ".." / here.name)
    assert lab_name(here) != lab_name(there)
    for name in (lab_name(here), lab_name(there)):
        assert name.startswith(begins)
        assert Lab(name).name == name
