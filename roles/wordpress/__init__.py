"""WordPress: a website."""

from __future__ import annotations

from roles.interface import Role, Text, each
from roles.wordpress import probes
from roles.wordpress.settings import WordPressSettings

ROLE = Role(
    name="wordpress",
    title=Text(en="Website (WordPress)", fr="Site web (WordPress)"),
    settings=WordPressSettings,
    outside=probes.outside,
    dns=probes.dns,
    on=each(__name__, "debian", "yunohost"),
)
