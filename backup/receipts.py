"""Receipts, as they lie beside a repository: what hosts said that they saved, signed."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.releve_agent.common import canonical
from backup.repository import folder
from inventories.model import Repository
from tools.ssh import Connection

_CAT = 'test -d "$1" || exit 0; find "$1" -maxdepth 1 -name "[!.]*.json" -exec cat {} +'


@dataclass(frozen=True)
class Receipt:
    """One receipt. `body` is what was signed."""

    body: Mapping[str, Any]
    signature: str

    @property
    def run(self) -> str:
        """The id of its run."""
        return str(self.body.get("run", ""))

    @property
    def ok(self) -> bool:
        """Whether the host says that all of it was saved."""
        return self.body.get("ok") is True


def parse(text: str) -> dict[str, Receipt]:
    """Given receipts, one a line, return them by run. Lines that are none are left out."""
    found = {}
    for line in text.splitlines():
        try:
            raw = json.loads(line)
            receipt = Receipt(dict(raw["receipt"]), str(raw["signature"]))
        except (ValueError, KeyError, TypeError):
            continue
        found[receipt.run] = receipt
    return found


def fetch(connection: Connection, repository: Repository, host_id: str) -> dict[str, Receipt]:
    """Every receipt of a host that lies beside its repository, unverified. Raise SshError."""
    place = f"{folder(repository)}/{host_id}.receipts"
    return parse(
        connection.run(("sh", "-c", _CAT, "cat", place), timeout=120).stdout.decode(
            errors="replace"
        )
    )


def is_signed(receipt: Receipt, keys: Sequence[str]) -> bool:
    """Whether one of `keys` ("TYPE BASE64") signed the receipt; `ssh-keygen` says so."""
    with tempfile.TemporaryDirectory(prefix="releve-receipt-") as name:
        allowed, signature = Path(name, "allowed"), Path(name, "signature")
        allowed.write_text("".join(f"host {key}\n" for key in keys))
        signature.write_text(receipt.signature)
        ended = subprocess.run(
            [
                *("ssh-keygen", "-Y", "verify", "-q", "-f", str(allowed), "-I", "host"),
                *("-n", "releve-receipt", "-s", str(signature)),
            ],
            input=canonical(dict(receipt.body)),
            capture_output=True,
            timeout=20,
            check=False,
        )
    return ended.returncode == 0
