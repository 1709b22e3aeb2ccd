"""Whose signature counts: keys noted at first sight, each for its epoch; real signatures."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.receipt_key import ChangedKeyError, Known, parse, render, seen
from agent.releve_agent.common import canonical
from backup.receipts import Receipt
from backup.trust import Trust
from backup.verify import judge_receipt
from tools.restic import Snapshot

ONE, TWO = "ssh-ed25519 AAAAone", "ssh-ed25519 AAAAtwo"


def test_a_key_is_noted_once_per_epoch_and_no_other_takes_its_place() -> None:
    first = seen((), "monts", 1, f"{ONE} root@monts")
    assert parse(render(first)) == first == (Known(ONE, 1),)
    assert seen(first, "monts", 1, ONE) is first
    with pytest.raises(
        ChangedKeyError, match=r"not the one that monts was first .* AAAAtwo epoch 1$"
    ):
        seen(first, "monts", 1, TWO)
    rebuilt = seen(first, "monts", 2, TWO)
    assert parse(render(rebuilt)) == rebuilt
    with pytest.raises(
        ChangedKeyError, match="epoch 1, and monts is in epoch 2: this is the machine"
    ):
        seen(rebuilt, "monts", 2, ONE)
    by_hand = parse(f"{ONE} root@monts")
    assert seen(by_hand, "monts", 7, ONE) is by_hand
    assert parse("nothing, , ") == ()


def signed(key: Path, epoch: int) -> dict[str, Receipt]:
    """A receipt of a run of that epoch, signed with a key file."""
    body = {"run": "r", "epoch": epoch, "snapshot": "abcdef12", "ok": True}
    said = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "releve-receipt"],
        input=canonical(body), capture_output=True, check=True,
    )  # fmt: skip
    return {"r": Receipt(body, said.stdout.decode())}


def test_a_replaced_machine_cannot_sign_for_the_one_that_replaced_it(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("old", "new")]
    for file in files:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    old, new = files
    public = [" ".join(f.with_suffix(".pub").read_text().split()[:2]) for f in files]
    trust = Trust((Known(public[0], 1), Known(public[1], 2)))
    snapshot = Snapshot("abcdef1234", datetime.now(UTC), "monts", (), ("run=r",))
    assert judge_receipt(snapshot, signed(old, 1), trust) == ""
    assert judge_receipt(snapshot, signed(new, 2), trust) == ""
    for wrong in (signed(old, 2), signed(new, 1), signed(old, 3)):
        assert "not signed with the receipt key noted" in judge_receipt(snapshot, wrong, trust)
    # What was before the first key was noted is a note of `verify`, and no accusation.
    later = Trust((Known(public[1], 2),))
    assert judge_receipt(snapshot, signed(old, 1), later) == ""
    assert not later.knows(signed(old, 1)["r"])
