"""Runs the checks from another place, and tells people."""

from __future__ import annotations

from roles.interface import Absent, HostOnPlatform, HostRole, Text
from roles.watch import probes

ROLE = HostRole(
    name="watch",
    title=Text(en="Watch", fr="Veille"),
    on={
        "debian": HostOnPlatform(
            deploy="roles.watch.deploy",
            inside=probes.inside,
            state=Absent("A deploy brings it back; losing its history is no harm"),
        ),
    },
)
