"""`look` with real processes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

import pytest

from platforms.yunohost.server import QUESTIONS

LOOK = Path(__file__).parents[3] / "platforms/yunohost/files/look"


def ask(questions: list[dict[str, Any]]) -> dict[str, Any]:
    """As it is asked over SSH: nothing is installed."""
    source = LOOK.read_text()
    argv = [sys.executable, "-I", "-S", "-c", source, json.dumps(questions)]
    said = subprocess.run(argv, capture_output=True, check=True, text=True, timeout=30)
    answers: dict[str, Any] = json.loads(said.stdout)["answers"]
    return answers


def test_commands_run_side_by_side_and_tell_how_they_ended() -> None:
    sleep = "sleep 0.6; echo out; echo err >&2; exit 3"
    began = time.monotonic()
    answers = ask([{"name": f"n{n}", "argv": ["sh", "-c", sleep]} for n in range(4)])
    assert time.monotonic() - began < 1.5
    assert answers["n2"]["argv"] == ["sh", "-c", sleep]
    assert (answers["n2"]["exit_code"], answers["n2"]["stdout"]) == (3, "out\n")
    assert answers["n2"]["stderr"] == "err\n"


def test_much_output_does_not_block() -> None:
    answers = ask([{"name": "n", "argv": ["sh", "-c", "yes | head -c 3000000"]}])
    assert len(answers["n"]["stdout"]) == 3_000_000


def test_one_that_hangs_is_ended_with_its_children_and_the_others_answer() -> None:
    answers = ask(
        [
            {"name": "hangs", "argv": ["sh", "-c", "sleep 61.25 & wait"], "timeout": 0.4},
            {"name": "no", "argv": ["/does/not/exist"]},
            {"name": "well", "argv": ["true"]},
        ]
    )
    assert [answers[n]["exit_code"] for n in ("hangs", "no", "well")] == [124, 127, 0]
    assert "/does/not/exist" in answers["no"]["stderr"]
    left = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert b"sleep\x0061.25\x00" not in left


def test_no_command_has_a_terminal_or_input() -> None:
    argv = ["sh", "-c", "cat; test -t 0 || test -t 1 || test -t 2 || echo none"]
    assert ask([{"name": "n", "argv": argv}])["n"]["stdout"] == "none\n"


def test_files_by_pattern_without_the_lines_that_are_secret(tmp_path: Path) -> None:
    for app in ("a", "b"):
        (tmp_path / app).mkdir()
        (tmp_path / app / "settings.yml").write_text(
            f"id: {app}\nmysqlpwd: hidden\nmy_Password: x\nport: 1\n"
        )
    found = ask([{"name": "s", "glob": [f"{tmp_path}/*/settings.yml"], "hide": ["pwd|password"]}])
    assert found["s"]["files"] == {
        f"{tmp_path}/{app}/settings.yml": f"id: {app}\nport: 1\n" for app in ("a", "b")
    }


def test_which_paths_there_are(tmp_path: Path) -> None:
    there = ask([{"name": "p", "there": [str(tmp_path), f"{tmp_path}/no"]}])["p"]["there"]
    assert there == [str(tmp_path)]


def test_what_needs_something_that_is_not_there_is_not_asked(tmp_path: Path) -> None:
    questions = [
        {"name": "no", "argv": ["touch", f"{tmp_path}/mark"], "needs": f"{tmp_path}/nothing"},
        {"name": "yes", "argv": ["true"], "needs": str(tmp_path)},
    ]
    assert list(ask(questions)) == ["yes"]
    assert not (tmp_path / "mark").exists()


PROGRAM = """#!/usr/bin/env python3
import os, subprocess, sys, time
import yunohost
assert __name__ == "__main__" and sys.stdin.read() == ""
said = sys.argv[1]
print(said, "é", os.getcwd(), yunohost.READ, os.environ["LC_ALL"])
if said == "fails":
    print("Erreur", file=sys.stderr)
    sys.exit(3)
if said == "says":
    sys.exit("why")
if said == "breaks":
    {}["no"]
if said == "hangs":
    subprocess.run(["sleep", "61.5"])
"""


@pytest.fixture
def like_yunohost(tmp_path: Path) -> Path:
    """A Python that has modules of YunoHost's names, and a program that reads them."""
    venv.create(tmp_path / "v", symlinks=True, with_pip=False)
    (site,) = (tmp_path / "v/lib").glob("python3.*/site-packages")
    for name in ("yunohost/utils", "moulinette/interfaces"):
        (site / name).mkdir(parents=True)
    for name in ("app", "domain", "user", "permission", "utils/ldap"):
        (site / "yunohost" / f"{name}.py").write_text("")
    (site / "moulinette/interfaces/cli.py").write_text("")
    (site / "yunohost/__init__.py").write_text(
        "import os\nREAD = os.getpid()\ndef init_logging(interface): pass\n"
    )
    program = tmp_path / "v/bin/yunohost"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return tmp_path / "v/bin"


def started(path: Path, *words: str) -> dict[str, Any]:
    """Have the program that is called yunohost in this folder asked."""
    text = LOOK.read_text()
    usual = text[text.index('PATH = "') :].partition("\n")[0]
    source = text.replace(usual, f'PATH = "{path}:/usr/bin:/bin"')
    questions = [{"name": w, "argv": ["yunohost", w], "timeout": 1.5} for w in words]
    argv = [str(path / "python3"), "-I", "-S", "-c", source, json.dumps(questions)]
    said = subprocess.run(argv, capture_output=True, check=True, text=True, timeout=30)
    answers: dict[str, Any] = json.loads(said.stdout)["answers"]
    return answers


def test_commands_of_yunohost_share_one_start_and_end_each_by_itself(like_yunohost: Path) -> None:
    answers = started(like_yunohost, "well", "fails", "says", "breaks", "hangs")
    words = answers["well"]["stdout"].split()
    assert (words[:3], words[4]) == (["well", "é", "/"], "C.UTF-8")
    assert {a["stdout"].split()[3] for a in answers.values() if a["stdout"]} == {words[3]}
    assert [a["exit_code"] for a in answers.values()] == [0, 3, 1, 1, 124]
    assert answers["fails"]["stderr"] == "Erreur\n"
    assert answers["says"]["stderr"] == "why\n"
    assert "KeyError" in answers["breaks"]["stderr"]
    left = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert b"sleep\x0061.5\x00" not in left


@pytest.mark.parametrize("why", ["another language", "modules that are not known"])
def test_what_cannot_share_a_start_is_started(like_yunohost: Path, why: str) -> None:
    if why == "another language":
        (like_yunohost / "yunohost").write_text('#!/bin/sh\necho "$1 é / $$"\n')
    else:
        (found,) = like_yunohost.parent.glob("lib/python3.*/site-packages/yunohost/app.py")
        found.unlink()
    answers = started(like_yunohost, "well", "fine")
    assert [a["exit_code"] for a in answers.values()] == [0, 0]
    assert len({a["stdout"].split()[3] for a in answers.values()}) == 2


def asked_of(name: str, file: Path) -> list[str]:
    """What the host answers to a question that reads one file, here of this one."""
    (question,) = (one for one in QUESTIONS if one.name == name)
    argv = [*question.argv[:-1], str(file)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def test_configuration_that_is_not_as_yunohost_wrote_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "same").write_text("a\n")
    (tmp_path / "edited").write_text("b\n")
    same = hashlib.md5(b"a\n", usedforsecurity=False).hexdigest()
    known = tmp_path / "regenconf.yml"
    known.write_text(
        f"apt:\n  conffiles:\n    {tmp_path}/same: {same}\n    {tmp_path}/never: null\n"
        f"nginx:\n  conffiles:\n    {tmp_path}/edited: {same}\n    {tmp_path}/gone: '{'1' * 32}'\n"
    )
    assert asked_of("edited", known) == [f"nginx {tmp_path}/edited", f"nginx {tmp_path}/gone"]
    known.write_text(f"apt:\n  conffiles:\n    {tmp_path}/same: {same}\n")
    assert asked_of("edited", known) == []


def test_a_hidden_setting_is_known_by_a_word_that_tells_nothing(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text("smtp_relay_password: hunter2\nsmtp_relay_user: forum\nother_password: ''\n")
    (line,) = asked_of("secrets", file)
    assert line.startswith("smtp_relay_password ")
    assert "hunter2" not in line
    assert asked_of("secrets", file) == [line]
    file.write_text("smtp_relay_password: hunter3\n")
    assert asked_of("secrets", file) != [line]
