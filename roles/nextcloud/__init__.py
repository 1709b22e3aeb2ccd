"""Nextcloud: files, calendars, contacts."""

from __future__ import annotations

from roles.interface import Role, Text, each
from roles.nextcloud import probes
from roles.nextcloud.settings import NextcloudSettings

ROLE = Role(
    name="nextcloud",
    title=Text(en="Files and calendars (Nextcloud)", fr="Fichiers et agendas (Nextcloud)"),
    settings=NextcloudSettings,
    outside=probes.outside,
    dns=probes.dns,
    on=each(__name__, "yunohost"),
)
