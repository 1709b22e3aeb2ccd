"""Mail: YunoHost's own."""

from __future__ import annotations

from roles.interface import Role, Text
from roles.mail import probes, yunohost
from roles.mail.settings import MailSettings

ROLE = Role(
    name="mail",
    title=Text(en="Mail", fr="Courriel"),
    settings=MailSettings,
    outside=probes.outside,
    dns=probes.dns,
    on={"yunohost": yunohost.ON},
)
