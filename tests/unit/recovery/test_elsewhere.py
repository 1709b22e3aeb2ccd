"""Where a rehearsed loss brings a host back."""

from __future__ import annotations

from pathlib import Path

import pytest

import roles
from recovery.drill import _other_datacenter

INVENTORIES = Path(__file__).parents[3] / "inventories"


@pytest.mark.parametrize(("file", "host", "place"), [
    ("lab.toml", "monts", "PAR"),  # not NTE, where the copies are
    ("lab-mail.toml", "poste", "NTE"),  # nothing else is left
])  # fmt: skip
def test_not_where_the_copies_are_if_there_is_another_place(
    file: str, host: str, place: str
) -> None:
    inventory = roles.load(INVENTORIES / file)
    assert _other_datacenter(inventory, inventory.hosts[host]).datacenter == place
