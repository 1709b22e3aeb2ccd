"""Make, once, the key that signs receipts, the repository, and the operators' way in."""

from __future__ import annotations

import os
import re

from .common import Failed, Root, read_json, write
from .epoch import _unfence
from .processes import run
from .repository import own_epoch, receipt_key, restic_argv, restic_failed

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def init(at: Root, plan: Mapping[str, Any], recovery: str | None) -> dict[str, Any]:
    """Make what this host needs before its first backup: folders, receipt key, epoch, restic
    repository, the operators' own key to it. Repeatable. The lock may be held by a deploy."""
    made = []
    key = f"{at.etc}/receipt-key"
    if not os.path.exists(key):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", plan["host"], "-f", key]
        done = run(argv)
        if done.code != 0:
            raise Failed(f"no receipt key could be made: {done.said()}")
        made.append("receipt-key")
    epoch = max(own_epoch(at), int(plan["epoch"]))
    if not os.path.exists(at.v("epoch")) or epoch != own_epoch(at):
        write(at.v("epoch"), f"{epoch}\n".encode())
        made.append("epoch")
    notice = read_json(at.v("fenced"))
    if notice is not None and int(notice.get("epoch", 0)) <= epoch:
        _unfence(at)
        made.append("unfenced")
    source = plan.get("repository")
    if source:
        done = run(restic_argv(source, epoch, "init"), timeout=300)
        text = done.err.decode(errors="replace")
        if done.code == 0:
            made.append("repository")
        elif re.search(r"already (exists|initialized)", text):
            opened = run(restic_argv(source, epoch, "cat", "config", "--no-lock"), timeout=300)
            if opened.code != 0:
                restic_failed(opened, "the repository is there but does not open")
        else:
            restic_failed(done, "the repository could not be made")
        if recovery:
            made += _add_recovery(at, source, epoch, recovery)
    return {"host": plan["host"], "epoch": epoch, "made": made, "receipt_key": receipt_key(at)}


def _add_recovery(at: Root, source: Mapping[str, Any], epoch: int, password: str) -> list[str]:
    """Give the operators a restic key of their own, unless theirs already opens."""
    path = f"{at.run}/recovery-password.{os.getpid()}"
    write(path, password.encode())
    try:
        theirs = {
            **source,
            "restic": [
                f"--password-file={path}" if w.startswith("--password-file=") else w
                for w in source["restic"]
            ],
        }
        argv = restic_argv(theirs, epoch, "cat", "config", "--no-lock")
        if run(argv, timeout=300).code == 0:
            return []
        argv = restic_argv(source, epoch, "key", "add", f"--new-password-file={path}")
        done = run(argv, timeout=300)
        if done.code != 0:
            restic_failed(done, "the operators' recovery key could not be added")
        return ["recovery-key"]
    finally:
        os.unlink(path)
