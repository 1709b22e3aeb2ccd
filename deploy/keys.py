"""The secrets that Relève itself makes, once, and keeps in the encrypted file. See
docs/architecture.md for what each is."""

from __future__ import annotations

import secrets as random

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from inventories.model import Inventory
from inventories.secrets import Secrets


def private_key() -> str:
    """A new ed25519 private key in OpenSSH's format, without a passphrase."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        .decode()
    )


def password() -> str:
    """256 bits nobody can guess, as 43 letters, digits, - and _."""
    return random.token_urlsafe(32)


def names(inventory: Inventory) -> dict[str, str]:
    """Every secret that Relève keeps for this inventory: name -> "key" or "password"."""
    wanted: dict[str, str] = {}
    for host in inventory.hosts.values():
        if host.repository:
            wanted[f"host.{host.id}.append"] = "key"
            wanted |= {
                f"host.{host.id}.{use}": "password" for use in ("restic", "recovery", "fence")
            }
        if "watch" in host.roles:
            wanted[f"host.{host.id}.watch"] = "key"
    return wanted


def missing(inventory: Inventory, secrets: Secrets) -> tuple[str, ...]:
    """Names of those that are not there yet, sorted."""
    return tuple(sorted(name for name in names(inventory) if name not in secrets))


def ensure(inventory: Inventory, secrets: Secrets) -> tuple[str, ...]:
    """Make and save those that are missing. Return their names, never a value.

    Raise what `Secrets.save` raises. An existing secret is never replaced: a restic key that
    was overwritten would be a backup that nobody opens.
    """
    wanted = names(inventory)
    new = missing(inventory, secrets)
    for name in new:
        secrets.set(name, private_key() if wanted[name] == "key" else password())
    if new:
        secrets.save()
    return new
