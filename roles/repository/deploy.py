"""The repository host, by pyinfra: a user who can append through the gate and do nothing else."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host as target

from inventories.model import Host, Inventory
from platforms import ops
from roles.base import keys
from roles.repository.accounts import GATE, accounts

_FILES = Path(__file__).parent / "files"


def install(host: Host, inventory: Inventory) -> None:
    """Queue packages and users."""
    ops.packages(names=("restic", "rclone", "python3"), name="Packages of the repository")
    users = {r.url.user for r in inventory.repositories.values() if r.host == host.id}
    _users(names=sorted(users), name="Users of the repository")


def configure(host: Host, inventory: Inventory) -> None:
    """Queue the gate, the folders and the complete lists of keys."""
    secrets = ops.secrets()
    public = {name: keys.public_half(secrets.get(name)) for name in _needed(host, inventory)}
    retired = {
        name: secrets.get(f"host.{name}.retired").splitlines()
        for name in inventory.hosts
        if f"host.{name}.retired" in secrets
    }
    items: list[ops.Item] = [ops.Folder(str(Path(GATE).parent))]
    items += [
        ops.File(f"{Path(GATE).parent}/{file.name}", file.read_bytes(), mode=0o755)
        for file in sorted(_FILES.glob("*"))
        if file.is_file()
    ]
    for account in accounts(inventory, host.id, public, retired):
        owner = {"owner": account.user, "group": account.user}
        items.append(ops.Folder(account.home, mode=0o750, **owner))
        items += [ops.Folder(folder, mode=0o700, **owner) for folder in account.folders]
        # Root's, so that a hole in the gate would still not let a key be added.
        items.append(ops.Folder(f"{account.home}/.ssh", mode=0o750, group=account.user))
        items.append(
            ops.File(
                f"{account.home}/.ssh/authorized_keys",
                keys.authorized_keys(account.lines),
                mode=0o640,
                group=account.user,
            )
        )
    ops.place(items=items, name="The gate, and who may save here")


def activate(host: Host, inventory: Inventory) -> None:
    """Nothing: none of it waits for DNS."""


def _needed(host: Host, inventory: Inventory) -> list[str]:
    """Names of the secrets whose public halves this host needs."""
    kept = {r.id for r in inventory.repositories.values() if r.host == host.id}
    append = [f"host.{h.id}.append" for h in inventory.hosts.values() if h.repository in kept]
    return append + [f"host.{h.id}.watch" for h in inventory.hosts.values() if "watch" in h.roles]


class _Accounts(FactBase[set[str]]):
    """Names of the Unix users that are there."""

    def command(self) -> str:
        return "cut -d: -f1 /etc/passwd"

    @staticmethod
    def default() -> set[str]:
        return set()

    def process(self, output: list[str]) -> set[str]:
        return set(output)


@operation()
def _users(names: list[str]) -> Generator[StringCommand, None, None]:
    """Create the users that are missing: no password, a shell only because sshd needs one to
    start the gate."""
    there = target.get_fact(_Accounts)
    new = [name for name in names if name not in there]
    if new:
        ops.note("diff", path="", text=f"new user {', '.join(new)}")
        yield StringCommand("install -d -m 0755 /srv/releve")
    for name in new:
        home = f"/srv/releve/{name}"
        yield StringCommand(
            "useradd --system --user-group --create-home --shell /bin/sh --home-dir",
            *(QuoteString(home), "--", QuoteString(name)),
        )
