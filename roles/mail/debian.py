"""Mail on a Debian host: Postfix, Dovecot, rspamd. What is asked of it, what is saved. Pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from inventories.model import Inventory, Service
from platforms.debian import units as units_of_host
from roles import units as units_of
from roles.interface import (
    Canary,
    Dump,
    InsideProbe,
    OnPlatform,
    Restore,
    SigningKey,
    State,
)
from roles.mail import addresses, places, probes
from roles.mail import settings as mail
from roles.mail.places import compiled, program

# On a host where only `install` ran nothing may start yet; `configure` will.
_START = 'test -e "$1" || exit 0; shift; exec systemctl start -- "$@"'


def inside(service: Service, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What only the host can know."""
    echo, lists = mail.settings(service).echo, mail.settings(service).blocklists
    listed = InsideProbe("blocklists", program("blocklists"), probes.judge_blocklists, timeout=60)
    trip = ("python3", places.TRIP_PROGRAM)
    return (
        InsideProbe("postfix", ("postfix", "status"), probes.judge_postfix),
        *(units_of.probe(unit, name=unit.partition(".")[0]) for unit in places.UNITS[1:]),
        units_of.probe("fail2ban.service", name="fail2ban"),
        InsideProbe("login", program("login"), probes.judge_login, timeout=60),
        InsideProbe("doors", program("doors"), probes.judge_doors, timeout=60),
        InsideProbe("queue", program("queue"), probes.judge_queue),
        InsideProbe("aliases", program("targets"), addresses.judge_targets),
        InsideProbe("records", program("records"), probes.judge_zone, timeout=60),
        InsideProbe("reverse", program("reverse"), probes.judge_reverse, timeout=60),
        *([listed] if lists else []),
        InsideProbe("round-trip", trip, probes.judge_trip, timeout=40),
        *([InsideProbe("echo", (*trip, echo), probes.judge_echo, timeout=40)] if echo else []),
    )


def state(service: Service, inventory: Inventory) -> State:
    """Mailboxes with their filters, accounts, what was learned of spam, the queue, certificates.

    Nothing stands still: a mirror of one moment is saved. What is being written (tmp) and what
    Dovecot can make again is left out. The queue is saved before the mirror is made: a mail that
    is delivered meanwhile is in both, never in neither. The key that mails are signed with is a
    secret beside the inventory, and so outlives the host and its copies.
    """
    boxes = places.BOXES
    return State(
        paths=(boxes, *places.certificate_folders(service, inventory)),
        excludes=(
            f"{boxes}/{places.MIRROR}",
            # Not of an account that is called so.
            f"{boxes}/*/*/**/tmp",
            f"{boxes}/**/dovecot-uidlist.lock",
            f"{boxes}/**/dovecot-uidlist.tmp",
            f"{boxes}/**/dovecot.index*",
            f"{boxes}/**/*.lock",
            f"{boxes}/**/*.svbin",
            f"{boxes}/*/{places.TRIP}",
        ),
        dumps=(
            Dump("accounts.sql", compiled("accounts-save"), compiled("accounts-load")),
            Dump("learned.tar", compiled("learned-save"), compiled("learned-load")),
            Dump("queue.tar", compiled("queue-save"), compiled("queue-load")),
        ),
        mirrors=(places.mirror(boxes),),
        counts=compiled("counts"),
        versions=compiled("versions"),
    )


def restore(service: Service, inventory: Inventory) -> Restore:
    """Nobody delivers or reads while mailboxes move, and the filter has let go of what it learned.
    All end at once: Postfix alone takes a second. Dovecot's indexes are made anew: they speak of
    what was there before."""
    return Restore(
        stop=(units_of_host.stop(places.INSTANCE, *places.UNITS),),
        accept=(
            ("find", places.INDEXES, "-mindepth", "1", "-delete"),
            ("sh", "-c", _START, "start", places.FACTS, *reversed(places.UNITS)),
            units_of_host.RELOAD_NGINX,
            ("rm", "-f", places.LOADING),
        ),
        leave=(("systemctl", "disable", "--now", "--quiet", *places.UNITS[:2]),),
        let_out=(program("let-out"),),
    )


def canary(service: Service, inventory: Inventory) -> Canary:
    """A mail that a rule puts into its folder."""
    return Canary(compiled("canary-plant"), compiled("canary-find"), compiled("sample"))


def units(service: Service, inventory: Inventory) -> tuple[str, ...]:
    """What must not run on a host that has been replaced: it would take in members' mail."""
    return (*places.UNITS[:2], "nginx.service")


def signing(service: Service, inventory: Inventory) -> SigningKey:
    """One key for all domains; another `dkim_selector` is another key."""
    return SigningKey(places.secret(service), places.signed_names(service, inventory))


ON = OnPlatform(
    deploy="roles.mail.deploy",
    inside=inside,
    state=state,
    restore=restore,
    canary=canary,
    units=units,
    ports=places.ports,
    signing=signing,
)
