"""Whose private key opens the secrets: which files are looked at, how a passphrase is asked."""

from __future__ import annotations

import contextlib
import functools
import getpass
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools import age

USUAL = ("~/.config/releve/identity.txt", "~/.ssh/id_ed25519", "~/.ssh/id_rsa")


def identity_files(named: Path | None = None) -> tuple[Path, ...]:
    """The private keys to try: `named`, else RELEVE_IDENTITY, else RELEVE_SSH_KEY and the usual
    files, as far as they exist.

    Raise AgeError when the named one does not exist, or none of the usual ones does.
    """
    if named is None and (from_environment := os.environ.get("RELEVE_IDENTITY")):
        named = Path(from_environment).expanduser()
    if named is not None:
        if not named.is_file():
            raise age.AgeError(
                f"{named} is not there: RELEVE_IDENTITY names the private key for the secrets"
            )
        return (named,)
    hosts = os.environ.get("RELEVE_SSH_KEY")  # mostly the same key; an SSH agent's cannot decrypt
    candidates = [Path(name).expanduser() for name in ((hosts,) if hosts else ()) + USUAL]
    files = tuple(p for p in dict.fromkeys(candidates) if p.is_file())
    if not files:
        raise age.AgeError(
            "no private key to open the secrets with: looked for "
            + ", ".join(USUAL)
            + ". Set RELEVE_IDENTITY to your age identity or SSH private key"
        )
    return files


@functools.cache
def _passphrase_from(descriptor: int) -> str:
    # Read once: a pipe has nothing more to give the second time.
    with os.fdopen(os.dup(descriptor), encoding="utf-8") as file:
        return file.readline().rstrip("\n")


# What was given, by the key's file. A process of our own inherits it: people are asked once.
_given: dict[str, str] = {}
_asking = threading.Lock()
_HANDED_ON = "RELEVE_PASSPHRASES_FD"


def ask_passphrase(name: str) -> str:
    """The passphrase of the private key in file `name`, from RELEVE_PASSPHRASE_FD (the number
    of an open file descriptor) or the terminal. Asked once per run.

    Raise AgeError when there is nobody to ask.
    """
    file = str(Path(name).absolute())
    with _asking:
        if number := os.environ.pop(_HANDED_ON, None):
            with os.fdopen(int(number)) as handed:
                _given.update(json.load(handed))
        if file not in _given:
            _given[file] = _ask(name)
        return _given[file]


@contextlib.contextmanager
def handed_on(environment: dict[str, str]) -> Iterator[tuple[int, ...]]:
    """Hand the passphrases that were given so far to one process of our own: yield the file
    descriptors that it must inherit. They are named in its `environment`, the values never are."""
    environment.pop("RELEVE_PASSPHRASE_FD", None)  # it was read, and gives nothing more
    if not _given:
        yield ()
        return
    reading, writing = os.pipe()
    try:
        os.write(writing, json.dumps(_given).encode())
        os.close(writing)
        environment[_HANDED_ON] = str(reading)
        yield (reading,)
    finally:
        os.close(reading)


def _ask(name: str) -> str:
    given = os.environ.get("RELEVE_PASSPHRASE_FD")
    if given is not None:
        try:
            return _passphrase_from(int(given))
        except (OSError, OverflowError, ValueError):
            # Its value is not told: somebody may have put the passphrase itself there.
            raise age.AgeError(
                f"{name} is protected by a passphrase, and RELEVE_PASSPHRASE_FD is not the number "
                "of an open file descriptor that gives it as text"
            ) from None
    try:
        with Path("/dev/tty").open("r+b", buffering=0):
            pass
        return getpass.getpass(f"Passphrase of {name}: ")
    except (OSError, EOFError):
        raise age.AgeError(
            f"{name} is protected by a passphrase, and there is no terminal to ask for it. "
            "Give it through RELEVE_PASSPHRASE_FD, or use an age identity"
        ) from None


def open_with(data: bytes, files: Sequence[Path], what: str) -> bytes:
    """Decrypt `data` with the first private key that fits; a passphrase is asked only for a key
    that the data is encrypted to. `what` names the data in messages. Raise AgeError."""
    wanted = {stanza.tag for stanza in age.stanzas(data)}
    refused: list[str] = []
    keys = []
    for file in files:
        try:
            keys.append(age.read_private_key(str(file), file.read_bytes()))
        except OSError as error:
            refused.append(f"{file} cannot be read: {error.strerror}")
        except age.UnusableKey as error:
            refused.append(str(error))
    for key in sorted(keys, key=lambda k: k.protected):
        if key.tag is not None and key.tag not in wanted:
            refused.append(f"{key.name} is not among its readers")
            continue
        try:
            return age.decrypt(data, age.unlock(key, ask_passphrase))
        except age.Locked as error:
            refused.append(f"{key.name} does not open it ({error})")
        except age.UnusableKey as error:
            refused.append(str(error))
    raise age.Locked(
        f"{what} stays closed: {'; '.join(refused)}. Set RELEVE_IDENTITY to the private key of one "
        "of the inventory's people, or ask one of them for `releve secrets rekey`"
    )
