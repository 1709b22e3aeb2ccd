"""Receipts, as they lie beside a repository: what hosts said that they saved, signed."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.releve_agent.common import canonical
from backup.repository import folder
from inventories.model import Repository
from tools.ssh import Connection

# Whoever stole a host's key can add receipts. What is read of them is what somebody needs, and
# never more than this (bytes; the gate keeps no more of one host, nor of one receipt).
MOST = 64 * 2**20
MOST_OF_ONE = 2**18
# As the gate lets them in.
_RUN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")

_NAMES = (
    'test -d "$1" || exit 0; '
    'find "$1" -maxdepth 1 -type f -name "[!.]*.json" -printf "%f\\n" | head -c "$2"'
)
# Names come on stdin, one a line. A receipt is one line, whatever somebody put into its file.
_CAT = (
    'cd -- "$1" 2>/dev/null || exit 0; while IFS= read -r run; do f=$run.json; '
    'if test -f "$f" && ! test -L "$f"; then printf "%s " "$run"; '
    'head -c "$3" -- "$f" | tr -d "\\n"; echo; fi; done | head -c "$2"'
)
_REMOVE = 'cd -- "$1"; while IFS= read -r run; do rm -f -- "$run.json"; done'


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
    """Given lines of a run's id and the receipt that bears its name, return them by run. What is
    no receipt, or speaks of another run than its name, is left out. Pure."""
    found = {}
    for line in text.split("\n"):
        run, _, said = line.partition(" ")
        try:
            raw = json.loads(said)
            receipt = Receipt(dict(raw["receipt"]), str(raw["signature"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if receipt.run == run:
            found[run] = receipt
    return found


def folder_of(repository: Repository, host_id: str) -> str:
    """Where the receipts of a host lie on the repository host."""
    return f"{folder(repository)}/{host_id}.receipts"


def runs(connection: Connection, repository: Repository, host_id: str) -> tuple[str, ...]:
    """The runs of a host whose receipts lie beside its repository, oldest first by name: a run's
    id begins with its time. Raise SshError, CommandError."""
    argv = ("sh", "-c", _NAMES, "names", folder_of(repository, host_id), str(MOST))
    said = connection.run(argv, timeout=120).stdout.decode(errors="replace")
    names = (line.removesuffix(".json") for line in said.splitlines() if line.endswith(".json"))
    return tuple(sorted(name for name in names if _RUN.fullmatch(name)))


def fetch(
    connection: Connection, repository: Repository, host_id: str, wanted: Iterable[str]
) -> dict[str, Receipt]:
    """The receipts of some runs of a host, as they lie beside its repository, unverified; those
    that are not there are left out. Raise SshError, CommandError."""
    names = "".join(f"{run}\n" for run in wanted if _RUN.fullmatch(run))
    place = folder_of(repository, host_id)
    argv = ("sh", "-c", _CAT, "cat", place, str(MOST), str(MOST_OF_ONE))
    done = connection.run(argv, stdin=names.encode(), timeout=120)
    return parse(done.stdout.decode(errors="replace"))


def remove(
    connection: Connection, repository: Repository, host_id: str, unwanted: Collection[str]
) -> None:
    """Remove the receipts of some runs. Raise SshError, CommandError."""
    names = "".join(f"{run}\n" for run in unwanted if _RUN.fullmatch(run))
    argv = ("sh", "-c", _REMOVE, "remove", folder_of(repository, host_id))
    connection.run(argv, stdin=names.encode(), timeout=120)


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
