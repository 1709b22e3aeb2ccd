"""The age of copies: receipts signed by real `ssh-keygen`, snapshots as a repository lists them."""

from __future__ import annotations

import copy
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.releve_agent.common import Root, canonical
from agent.releve_agent.repository import receipt_key, sign
from checks import backups
from inventories.model import Host, Repository

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
SNAPSHOT = "0123456789abcdef" * 4
WEB1 = Host.model_validate(
    {"id": "web1", "platform": "debian", "address": "192.0.2.1", "provider": "p", "datacenter": "d"}
)
MAIN = Repository.model_validate(
    {"id": "main", "url": "ssh-append://r@x.test.example/t", "host": "safe", "provider": "p",
     "datacenter": "e", "rpo": "24h"}
)  # fmt: skip


def receipt(hours: float, *, error: str | None = None, snapshot: str = SNAPSHOT) -> dict[str, Any]:
    began = NOW - timedelta(hours=hours)
    return {
        "run": f"{began:%Y%m%dT%H%M%SZ}-web1", "host": "web1", "epoch": 1, "agent": "0.1.0",
        "started": f"{began:%Y-%m-%dT%H:%M:%SZ}",
        "finished": f"{began + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
        "snapshot": None if error else snapshot, "error": error, "ok": error is None,
        "services": {"pads": {"ok": True, "errors": [], "counts": {"écrits": 1}}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Signs as the agent does: with its own functions, in a folder that stands for the host."""
    at = Root(str(tmp_path_factory.mktemp("host")))
    Path(at.etc).mkdir(parents=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{at.etc}/receipt-key"], check=True
    )

    def status(*said: dict[str, Any]) -> dict[str, Any]:
        signed = [{"receipt": r, "signature": sign(at, canonical(r))} for r in said]
        written = [json.loads(canonical(s)) for s in signed]
        return {"receipts": written, "receipt_key": receipt_key(at)}

    return status


def stored(hours: float, name: str = SNAPSHOT) -> list[backups.Stored]:
    line = json.dumps({"id": name, "time": int((NOW - timedelta(hours=hours)).timestamp())})
    return backups.parse_stored(f"{line}\n")


@pytest.mark.parametrize(
    ("said", "listed", "level", "word"),
    [
        ([receipt(5)], stored(4.95), "ok", "5 h old"),
        ([receipt(5)], None, "ok", "signed word"),
        ([receipt(25)], stored(24.9), "ok", "25 h"),  # within the tolerance of a tenth
        ([receipt(27)], stored(26.9), "critical", "at most 24 h"),
        ([receipt(2, error="disk full"), receipt(20)], stored(19.9), "warning", "disk full"),
        ([receipt(2, error="disk full"), receipt(30)], stored(29.9), "critical", "disk full"),
        ([receipt(2, error="disk full")], [], "critical", "failed: disk full"),
        ([receipt(5)], [], "critical", "does not hold that snapshot"),
        ([receipt(5)], stored(4.95, "f" * 64), "critical", "does not hold that snapshot"),
        ([receipt(5)], stored(80), "critical", "not genuine"),
        ([receipt(5, snapshot=SNAPSHOT[:8])], stored(4.95), "ok", "5 h old"),
        ([], [], "warning", "this machine has saved nothing"),
    ],
)
def test_ages(signer: Any, said: Any, listed: Any, level: str, word: str) -> None:
    found = backups.look(signer(*said), WEB1, MAIN, NOW, listed)
    assert (found.level, word in found.message) == (level, True), found.message


def test_a_receipt_that_was_changed_or_comes_from_elsewhere_is_not_believed(signer: Any) -> None:
    well = signer(receipt(5))
    changed = copy.deepcopy(well)
    changed["receipts"][0]["receipt"]["services"]["pads"]["counts"]["écrits"] = 2
    other_host = signer({**receipt(5), "host": "web2"})
    unsigned = {**well, "receipts": [{"receipt": receipt(5)}]}
    other_key = {**well, "receipt_key": "ssh-ed25519 " + "A" * 68}
    no_key = {**well, "receipt_key": ""}
    for status in (changed, other_host, unsigned, other_key, no_key):
        found = backups.look(status, WEB1, MAIN, NOW, None)
        assert (found.level, "not signed by this host" in found.message) == ("critical", True)
    broken: list[list[Any]] = [[{}], [None], ["x"], [{"receipt": {"run": 1}}]]
    for nonsense in broken:
        found = backups.look({**well, "receipts": nonsense}, WEB1, MAIN, NOW, None)
        assert found.level == "unknown"


def test_half_a_list_of_snapshots_is_no_list() -> None:
    for text in ('{"id": "a"}\n', '{"id": "a", "time": 1}\n{"id": "b", "ti', "not found\n", "[]\n"):
        with pytest.raises(ValueError):
            backups.parse_stored(text)
    assert backups.parse_stored("") == []
