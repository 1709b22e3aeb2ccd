"""Are the copies what they claim to be? Looks at the repository, the receipts, the manifests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backup.errors import BackupError
from backup.prune import doubt
from backup.receipts import Receipt
from backup.repository import Opened
from backup.trust import Trust
from tools.restic import Snapshot

MANIFEST = "/var/lib/releve/stage/manifest.json"


@dataclass(frozen=True)
class Verdict:
    """What was found of one host's copies: one line each."""

    host: str
    snapshots: int
    verified: tuple[str, ...]  # ids whose receipt is signed and whose manifest is the one signed
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def judge_receipt(snapshot: Snapshot, receipts: Mapping[str, Receipt], trust: Trust) -> str:
    """What is wrong with the receipt of a snapshot, or ""."""
    run = snapshot.values("run")
    receipt = receipts.get(run[0]) if run else None
    name = f"snapshot {snapshot.short} of {snapshot.time:%Y-%m-%d %H:%M}"
    if receipt is None:
        return f"{name} has no receipt: its run was broken off, or somebody else made it"
    if trust.knows(receipt) and not trust.accepts(receipt):
        return f"{name}: its receipt is not signed with the receipt key noted for this host"
    claimed = str(receipt.body.get("snapshot") or "")
    if not claimed or not snapshot.id.startswith(claimed):
        return f"{name}: its receipt speaks of another snapshot ({claimed or 'none'})"
    return ""


def recent(snapshots: Sequence[Snapshot], now: datetime, newest: int) -> list[Snapshot]:
    """The newest snapshots whose date can be true. Pure."""
    return [s for s in snapshots if not doubt(s, now)][-newest:]


def verify(
    opened: Opened,
    snapshots: Sequence[Snapshot],
    receipts: Mapping[str, Receipt],
    trust: Trust,
    now: datetime,
    *,
    read: str | None = None,
    newest: int = 5,
) -> Verdict:
    """Check one host's copies, which are `snapshots`, oldest first.

    `read`: how much of the data to read back and verify, as restic says it ("5%", "2G", "1/12");
    None checks the structure only. `newest`: how many manifests are read, whose `receipts` are
    needed. `trust`: the host's receipt keys; where none is known the notes say so.
    Raise BusyError, UnreachableError, BackupError when the repository does not open.
    """
    problems, notes, verified = [], [], []
    subset = (f"--read-data-subset={read}",) if read else ()
    try:
        opened.run("check", "--no-lock", *subset)
    except BackupError as error:
        if error.exit_code != 1:
            raise
        problems.append(
            f"the repository is damaged: {error}. Some copies, or all, do not come back whole. "
            'Look at the disk it lies on. What to do: docs/operations.md, "The repository is full, '
            'damaged, or cannot be reached"'
        )
    if trust.problem:
        problems.append(trust.problem)
    odd = {s.id: why for s in snapshots if (why := doubt(s, now))}
    problems += [f"snapshot {i[:8]}: {why}" for i, why in odd.items()]
    newest_ones = recent(snapshots, now, newest)
    for snapshot in newest_ones:
        wrong = judge_receipt(snapshot, receipts, trust)
        if not wrong:
            receipt = receipts[snapshot.values("run")[0]]
            if not trust.knows(receipt):
                notes.append(
                    f"snapshot {snapshot.short}: its signature was not checked, for this host's "
                    "receipt key of that time is not known"
                )
            try:
                data = opened.run("dump", "--no-lock", snapshot.id, MANIFEST)
            except BackupError as error:
                wrong = f"the manifest of snapshot {snapshot.short} cannot be read: {error}"
            else:
                if hashlib.sha256(data.encode()).hexdigest() != receipt.body.get("manifest"):
                    wrong = f"the manifest of snapshot {snapshot.short} is not the one signed"
            if not receipt.ok:
                incomplete = f"snapshot {snapshot.short} was reported incomplete by its host"
                # The newest is what a loss of today would bring back.
                if snapshot is newest_ones[-1]:
                    wrong = wrong or f"{incomplete}, and it is the newest: see `releve backup run`"
                else:
                    notes.append(incomplete)
        if wrong:
            problems.append(wrong)
        else:
            verified.append(snapshot.id)
    if not snapshots:
        problems.append("there is no snapshot at all")
    return Verdict(opened.host, len(snapshots), tuple(verified), tuple(problems), tuple(notes))
