"""Stores other hosts' copies, and cannot read them."""

from __future__ import annotations

from roles.interface import Absent, HostOnPlatform, HostRole, Text
from roles.repository import probes

ROLE = HostRole(
    name="repository",
    title=Text(en="Repository of copies", fr="Dépôt de copies"),
    on={
        "debian": HostOnPlatform(
            deploy="roles.repository.deploy",
            inside=probes.inside,
            state=Absent("It holds copies: the originals stand elsewhere"),
        ),
    },
)
