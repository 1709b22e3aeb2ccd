"""Lends one host's copies to another for one restore: a key that ends by itself, and files that
lie in memory only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.plan import host_key, known_hosts, source
from backup.errors import BackupError
from backup.repository import of_host
from inventories.model import Inventory, Repository
from inventories.secrets import Secrets
from tools.ssh import Connection

GATE = "/usr/local/lib/releve/repository/gate"
_HOURS = 24

# Lines are added and removed whole. authorized_keys2 is read by sshd as well; authorized_keys is
# the deploy's, which replaces it.
_ADD = (
    'set -eu; umask 077; f=$1/.ssh/authorized_keys2; touch -- "$f"; '
    'printf "%s\\n" "$2" >> "$f"; chown --reference="$1" -- "$f"'
)
_REMOVE = (
    'set -eu; f=$1/.ssh/authorized_keys2; test -e "$f" || exit 0; t=$(mktemp -- "$f.XXXXXX"); '
    'grep -vF -- "$2" "$f" > "$t" || :; chmod 600 -- "$t"; chown --reference="$1" -- "$t"; '
    'mv -- "$t" "$f"'
)
_GONE = 'rm -rf -- "$1"'


def home(repository: Repository) -> str:
    """The home of the repository's Unix user."""
    return f"/srv/releve/{repository.url.user}"


def line(repository: Repository, host: str, public_key: str, until: datetime) -> str:
    """The line of authorized_keys that lends the copies of `host` until a moment (UTC)."""
    kind, data = public_key.split()[:2]
    expiry = until.astimezone(UTC).strftime("%Y%m%d%H%MZ")
    return (
        f'restrict,expiry-time="{expiry}",command="{GATE} --lend {repository.url.path}/{host}" '
        f"{kind} {data} releve-lend-{host}"
    )


def grant(connection: Connection, repository: Repository, host: str, public_key: str) -> None:
    """Let `public_key` read the copies of `host` for a day, over the session to the repository
    host. Raise SshError, CommandError."""
    until = datetime.now(UTC) + timedelta(hours=_HOURS)
    text = line(repository, host, public_key, until)
    connection.run(("sh", "-c", _ADD, "add", home(repository), text))


def revoke(connection: Connection, repository: Repository, public_key: str) -> None:
    """Take that back. Repeatable. Raise SshError, CommandError."""
    data = public_key.split()[1]
    connection.run(("sh", "-c", _REMOVE, "remove", home(repository), data))


@contextlib.contextmanager
def lent(
    inventory: Inventory,
    lender: str,
    secrets: Secrets,
    to_host: Connection,
    to_repository: Connection,
) -> Iterator[str]:
    """Make the copies of host `lender` readable for the host at the other end of `to_host`.

    Yield the path for `restore_service(source=…)`. Key and files are gone afterwards, and on a
    crash after a day or at the next boot. Raise BackupError, MissingSecret, SshError.
    """
    _, repository = of_host(inventory, lender)
    key = host_key(inventory, repository)
    place = f"/run/releve/lent-{lender}"
    described = source(inventory, lender, folder=place, key="key", password="password")  # noqa: S106
    if key is None or described is None:
        raise BackupError(f"{repository.host}, which keeps them, has no host_key in the inventory")
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    secret = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    # The lender's own key: the operators' is not for machines, and may not be there yet.
    password = secrets.get(f"host.{lender}.restic")
    try:
        grant(to_repository, repository, lender, public.decode())
        to_host.run(("mkdir", "-p", "-m", "0700", "--", "/run/releve", place))
        to_host.write(f"{place}/key", secret)
        to_host.write(f"{place}/password", password.encode())
        to_host.write(f"{place}/known_hosts", known_hosts(key))
        to_host.write(f"{place}/source.json", json.dumps(described).encode())
        yield f"{place}/source.json"
    finally:
        with contextlib.suppress(Exception):
            to_host.run(("sh", "-c", _GONE, "gone", place), check=False)
        revoke(to_repository, repository, public.decode())
