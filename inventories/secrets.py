"""The secrets beside an inventory: `NAME.secrets.age`, TOML of names and texts, encrypted to
every person's keys. In plain text they exist in memory only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from inventories.identity import identity_files, open_with
from inventories.load import parse, read_text
from inventories.model import Person
from inventories.problems import InventoryError, Problem
from tools import age
from tools.files import replace_file
from tools.toml import dumps

_SUFFIX = ".secrets.age"
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,62}")


class SecretsError(Exception):
    """The secrets cannot be used; the message says why and what to do."""

    exit_code = 1


class MissingSecret(SecretsError):
    """A secret that the inventory names is not in the file."""

    exit_code = 64


class Busy(SecretsError):
    """Somebody else is writing."""

    exit_code = 75


def secrets_file(inventory: Path) -> Path:
    """Given the path of `NAME.toml`, return that of `NAME.secrets.age` beside it."""
    return inventory if inventory.name.endswith(_SUFFIX) else inventory.with_suffix(_SUFFIX)


def check_name(name: str) -> None:
    """Raise SecretsError when `name` cannot be that of a secret."""
    if not _NAME.fullmatch(name):
        raise SecretsError(
            f"{name!r} cannot be the name of a secret: use at most 63 lower-case letters, digits "
            "and . _ -, beginning with a letter"
        )


@dataclass(frozen=True)
class Reader:
    """One key of a person; `unusable` says why it cannot decrypt, None when it can."""

    person: str
    key: str
    unusable: str | None


def readers(inventory: Path) -> tuple[Reader, ...]:
    """Who the secrets beside `inventory` are for, according to its people.

    Only that table is read, so that a mistake elsewhere does not lock the secrets.
    Raise InventoryError.
    """
    people = parse(inventory, read_text(inventory)).get("people", {})
    out = []
    for name, entry in people.items() if isinstance(people, dict) else ():
        try:
            person = Person.model_validate({**entry, "id": name})
        except (ValueError, TypeError):
            problem = Problem(
                f"people.{name}", "is not a valid person", f"See `releve validate {inventory}`"
            )
            raise InventoryError(inventory, [problem]) from None
        out += [Reader(name, key, age.why_unusable(key)) for key in person.keys]
    return tuple(out)


def encode(values: Mapping[str, str]) -> bytes:
    """Secrets as TOML, sorted by name."""
    return dumps(dict(sorted(values.items()))).encode()


def decode(data: bytes, what: str) -> dict[str, str]:
    """TOML to secrets. Raise SecretsError naming `what` when it is not flat names and texts.

    The message never holds a value.
    """
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise SecretsError(f"{what} is not UTF-8 text") from None
    except RecursionError:
        raise SecretsError(f"{what} is not TOML: nested too deeply") from None
    except ValueError as error:
        # tomllib's messages name a place, and at most one character of the text.
        raise SecretsError(f"{what} is not TOML: {error}") from None
    flat = dict(_flat(values, "", what))
    for name in flat:
        check_name(name)
    return flat


def _flat(values: Mapping[str, object], prefix: str, what: str) -> Iterator[tuple[str, str]]:
    # `host.monts.restic = "…"` without quotes around the name is a nested table to TOML.
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.", what)
        elif isinstance(value, str):
            yield f"{prefix}{name}", value
        else:
            raise SecretsError(f'{what}: {prefix}{name} is not a text: write {name} = "…"')


class Secrets:
    """The opened secrets of one inventory. Changes are kept until `save`."""

    def __init__(
        self, inventory: Path, values: Mapping[str, str], identity_file: Path | None = None
    ) -> None:
        self.inventory = inventory
        self.file = secrets_file(inventory)
        self._values = dict(values)
        self._changes: dict[str, str | None] = {}
        self._identity_file = identity_file

    def __repr__(self) -> str:
        return f"Secrets({str(self.file)!r}, {len(self._values)} names)"  # never a value

    @classmethod
    def open(cls, inventory: Path, identity_file: Path | None = None) -> Secrets:
        """Decrypt the secrets beside `inventory` (none yet: empty).

        `identity_file`: whose private key; None: RELEVE_IDENTITY, then the usual files.
        Raise AgeError (no key, wrong passphrase) or SecretsError (damaged content).
        """
        return cls(inventory, _read(secrets_file(inventory), identity_file), identity_file)

    def names(self) -> tuple[str, ...]:
        """Every name there is, sorted."""
        return tuple(sorted(self._values))

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> str:
        """The secret `name`. Raise MissingSecret with how to add it."""
        try:
            return self._values[name]
        except KeyError:
            raise MissingSecret(
                f"{self.file} has no secret {name!r}. Add it: "
                f"releve secrets set {self.inventory} {name}"
            ) from None

    def set(self, name: str, value: str) -> None:
        """Change or add a secret, in memory until `save`. Raise SecretsError for a bad name."""
        check_name(name)
        self._values[name] = value
        self._changes[name] = value

    def remove(self, name: str) -> None:
        """Forget a secret, in memory until `save`."""
        self._values.pop(name, None)
        self._changes[name] = None

    def save(self) -> None:
        """Write the changes, encrypted to the people whom the inventory names now.

        What somebody else saved meanwhile is kept, unless it is the very name we changed.
        Raise UnusableKey when nobody could decrypt, Busy when another writer does not end.
        """
        with _alone(self.file):
            if self._changes:
                current = _read(self.file, self._identity_file)
                for name, value in self._changes.items():
                    if value is None:
                        current.pop(name, None)
                    else:
                        current[name] = value
                self._values = current
            _write(self.inventory, self.file, self._values)
            self._changes = {}


def _read(file: Path, identity_file: Path | None) -> dict[str, str]:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return {}
    return decode(open_with(data, identity_files(identity_file), str(file)), str(file))


def _write(inventory: Path, file: Path, values: Mapping[str, str]) -> None:
    keys = [reader.key for reader in readers(inventory) if reader.unusable is None]
    if not keys:
        raise age.UnusableKey(
            f"none of the people in {inventory} has a key that can decrypt: {file} was not "
            "written. Add an ssh-ed25519, ssh-rsa or age1… key to one of them"
        )
    # What a writer that was killed left behind; we hold the lock, so it is nobody's.
    for left in file.resolve().parent.glob(f".{file.resolve().name}.*"):
        left.unlink(missing_ok=True)
    replace_file(file, age.encrypt(encode(values), keys), mode=0o600)


@contextlib.contextmanager
def _alone(file: Path, *, patience: float = 20.0) -> Iterator[None]:
    """Hold the folder's lock while writing: the file itself is replaced, so it cannot carry one.

    `patience` in seconds, then Busy.
    """
    folder = os.open(file.resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy(
                        f"{file.parent} is being written by somebody else since {patience:.0f} s. "
                        "Nothing was changed; try again"
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(folder)


def resolve(reference: str, secrets: Secrets) -> str:
    """Given a plain text or "secret:NAME", return the text. Raise MissingSecret."""
    return secrets.get(reference[7:]) if reference.startswith("secret:") else reference


@dataclass(frozen=True)
class Standing:
    """To whom a secrets file is encrypted, as far as its header tells without a key."""

    matches: bool  # exactly the inventory's people, by number and by the tags of SSH keys
    strangers: int  # keys that are not among the people's (any more)
    missing: tuple[Reader, ...]  # people's SSH keys that the file is not encrypted to


def standing(inventory: Path) -> Standing | None:
    """Compare the secrets file with the inventory's people; None when there is no file."""
    try:
        data = secrets_file(inventory).read_bytes()
    except FileNotFoundError:
        return None
    usable = [r for r in readers(inventory) if r.unusable is None]
    ssh = {age.tag(r.key): r for r in usable if not r.key.startswith("age1")}
    header = age.stanzas(data)
    tags = {s.tag for s in header if s.tag is not None}
    missing = tuple(r for t, r in ssh.items() if t not in tags)
    native = sum(1 for s in header if s.tag is None)
    extra_native = native - sum(1 for r in usable if r.key.startswith("age1"))
    strangers = len(tags - ssh.keys()) + max(0, extra_native)
    return Standing(not missing and not strangers and extra_native == 0, strangers, missing)
