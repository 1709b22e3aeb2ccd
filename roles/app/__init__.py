"""Any app of YunoHost's catalog."""

from __future__ import annotations

from roles.app import yunohost
from roles.app.settings import AppSettings
from roles.interface import Role, Text, each

ROLE = Role(
    name="app",
    title=Text(en="App of YunoHost's catalog", fr="Application du catalogue YunoHost"),
    settings=AppSettings,
    outside=yunohost.outside,
    dns=yunohost.dns,
    on=each(__name__, "yunohost"),
)
