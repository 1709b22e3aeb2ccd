"""What an admin may say about a Discourse. Pure.

Names of settings are those of Discourse's config/site_settings.yml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from inventories.model import (
    Account,
    Flag,
    Language,
    Line,
    Mail,
    Model,
    Port,
    SecretRef,
    ServerName,
    Service,
    Settings,
    matching,
)

Slug = Annotated[str, matching(r"[a-z0-9][a-z0-9-]{0,60}", "lower-case letters, digits and -")]


class Elsewhere(Model):
    """A mailbox with another provider, read by POP3 over TLS."""

    address: Mail
    host: ServerName
    port: Port = 995
    user: Line
    password: SecretRef


class DiscourseSettings(Settings):
    title: Line | None = None  # default: the organisation's name
    locale: Language | None = None
    contact: Mail | None = None
    sender: Mail | None = None  # default: noreply@ the server's main domain; never the mailbox
    # The mailbox that members' mails arrive in: a role mailbox of the same host, or one elsewhere.
    mailbox: Account | Elsewhere | None = None
    poll_minutes: Annotated[int, Field(strict=True, ge=1, le=60)] = 5
    reply_by_mail: Flag = True  # with a mailbox
    # category (its slug) -> address that opens a topic in it; must end in the mailbox
    new_topics: Mapping[Slug, Mail] = Field(default_factory=dict)
    strangers: Flag = False  # may people without an account open topics by mail?
    mailing_list: Flag | None = None  # every post by mail, for new accounts; None: as it is
    chat: Flag | None = None

    @model_validator(mode="after")
    def _needs_a_mailbox(self) -> DiscourseSettings:
        if self.new_topics and self.mailbox is None:
            raise ValueError("new_topics needs mailbox: that is where such mails arrive")
        if isinstance(self.mailbox, Elsewhere) and self.sender == self.mailbox.address:
            raise ValueError("sender must not be the mailbox: Discourse would answer itself")
        return self


def settings(service: Service) -> DiscourseSettings:
    """The service's settings with their type. Raise TypeError for another role's service."""
    if not isinstance(service.settings, DiscourseSettings):
        raise TypeError(f"{service.id} is not a discourse service")
    return service.settings
