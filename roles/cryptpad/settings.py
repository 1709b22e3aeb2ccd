"""What an admin may say about a CryptPad. Pure."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from inventories.model import Flag, Mail, Service, Settings, matching

Size = Annotated[str, matching(r"[1-9][0-9]{0,5} (MB|GB)", 'a size such as "500 MB" or "2 GB"')]
_KEY = re.compile(r"\[[^\[\]@/\s]{1,64}@[A-Za-z0-9.:-]{1,200}/[A-Za-z0-9+-]{43}=\]")


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise ValueError(
            'write the public key as CryptPad\'s page "Settings, Account" shows it: '
            '"[name@pad.example/…=]"'
        )
    return text


# CryptPad shows it to whoever is logged in; it opens nothing.
AdminKey = Annotated[str, AfterValidator(_key)]


class CryptPadSettings(Settings):
    """None: as it is; admins may change all but `admins` in CryptPad's own panel."""

    admins: tuple[AdminKey, ...] = ()
    quota: Size | None = None  # of each account
    upload: Size | None = None  # the largest file
    closed: Flag | None = None  # nobody registers without an invitation
    contact: Mail | None = None
    inactive_days: Annotated[int, Field(strict=True, ge=30, le=3650)] | None = None


def settings(service: Service) -> CryptPadSettings:
    """The service's settings with their type. Raise TypeError for another role's service."""
    if not isinstance(service.settings, CryptPadSettings):
        raise TypeError(f"{service.id} is not a cryptpad service")
    return service.settings


def sandbox(service: Service) -> str:
    """The second domain, in which CryptPad shows documents; the package makes it of the first."""
    return f"sandbox.{service.domain}"


def size(text: str) -> int:
    """Given "2 GB", return bytes, as CryptPad counts them (1024)."""
    number, unit = text.split()
    return int(number) * (1024**2 if unit == "MB" else 1024**3)
