"""Services that are apps of YunoHost: the app itself, its programs, and what is set inside it.

What an app stands on (domains, accounts, groups) is the server's, and comes before any service, by
the duty `base`.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path

from pyinfra.api.command import FileUploadCommand, QuoteString, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from inventories.model import Inventory, Service
from platforms import ops
from platforms.ops import File, Folder, Item, Placed
from platforms.yunohost import app as ynh
from platforms.yunohost import ops as yunohost
from platforms.yunohost.app import Setting
from roles.apps import asked_of, settings_of, wanted_of
from tools import words

_ROLES = Path(__file__).resolve().parent.parent
_PROGRAMS = "/usr/local/lib/releve"
_RUN = "/run/releve"
_ENDED = "releve-ended:"
# $1: a file with what the rest of the arguments read from their standard input; it is removed.
_GIVE = 'set -eu; file=$1; shift; trap \'rm -f -- "$file"\' EXIT; "$@" < "$file" >/dev/null'


class Answers(FactBase[list[tuple[int, str]]]):
    """What each of these commands answers: exit code and standard output. One SSH command."""

    def command(self, asked: Sequence[Sequence[str]]) -> str:
        end = f'</dev/null 2>/dev/null; code=$?; echo; echo "{_ENDED}$code"'
        return "; ".join((*(f"{words.line(argv)} {end}" for argv in asked), "true"))

    @staticmethod
    def default() -> list[tuple[int, str]]:
        return []

    def process(self, output: list[str]) -> list[tuple[int, str]]:
        return parse_answers(output)


def parse_answers(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Read what `Answers` prints. Pure."""
    found: list[tuple[int, str]] = []
    text: list[str] = []
    for line in lines:
        if line.startswith(_ENDED) and line.removeprefix(_ENDED).isdigit():
            found.append((int(line.removeprefix(_ENDED)), "\n".join(text).strip()))
            text = []
        else:
            text.append(line)
    return found


def programs(role: str) -> tuple[Item, ...]:
    """The programs of the role `app`, which all roles use, and the role's own. Those of the
    platform come with the server."""
    items: list[Item] = [Folder(_PROGRAMS)]
    for name in dict.fromkeys(("app", role)):
        folder = _ROLES / name / "files"
        items.append(Folder(f"{_PROGRAMS}/{name}"))
        items += [
            File(f"{_PROGRAMS}/{name}/{file.name}", file.read_bytes(), 0o755)
            for file in sorted(folder.glob("*"))
            if file.is_file()
        ]
    return tuple(items)


@operation()
def settle(settings: Sequence[Setting]) -> Generator[StringCommand | FileUploadCommand, None, None]:
    """Set what is not as wanted. All of it is asked by one command; secrets travel in a file that
    only root can read and that goes with the command that reads it.

    Raise RefusedError for a secret that is not there.
    """
    answers = host.get_fact(Answers, asked=[one.read for one in settings])
    for number, one in enumerate(settings):
        code, text = answers[number] if number < len(answers) else (1, "")
        lines = ynh.differences(one, code, text, _secret)
        if not lines:
            continue
        for line in lines:
            ops.note("diff", path="", text=line)
        content = json.dumps(ynh.resolved(one, _secret)).encode()
        file = f"{_RUN}/settle-{number}.json"
        yield StringCommand("install -d -m 0700 --", QuoteString(_RUN))
        yield Placed(File(file, content, 0o600, secret=True))
        yield StringCommand(words.script(_GIVE, file, *one.write), _timeout=1800)


def _secret(name: str) -> str:
    kept = ops.secrets()
    if name in kept:
        return kept.get(name)
    if not state.is_executing:
        # A deploy may be about to make it; this is compared, never sent.
        return ""
    raise ops.RefusedError(f"there is no secret {name}. Add it: releve secrets set FILE {name}")


def install(service: Service, inventory: Inventory) -> None:  # noqa: ARG001
    """The programs on the host, which a restore needs as well."""
    ops.place(items=programs(service.role), name=f"{service.id}: programs")


def configure(service: Service, inventory: Inventory) -> None:
    """The app: there, at its address, open to whom it shall be, or gone; then what is set inside
    it, after it was installed or updated and every time after."""
    whole = wanted_of(inventory, service.host)
    if any(app.service == service.id for app in whole.apps):
        yunohost.steps(
            wanted=asked_of(inventory, service.host),
            whole=whole,
            stage="configure",
            service=service.id,
            first=True,
            name=f"{service.id}: app",
        )
    if inside := settings_of(service, inventory):
        settle(settings=inside, name=f"{service.id}: settings")


def activate(service: Service, inventory: Inventory) -> None:
    """Nothing: certificates are the server's."""
