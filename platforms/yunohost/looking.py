"""Asking a server about itself: what is sent, and what comes back. Pure but for reading `look`.

Nothing has to be installed on the server: the program that asks goes along with the questions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from platforms.yunohost.answers import Answer, UnreadableError

# Seconds that one question may take; a read does not wait for YunoHost's lock.
TIMEOUT = 120
# What runs on a server.
FILES = Path(__file__).with_name("files")


class Question(Protocol):
    """A command, or files by a shell pattern. It may have two more fields, both texts. `needs`:
    it is asked only where there is this path. `hide`: lines of files in which this expression is
    found do not leave the host."""

    @property
    def name(self) -> str: ...
    @property
    def argv(self) -> tuple[str, ...]: ...
    @property
    def files(self) -> str: ...


Looked = Mapping[str, Answer | Mapping[str, str]]


@cache
def source() -> str:
    """The program that asks (`files/look`)."""
    return FILES.joinpath("look").read_text()


def asked(questions: Sequence[Question]) -> str:
    """The questions as the program reads them."""
    return json.dumps([_asked(one) for one in questions])


def _asked(one: Question) -> dict[str, object]:
    told: dict[str, object] = {"name": one.name}
    if one.argv:
        told |= {"argv": one.argv, "timeout": TIMEOUT}
    else:
        told["glob"] = [one.files]
    if hide := getattr(one, "hide", ""):
        told["hide"] = [hide]
    if needs := getattr(one, "needs", ""):
        told["needs"] = needs
    return told


def argv(questions: str) -> tuple[str, ...]:
    """What asks them on a host, in one command. `questions`: from `asked`; nothing secret."""
    return ("python3", "-I", "-S", "-c", source(), questions)


def answered(stdout: str) -> Looked:
    """What the program printed, by the questions' names. Raise UnreadableError."""
    try:
        answers = json.loads(stdout)["answers"]
        return {name: _answered(told) for name, told in answers.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnreadableError(
            "the host did not answer as expected: is Python 3 there, and is it the right host?"
        ) from None


def _answered(told: Mapping[str, object]) -> Answer | Mapping[str, str]:
    if "files" in told:
        files = told["files"]
        if not isinstance(files, dict):
            raise TypeError
        return files
    words, code = told["argv"], told["exit_code"]
    if not isinstance(words, list) or not isinstance(code, int):
        raise TypeError
    return Answer(tuple(words), code, str(told["stdout"]), str(told["stderr"]))
