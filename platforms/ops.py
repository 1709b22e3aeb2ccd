"""Pyinfra operations that every platform and role shares, made for few remote commands.

Each asks one question about everything it is responsible for, instead of several per file or
unit: on a far host round trips are what a deploy that changes nothing spends its time on.
They work with any connector; with Relève's own, files are placed in one step.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyinfra.api.command import FileUploadCommand, QuoteString, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from inventories.secrets import Secrets
from tools import words


class RefusedError(Exception):
    """This host must not be deployed to now; the message says why and what to do."""

    kind = "refused"


def failed(here: Any, message: str) -> bool:
    """Keep why a command of the current operation on the host `here` failed, beside what is kept
    already; False, as pyinfra wants it of a function that failed."""
    data = here.connector_data
    data["releve_error"] = "\n".join(filter(None, (data.get("releve_error", ""), message)))
    return False


@dataclass(frozen=True)
class File:
    """A file as it must be. `secret`: neither its content nor its difference is ever shown.
    `given`: it becomes somebody else's, and what they make of it is no change by hand."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    secret: bool = False
    given: bool = False


@dataclass(frozen=True)
class Folder:
    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class Link:
    """A symbolic link `path` that says `target`."""

    path: str
    target: str


@dataclass(frozen=True)
class Gone:
    """A file (not a folder) that must not be there."""

    path: str


Item = File | Folder | Link | Gone


@dataclass(frozen=True)
class Found:
    """What stands at a path: kind as `stat` names it, and a file's SHA-256."""

    kind: str
    mode: int
    owner: str
    group: str
    target: str = ""
    sha256: str = ""


class Paths(FactBase[dict[str, Found]]):
    """What stands at each of these paths, by two processes whatever their number."""

    def command(self, paths: Sequence[str]) -> StringCommand:
        quoted = [QuoteString(path) for path in paths]
        form = "%F|%a|%U|%G|%N|%n"
        # A path that is not there makes both end with 1; that is an answer, not a failure.
        return StringCommand(
            *("export LC_ALL=C; stat -c", QuoteString(form), "--", *quoted, "2>/dev/null;"),
            *("sha256sum -z --", *quoted, "2>/dev/null | tr '\\0' '\\n';", ":"),
        )

    @staticmethod
    def default() -> dict[str, Found]:
        return {}

    def process(self, output: list[str]) -> dict[str, Found]:
        return parse_paths(output)


def parse_paths(lines: Iterable[str]) -> dict[str, Found]:
    """Read what `Paths` prints: stat's lines, then sha256sum's. Pure."""
    found: dict[str, Found] = {}
    for line in lines:
        parts = line.split("|")
        if len(parts) == 6:
            kind, mode, owner, group, shown, path = parts
            target = shown.rpartition(" -> ")[2].strip("'") if kind == "symbolic link" else ""
            found[path] = Found(kind, int(mode, 8), owner, group, target)
        elif len(line) > 66 and line[64:66] == "  " and line[66:] in found:
            old = found[line[66:]]
            found[line[66:]] = Found(
                old.kind, old.mode, old.owner, old.group, old.target, line[:64]
            )
    return found


class Text(FactBase[str]):
    """The content of a file, empty when there is none."""

    def command(self, path: str) -> StringCommand:
        return StringCommand("cat --", QuoteString(path), "2>/dev/null;", ":")

    @staticmethod
    def default() -> str:
        return ""


class Placed(FileUploadCommand):
    """Uploads a file with its owner and mode from the first moment on."""

    def __init__(self, file: File) -> None:
        super().__init__(io.BytesIO(file.content), file.path)
        self.file = file

    def execute(
        self,
        state: Any,  # noqa: ARG002
        host: Any,
        connector_arguments: Any,
    ) -> bool:
        file = self.file
        owner = f"{file.owner}:{file.group}"
        place = getattr(host.connector, "place", None)
        if place is not None:
            place(file.path, file.content, mode=f"{file.mode:o}", owner=owner)
            return True
        # Any other connector writes as it likes: into a folder that nobody else can enter.
        folder = f"{file.path}.releve-new"
        run = host.run_shell_command
        steps = (
            StringCommand("install -d -m 0700 --", QuoteString(folder)),
            None,
            StringCommand("chown --", QuoteString(owner), QuoteString(f"{folder}/new")),
            StringCommand("chmod", f"{file.mode:o}", QuoteString(f"{folder}/new")),
            StringCommand("mv -f -T --", QuoteString(f"{folder}/new"), QuoteString(file.path)),
            StringCommand("rmdir --", QuoteString(folder)),
        )
        for step in steps:
            if step is None:
                done = host.put_file(io.BytesIO(file.content), f"{folder}/new")
            else:
                done, _ = run(step, **connector_arguments)
            if not done:
                return False
        return True


def note(kind: str, **values: Any) -> None:
    """Tell whoever runs this deploy something about the current host; nobody may listen."""
    listener: Callable[..., None] | None = host.connector_data.get("releve_note")
    if listener is not None:
        listener(kind, **values)


_PROGRAMS = "/usr/local/lib/releve/"
_PLAN = "/etc/releve/plan.json"


def _difference(file: File, found: Found | None) -> str:
    """The change as a unified diff; says only that it changes for secrets and binaries."""
    if file.secret:
        return f"{file.path}: secret, not shown"
    try:
        new = file.content.decode().splitlines()
    except UnicodeDecodeError:
        return f"{file.path}: {len(file.content)} bytes, not text"
    name = file.path if found else "/dev/null"
    if file.path.startswith(_PROGRAMS) or (file.path == _PLAN and not found):
        # Our own source, and what it reads, which nobody reviews here; an inventory's effects
        # would drown. How the agent's plan changes later is worth a look.
        return f"{file.path}: {'new' if not found else 'another version'}, {len(new)} lines"
    old = host.get_fact(Text, path=file.path).splitlines() if found else []
    lines = list(difflib.unified_diff(old, new, name, file.path, lineterm="", n=2))
    return "\n".join(lines[:400] + (["…"] if len(lines) > 400 else []))


@operation()
def place(items: Sequence[Item]) -> Generator[StringCommand | FileUploadCommand, None, None]:
    """Make files, folders and links what `items` says, in that order. Folders above a file must
    be there or be items before it."""
    # All of it before the first command: pyinfra predicts a change by taking the first one only,
    # and a plan shall show every difference.
    yield from list(_changes(items))


def _changes(
    items: Sequence[Item],
) -> Generator[StringCommand | FileUploadCommand, None, None]:
    found: dict[str, Found] = host.get_fact(Paths, paths=[item.path for item in items])
    for item in items:
        now = found.get(item.path)
        if isinstance(item, File):
            yield from _place_file(item, now)
        elif isinstance(item, Folder):
            yield from _place_folder(item, now)
        elif isinstance(item, Link):
            if now is None or now.target != item.target:
                note("diff", path=item.path, text=f"{item.path} -> {item.target}")
                yield StringCommand("ln -sfnT --", QuoteString(item.target), QuoteString(item.path))
        elif now is not None:
            note("gone", name=item.path)
            note("diff", path=item.path, text=f"{item.path}: removed")
            yield StringCommand("rm -f --", QuoteString(item.path))


def _mode(item: File) -> str:
    return f"{item.mode:o} {item.owner}:{item.group}"


def _place_file(
    item: File, now: Found | None
) -> Generator[StringCommand | FileUploadCommand, None, None]:
    digest = hashlib.sha256(item.content).hexdigest()
    if not item.given:
        note("file", path=item.path, sha256=digest, mode=_mode(item))
    same = now is not None and now.sha256 == digest and now.kind.startswith("regular")
    if not same:
        note("diff", path=item.path, text=_difference(item, now))
        yield Placed(item)
        return
    assert now is not None  # noqa: S101 (for the type checker; `same` says so)
    if now.mode != item.mode:
        note("diff", path=item.path, text=f"{item.path}: mode {now.mode:o} -> {item.mode:o}")
        yield StringCommand("chmod", f"{item.mode:o}", QuoteString(item.path))
    if (now.owner, now.group) != (item.owner, item.group):
        owner = f"{item.owner}:{item.group}"
        note("diff", path=item.path, text=f"{item.path}: {now.owner}:{now.group} -> {owner}")
        yield StringCommand("chown --", QuoteString(owner), QuoteString(item.path))


def _place_folder(item: Folder, now: Found | None) -> Generator[StringCommand, None, None]:
    if now == Found("directory", item.mode, item.owner, item.group):
        return
    note("diff", path=item.path, text=f"{item.path}/: mode {item.mode:o}, {item.owner}")
    yield StringCommand(
        *("install -d -m", f"{item.mode:o}", "-o", QuoteString(item.owner)),
        *("-g", QuoteString(item.group), "--", QuoteString(item.path)),
    )


class Holds(FactBase[bool]):
    """Whether a shell command succeeds."""

    def command(self, check: str) -> str:
        return f"if {check} >/dev/null 2>&1; then echo yes; else echo no; fi"

    @staticmethod
    def default() -> bool:
        return False

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


# $1 the new file, $2 the path, $3 the test, $4 what loads it.
_TRY = """set -eu
rm -f -- "$2.before"; if [ -e "$2" ]; then cp -a -- "$2" "$2.before"; fi
mv -f -T -- "$1" "$2"
if sh -c "$3" && sh -c "$4"; then rm -f -- "$2.before"; exit 0; fi
if [ -e "$2.before" ]; then mv -f -T -- "$2.before" "$2"; sh -c "$4" || :; else rm -f -- "$2"; fi
echo "$2: the new file was refused and the old one put back" >&2; exit 1"""


@operation()
def tested(
    file: File, test: str, load: str, holds: str
) -> Generator[StringCommand | FileUploadCommand, None, None]:
    """Place a file that could lock everybody out: `test` it, then `load` it, and put the old one
    back when either fails. The three are one command, so that a lost session cannot come between
    them. `holds`: when this fails although the file is right, it is loaded again.

    `test`, `load` and `holds` are shell text of the role, never values of an inventory.
    """
    now = host.get_fact(Paths, paths=[file.path]).get(file.path)
    digest = hashlib.sha256(file.content).hexdigest()
    note("file", path=file.path, sha256=digest, mode=_mode(file))
    same = now is not None and (now.sha256, now.mode) == (digest, file.mode)
    if same and host.get_fact(Holds, check=holds):
        return
    if same:
        note("diff", path=file.path, text=f"{file.path}: is not in force, is loaded again")
    else:
        note("diff", path=file.path, text=_difference(file, now))
    candidate = replace(file, path=f"{file.path}.candidate")
    yield Placed(candidate)
    yield StringCommand(words.script(_TRY, candidate.path, file.path, test, load))


class Packages(FactBase[set[str]]):
    """Names of the installed Debian packages."""

    def command(self) -> str:
        return "dpkg-query -W -f '${db:Status-Abbrev}${Package}\\n'"

    @staticmethod
    def default() -> set[str]:
        return set()

    def process(self, output: list[str]) -> set[str]:
        return {line[3:].strip() for line in output if line[1:2] == "i"}


# The lists are fetched when there are none or they are a day old; unattended-upgrades may
# hold the lock for a while on a new host, so we wait for it.
_APT = "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600"
_FRESH = "find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mmin -1440 -print -quit"
# On a full disk apt fetches its lists for many minutes and never has them.
_ROOM = (
    "room=$(df --output=avail /var | tail -n 1 | tr -d ' '); "
    'if [ "$room" -lt 20480 ]; then '
    'echo "E: the disk is full: $room kB are left where /var lies. Make room there" >&2; exit 1; fi'
)
_UPDATE = f'if [ -z "$({_FRESH})" ]; then {_ROOM}; {_APT} update; fi'
# What an installation left half done that a full disk or a pulled plug ended. Removes nothing.
_MEND = (
    "{ DEBIAN_FRONTEND=noninteractive dpkg --force-confold --configure -a; "
    f"{_APT} -o Dpkg::Options::=--force-confold --no-remove --fix-broken install; "
    "} >/dev/null 2>&1"
)


def also(stage: str) -> bool:
    """Whether this run comes to that stage, too: what it takes long to wait for then may begin."""
    named = [name for name in os.environ.get("RELEVE_STAGES", "").split(",") if name]
    return not named or stage in named


def installed() -> set[str]:
    """Names of the Debian packages that the current host has."""
    names: set[str] = host.get_fact(Packages)
    return names


@operation()
def warn(message: str) -> Generator[StringCommand, None, None]:
    """Change nothing: a warning for people, in a plan as well."""
    note("warning", message=message)
    yield from ()


@operation()
def packages(
    names: Sequence[str], first: Sequence[Item] = ()
) -> Generator[StringCommand | FileUploadCommand, None, None]:
    """Install the Debian packages that are missing, without the recommended ones. What is in
    `first` lies there before, such as what keeps a unit from starting with the package's own
    configuration.

    The first of a host's operations to install anything installs what the later ones ask for as
    well: each run of apt reads and settles the whole system, for seconds.
    """
    queued: dict[str, bool] = host.connector_data.setdefault("releve_packages", {})
    queued |= {name: True for name in names if name not in queued}
    for name in names:
        note("package", name=name, words="")
    before: list[Item] = host.connector_data.setdefault("releve_first", [])
    before += [item for item in first if item not in before]
    # In the order given: where a package can do with one of several others, apt takes one that
    # was named before it.
    there = installed()
    wanted = queued if state.is_executing else names
    missing = [name for name in wanted if name not in there and (name in names or queued[name])]
    if state.is_executing:
        # What was there and is gone was replaced since, as YunoHost replaces sudo.
        queued |= dict.fromkeys(queued, False)
    if not missing:
        return
    # All of them: a package that another one needs may be a later one's.
    yield from list(_changes(before if state.is_executing else first))
    note("diff", path="", text=f"packages: {' '.join(missing)}")
    yield StringCommand(_UPDATE, _timeout=600)
    install = (
        _APT, "-o Dpkg::Options::=--force-confold install --no-install-recommends --",
        *(QuoteString(name) for name in missing),
    )  # fmt: skip
    # Lists may be of this day and lack a source all the same, or name what the mirror has replaced.
    again = (f"{_ROOM}; timeout 600 env {_APT} update && {{ {_MEND};", *install, "; }")
    yield StringCommand(*install, "|| {", *again, "; }")


class Units(FactBase[dict[str, tuple[str, str, str]]]):
    """unit -> (load state, active state, enabled state) of the units asked for."""

    def command(self, units: Sequence[str]) -> str:
        # One call for all: `systemctl show` answers in order, a blank line in between.
        return (
            "systemctl show --property=Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload -- "
            + words.line(units)
        )

    @staticmethod
    def default() -> dict[str, tuple[str, str, str]]:
        return {}

    def process(self, output: list[str]) -> dict[str, tuple[str, str, str]]:
        units: dict[str, tuple[str, str, str]] = {}
        for block in "\n".join(output).split("\n\n"):
            said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if "Id" in said:
                units[said["Id"]] = (
                    said.get("LoadState", ""),
                    said.get("ActiveState", ""),
                    said.get("UnitFileState", ""),
                )
        return units


@operation()
def units(
    *, running: Sequence[str] = (), enabled: Sequence[str] = (), disabled: Sequence[str] = ()
) -> Generator[StringCommand, None, None]:
    """Start and enable systemd units (full names, with `.service` or `.timer`), and stop and
    disable others. A unit that is not there is an error when it is to run."""
    wanted = list(dict.fromkeys([*running, *enabled, *disabled]))
    for name in dict.fromkeys([*running, *enabled]):
        note("unit", name=name, words="enabled running" if name in running else "enabled")
    state = host.get_fact(Units, units=wanted)
    none = ("", "", "")
    enable = [u for u in dict.fromkeys([*running, *enabled]) if not is_on(state.get(u, none)[2])]
    start = [u for u in running if state.get(u, none)[1] not in ("active", "activating")]
    stop = [
        u
        for u in disabled
        if state.get(u, none)[1] == "active" or state.get(u, none)[2] == "enabled"
    ]
    verbs = (("enable", enable), ("start", start), ("disable --now", stop))
    if said := [f"systemctl {verb}: {' '.join(names)}" for verb, names in verbs if names]:
        note("diff", path="", text="\n".join(said))
    for verb, names in verbs:
        if names:
            yield StringCommand("systemctl", verb, "--", *(QuoteString(n) for n in names))


def is_on(unit_file_state: str) -> bool:
    """Whether a unit in this state, as systemd names it, is started by others or at boot."""
    return unit_file_state in ("enabled", "static", "alias", "indirect", "generated")


_opened: dict[Path, Secrets] = {}


def secrets() -> Secrets:
    """The secrets beside the current host's inventory, opened once per process.

    Raise what `Secrets.open` raises when no key of ours opens them.
    """
    path = Path(host.data.releve_inventory)
    if path not in _opened:
        _opened[path] = Secrets.open(path)
    return _opened[path]
