"""Steps as they are sent, results as they are read. `ynh` itself is in tests/programs."""

from __future__ import annotations

import json

import pytest

from platforms.yunohost import durable
from platforms.yunohost.answers import UnreadableError
from platforms.yunohost.durable import Command, Task
from platforms.yunohost.errors import YunohostError

YUNOHOST = ("yunohost", "domain", "add", "a.example", "--output-as", "json", "--timeout", "600")


def printed(error: str, code: int = 0, stderr: str = "", argv: tuple[str, ...] = YUNOHOST) -> str:
    command = {"argv": list(argv), "exit_code": code, "stdout": "", "stderr": stderr, "seconds": 1}
    return json.dumps({"step": "s", "title": "a step", "error": error, "commands": [command]})


def test_secrets_are_in_what_is_sent_and_in_nothing_that_is_shown() -> None:
    task = Task("t", (Command(YUNOHOST, ("hush",)),), files={"f": "hush"}, hide=("hush",))
    assert "hush" not in repr(task)
    sent = json.loads(durable.request("s", task))
    assert sent["commands"][0]["answers"] == ["hush"]
    assert (sent["files"], sent["hide"]) == ({"f": "hush"}, ["hush"])
    assert not any("hush" in word for command in sent["commands"] for word in command["argv"])


def test_a_command_without_prompts_gets_no_terminal() -> None:
    sent = json.loads(durable.request("s", Task("t", (Command(YUNOHOST),))))
    assert "answers" not in sent["commands"][0]


def test_a_name_is_the_same_only_for_the_same_step_of_the_same_run() -> None:
    one, other = Task("t", (Command(YUNOHOST),)), Task("t", (Command(("true",)),))
    assert durable.name("r", 1, one) == durable.name("r", 1, one)
    names = [("r", 1, one), ("r", 2, one), ("q", 1, one), ("r", 1, other)]
    assert len({durable.name(*about) for about in names}) == 4


def test_what_ended_well_is_no_failure() -> None:
    assert durable.failure(durable.result(printed(""))) is None


def test_a_failure_of_yunohost_is_its_typed_error() -> None:
    done = durable.result(printed("failed", 1, "ERROR There is already a YunoHost operation"))
    error = durable.failure(done)
    assert error is not None
    assert error.remedy
    assert "a.example" not in str(error) or error.kind


def test_a_failure_of_something_else_says_what_it_said() -> None:
    argv = ("bash", "/x/installer", "-a")
    error = durable.failure(durable.result(printed("failed", 3, "no network", argv)))
    assert error is not None
    assert "bash" in str(error)
    assert "no network" in str(error)


@pytest.mark.parametrize("word", ["vanished", "busy", "timeout", "prompt"])
def test_each_way_not_to_end_is_told_with_what_to_do(word: str) -> None:
    error = durable.failure(durable.result(printed(word, 137)))
    assert error is not None
    assert (error.kind, bool(error.remedy)) == (word, True)


@pytest.mark.parametrize("text", ["", "no", "{}", '{"step": "s"}', "[]"])
def test_an_answer_that_is_none_is_told(text: str) -> None:
    with pytest.raises(UnreadableError):
        durable.result(text)


def test_an_answer_that_was_refused_is_told_as_what_it_is() -> None:
    # YunoHost asks again; ynh has no other answer and stops it. Said by 12.1.25.
    argv = ("yunohost", "app", "install", "pad", "--force", "--output-as", "json")
    stderr = "ERROR This password is among the most used passwords in the world.\nERROR Operation"
    error = durable.failure(durable.result(printed("prompt", 1, stderr, argv)))
    assert isinstance(error, YunohostError)
    assert error.kind == "weak_password"
