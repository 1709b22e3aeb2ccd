"""What an admin may say about a YunoHost server's mail. Pure.

Role mailboxes and their aliases stand under `[hosts.NAME.yunohost.mailboxes]`: they are accounts
of the server.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from inventories.model import (
    Account,
    Domain,
    Flag,
    Inventory,
    Line,
    Mail,
    Model,
    Port,
    SecretRef,
    Service,
    Settings,
)
from platforms.yunohost import app as ynh


class Relay(Model):
    """Another server that takes this one's mails to the world."""

    host: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9.-]{1,253}\Z")]
    port: Port = 587
    user: Line | None = None
    password: SecretRef | None = None


class Dmarc(Model):
    """What others are asked to do with mails that only pretend to be ours."""

    policy: Literal["none", "quarantine", "reject"] = "none"
    reports: Mail | None = None


class MailSettings(Settings):
    domains: tuple[Domain, ...] = ()  # default: the server's main domain
    relay: Relay | None = None
    dmarc: Dmarc | None = None  # None: any policy is right
    pop3: Flag | None = None  # None: as it is
    # Whose folder "Releve" holds the mark of each copy; default: the first role mailbox.
    canary: Account | None = None


def settings(service: Service) -> MailSettings:
    """The service's settings with their type. Raise TypeError for another role's service."""
    if not isinstance(service.settings, MailSettings):
        raise TypeError(f"{service.id} is not a mail service")
    return service.settings


def domains(service: Service, inventory: Inventory) -> tuple[str, ...]:
    """The domains that people have addresses in."""
    return settings(service).domains or (ynh.main_domain(service, inventory),)


def canary_account(service: Service, inventory: Inventory) -> str | None:
    """The role mailbox that holds the marks, None when there is none."""
    server = ynh.host_of(service, inventory).yunohost
    boxes = [n for n, box in (server.mailboxes if server else {}).items() if not box.absent]
    return settings(service).canary or (boxes[0] if boxes else ynh.admin(service, inventory))
