"""Who may log in. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.hazmat.primitives import serialization

from inventories.model import Inventory

# What the watch host may do on others: read the agent's status, nothing else.
WATCH_COMMAND = "/usr/local/lib/releve/agent.py status"

_DUTIES = {"deploy", "restore"}


def bare(line: str) -> str:
    """Given a public key line, return "TYPE BASE64" without the comment."""
    return " ".join(line.split()[:2])


def public_half(private: str) -> str:
    """Given a private key in OpenSSH's format, return its public half, "TYPE BASE64".

    Raise ValueError when it is none.
    """
    key = serialization.load_ssh_private_key(private.encode(), password=None)
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def operators(inventory: Inventory) -> tuple[str, ...]:
    """The lines of people who deploy or restore: key and name, in the order of the file."""
    return tuple(
        f"{bare(key)} {person.id}"
        for person in inventory.people.values()
        if _DUTIES & set(person.duties)
        for key in person.ssh_keys
    )


def watchers(keys: Iterable[tuple[str, str]], *, sudo: bool = False) -> tuple[str, ...]:
    """Given (watch host, its public key), return lines that allow the status and nothing else.

    `sudo`: the account that they are for is not root's.
    """
    command = f"sudo -n {WATCH_COMMAND}" if sudo else WATCH_COMMAND
    return tuple(
        f'restrict,command="{command}" {bare(key)} releve-watch-{name}' for name, key in keys
    )


def with_lines(text: str, lines: Iterable[str]) -> bytes:
    """A list of keys with those of `lines` that it lacks at its end; the rest as it was."""
    kept = text.splitlines()
    there = {bare(line) for line in kept}
    new = [line for line in lines if bare(line) not in there]
    return "".join(f"{line}\n" for line in (*kept, *new)).encode()


def authorized_keys(lines: Iterable[str]) -> bytes:
    """The whole file."""
    head = (
        "# Written by Relève from the inventory; what is added by hand goes with the next deploy.\n"
    )
    return (head + "".join(f"{line}\n" for line in lines)).encode()
