"""What an admin may say about mail. Pure.

On YunoHost, role mailboxes and their aliases stand under `[hosts.NAME.yunohost.mailboxes]`: they
are accounts of the server. On Debian they stand here. Members' accounts are data, never here.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from inventories.model import (
    Account,
    Domain,
    Flag,
    Inventory,
    Line,
    Mail,
    Model,
    Port,
    Quota,
    SecretRef,
    ServerName,
    Service,
    Settings,
    matching,
)
from platforms.yunohost import app as ynh


def _network(text: str) -> str:
    ip_network(text)  # its ValueError says what is wrong
    return text


Network = Annotated[str, AfterValidator(_network)]


class Relay(Model):
    """Another server that takes this one's mails to the world."""

    host: ServerName
    port: Port = 587
    user: Line | None = None
    password: SecretRef | None = None

    @model_validator(mode="after")
    def _together(self) -> Relay:
        if (self.user is None) != (self.password is None):
            raise ValueError("a relay that wants to know who sends needs both user and password")
        return self


class Dmarc(Model):
    """What others are asked to do with mails that only pretend to be ours."""

    policy: Literal["none", "quarantine", "reject"] = "none"
    reports: Mail | None = None


class RoleMailbox(Model):
    """A mailbox that is a duty and nobody's own, such as contact@."""

    name: Line | None = None
    quota: Quota | None = None  # None: as everybody


class MailSettings(Settings):
    domains: tuple[Domain, ...] = ()  # default: the server's main domain; Debian: the url's zone
    relay: Relay | None = None
    dmarc: Dmarc | None = None  # None: any policy is right; Debian: none, reports to postmaster
    pop3: Flag | None = None  # None: as it is; Debian: off
    # YunoHost: whose folder "Releve" holds the mark of each copy; default: the first role mailbox.
    canary: Account | None = None
    # The rest is for Debian.
    mailboxes: dict[Mail, RoleMailbox] = Field(default={})
    aliases: dict[Mail, tuple[Mail, ...]] = Field(default={})
    quota: Quota = "5G"  # of an account that has none of its own
    message_mb: Annotated[int, Field(strict=True, ge=1, le=200)] = 40
    # How many recipients an account may write to within an hour.
    per_hour: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 300
    # Addresses or networks that passwords may be wrong from as often as they like, such as an
    # office's, where one old phone would lock everybody out.
    never_shut_out: tuple[Network, ...] = ()
    spam_filter: Flag = True
    spf: Line | None = None  # None: the hosts of MX send, and nobody else
    mta_sts: Literal["none", "testing", "enforce"] = "testing"
    # Who tells others which addresses spam comes from (RFC 5782), such as "zen.spamhaus.org".
    blocklists: tuple[Domain, ...] = ()
    # Somewhere else, an address that answers each mail with what it received.
    echo: Mail | None = None
    dkim_selector: Annotated[str, matching(r"[a-z0-9]{1,16}", "lower-case letters and digits")] = (
        "releve"
    )


def settings(service: Service) -> MailSettings:
    """The service's settings with their type. Raise TypeError for another role's service."""
    if not isinstance(service.settings, MailSettings):
        raise TypeError(f"{service.id} is not a mail service")
    return service.settings


def domains(service: Service, inventory: Inventory) -> tuple[str, ...]:
    """The domains that people have addresses in."""
    chosen = settings(service).domains
    if chosen or inventory.hosts[service.host].platform == "yunohost":
        return chosen or (ynh.main_domain(service, inventory),)
    zone = inventory.zone_of(service.domain)
    return (zone.id if zone else service.domain.partition(".")[2],)


def canary_account(service: Service, inventory: Inventory) -> str | None:
    """The role mailbox that holds the marks, None when there is none."""
    server = ynh.host_of(service, inventory).yunohost
    boxes = [n for n, box in (server.mailboxes if server else {}).items() if not box.absent]
    return settings(service).canary or (boxes[0] if boxes else ynh.admin(service, inventory))
