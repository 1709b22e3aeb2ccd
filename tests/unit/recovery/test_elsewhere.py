"""Where a rehearsed loss brings a host back, and in which lab."""

from __future__ import annotations

from pathlib import Path

import pytest

import roles
from inventories.model import Inventory
from lab import Lab
from recovery.drill import _other_datacenter, lab_name
from recovery.errors import UsageError

INVENTORIES = Path(__file__).parents[3] / "inventories"


@pytest.mark.parametrize(
    ("there", "place"),
    [
        (("monts", "coffre", "vigie"), "PAR"),  # not NTE, where the copies are
        (("monts", "coffre"), "NTE"),  # nothing else is left
    ],
)
def test_not_where_the_copies_are_if_there_is_another_place(
    there: tuple[str, ...], place: str
) -> None:
    inventory = _with(there)
    assert _other_datacenter(inventory, inventory.hosts["monts"]).datacenter == place


def test_a_house_in_one_place_alone_has_nowhere_to_go() -> None:
    inventory = _with(("monts",))
    with pytest.raises(UsageError, match="every host is in GRA"):
        _other_datacenter(inventory, inventory.hosts["monts"])


def _with(names: tuple[str, ...]) -> Inventory:
    inventory = roles.load(INVENTORIES / "lab.toml")
    return inventory.model_copy(update={"hosts": {n: inventory.hosts[n] for n in names}})


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
