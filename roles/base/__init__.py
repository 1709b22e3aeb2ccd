"""What every host gets: operators' keys, security updates, time, firewall."""

from __future__ import annotations

from roles.base import probes, yunohost_probes, yunohost_state
from roles.interface import Absent, HostOnPlatform, HostRole, Text

ROLE = HostRole(
    name="base",
    title=Text(en="Every host", fr="Toute machine"),
    on={
        "debian": HostOnPlatform(
            deploy="roles.base.deploy",
            inside=probes.inside,
            state=Absent("Everything it sets up is in the inventory, and a deploy brings it back"),
        ),
        "yunohost": HostOnPlatform(
            deploy="roles.base.yunohost",
            inside=yunohost_probes.inside,
            state=yunohost_state.state,
        ),
    },
)
