"""Judge whether a host's copies are young enough: by receipts that the host signed, and by the
names and dates of the snapshots that the repository itself lists.

A copy that a host only believes to have made is how backups turn out to be missing: where the
repository can be asked, a receipt counts only with its snapshot.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from checks.host import parse_time
from inventories.model import Host, Repository
from roles.interface import Finding

# A nightly run ends a little later on some nights: a tenth of the RPO before it is called late.
TOLERANCE = 0.1
# A receipt's snapshot carries the time at which the repository wrote it.
CLOCKS = timedelta(hours=1)
NAMESPACE = "releve-receipt"


@dataclass(frozen=True)
class Receipt:
    """What is judged of a receipt. Times are UTC; `snapshot` is None when nothing was saved."""

    run: str
    host: str
    started: datetime
    finished: datetime
    ok: bool
    snapshot: str | None
    trouble: str


@dataclass(frozen=True)
class Stored:
    """A snapshot as the repository lists it: the name of its file, when it was written."""

    name: str
    written: datetime


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value that is signed (the agent has the same)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse(raw: Any) -> Receipt:
    """Given {"receipt": …, "signature": …} as a host keeps it, return the receipt, unverified.

    Raise ValueError, KeyError or TypeError when it is none.
    """
    said = raw["receipt"]
    services = said.get("services") or {}
    trouble = [f"{name}: {e}" for name, s in services.items() for e in s.get("errors", ())]
    if said.get("error"):
        trouble.insert(0, str(said["error"]))
    snapshot = said["snapshot"]
    if snapshot is not None and not isinstance(snapshot, str):
        raise TypeError("a snapshot is named by a text")
    return Receipt(
        run=str(said["run"]),
        host=str(said["host"]),
        started=parse_time(said["started"]),
        finished=parse_time(said["finished"]),
        ok=said["ok"] is True,
        snapshot=snapshot,
        trouble="; ".join(trouble),
    )


def is_signed(raw: Mapping[str, Any], key: str) -> bool:
    """Whether the receipt in `raw` was signed by `key` ("TYPE BASE64"); `ssh-keygen` says so.

    Raise OSError when ssh-keygen is not there.
    """
    signature = raw.get("signature")
    parts = key.split()
    if not isinstance(signature, str) or len(parts) < 2:
        return False
    with tempfile.TemporaryDirectory(prefix="releve-receipt-") as folder:
        allowed, signed = Path(folder, "allowed"), Path(folder, "signature")
        allowed.write_text(f"host {parts[0]} {parts[1]}\n")
        signed.write_text(signature)
        ended = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-q", "-f", str(allowed), "-I", "host",
             "-n", NAMESPACE, "-s", str(signed)],
            input=canonical(raw["receipt"]), capture_output=True, timeout=20, check=False,
        )  # fmt: skip
    return ended.returncode == 0


def judge(
    receipts: Sequence[Receipt],
    rpo: timedelta,
    now: datetime,
    stored: Sequence[Stored] | None,
) -> Finding:
    """Judge verified receipts (in any order) against the RPO. Pure.

    `stored`: what the repository lists, or None when it could not be asked. A copy is as old as
    the moment its run *started*: what was written after that may be missing in it.
    """
    newest_first = sorted(receipts, key=lambda r: r.started, reverse=True)
    good = next((r for r in newest_first if r.ok and r.snapshot), None)
    if good is None:
        if newest_first:
            return Finding(
                "critical",
                f"the last {len(newest_first)} run(s) failed: {_briefly(newest_first[0])}. "
                "Then: releve backup run",
            )
        return Finding("warning", "this machine has saved nothing yet: releve backup run")
    age = now - good.started
    said = f"the newest good copy is {_span(age)} old"
    if stored is not None:
        match = next((s for s in stored if good.snapshot and _same(s.name, good.snapshot)), None)
        if match is None:
            return Finding(
                "critical",
                f"the host says that it saved {_span(age)} ago ({str(good.snapshot)[:8]}), "
                f"but the repository does not hold that snapshot ({len(stored)} others). Somebody "
                "removed it, or copies go elsewhere: releve backup verify",
            )
        if not good.started - CLOCKS <= match.written <= good.finished + CLOCKS:
            return Finding(
                "critical",
                f"snapshot {match.name[:8]} was written at {match.written:%Y-%m-%d %H:%M} UTC, its "
                f"receipt says {good.finished:%Y-%m-%d %H:%M}: one of them is not genuine, or a "
                "clock is wrong: releve backup verify",
            )
    if age > rpo * (1 + TOLERANCE):
        failed = f" Since then: {_briefly(newest_first[0])}." if newest_first[0] != good else ""
        return Finding(
            "critical",
            f"{said}, at most {_span(rpo)} are allowed.{failed} On the host: "
            "journalctl -u releve-backup",
        )
    if newest_first[0] != good:
        return Finding("warning", f"{said}, but the last run failed: {_briefly(newest_first[0])}")
    if good.trouble:
        # All that the inventory names is in it.
        return Finding("warning", f"{said}, but something is missing in it: {_briefly(good)}")
    return Finding("ok", said + ("" if stored is not None else " (by the host's signed word)"))


def look(
    status: Mapping[str, Any],
    host: Host,
    repository: Repository,
    now: datetime,
    stored: Sequence[Stored] | None,
) -> Finding:
    """Verify the receipts in a host's status, then judge them. See `judge`."""
    raw = status.get("receipts")
    if not isinstance(raw, list):
        return Finding("unknown", "the host's agent names no receipts: releve deploy")
    key = status.get("receipt_key")
    receipts: list[Receipt] = []
    for item in raw:
        try:
            receipt = parse(item)
            genuine = receipt.host == host.id and isinstance(key, str) and is_signed(item, key)
        except (KeyError, TypeError, ValueError, AttributeError):
            return Finding(
                "unknown",
                "one of the newest receipts on the host (/var/lib/releve/receipts) is damaged, or "
                "of another version of the agent: nothing can be said of its copies. "
                "releve deploy, then releve backup run, which leaves a new one",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Finding("unknown", f"signatures cannot be verified: ssh-keygen: {error}")
        if not genuine:
            return Finding(
                "critical",
                f"the receipt of run {receipt.run[:60]} is not signed by this host: it was "
                "changed, or comes from elsewhere. Believe no copy of this host before "
                "`releve backup verify` says so.",
            )
        receipts.append(receipt)
    return judge(receipts, repository.rpo, now, stored)


def parse_stored(text: str) -> list[Stored]:
    """Given lines of JSON, {"id": the file's name, "time": seconds since 1970}, return them.

    Raise ValueError for anything else: half a list would look like removed snapshots.
    """
    try:
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [Stored(str(it["id"]), datetime.fromtimestamp(it["time"], UTC)) for it in lines]
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a list of snapshots: {error}") from None


def _same(name: str, snapshot: str) -> bool:
    # Receipts may hold the short form of an id; eight digits are what restic itself prints.
    return len(snapshot) >= 8 and name.startswith(snapshot)


def _briefly(receipt: Receipt) -> str:
    return f"{receipt.trouble[:300] or 'no reason given'} ({receipt.started:%Y-%m-%d %H:%M} UTC)"


def _span(span: timedelta) -> str:
    minutes = max(0, int(span.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // 1440} days"
