"""WordPress: a website."""

from __future__ import annotations

from roles.interface import OnPlatform, Role, Text
from roles.pending import part
from roles.wordpress.settings import WordPressSettings

ROLE = Role(
    name="wordpress",
    title=Text(en="Website (WordPress)", fr="Site web (WordPress)"),
    settings=WordPressSettings,
    outside=part("roles.wordpress.probes", "outside"),
    dns=part("roles.wordpress.probes", "dns"),
    on={
        "debian": OnPlatform(
            deploy="roles.wordpress.deploy",
            inside=part("roles.wordpress.probes", "inside"),
            state=part("roles.wordpress.state", "state"),
            restore=part("roles.wordpress.state", "restore"),
            canary=part("roles.wordpress.state", "canary"),
            units=part("roles.wordpress.state", "units"),
        ),
    },
)
