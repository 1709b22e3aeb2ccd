"""Receipts beside a repository, whoever put them there: the real scripts, without a network."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from backup import receipts
from inventories.model import Repository, RepositoryUrl
from tools.ssh import CommandError, Connection, Result

GATE = Path(__file__).resolve().parents[3] / "roles" / "repository" / "files" / "gate"
TRUE = "20260101T000000Z-monts-1"


class Here:
    """A session with this very machine, where the repository's folder is another one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bytes = 0

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> Result:
        words = [word.replace("/srv/releve/releve/atelier", str(self.folder)) for word in argv]
        done = subprocess.run(words, input=stdin, capture_output=True, timeout=timeout)
        self.bytes += len(done.stdout)
        result = Result(done.returncode, done.stdout, done.stderr)
        if done.returncode != 0:
            raise CommandError("coffre", argv, result)
        return result


class Keeper:
    def __init__(self, home: Path) -> None:
        self.home, self.place = home, home / "atelier" / "monts.receipts"
        self.here = Here(home / "atelier")
        self.session = cast(Connection, self.here)
        url = RepositoryUrl.model_validate("ssh-append://releve@coffre.example/atelier")
        self.repository = Repository(
            id="coffre", url=url, host="coffre", provider="p", datacenter="d"
        )

    def give(self, run: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
        """What a host does, or whoever stole its key."""
        environment = {**os.environ, "HOME": str(self.home)}
        environment["SSH_ORIGINAL_COMMAND"] = f"receipt {run}"
        argv = ["sh", str(GATE), "atelier/monts"]
        return subprocess.run(argv, input=data, env=environment, capture_output=True, check=False)

    def fetch(self, *wanted: str) -> dict[str, receipts.Receipt]:
        return receipts.fetch(self.session, self.repository, "monts", wanted)


def receipt(run: str, **more: Any) -> bytes:
    body = {"run": run, "ok": True, **more}
    return json.dumps({"receipt": body, "signature": "s"}, ensure_ascii=False).encode() + b"\n"


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    (tmp_path / "atelier").mkdir()
    return Keeper(tmp_path)


def test_only_what_is_asked_for_is_read(keeper: Keeper) -> None:
    assert keeper.fetch(TRUE) == {}
    assert receipts.runs(keeper.session, keeper.repository, "monts") == ()
    # U+2028 ends a line for Python, and for nobody else.
    for run in (TRUE, "b", "c"):
        assert keeper.give(run, receipt(run, error="a\u2028b")).returncode == 0
    keeper.here.bytes = 0
    assert keeper.fetch(TRUE, "none", "../../x", "")[TRUE].ok
    assert keeper.here.bytes < 200
    assert set(keeper.fetch("c", "b")) == {"b", "c"}
    assert receipts.runs(keeper.session, keeper.repository, "monts") == (TRUE, "b", "c")
    receipts.remove(keeper.session, keeper.repository, "monts", ["b", "none", "../../x"])
    assert receipts.runs(keeper.session, keeper.repository, "monts") == (TRUE, "c")


def test_no_receipt_speaks_for_another(keeper: Keeper) -> None:
    keeper.give(TRUE, receipt(TRUE))
    forged = receipt(TRUE, ok=False)
    keeper.give("zzz", forged)
    keeper.give("zzzz", b"\n" + TRUE.encode() + b" " + forged)
    (keeper.place / "link.json").symlink_to("/etc/passwd")
    found = keeper.fetch(TRUE, "zzz", "zzzz", "link")
    assert set(found) == {TRUE}
    assert found[TRUE].ok
    # Nor does anybody replace it.
    assert keeper.give(TRUE, forged).returncode == 0
    assert keeper.fetch(TRUE)[TRUE].ok


def test_a_receipt_that_was_cut_short_can_be_sent_again(keeper: Keeper) -> None:
    cut = keeper.give(TRUE, receipt(TRUE, services={"a": {}})[:-4])
    assert cut.returncode == 1
    assert b"no end" in cut.stderr
    assert keeper.give(TRUE, receipt(TRUE)).returncode == 0
    assert keeper.fetch(TRUE)[TRUE].ok


def test_whoever_has_the_key_cannot_fill_the_disk_with_receipts(keeper: Keeper) -> None:
    assert b"at most 256 KiB" in keeper.give("large", b"x" * 300_000).stderr
    keeper.give("a", receipt("a"))
    with (keeper.place / "many.json").open("wb") as file:
        file.truncate(64 * 2**20)  # bytes that are nowhere, as `find` counts them
    refused = keeper.give("b", receipt("b"))
    assert refused.returncode == 1
    assert b"releve backup prune" in refused.stderr
    # Reading is bounded all the same, and what is asked for first is there.
    keeper.here.bytes = 0
    assert set(keeper.fetch("a", "many")) == {"a"}
    assert keeper.here.bytes <= receipts.MOST_OF_ONE + 200
    receipts.remove(keeper.session, keeper.repository, "monts", ["many"])
    assert keeper.give("b", receipt("b")).returncode == 0
