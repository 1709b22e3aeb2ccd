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


def init(at: Root, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Make what this host needs before its first backup: folders, receipt key, epoch, restic
    repository. Repeatable. The lock may be held by a deploy. (The operators' own key to the
    repository is added by the first command of theirs that opens it.)"""
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
    return {"host": plan["host"], "epoch": epoch, "made": made, "receipt_key": receipt_key(at)}
