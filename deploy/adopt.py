"""From a server that somebody set up by hand to an inventory that describes it. Only reads."""

from __future__ import annotations

import ipaddress
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import roles
from deploy import dns, inside
from deploy.dns import ZonePlan
from inventories.access import passphrase
from inventories.model import Inventory, Line
from inventories.problems import InventoryError
from platforms.yunohost import adopt as describing
from platforms.yunohost import looking, remote
from platforms.yunohost.adopt import Adopted, Facts, fits
from platforms.yunohost.answers import version_number
from platforms.yunohost.converge import converge
from platforms.yunohost.obstacles import OLDEST
from platforms.yunohost.server import PANELS, QUESTIONS, Server, read
from platforms.yunohost.steps import CannotConverge
from roles.apps import roles_of_apps, wanted_of
from roles.interface import Record
from tools.dns import DnsError, plain_text
from tools.ssh import Target, scan, session

# How a text begins that says who sends for a domain.
_SPF = "v=spf1"
# Seconds. One of the questions prepares all of YunoHost's configuration files.
_TIMEOUT = 300


class AdoptError(Exception):
    """The server cannot be described; the message says why and what to do."""

    exit_code = 1


def target(text: str, host_key: str | None, key_file: Path | None) -> Target:
    """Given "[USER@]ADDRESS[:PORT]", return whom to speak to.

    Raise AdoptError for another text, a name that does not resolve, and, with the key that the
    server shows, when no `host_key` is given: nothing is sent to a machine that nobody knows.
    """
    match = re.fullmatch(
        r"(?:([a-z_][a-z0-9_.-]*)@)?(?:\[([0-9A-Fa-f:]+)\]|([A-Za-z0-9.-]+))(?::([0-9]{1,5}))?",
        text,
    )
    if match is None:
        raise AdoptError(f"{text!r} is not [USER@]ADDRESS[:PORT], such as root@198.51.100.10")
    user, port = match[1] or "root", int(match[4] or 22)
    address = _address(match[2] or match[3], port)
    if host_key is None:
        shown = scan(address, port)
        raise AdoptError(
            f"Nobody knows yet which machine {address} is. It shows this host key:\n    {shown}\n"
            "Compare it with /etc/ssh/ssh_host_ed25519_key.pub on the provider's console. If it is "
            f"the same:\n    releve adopt {text} --host-key '{shown}'"
        )
    return Target(
        match[2] or match[3],
        address,
        host_key,
        port,
        user,
        key_file,
        told_by="--host-key",
        passphrase=passphrase,
    )


def _address(name: str, port: int) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise AdoptError(f"{name} has no address: {error.strerror}. Give its IP address") from None
    return str(found[0][4][0])


def adopt(
    where: Target,
    *,
    name: str | None = None,
    mailboxes: Collection[str] = (),
    as_apps: bool = False,
) -> Adopted:
    """Read the server `where` and describe it as the host `name` (default: as it calls itself).

    `mailboxes`: accounts that are a duty and nobody's own, beside those whose name says so.
    `as_apps`: every service gets the role app, which only looks after the app itself. Raise
    AdoptError, SshError, YunohostError, UnreadableError.
    """
    described = {*describing.ROLE_NAMES, *mailboxes}
    questions = (*QUESTIONS, *PANELS, *describing.BESIDE)
    with session(where) as connection:
        said = connection.run(looking.argv(looking.asked(questions)), timeout=_TIMEOUT)
        called = connection.run(("hostname", "-s"), check=False).stdout.decode(errors="replace")
        user = connection.target.user
        looked = looking.answered(said.stdout.decode(errors="replace"))
        server = read(looked, described)
        _check(where, server, mailboxes)
        looked = {**looked, **remote.look(connection, describing.group_questions(server))}
    facts = Facts(
        name or describing.slug(called.strip() or "server", ()),
        where.address,
        where.host_key or "",
        where.port,
        user,
    )
    beside = describing.beside(looked, server)
    known = {} if as_apps else roles_of_apps()
    adopted = describing.adopt(server, facts, known, mailboxes, beside)
    try:
        inventory = _loaded(adopted)
    except InventoryError:
        # A role that cannot do without settings of its own: then as apps like any other.
        known = {}
        adopted = describing.adopt(server, facts, known, mailboxes, beside)
        inventory = _loaded(adopted)
    chosen, others = spf(dns.plan(inventory, [describing.MAIL]))
    if chosen and fits(Line, chosen):
        adopted = describing.adopt(server, facts, known, mailboxes, beside, chosen)
    left = _left(inventory, looked, facts.name)
    with session(where) as connection:
        lines = inside.ask(connection, inventory, facts.name)
    return replace(adopted, missing=(*adopted.missing, *others, *left, *lines))


def spf(plans: Sequence[ZonePlan]) -> tuple[str, tuple[str, ...]]:
    """Given how DNS differs from what mail needs, return who DNS says sends for the domains, as
    most of them have it ("": as we would write it, or nothing), and a line for what is left. Pure.

    A record that somebody made may let a newsletter's or a school's server send: ours would shut
    that out.
    """
    lines = []
    said: dict[str, str] = {}
    ours = ""
    for plan in plans:
        if plan.error:
            lines.append(f"who sends for {plan.zone.id} (SPF) is not known: {plan.error}")
            continue
        there = {d.name: d.found for d in plan.differences if d.type == "TXT"}
        for record in plan.records:
            if not isinstance(record, Record) or record.prefix != _SPF:
                continue
            ours, *_ = record.values
            found = [ours]
            if record.name.lower() in there:
                texts = map(_text, there[record.name.lower()])
                found = [text for text in texts if text.lower().startswith(_SPF)]
            if len(found) == 1:
                said[record.name] = found[0]
    chosen = next((text for text, _ in Counter(said.values()).most_common(1)), ours)
    lines += [
        f"the SPF record of {name}, which differs from that of other domains: {text}"
        for name, text in said.items()
        if text != chosen
    ]
    return chosen if chosen != ours else "", tuple(lines)


def _text(value: str) -> str:
    try:
        return plain_text(value)
    except DnsError:  # not UTF-8: none of ours
        return ""


def _loaded(adopted: Adopted) -> Inventory:
    """It as an inventory. Raise InventoryError."""
    with tempfile.TemporaryDirectory(prefix="releve-adopt-") as folder:
        file = Path(folder) / "inventory.toml"
        file.write_text(adopted.text(), encoding="utf-8")
        return roles.load(file)


def _check(where: Target, server: Server, mailboxes: Collection[str]) -> None:
    if not server.installed:
        raise AdoptError(
            f"{where.name} has no YunoHost that is set up: there is nothing to adopt. For a blank "
            'host, write an inventory with platform = "yunohost" and deploy it.'
        )
    if version_number(server.version) < OLDEST:
        raise AdoptError(
            f"{where.name} runs YunoHost {server.version}; this needs 12.1. Upgrade it first."
        )
    if server.untold:
        raise AdoptError(
            f"{where.name} does not tell about {', '.join(server.untold)}, installed there: its "
            "catalog is missing or old and cannot be fetched, or that app is damaged. Run there: "
            "yunohost tools update apps; then see what yunohost app list says."
        )
    if unknown := sorted(set(mailboxes) - server.names):
        raise AdoptError(f"{where.name} has no account {', '.join(unknown)}")


def _left(inventory: Inventory, looked: looking.Looked, name: str) -> tuple[str, ...]:
    """What a deploy of the result would change all the same."""
    wanted = wanted_of(inventory, name)
    try:
        steps = converge(wanted, read(looked, wanted.accounts))
    except CannotConverge as error:
        return tuple(str(one) for one in error.obstacles)
    return tuple(f"a deploy would change: {step.text.strip()}" for step in steps)
