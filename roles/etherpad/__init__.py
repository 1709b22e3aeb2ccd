"""Etherpad: writing one text together."""

from __future__ import annotations

from roles.etherpad.settings import EtherpadSettings
from roles.interface import OnPlatform, Role, Text
from roles.pending import part

ROLE = Role(
    name="etherpad",
    title=Text(en="Shared notes (Etherpad)", fr="Prise de notes à plusieurs (Etherpad)"),
    settings=EtherpadSettings,
    outside=part("roles.etherpad.probes", "outside"),
    dns=part("roles.etherpad.probes", "dns"),
    on={
        "debian": OnPlatform(
            deploy="roles.etherpad.deploy",
            inside=part("roles.etherpad.probes", "inside"),
            state=part("roles.etherpad.state", "state"),
            restore=part("roles.etherpad.state", "restore"),
            canary=part("roles.etherpad.state", "canary"),
            units=part("roles.etherpad.state", "units"),
        ),
    },
)
