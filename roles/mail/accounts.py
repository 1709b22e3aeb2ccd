"""Members' accounts on a Debian host: data of the service, made and changed by people, never by
a deploy. Passwords travel on the standard input of the host's own program, and stay there as
hashes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from inventories.access import ssh_target
from inventories.model import Inventory, Service
from roles.mail import places
from tools import ssh


class AccountError(Exception):
    """Nothing was changed; the message says why."""

    exit_code = 1


class NoSuchService(AccountError):
    """The inventory has no such mail service. The message says which there are."""

    exit_code = 64


@dataclass(frozen=True)
class Account:
    """`quota` and `used` are bytes; a quota of 0 is no limit. `kind`: "member" or "role".

    Without `password` nobody can log in; one that is not `active` takes no mail either."""

    address: str
    name: str
    kind: str
    active: bool
    password: bool
    quota: int
    used: int


@dataclass(frozen=True)
class Share:
    """`reader` reads the role mailbox `mailbox`; `writes` in its name, and changes it, too."""

    mailbox: str
    reader: str
    writes: bool


@dataclass(frozen=True)
class Removed:
    """`kept`: the folder on the host where its mail is, or "". `aliases` still lead there."""

    kept: str
    aliases: tuple[str, ...]


def service_of(inventory: Inventory, address: str = "", named: str | None = None) -> Service:
    """The mail service that holds `address`, or the one that is `named`. Raise NoSuchService."""
    from roles.mail.settings import domains

    there = {
        s.id: s
        for s in inventory.services.values()
        if s.role == "mail" and inventory.hosts[s.host].platform == "debian"
    }
    if address and "@" not in address:
        raise NoSuchService(f"{address} is no address: give all of it, such as ana@example.org")
    domain = address.rpartition("@")[2].lower()
    fit = [s for s in there.values() if not domain or domain in domains(s, inventory)]
    if named is not None:
        fit = [there[named]] if named in there else []
    if len(fit) == 1:
        return fit[0]
    known = "; ".join(f"{s.id} has {', '.join(domains(s, inventory))}" for s in there.values())
    what = f"the service {named}" if named else f"addresses in {domain}" if domain else "accounts"
    raise NoSuchService(
        f"no single mail service on a Debian host has {what}. "
        + (f"In this inventory: {known}" if known else "This inventory has none")
        + "; on YunoHost accounts are made with `yunohost user create`."
    )


def add(
    inventory: Inventory, service: Service, address: str, password: str, name: str, quota: str
) -> None:
    """Make an account. `quota`: such as "2G", "0" for no limit, "" for what everybody has.

    Raise AccountError (it exists, another domain, a password that is too short), SshError.
    """
    size = str(places.size(quota)) if quota else ""
    _ask(inventory, service, "add", address, name, size, given=password)


def password(inventory: Inventory, service: Service, address: str, new: str) -> None:
    """Give an account (a role mailbox, too) another password. Raise AccountError, SshError."""
    _ask(inventory, service, "password", address, given=new)


def remove(inventory: Inventory, service: Service, address: str) -> Removed:
    """Take an account away, and what it could read of others. Raise AccountError, SshError."""
    said = json.loads(_ask(inventory, service, "remove", address))
    return Removed(str(said["kept"]), tuple(map(str, said["aliases"])))


def share(
    inventory: Inventory, service: Service, mailbox: str, reader: str, *, writes: bool
) -> str:
    """Let an account read a role mailbox; said again, it changes what was said before. Return the
    folder that its programs show it in.

    Raise AccountError (no role mailbox, no such account), SshError.
    """
    how = "write" if writes else "read"
    return str(json.loads(_ask(inventory, service, "share", mailbox, reader, how))["folder"])


def unshare(inventory: Inventory, service: Service, mailbox: str, reader: str) -> None:
    """Take that back. Raise AccountError, SshError."""
    _ask(inventory, service, "unshare", mailbox, reader)


def shares(inventory: Inventory, service: Service) -> tuple[Share, ...]:
    """Who reads which role mailbox, by mailbox. Raise AccountError, SshError."""
    return tuple(
        Share(str(one["mailbox"]), str(one["reader"]), one["how"] == "write")
        for one in json.loads(_ask(inventory, service, "shares"))
    )


def listed(inventory: Inventory, service: Service) -> tuple[Account, ...]:
    """All accounts and role mailboxes, by address. Raise AccountError, SshError."""
    return tuple(
        Account(
            address=str(one["address"]),
            name=str(one["name"]),
            kind=str(one["kind"]),
            active=bool(one["active"]),
            password=bool(one["password"]),
            quota=int(one["quota"]),
            used=int(one["bytes"]),
        )
        for one in json.loads(_ask(inventory, service, "list"))
    )


def _ask(
    inventory: Inventory, service: Service, verb: str, *words: str, given: str | None = None
) -> str:
    stdin = b"" if given is None else f"{given}\n".encode()
    with ssh.session(ssh_target(inventory.hosts[service.host])) as session:
        done = session.run(places.program(verb, *words), stdin=stdin, check=False, timeout=120)
    if done.exit_code != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise AccountError(f"{service.host}: {said[-1].removeprefix(f'mailhost.py {verb}: ')}")
    return done.stdout.decode()
