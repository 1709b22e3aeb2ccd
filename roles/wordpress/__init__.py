"""WordPress: a website."""

from __future__ import annotations

from roles.interface import OnPlatform, Role, Text
from roles.wordpress import probes, state, yunohost
from roles.wordpress.settings import WordPressSettings

ROLE = Role(
    name="wordpress",
    title=Text(en="Website (WordPress)", fr="Site web (WordPress)"),
    settings=WordPressSettings,
    outside=probes.outside,
    dns=probes.dns,
    on={
        "debian": OnPlatform(
            deploy="roles.wordpress.deploy",
            inside=probes.inside,
            state=state.state,
            restore=state.restore,
            canary=state.canary,
            units=state.units,
        ),
        "yunohost": yunohost.ON,
    },
)
