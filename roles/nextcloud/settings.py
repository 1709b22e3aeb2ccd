"""What an admin may say about a Nextcloud. Pure.

Names and values are occ's own: `occ config:list`, and the page "config.php parameters" of
Nextcloud's administration manual.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from inventories.model import (
    Flag,
    Inventory,
    Language,
    Mail,
    Model,
    Port,
    SecretRef,
    ServerName,
    Service,
    Settings,
    Timezone,
    matching,
)

Locale = Annotated[str, matching(r"[a-z]{2,3}(_[A-Z]{2})?", 'a locale such as "fr_FR"')]
# ISO 3166-1
Region = Annotated[str, matching(r"[A-Z]{2}", 'the two letters of a country such as "FR"')]
Quota = Annotated[
    str, matching(r"none|[1-9][0-9]{0,5} (MB|GB|TB)", '"none" or a size such as "5 GB"')
]
NextcloudApp = Annotated[
    str, matching(r"[a-z][a-z0-9_]{0,60}", 'the name of an app such as "calendar"')
]
LOCALES = {"fr": "fr_FR", "en": "en_GB"}
REGIONS = {"fr": "FR", "en": "GB"}


class Relay(Model):
    """Mail through somebody else's server, when not through this one."""

    host: ServerName
    port: Port = 465
    secure: Literal["ssl", ""] = "ssl"  # "": STARTTLS where the server offers it
    user: str
    password: SecretRef


class NextcloudSettings(Settings):
    language: Language | None = None  # default: the organisation's
    locale: Locale | None = None
    phone_region: Region | None = None  # numbers without a country code belong here
    timezone: Timezone = "Europe/Paris"
    sender: Mail | None = None  # default: the app's own account on the server's main domain
    relay: Relay | None = None
    quota: Quota | None = None  # of members who have none of their own; None: as it is
    apps: tuple[NextcloudApp, ...] = ("calendar", "contacts")
    without: tuple[NextcloudApp, ...] = ()
    # Hour (UTC) after which heavy jobs may run, four hours long.
    quiet_hour: Annotated[int, Field(strict=True, ge=0, le=23)] = 1
    push: Flag = False  # notify_push, through the package's own panel
    home_folders: Flag = False  # /home/USER as a folder in each member's files
    hold_at_most: Annotated[int, Field(strict=True, ge=1, le=24)] = 4  # hours, while copying

    @model_validator(mode="after")
    def _either_or(self) -> NextcloudSettings:
        both = set(self.apps) & set(self.without)
        if both:
            raise ValueError(f"{', '.join(sorted(both))}: in apps and in without")
        return self


def settings(service: Service) -> NextcloudSettings:
    """The service's settings with their type. Raise TypeError for another role's service."""
    if not isinstance(service.settings, NextcloudSettings):
        raise TypeError(f"{service.id} is not a nextcloud service")
    return service.settings


def language(service: Service, inventory: Inventory) -> str:
    """The language of who has not chosen one."""
    return settings(service).language or inventory.organisation.locale


def locale(service: Service, inventory: Inventory) -> str:
    """How dates and numbers are written for who has not chosen."""
    return settings(service).locale or LOCALES[inventory.organisation.locale]


def phone_region(service: Service, inventory: Inventory) -> str:
    """Where telephone numbers without a country code belong."""
    return settings(service).phone_region or REGIONS[inventory.organisation.locale]
