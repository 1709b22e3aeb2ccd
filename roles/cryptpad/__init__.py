"""CryptPad: documents that the server cannot read."""

from __future__ import annotations

from roles.cryptpad import probes, yunohost
from roles.cryptpad.settings import CryptPadSettings
from roles.interface import Role, Text

ROLE = Role(
    name="cryptpad",
    title=Text(en="Encrypted documents (CryptPad)", fr="Documents chiffrés (CryptPad)"),
    settings=CryptPadSettings,
    outside=probes.outside,
    dns=probes.dns,
    on={"yunohost": yunohost.ON},
)
