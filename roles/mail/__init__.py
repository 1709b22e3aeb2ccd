"""Mail: YunoHost's own, and Postfix with Dovecot on Debian."""

from __future__ import annotations

from roles.interface import Role, Text, each
from roles.mail import addresses, probes
from roles.mail.settings import MailSettings

ROLE = Role(
    name="mail",
    title=Text(en="Mail", fr="Courriel"),
    settings=MailSettings,
    outside=probes.outside,
    dns=probes.dns,
    judge=addresses.judge,
    on=each(__name__, "debian", "yunohost"),
)
