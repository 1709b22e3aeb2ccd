"""A step that outlives the session which asked for it: what is sent, what comes back. Pure.

`files/ynh` runs it on the server. Asked again for the same step, it repeats nothing: it answers
with the result, waiting for it when the step still runs. So a lost session is recovered by
asking again, and a step whose process vanished is told as such.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from platforms.yunohost.answers import Answer, UnreadableError, command_words, named
from platforms.yunohost.errors import YunohostError, classify

PROGRAMS = "/usr/local/lib/releve/yunohost"
PROGRAM = f"{PROGRAMS}/ynh"
RUN = (PROGRAM, "run")
# Waits until no step runs, for at most so many seconds.
SETTLE = (PROGRAM, "settle")
# Seconds that a step waits for another one of ours to end.
TURN = 900


class StepError(Exception):
    """A step that did not end as it should. `kind`: ynh's word for it."""

    def __init__(self, kind: str, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}".rstrip())
        self.kind = kind
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True)
class Command:
    """One command of a step. `answers`: what is typed at its prompts, in order, on a terminal of
    the server's own; None: it gets no terminal. `{NAME}` as a word is the path of a file."""

    argv: tuple[str, ...]
    answers: tuple[str, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Task:
    """Commands that belong together: they run one after another, whatever happens to the
    session, until one fails. `files`: NAME -> content, in memory and for root alone while they
    run. `hide`: values that nobody may read in what the commands say. `timeout` in seconds."""

    title: str
    commands: tuple[Command, ...]
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    hide: tuple[str, ...] = field(default=(), repr=False)
    timeout: int = 1800


@dataclass(frozen=True)
class Done:
    """How a step ended. `error` is ynh's word: "" when every command ended with 0."""

    step: str
    title: str
    error: str
    answers: tuple[Answer, ...]


def name(run: str, number: int, task: Task) -> str:
    """The name of a step: the same only for the same commands in the same place of one run.

    `run`: what nobody else uses, such as a random word per deploy.
    """
    told = json.dumps([list(command.argv) for command in task.commands])
    return f"{run}-{number}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def request(step: str, task: Task) -> bytes:
    """What ynh reads. It holds the secrets: for standard input only."""
    return json.dumps(
        {
            "step": step,
            "title": task.title,
            "commands": [
                {"argv": c.argv} if c.answers is None else {"argv": c.argv, "answers": c.answers}
                for c in task.commands
            ],
            "files": dict(task.files),
            "hide": list(task.hide),
            "timeout": task.timeout,
            "wait": TURN,
        }
    ).encode()


def seconds(task: Task) -> int:
    """How long to wait for the result: it comes earlier, or never."""
    return task.timeout + TURN + 120


def result(stdout: str) -> Done:
    """What ynh printed. Raise UnreadableError."""
    try:
        told = json.loads(stdout)
        return Done(
            str(told["step"]),
            str(told["title"]),
            str(told["error"]),
            tuple(
                Answer(tuple(c["argv"]), int(c["exit_code"]), str(c["stdout"]), str(c["stderr"]))
                for c in told["commands"]
            ),
        )
    except (ValueError, KeyError, TypeError):
        raise UnreadableError(
            f"{PROGRAM} did not answer as expected; a deploy puts the right version there"
        ) from None


def failure(done: Done, host: str = "") -> YunohostError | StepError | None:
    """What went wrong, or None. A command that ended with 0 may have failed all the same: look
    at the server. One that says that there was nothing to do has not failed."""
    for answer in done.answers:
        if not command_words(answer.argv) or done.error not in ("", "failed"):
            continue
        error = classify(answer, host=host)
        if error is not None and not error.harmless:
            return error
        if error is not None:
            return None
    if not done.error:
        return None
    last = done.answers[-1] if done.answers else Answer((), 1, "", "")
    what = named(last.argv) if last.argv else "a step"
    about = f"{done.title or what}: "
    if done.error == "vanished":
        return StepError(
            "vanished",
            f"{about}its process is gone and left no result: the server was restarted, or "
            "somebody ended it.",
            "Nothing was repeated. Look with `releve plan` what is still missing, then deploy.",
        )
    if done.error == "busy":
        return StepError(
            "busy",
            f"{about}another step of ours has been running there for {TURN // 60} minutes.",
            f"Nothing was changed. See what it is: {PROGRAM} settle 0",
        )
    if done.error == "timeout":
        return StepError(
            "timeout",
            f"{about}{what} did not end in time and was stopped.",
            "Run it again; it continues with what is missing. If it happens again, look at "
            "`yunohost log list` there.",
        )
    if done.error == "prompt":
        # It asks again when it does not take an answer, and says why.
        refused = classify(last, host=host)
        if refused is not None and refused.kind in ("weak_password", "bad_argument"):
            return refused
        return StepError(
            "prompt",
            f"{about}{what} asked a question that nobody answered, and was stopped.",
            "An argument is missing in the inventory, or this version of YunoHost asks more "
            "than the ones we know.",
        )
    said = (last.stderr.strip() or last.stdout.strip()).splitlines()[-8:]
    return StepError(
        "failed",
        f"{about}{what} ended with code {last.exit_code}"
        + (": " + "\n".join(said) if said else "."),
        "",  # what it said is all that is known
    )
