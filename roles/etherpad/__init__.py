"""Etherpad: writing one text together."""

from __future__ import annotations

from roles.etherpad import probes, state, yunohost
from roles.etherpad.settings import EtherpadSettings
from roles.interface import OnPlatform, Role, Text

ROLE = Role(
    name="etherpad",
    title=Text(en="Shared notes (Etherpad)", fr="Prise de notes à plusieurs (Etherpad)"),
    settings=EtherpadSettings,
    outside=probes.outside,
    dns=probes.dns,
    on={
        "debian": OnPlatform(
            deploy="roles.etherpad.deploy",
            inside=probes.inside,
            state=state.state,
            restore=state.restore,
            canary=state.canary,
            units=state.units,
        ),
        "yunohost": yunohost.ON,
    },
)
