"""The DNS records of mail. Pure."""

from __future__ import annotations

import hashlib
import re

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from roles.interface import Record
from roles.mail import places
from roles.mail import settings as mail
from roles.records import address_records

# The name of the key that YunoHost makes for each domain.
SELECTOR = "mail"


def published_key(text: str) -> str:
    """Given the file that opendkim-genkey made (a record as a zone file has it), return the text
    for DNS; "" when it is none."""
    joined = "".join(re.findall(r'"([^"]*)"', text))
    return joined if re.search(r"\bp=[A-Za-z0-9+/=]+", joined) else ""


def on_yunohost(service: Service, inventory: Inventory) -> tuple[Record, ...]:
    """Addresses of the server's own domains, MX, SPF, and DMARC: any, when the inventory does not
    say which. Only the server knows its DKIM keys: a deploy reads them there
    (roles/mail/server.py)."""
    host = inventory.hosts[service.host]
    chosen, domains = mail.settings(service), mail.domains(service, inventory)
    name = ynh.main_domain(service, inventory)
    table = host.yunohost.domains if host.yunohost else {}
    there = (one for one, about in table.items() if not about.absent)
    every = dict.fromkeys((name, service.domain, *domains, *there))
    found = [record for one in every for record in address_records(one, host)]
    # As YunoHost suggests it; whom a relay sends by, the inventory says.
    sends = chosen.spf or ("v=spf1 a mx ~all" if chosen.relay else "v=spf1 a mx -all")
    for one in domains:
        found.append(Record(one, "MX", (f"10 {name}",)))
        found.append(Record(one, "TXT", (sends,), prefix="v=spf1"))
        policy = chosen.dmarc or mail.Dmarc()
        value = f"v=DMARC1; p={policy.policy}"
        value += f"; rua=mailto:{policy.reports}" if policy.reports else ""
        prefix, free = ("", False) if chosen.dmarc else ("v=DMARC1", True)
        found.append(Record(f"_dmarc.{one}", "TXT", (value,), prefix, free))
    return tuple(found)


def spf(service: Service) -> str:
    """Who sends for these domains (RFC 7208). With a relay that nobody described, others are asked
    to doubt rather than to refuse."""
    chosen = mail.settings(service)
    return chosen.spf or ("v=spf1 mx ~all" if chosen.relay else "v=spf1 mx -all")


def dmarc(service: Service, domain: str) -> str:
    """What others do with mails that only pretend to be of this domain (RFC 7489)."""
    chosen = mail.settings(service).dmarc or mail.Dmarc()
    return f"v=DMARC1; p={chosen.policy}; rua=mailto:{chosen.reports or f'postmaster@{domain}'}"


def dns(service: Service, inventory: Inventory) -> tuple[Record, ...]:
    """Everything but the key that mails are signed with, which only the secrets know."""
    host = inventory.hosts[service.host]
    names = [service.domain, *(s.service.domain for s in places.sites(service, inventory))]
    found = [record for name in names for record in address_records(name, host)]
    domains = mail.domains(service, inventory)
    if service.domain not in domains:
        # For bounces, which come from nobody at this name (RFC 7208, 2.3).
        found.append(Record(service.domain, "TXT", ("v=spf1 a -all",), prefix="v=spf1"))
    edition = hashlib.sha256(places.policy(service).encode()).hexdigest()[:16]
    for domain in domains:
        found += [
            Record(domain, "MX", (f"10 {service.domain}",)),
            Record(domain, "TXT", (spf(service),), prefix="v=spf1"),
            Record(f"_dmarc.{domain}", "TXT", (dmarc(service, domain),)),
            Record(f"_imaps._tcp.{domain}", "SRV", (f"0 1 {places.IMAPS} {service.domain}",)),
            Record(
                f"_submissions._tcp.{domain}",
                "SRV",
                (f"0 1 {places.SUBMISSIONS} {service.domain}",),
            ),
            Record(f"_smtp._tls.{domain}", "TXT", (f"v=TLSRPTv1; rua=mailto:postmaster@{domain}",)),
        ]
        if mail.settings(service).mta_sts != "none":
            found.append(Record(f"_mta-sts.{domain}", "TXT", (f"v=STSv1; id={edition}",)))
    return tuple(found)
