"""What an app asks for before it is installed, and the answers, checked and encoded.

YunoHost takes defaults for whatever it is not told (seen: recording 112, where the default could
not even be installed). Here every question that is not optional must be answered in the
inventory, and an answer to no question is an error too: both are said before anything changes.

Passwords never stand in an argv. They are left out of `--args`, and YunoHost then asks for them,
and for nothing else, one after another, on a terminal (`Arguments.prompts`, utils/form.py of
12.1.25): whoever runs the command gives it a local pseudo-terminal and types them there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from platforms.yunohost.answers import Answer, Scalar, UnreadableError, value

# Types that only show something; they are never answered.
_SHOWN = {"display_text", "markdown", "alert", "button"}
# Types whose choices are what is on the server now: a deploy may be about to add it.
_OF_THE_SERVER = {"domain", "user", "group", "app", "permission"}

_YES = {"1", "yes", "y", "true", "t", "on"}
_NO = {"0", "no", "n", "false", "f", "off"}

# "secret:NAME" points into the encrypted file beside the inventory, as everywhere in it.
_SECRET = re.compile(r"secret:([a-z][a-z0-9_.-]{0,62})")


class ArgumentsError(ValueError):
    """Answers that do not fit what the app asks. `problems` has one line for each."""

    def __init__(self, app: str, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.app = app
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Question:
    """One question of an app's manifest. `conditional`: only asked if an earlier answer says so."""

    id: str
    type: str
    ask: str
    optional: bool
    default: Scalar
    choices: tuple[str, ...] = ()
    pattern: str = ""
    least: int | None = None
    most: int | None = None
    conditional: bool = False


@dataclass(frozen=True)
class Manifest:
    """What is known of an app before it is installed. `unmet`: why this server cannot have it.

    `sound`: the catalog says that it works. For any other YunoHost wants to be told `--force`
    instead of a confirmation (utils/app_utils.py of 12.1.25; seen: recording 314).
    """

    id: str
    version: str
    questions: tuple[Question, ...]
    unmet: tuple[str, ...]
    multi_instance: bool
    sound: bool = False


@dataclass(frozen=True)
class Prompt:
    """A password YunoHost will ask for on the terminal. `secret` is the name it is kept under.

    `ask` is the text of the question in English. It is asked once, without confirmation; typed
    again after an error message: then it was refused, and the command should be ended.
    `conditional`: maybe not asked at all.
    """

    question: str
    ask: str
    secret: str
    conditional: bool = False


@dataclass(frozen=True)
class Arguments:
    """`args` is for `commands.app_install`. `prompts`: in the order they are asked. `doubtful`: the
    catalog does not say that the app works, and YunoHost wants to be told that one knows."""

    args: str
    prompts: tuple[Prompt, ...] = ()
    doubtful: bool = False


def manifest(answer: Answer) -> Manifest:
    """Given the answer to `app manifest`, return what the app asks and needs."""
    found = value(answer)
    if not isinstance(found, dict) or not isinstance(found.get("install"), list):
        raise UnreadableError("the manifest has no list of questions in it")
    needs = found.get("requirements") or {}
    return Manifest(
        id=str(found.get("id", "")),
        version=str(found.get("version", "")),
        questions=tuple(
            _question(row) for row in found["install"] if row.get("type") not in _SHOWN
        ),
        unmet=tuple(
            str(need.get("error", name))
            for name, need in needs.items()
            if not need.get("passed", True)
        ),
        multi_instance=bool((found.get("integration") or {}).get("multi_instance")),
        sound=_sound(found.get("quality") or {}),
    )


def _sound(quality: Mapping[str, Any]) -> bool:
    level = quality.get("level")
    return (
        quality.get("state") in ("working", "validated") and isinstance(level, int) and level >= 5
    )


def _question(row: Mapping[str, Any]) -> Question:
    choices = row.get("choices") or ()
    pattern = row.get("pattern") or {}
    return Question(
        id=str(row["id"]),
        type=str(row.get("type", "string")),
        ask=str(row.get("ask") or row["id"]),
        optional=bool(row.get("optional")),
        default=row.get("default"),
        choices=tuple(str(choice) for choice in choices),
        pattern=str(pattern.get("regexp", "")) if isinstance(pattern, dict) else str(pattern),
        least=_bound(row, "min"),
        most=_bound(row, "max"),
        conditional=row.get("visible", True) is not True,
    )


def _bound(row: Mapping[str, Any], key: str) -> int | None:
    found = row.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def checked(app: str, questions: Sequence[Question], given: Mapping[str, Scalar]) -> Arguments:
    """Given an app's questions and the answers, return them as YunoHost is told.

    Raise ArgumentsError with everything that is wrong: missing answers, answers to no question,
    values that are not allowed, passwords that are not "secret:NAME".
    """
    problems: list[str] = []
    pairs: list[tuple[str, str]] = []
    prompts: list[Prompt] = []
    known = {question.id for question in questions}
    for key in given:
        if key not in known:
            problems.append(
                f"{app} does not ask for {key}; it asks for {', '.join(sorted(known)) or 'nothing'}"
            )
    for question in questions:
        if given.get(question.id) is None:
            if not question.optional and not question.conditional:
                problems.append(_missing(app, question))
            continue
        answer = given[question.id]
        secret = _SECRET.fullmatch(answer) if isinstance(answer, str) else None
        if question.type == "password":
            if secret is None:
                problems.append(
                    f'{app} asks for the password {question.id}: write "secret:NAME" for it, so '
                    "that the password itself stands in the encrypted file"
                )
            else:
                prompts.append(Prompt(question.id, question.ask, secret[1], question.conditional))
            continue
        if secret is not None:
            problems.append(
                f"{question.id} of {app} is no password question: what is written there can be "
                "seen on the server while the app is installed, so it cannot be a secret"
            )
            continue
        try:
            pairs.append((question.id, _told(question, answer)))
        except ValueError as error:
            problems.append(f"{question.id} of {app}: {error}")
    if problems:
        raise ArgumentsError(app, problems)
    if prompts:
        pairs += _rest(questions, pairs, prompts)
    return Arguments(encoded(pairs), tuple(prompts))


def _rest(
    questions: Sequence[Question], pairs: Sequence[tuple[str, str]], prompts: Sequence[Prompt]
) -> list[tuple[str, str]]:
    """Empty answers to all questions left. On a terminal YunoHost asks for whatever it is not
    told; an empty answer means the default (utils/form.py of 12.1.25).
    """
    answered = {key for key, _ in pairs} | {prompt.question for prompt in prompts}
    return [(question.id, "") for question in questions if question.id not in answered]


def _missing(app: str, question: Question) -> str:
    hint = ""
    if question.type == "password":
        hint = ', write "secret:NAME"'
    elif question.choices and question.type not in _OF_THE_SERVER:
        hint = f", one of {', '.join(question.choices)}"
    elif question.type == "boolean":
        hint = ", true or false"
    if question.default not in (None, ""):
        hint += f" (its own default is {question.default})"
    return f"{app} asks for {question.id}: {question.ask}{hint}"


def _told(question: Question, answer: Scalar) -> str:
    """One answer as text. Raise ValueError with what would be right."""
    text = str(answer)
    if question.type == "boolean":
        word = text.lower()
        if word not in _YES | _NO:
            raise ValueError("write true or false")
        return "1" if word in _YES else "0"
    if isinstance(answer, bool):
        raise ValueError("this is no yes-or-no question")
    if question.type in ("number", "range"):
        return _number(question, text)
    if question.type in _OF_THE_SERVER:
        if not text:
            raise ValueError("it is empty")
        return text
    if question.choices and text not in question.choices:
        raise ValueError(f"write one of {', '.join(question.choices)}")
    if question.type == "path" and not text.startswith("/"):
        raise ValueError('write a path that begins with "/"')
    if question.type == "url" and not re.match(r"https?://[^\s/]", text):
        raise ValueError("write an address that begins with https://")
    if question.type == "email" and not re.fullmatch(r"[^\s@]+@[^\s@]+", text):
        raise ValueError("write a mail address")
    if question.pattern and not _fits(question.pattern, text):
        raise ValueError(f"it must look like {question.pattern}")
    return text


def _number(question: Question, text: str) -> str:
    if not re.fullmatch(r"-?\d+", text, re.ASCII):
        raise ValueError("write a whole number")
    if question.least is not None and int(text) < question.least:
        raise ValueError(f"write {question.least} or more")
    if question.most is not None and int(text) > question.most:
        raise ValueError(f"write {question.most} or less")
    return text


def _fits(pattern: str, text: str) -> bool:
    try:
        return re.match(pattern, text) is not None
    except re.error:
        return True  # the app's own mistake; YunoHost will say what it thinks


def encoded(pairs: Sequence[tuple[str, str]]) -> str:
    """Given answers in order, return the query string that `--args` takes.

    Raise ValueError for a key that is none, or text that is not proper Unicode. Slashes stay
    readable, everything else that means something in a query string does not.
    """
    for key, _ in pairs:
        if not re.fullmatch(r"[A-Za-z_][\w-]*", key, re.ASCII):
            raise ValueError(f"{key!r} is no name of a question")
    return urlencode(pairs, quote_via=quote, safe="/", errors="strict")
