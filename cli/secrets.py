"""`releve secrets`: the encrypted file beside an inventory, seen and changed."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from inventories.secrets import (
    Secrets,
    SecretsError,
    check_name,
    decode,
    encode,
    readers,
    secrets_file,
    standing,
)

FILE = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))

_HEADER = """\
# Secrets of {file}. One a line: "name" = "text". Save and leave the editor to encrypt again;
# an unchanged file changes nothing. This text exists in memory only, and these comments are not
# kept.
"""


@click.group(short_help="Edit the secrets beside an inventory.")
def secrets() -> None:
    """Edit the secrets beside an inventory: NAME.secrets.age, encrypted to its people's keys."""


@secrets.command()
@FILE
@click.argument("name")
def set(file: Path, name: str) -> None:
    """Give the secret NAME the text that stands on standard input (or that you type)."""
    check_name(name)
    if sys.stdin.isatty():
        value = str(click.prompt(f"Text of {name}", hide_input=True, err=True))
    else:
        try:
            value = sys.stdin.buffer.read(1_000_001).decode("utf-8")
        except UnicodeDecodeError:
            raise SecretsError("standard input is not UTF-8 text: nothing was changed") from None
        value = value.removesuffix("\n")
    if not value or len(value) > 1_000_000:
        raise SecretsError("a secret has 1 to 1000000 characters: nothing was changed")
    opened = Secrets.open(file)
    opened.set(name, value)
    opened.save()
    click.echo(f"{opened.file}: {name} is set", err=True)


@secrets.command()
@FILE
def recipients(file: Path) -> None:
    """Say who can decrypt, who cannot, and why. Needs no key."""
    for reader in readers(file):
        kind = reader.key.split(maxsplit=1)[0] if " " in reader.key else "age"
        verdict = "can decrypt" if reader.unusable is None else f"cannot: {reader.unusable}"
        words = reader.key.split()
        tail = (words[1] if len(words) > 1 else words[0])[-12:]
        click.echo(f"{reader.person}: {kind} …{tail}: {verdict}")
    found = standing(file)
    if found is None:
        click.echo(f"{secrets_file(file)} does not exist yet")
        return
    for reader in found.missing:
        click.echo(
            f"{reader.person} cannot read {secrets_file(file)} yet: releve secrets rekey {file}"
        )
    if found.strangers:
        click.echo(
            f"{secrets_file(file)} can be read with {found.strangers} key(s) that belong to nobody "
            f"here any more: releve secrets rekey {file}, then change the secrets themselves"
        )
    elif not found.matches and not found.missing:
        click.echo(
            f"{secrets_file(file)} is encrypted to fewer age keys than there are: "
            f"releve secrets rekey {file}"
        )


@secrets.command()
@FILE
def rekey(file: Path) -> None:
    """Encrypt again, to the people whom FILE names now."""
    if not secrets_file(file).exists():
        raise SecretsError(
            f"{secrets_file(file)} does not exist yet. Add a secret: releve secrets set {file} NAME"
        )
    before = standing(file)
    opened = Secrets.open(file)
    opened.save()
    able = sorted({r.person for r in readers(file) if r.unusable is None})
    click.echo(f"{opened.file}: readable by {', '.join(able)}", err=True)
    if before is not None and before.strangers:
        click.echo(
            "Who could read it before still knows what it held: change those secrets too", err=True
        )


@secrets.command()
@FILE
def edit(file: Path) -> None:
    """Open the secrets in your editor ($VISUAL, $EDITOR), and encrypt what you saved."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "sensible-editor"
    opened = Secrets.open(file)
    before = {name: opened.get(name) for name in opened.names()}
    with _plain_text(_HEADER.format(file=file).encode() + encode(before)) as plain:
        after = _edited(plain, editor)
    changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
    if not changed:
        click.echo("Nothing was changed", err=True)
        return
    for name in changed:
        if name in after:
            opened.set(name, after[name])
        else:
            opened.remove(name)
    opened.save()
    click.echo(f"{opened.file}: changed {', '.join(changed)}", err=True)


def _edited(plain: Path, editor: str) -> dict[str, str]:
    """Run the editor until the file is valid or the person gives up."""
    while True:
        try:
            # The variable may hold arguments ("code --wait"), hence shlex and no shell.
            code = subprocess.run([*shlex.split(editor), str(plain)]).returncode
        except (OSError, ValueError) as error:
            raise SecretsError(f"{editor} cannot be started: {error}. Set EDITOR") from None
        if code != 0:
            raise SecretsError(f"{editor} ended with code {code}: nothing was changed")
        try:
            return decode(plain.read_bytes(), "the edited text")
        except SecretsError as error:
            click.echo(f"{error}", err=True)
            if not sys.stdin.isatty() or not click.confirm(
                "Open it again?", default=True, err=True
            ):
                raise SecretsError("nothing was changed") from None


@contextlib.contextmanager
def _plain_text(data: bytes) -> Iterator[Path]:
    """A file that only we can read and that never reaches a disk; wiped at the end."""
    folder = next((f for f in _memory_folders() if _in_memory(f)), None)
    if folder is None:
        raise SecretsError(
            "there is no folder in memory (XDG_RUNTIME_DIR or /dev/shm) to put the secrets into "
            "while you edit. Use: releve secrets set FILE NAME"
        )
    with tempfile.TemporaryDirectory(prefix="releve-", dir=folder) as private:  # mode 0700
        path = Path(private) / "secrets.toml"
        path.touch(mode=0o600)
        path.write_bytes(data)
        try:
            yield path
        finally:
            for left in Path(private).rglob("*"):  # editors leave backup files
                if left.is_file() and not left.is_symlink():
                    left.write_bytes(b"\0" * left.stat().st_size)


def _memory_folders() -> tuple[Path, ...]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return (*((Path(runtime),) if runtime else ()), Path("/dev/shm"))  # noqa: S108


def _in_memory(folder: Path) -> bool:
    """Whether `folder` is writable and lies on a tmpfs or ramfs, by the kernel's mount table."""
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return False
    wanted = folder.resolve()
    best, kind = Path("/"), ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, at, fs, *_ = line.split(" ")
        mounted = Path(at.encode().decode("unicode_escape"))
        if wanted.is_relative_to(mounted) and len(mounted.parts) >= len(best.parts):
            best, kind = mounted, fs
    return kind in ("tmpfs", "ramfs")
