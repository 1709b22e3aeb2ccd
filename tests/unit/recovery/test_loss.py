"""What a rebuild remembers of the loss while it is under way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from inventories.model import Host, Inventory
from recovery import loss
from recovery.errors import RecoveryError
from recovery.loss import Loss, Machine
from tests.unit.inventories.examples import good

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = T0 + timedelta(hours=3)


@pytest.fixture
def lost() -> Host:
    document = good()
    document["services"] = {}
    return Inventory.model_validate(document).hosts["monts"]


def at(host: Host, address: str) -> Host:
    return host.model_copy(update={"address": ip_address(address), "datacenter": "NTE"})


def test_a_run_that_goes_on_is_about_the_loss_of_the_first(lost: Host) -> None:
    first = loss.begun(None, lost, moved=False, at=T0)
    assert first == Loss(T0, (Machine.of(lost),))
    # Killed before the inventory was changed, and after it.
    assert loss.begun(first, lost, moved=False, at=LATER) == first
    moved = at(lost, "203.0.113.9")
    assert loss.begun(first, moved, moved=True, at=LATER) == first
    assert first.machines[0].apply(moved).address == lost.address
    assert first.machines[0].apply(moved).datacenter == lost.datacenter


def test_a_machine_that_was_begun_on_is_given_up_for_another(lost: Host) -> None:
    first = loss.begun(None, lost, moved=False, at=T0)
    begun_on = at(lost, "203.0.113.9")
    again = loss.begun(first, begun_on, moved=False, at=LATER)
    assert again == Loss(T0, (Machine.of(lost), Machine.of(begun_on)))


def test_a_loss_after_everything_was_back_is_another_one(lost: Host) -> None:
    over = replace(loss.begun(None, lost, moved=False, at=T0), back_at=T0 + timedelta(hours=1))
    now_there = at(lost, "203.0.113.9")
    assert loss.begun(over, now_there, moved=True, at=LATER) == over
    assert loss.begun(over, now_there, moved=False, at=LATER) == Loss(
        LATER, (Machine.of(now_there),)
    )


def test_it_lies_beside_the_inventory_until_all_is_done(lost: Host, tmp_path: Path) -> None:
    file = tmp_path / "atelier.toml"
    assert loss.read(file, "monts") is None
    about = replace(loss.begun(None, lost, moved=False, at=T0), back_at=LATER)
    loss.remember(file, "monts", about)
    assert loss.read(file, "monts") == about
    assert loss.read(file, "other") is None
    loss.path(file, "monts").write_text("{")
    with pytest.raises(RecoveryError, match="damaged"):
        loss.read(file, "monts")
    loss.forget(file, "monts")
    loss.forget(file, "monts")
    assert loss.read(file, "monts") is None
