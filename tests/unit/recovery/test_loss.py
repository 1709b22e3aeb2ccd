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
from recovery.phases import Phase
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
    waited = Phase("cut-off", T0, (LATER - T0).total_seconds(), ok=True, counted=True)
    goes_on = replace(first, phases=(waited,))
    assert loss.begun(first, lost, moved=False, at=LATER) == goes_on
    moved = at(lost, "203.0.113.9")
    assert loss.begun(first, moved, moved=True, at=LATER) == goes_on
    assert first.machines[0].apply(moved).address == lost.address
    assert first.machines[0].apply(moved).datacenter == lost.datacenter


def test_a_machine_that_was_begun_on_is_given_up_for_another(lost: Host) -> None:
    first = loss.begun(None, lost, moved=False, at=T0)
    begun_on = at(lost, "203.0.113.9")
    again = loss.begun(first, begun_on, moved=False, at=LATER)
    assert again.machines == (Machine.of(lost), Machine.of(begun_on))
    assert again.lost_at == T0


def test_what_was_done_before_it_was_cut_off_and_how_long_nothing_was_is_known(lost: Host) -> None:
    done = Phase("access", T0, 2.0, ok=True, counted=True)
    failed = Phase("install", T0 + timedelta(seconds=2), 30.5, ok=False, counted=True, note="x")
    known = Loss(T0, (Machine.of(lost),), phases=(done, failed))
    until = T0 + timedelta(seconds=92)
    again = loss.begun(known, lost, moved=True, at=until)
    between = Phase("cut-off", T0 + timedelta(seconds=32), 60.0, ok=True, counted=True)
    assert again.phases == (done, failed, between)
    # Nobody waits any more once every service is back.
    over = loss.begun(replace(known, back_at=T0), lost, moved=True, at=until)
    assert over.phases[-1] == replace(between, counted=False)


def test_a_loss_after_everything_was_back_is_another_one(lost: Host) -> None:
    over = replace(loss.begun(None, lost, moved=False, at=T0), back_at=T0 + timedelta(hours=1))
    now_there = at(lost, "203.0.113.9")
    assert loss.begun(over, now_there, moved=True, at=LATER).lost_at == T0
    assert loss.begun(over, now_there, moved=False, at=LATER) == Loss(
        LATER, (Machine.of(now_there),)
    )


def test_it_lies_beside_the_inventory_until_all_is_done(lost: Host, tmp_path: Path) -> None:
    file = tmp_path / "atelier.toml"
    assert loss.read(file, "monts") is None
    memory = loss.Memory(file, "monts", loss.begun(None, lost, moved=False, at=T0))
    assert loss.read(file, "monts") == memory.loss
    memory.note((Phase("access", T0, 2.0, ok=True, counted=True),))
    memory.update(back_at=LATER)
    assert loss.read(file, "monts") == memory.loss
    assert memory.loss.phases
    assert memory.loss.back_at == LATER
    assert loss.read(file, "other") is None
    loss.path(file, "monts").write_text("{")
    with pytest.raises(RecoveryError, match="damaged"):
        loss.read(file, "monts")
    loss.forget(file, "monts")
    loss.forget(file, "monts")
    assert loss.read(file, "monts") is None
