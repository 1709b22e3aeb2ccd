"""CryptPad: documents that the server cannot read."""

from __future__ import annotations

from roles.cryptpad import probes
from roles.cryptpad.settings import CryptPadSettings
from roles.interface import Role, Text, each

ROLE = Role(
    name="cryptpad",
    title=Text(en="Encrypted documents (CryptPad)", fr="Documents chiffrés (CryptPad)"),
    settings=CryptPadSettings,
    outside=probes.outside,
    dns=probes.dns,
    on=each(__name__, "yunohost"),
)
