"""Mail: YunoHost's own, and Postfix with Dovecot on Debian."""

from __future__ import annotations

from roles.interface import Role, Text
from roles.mail import addresses, debian, probes, yunohost
from roles.mail.settings import MailSettings

ROLE = Role(
    name="mail",
    title=Text(en="Mail", fr="Courriel"),
    settings=MailSettings,
    outside=probes.outside,
    dns=probes.dns,
    judge=addresses.judge,
    on={"debian": debian.ON, "yunohost": yunohost.ON},
)
