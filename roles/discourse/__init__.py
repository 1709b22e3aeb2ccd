"""Discourse: a forum that members may use by mail alone."""

from __future__ import annotations

from roles.discourse import probes
from roles.discourse.settings import DiscourseSettings
from roles.interface import Role, Text, each

ROLE = Role(
    name="discourse",
    title=Text(en="Forum (Discourse)", fr="Forum (Discourse)"),
    settings=DiscourseSettings,
    outside=probes.outside,
    dns=probes.dns,
    on=each(__name__, "yunohost"),
)
