"""The secrets that Relève itself makes, once, and keeps in the encrypted file. See
docs/architecture.md for what each is."""

from __future__ import annotations

import secrets as random
from collections.abc import Sequence

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy import signing
from inventories.model import Inventory
from inventories.secrets import Secrets
from roles.base.keys import public_half

# How many replaced machines of one host are still told that they were replaced.
RETIRED_KEPT = 8


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


def signing_key() -> str:
    """A new RSA key of 2048 bits as PEM: what every mail server can verify (RFC 8301, 3.2)."""
    return (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def password() -> str:
    """256 bits nobody can guess, as 43 letters, digits, - and _."""
    return random.token_urlsafe(32)


def retire(secrets: Secrets, host: str) -> None:
    """Change the append key of a host that was lost, and save. Idempotence is the caller's.

    The public half of the old one is kept: with it a machine that comes back may still ask in
    which epoch its host lives, and nothing else (roles/repository/files/gate, `--retired`).
    """
    kept = secrets.get(f"host.{host}.retired").splitlines() if has_retired(secrets, host) else []
    old = public_half(secrets.get(f"host.{host}.append"))
    secrets.set(f"host.{host}.retired", "\n".join([*kept, old][-RETIRED_KEPT:]))
    secrets.set(f"host.{host}.append", private_key())
    secrets.save()


def has_retired(secrets: Secrets, host: str) -> bool:
    """Whether a machine of this host was replaced before."""
    return f"host.{host}.retired" in secrets


def names(inventory: Inventory) -> dict[str, str]:
    """Every secret that Relève keeps for this inventory: name -> "key", "signing", "password"."""
    wanted: dict[str, str] = {}
    for host in inventory.hosts.values():
        if host.repository:
            wanted[f"host.{host.id}.append"] = "key"
            wanted |= {
                f"host.{host.id}.{use}": "password" for use in ("restic", "recovery", "fence")
            }
        if "watch" in host.roles:
            wanted[f"host.{host.id}.watch"] = "key"
    wanted |= {key.secret: "signing" for key in signing.keys(inventory)}
    return wanted


def keepers(inventory: Inventory, made: Sequence[str]) -> tuple[str, ...]:
    """Our hosts that keep the copies of those hosts whose append keys are among `made`."""
    found = []
    for host in inventory.hosts.values():
        repository = inventory.repositories.get(host.repository or "")
        if repository and f"host.{host.id}.append" in made:
            found.append(repository.host)
    return tuple(dict.fromkeys(found))


def missing(inventory: Inventory, secrets: Secrets) -> tuple[str, ...]:
    """Names of those that are not there yet, sorted."""
    return tuple(sorted(name for name in names(inventory) if name not in secrets))


def fill(inventory: Inventory, secrets: Secrets) -> tuple[str, ...]:
    """Make those that are missing, in memory only. Return their names, never a value.

    An existing secret is never replaced: a restic key that was overwritten would be a backup
    that nobody opens.
    """
    wanted = names(inventory)
    new = missing(inventory, secrets)
    make = {"key": private_key, "signing": signing_key, "password": password}
    for name in new:
        secrets.set(name, make[wanted[name]]())
    return new


def ensure(inventory: Inventory, secrets: Secrets) -> tuple[str, ...]:
    """`fill`, and save when something was missing. Raise what `Secrets.save` raises."""
    new = fill(inventory, secrets)
    if new:
        secrets.save()
    return new
