"""Any app of YunoHost's catalog: what an admin may say of it beside `[services.NAME.app]`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from inventories.model import Domain, Service, Settings, matching

Path = Annotated[
    str,
    matching(
        r"/[A-Za-z0-9_@][A-Za-z0-9._@/+-]{0,200}", "a path of letters, digits and . _ @ + - only"
    ),
]
Unit = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][A-Za-z0-9:_.@-]{0,100}\.(service|timer|socket)",
        'a unit of systemd such as "etherpad.service"',
    ),
]


class AppSettings(Settings):
    # What the address answers when all is well; 302 for apps that send strangers to the portal.
    expect: tuple[Annotated[int, Field(strict=True, ge=200, le=499)], ...] = (200, 301, 302, 303)
    contains: str | None = None  # a text that the page must hold
    elsewhere: tuple[Domain, ...] = ()  # names of other servers to which it may send people
    units: tuple[Unit, ...] = ()  # systemd units of its own, such as "gitea.service"
    # Its packager's script says what an archive holds; what is large lies beside it.
    data: tuple[Path, ...] = ()
    still: Literal["stop", "run"] = "stop"  # are its units stopped while it is copied?

    @field_validator("data")
    @classmethod
    def _no_way_up(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if any(".." in path.split("/") for path in paths):
            raise ValueError("write the path without ..")
        return paths


def settings(service: Service) -> AppSettings:
    """The service's settings with their type. Raise TypeError for another role's service."""
    if not isinstance(service.settings, AppSettings):
        raise TypeError(f"{service.id} is not an app service")
    return service.settings
