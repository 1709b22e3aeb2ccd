"""What somebody set inside the apps of a server on which Relève never was: its programs are laid
into a folder of their own there, asked, and taken away. Only reads."""

from __future__ import annotations

from pathlib import Path

import roles
from inventories.model import Inventory
from platforms.yunohost import looking, remote
from platforms.yunohost.answers import Answer
from platforms.yunohost.app import Setting, set_by_somebody
from platforms.yunohost.server import Question
from roles.apps import found_inside
from tools.ssh import Connection

# Where our programs lie on a host that was deployed.
_PROGRAMS = "/usr/local/lib/releve/"
# Apps read theirs as users of their own. Not below /run, where Debian lets nobody run a program.
_PARENT = "/var/lib"
# What somebody left who was killed is older than any look can last (looking.TIMEOUT).
_FOLDER = """find "$1" -mindepth 1 -maxdepth 1 -type d -name 'releve-adopt.*' \\
    -user root -mmin +15 -exec rm -rf --one-file-system -- {} +
d=$(mktemp -d "$1/releve-adopt.XXXXXX") && chmod 0755 "$d" && echo "$d"
"""


def folder_argv(parent: str) -> tuple[str, ...]:
    """The argv that makes a folder below `parent` and prints its name; what an earlier one left
    there is removed."""
    return ("sh", "-c", _FOLDER, "folder", parent)


def ask(connection: Connection, inventory: Inventory, host: str) -> tuple[str, ...]:
    """A line for each thing that is not as an app's package has it, of the apps of `host` that were
    found there and whose role knows their inside. Raise SshError, UnreadableError."""
    asked = found_inside(inventory, host)
    if not asked:
        return ()
    folder = connection.run(folder_argv(_PARENT)).stdout.decode().strip()
    try:
        for role in dict.fromkeys(("app", *(inventory.services[name].role for name in asked))):
            _place(connection, Path(roles.__file__).parent / role / "files", f"{folder}/{role}")
        _place(connection, looking.FILES, f"{folder}/yunohost")
        path = f"PYTHONPATH={folder}/yunohost"
        questions = [
            Question(name, argv=("env", path, *_there(one, folder))) for name, one in asked.items()
        ]
        said = remote.look(connection, questions)
    finally:
        connection.run(("rm", "-rf", "--", folder), check=False)
    lines = []
    for name, one in asked.items():
        answer = said[name]
        if isinstance(answer, Answer):
            told = set_by_somebody(one, answer)
            lines += [f"inside {name} ({one.name}): {line}" for line in told]
    return tuple(lines)


def _there(one: Setting, folder: str) -> tuple[str, ...]:
    return tuple(
        f"{folder}/{word.removeprefix(_PROGRAMS)}" if word.startswith(_PROGRAMS) else word
        for word in one.read
    )


def _place(connection: Connection, files: Path, folder: str) -> None:
    connection.run(("install", "-d", "-m", "0755", "--", folder))
    for file in sorted(files.glob("*")):
        if file.is_file():
            connection.write(f"{folder}/{file.name}", file.read_bytes(), mode=0o755)
