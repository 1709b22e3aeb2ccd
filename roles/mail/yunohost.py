"""YunoHost's own mail: Postfix, Dovecot, OpenDKIM; what is set is the server's, and so is most of
what is saved. Pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from inventories.model import Inventory, Service
from platforms.yunohost import gathering
from platforms.yunohost.app import Needs, Scalar
from roles import units as units_of
from roles.interface import (
    Absent,
    Argv,
    Canary,
    InsideProbe,
    OnPlatform,
    Restore,
    State,
)
from roles.mail import places, probes
from roles.mail import settings as mail

PROGRAM = "/usr/local/lib/releve/mail/post.py"
BOXES = "/var/mail"
UNITS = ("postfix.service", "dovecot.service", "opendkim.service")
_START = 'for unit; do systemctl cat -- "$unit" >/dev/null 2>&1 || continue; '
_START += 'systemctl start -- "$unit"; done'


def program(*arguments: str) -> Argv:
    """The argv, for root on the host, of a verb of files/post.py."""
    return ("python3", "-IS", PROGRAM, "mail", *arguments)


def needs(service: Service, inventory: Inventory) -> Needs:
    """Domains, the relay, POP3: settings of the server."""
    chosen = mail.settings(service)
    settings: dict[str, Scalar] = {}
    if chosen.pop3 is not None:
        settings["email.pop3.pop3_enabled"] = chosen.pop3
    if chosen.relay:
        where = "email.smtp.smtp_relay_"
        settings |= {
            f"{where}enabled": True,
            f"{where}host": chosen.relay.host,
            f"{where}port": chosen.relay.port,
        }
        if chosen.relay.user:
            settings[f"{where}user"] = chosen.relay.user
        if chosen.relay.password:
            settings[f"{where}password"] = chosen.relay.password
    return Needs(settings=settings, domains=(*mail.domains(service, inventory), service.domain))


def inside(service: Service, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What only the host can know."""
    names = ",".join(mail.domains(service, inventory))
    addresses = ",".join(map(str, inventory.hosts[service.host].addresses))
    return (
        *(units_of.probe(unit, name=unit.partition(".")[0]) for unit in UNITS),
        InsideProbe("queue", program("queue"), probes.judge_queue),
        InsideProbe("records", program("records", names), probes.judge_records, timeout=60),
        InsideProbe("reverse", program("reverse", addresses), probes.judge_reverse, timeout=60),
    )


def state(service: Service, inventory: Inventory) -> State:
    """The mailboxes, with their filters (sievescript), as a mirror of one moment. Accounts,
    domains and DKIM keys come with the server's own archive, and so do not lie here twice."""
    return State(
        paths=(BOXES,),
        excludes=(
            f"{BOXES}/{places.MIRROR}",
            f"{BOXES}/**/dovecot.index*",
            gathering.mail_left_out(),
        ),
        mirrors=(places.mirror(BOXES),),
        counts=program("counts"),
        versions=program("versions"),
    )


def restore(service: Service, inventory: Inventory) -> Restore:
    """Nobody delivers or reads while mailboxes move."""
    return Restore(
        stop=(
            (
                "sh",
                "-c",
                'systemctl stop -- "$@" || [ $? -eq 5 ]',
                "stop",
                places.INSTANCE,
                *UNITS[:2],
            ),
        ),
        accept=(("sh", "-c", _START, "start", *UNITS),),
    )


def canary(service: Service, inventory: Inventory) -> Canary:
    """A mail in a folder of a role mailbox."""
    account = mail.canary_account(service, inventory) or "root"
    # `plant` gets the run and the time after its own words.
    return Canary(
        program("canary-plant", account),
        program("canary-find", account),
        program("sample", account),
    )


def units(service: Service, inventory: Inventory) -> tuple[str, ...]:
    """What must not run on a host that has been replaced: it would take in members' mail."""
    return UNITS[:2]


ON = OnPlatform(
    deploy="roles.mail.server",
    inside=inside,
    state=state,
    restore=restore,
    canary=canary,
    units=units,
    app=Absent("mail is part of YunoHost itself, not an app"),
    needs=needs,
    settle=Absent("what is set is the server's own, see needs"),
)
