"""Questions to a server, really asked of this machine."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from platforms.yunohost import looking
from platforms.yunohost.answers import Answer, UnreadableError
from platforms.yunohost.server import QUESTIONS


@dataclass(frozen=True)
class Asked:
    name: str
    argv: tuple[str, ...] = ()
    files: str = ""
    hide: str = ""
    needs: str = ""


def ask(*questions: Asked) -> looking.Looked:
    argv = looking.argv(looking.asked(questions))
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    return looking.answered(done.stdout)


def test_what_is_asked_comes_back_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("id: a\npassword: hush\n")
    found = ask(
        Asked("command", argv=("sh", "-c", "echo out; exit 3")),
        Asked("files", files=f"{tmp_path}/*.yml", hide="(?i)pass"),
        Asked("not there", argv=("true",), needs=f"{tmp_path}/nothing"),
    )
    assert found == {
        "command": Answer(("sh", "-c", "echo out; exit 3"), 3, "out\n", ""),
        "files": {f"{tmp_path}/a.yml": "id: a\n"},
    }


def test_a_whole_server_costs_six_starts_and_one_command() -> None:
    starts = [q for q in QUESTIONS if q.argv and q.argv[0] == "yunohost"]
    assert len(starts) <= 6
    # Linux takes 128 KiB in one argument.
    assert all(len(word) < 100_000 for word in looking.argv(looking.asked(QUESTIONS)))


@pytest.mark.parametrize("text", ["", "sh: python3: not found", '{"answers": {"a": {}}}', "[1]"])
def test_an_answer_that_is_none_is_told(text: str) -> None:
    with pytest.raises(UnreadableError):
        looking.answered(text)
