"""Where the parts of mail lie on a Debian host, and what its addresses are. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from inventories.model import Inventory, Service
from platforms.debian import names
from roles.interface import Argv, Mirror
from roles.mail import settings as mail

PROGRAM = "/usr/local/lib/releve/mail/mailhost.py"
LIMIT = "/usr/local/lib/releve/mail/limit.py"
# What the programs know; without it neither Postfix nor Dovecot starts.
FACTS = "/etc/releve/mail.json"
PROBE = "/etc/releve/mail-probe"
ROOT = "/srv/mail"
BOXES = f"{ROOT}/boxes"
ACCOUNTS = f"{ROOT}/accounts"
DATABASE = f"{ACCOUNTS}/accounts.sqlite"
# What is saved in the stead of the mailboxes (files/mirror.py). Below them, so that it is on the
# same disk wherever that is.
MIRROR = ".releve"
INDEXES = "/var/lib/releve-mail/index"
SHARED = "/var/lib/releve-mail/shared/map"
# Where mails to others go (transport(5)): empty, or that they wait.
OUTWARD = "/var/lib/releve-mail/outward"
# What was in the queue when a restore began, for as long as it can be given up.
LOADING = "/var/lib/releve-mail/loading"
LIMITS = "/var/lib/releve-mail/limit"
# rspamd's controller, and what it has learned.
LEARN = "/run/rspamd/releve.sock"
LEARNED = "/var/lib/rspamd"
# How it signs, and how it will once DNS names the key.
SIGNING = "/etc/rspamd/local.d/dkim_signing.conf"
SIGNING_NEXT = "/etc/rspamd/releve-dkim-signing.conf"
# Of the mails that look whether mails arrive.
TRIP_PROGRAM = "/usr/local/lib/releve/mail/trip.py"
TRIP = "releve-trip"
# Owns every mailbox. Its programs are Dovecot's.
OWNER = "vmail"
# May read who has which address: Postfix and Dovecot.
READERS = "mailaccounts"
LIMITER = "mail-limit"
UNITS = ("postfix.service", "dovecot.service", "rspamd.service")
# On Debian 12 postfix.service only stands for this one, and whoever stops it does not wait for it.
INSTANCE = "postfix@-.service"

SMTP, SUBMISSIONS, SUBMISSION, IMAPS, POP3S, SIEVE = 25, 465, 587, 993, 995, 4190

_UNITS_OF_SIZE = {"b": 1, "k": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def size(quota: str) -> int:
    """Given "2G", return the bytes; "0", no limit, is 0."""
    return 0 if quota == "0" else int(quota[:-1]) * _UNITS_OF_SIZE[quota[-1]]


def ports(service: Service, inventory: Inventory) -> tuple[int, ...]:
    """What others and members connect to."""
    del inventory
    pop3 = (POP3S,) if mail.settings(service).pop3 else ()
    return (SMTP, SUBMISSIONS, SUBMISSION, IMAPS, *pop3, SIEVE)


def mirror(folder: str) -> Mirror:
    """What is saved in the stead of a folder of Maildirs."""
    copy = f"{folder}/{MIRROR}/tree"
    return Mirror(folder, copy, _imported("mirror", folder, copy))


def program(*words: str) -> Argv:
    """The argv, for root on the host, of a verb of files/mailhost.py."""
    return ("python3", "-IS", PROGRAM, *words)


def compiled(*words: str) -> Argv:
    """The same for a copy, which starts a verb half a dozen times: see `_imported`."""
    return _imported("mailhost", *words)


def _imported(module: str, *words: str) -> Argv:
    """What starts one of our programs as a module: Python compiles it once, and not at each start,
    of which that is the greater part."""
    folder = str(PurePosixPath(PROGRAM).parent)
    start = f"import sys; sys.path.append({folder!r}); from {module} import main; "
    return ("python3", "-IS", "-c", f"{start}sys.exit(main(sys.argv[1:]))", *words)


def system_address(service: Service, inventory: Inventory) -> str:
    """The account that looks whether one can log in, and whose folder holds the marks of copies.
    No mail from outside is taken for it."""
    return f"releve-probe@{mail.domains(service, inventory)[0]}"


def trip_address(service: Service, inventory: Inventory) -> str:
    """The account of the mails that look whether mails arrive. Nothing stays in it, and it is in
    no copy. From elsewhere it takes mail only where an echo is to answer it."""
    return f"{TRIP}@{mail.domains(service, inventory)[0]}"


def postmaster(service: Service, inventory: Inventory) -> str:
    """Who reads what is written to postmaster@ and abuse@ (RFC 2142), and what root is told."""
    del service
    return inventory.organisation.contact


def mailboxes(service: Service, inventory: Inventory) -> dict[str, mail.RoleMailbox]:
    """The role mailboxes: those that are written, and the contact's when it is an address of ours
    that nothing else answers for, for mail to postmaster@ must never come back."""
    chosen = mail.settings(service)
    found = {address.lower(): box for address, box in chosen.mailboxes.items()}
    contact = postmaster(service, inventory).lower()
    ours = contact.partition("@")[2] in mail.domains(service, inventory)
    if ours and contact not in {a.lower() for a in chosen.aliases}:
        found.setdefault(contact, mail.RoleMailbox())
    return found


def aliases(service: Service, inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Every address that is passed on, and to whom. What the inventory says comes first."""
    contact = postmaster(service, inventory)
    found: dict[str, tuple[str, ...]] = {
        f"{duty}@{domain}": (contact,)
        for domain in (*mail.domains(service, inventory), service.domain)
        for duty in ("postmaster", "abuse")
    }
    found[f"root@{service.domain}"] = (contact,)
    for address in mailboxes(service, inventory):
        found.pop(address, None)
    for address, targets in mail.settings(service).aliases.items():
        found[address.lower()] = targets
    return {address: targets for address, targets in found.items() if targets != (address,)}


@dataclass(frozen=True)
class Site:
    """A host name of the service beside its own, served by the web server."""

    kind: str
    service: Service


def sites(service: Service, inventory: Inventory) -> tuple[Site, ...]:
    """What mail programs and other servers ask for by https: how to set oneself up, and that
    connections must be encrypted (RFC 8461)."""
    kinds = ["autoconfig"]
    if mail.settings(service).mta_sts != "none":
        kinds.append("mta-sts")
    found = []
    for domain in mail.domains(service, inventory):
        for kind in kinds:
            name = f"{kind}.{domain}"
            mark = hashlib.sha256(name.encode()).hexdigest()[:6]
            copy = {"id": f"{service.id}-{kind}-{mark}", "url": f"https://{name}"}
            found.append(Site(kind, service.model_copy(update=copy)))
    return tuple(found)


def certificate_folders(service: Service, inventory: Inventory) -> tuple[str, ...]:
    """Where the certificates of all its names lie."""
    every = (service, *(site.service for site in sites(service, inventory)))
    return tuple(names.certificate_folder(one.domain) for one in every)


def policy(service: Service) -> str:
    """The MTA-STS policy (RFC 8461, 3.2). A week, so that a change is known within one."""
    chosen = mail.settings(service)
    lines = ("version: STSv1", f"mode: {chosen.mta_sts}", f"mx: {service.domain}")
    return "".join(f"{line}\n" for line in (*lines, "max_age: 604800"))


def secret(service: Service) -> str:
    """The name of the secret that holds the key it signs with."""
    return f"service.{service.id}.dkim.{mail.settings(service).dkim_selector}"


def dkim_key(service: Service) -> str:
    """Where that key lies on the host. One beside the other: the old one signs until DNS names the
    new one."""
    return f"/etc/rspamd/releve-dkim-{mail.settings(service).dkim_selector}.key"


def signed_names(service: Service, inventory: Inventory) -> tuple[str, ...]:
    """Where others look for the public half of that key."""
    selector = mail.settings(service).dkim_selector
    return tuple(f"{selector}._domainkey.{d}" for d in mail.domains(service, inventory))
