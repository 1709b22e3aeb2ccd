"""Etherpad: writing one text together."""

from __future__ import annotations

from roles.etherpad import probes
from roles.etherpad.settings import EtherpadSettings
from roles.interface import Role, Text, each

ROLE = Role(
    name="etherpad",
    title=Text(en="Shared notes (Etherpad)", fr="Prise de notes à plusieurs (Etherpad)"),
    settings=EtherpadSettings,
    outside=probes.outside,
    dns=probes.dns,
    on=each(__name__, "debian", "yunohost"),
)
