"""What services and duties on YunoHost have in common: their archives. Pure."""

from __future__ import annotations

from platforms.yunohost import commands, gathering
from roles.interface import Archive, Around


def app(instance: str) -> Archive:
    """The archive of one app. What its role saves beside it, as `State.paths`, it also excludes
    from the archive (`platforms.yunohost.gathering.left_out`)."""
    settings = commands.APP_SETTINGS.format(instance)
    return Archive(
        parts=(f"apps/{instance}",),
        lists=gathering.LISTS,
        claims=(f"apps/{instance}",),
        load=gathering.bring_back_app(instance),
        holds=("test", "-e", settings),
        # Extracted beside the archive, then moved to its place.
        room=("/home/yunohost.backup",),
        together=gathering.bring_back_several(),
        called=instance,
    )


def system() -> Archive:
    """The archive of everything that is no app."""
    return Archive(
        parts=("conf", "data", "hooks"),
        lists=gathering.LISTS,
        claims=("system",),
        load=gathering.bring_back_system(),
        holds=("test", "-e", commands.INSTALLED_MARKER),
        # Extracted, then copied: homes and mail lie there twice for a moment.
        room=("/home/yunohost.backup", "/home"),
        together=gathering.bring_back_several(),
        called=gathering.SYSTEM,
    )


def around() -> Around:
    """How a YunoHost host is saved: inside its own backup."""
    return Around(
        argv=gathering.collect_run(),
        root=gathering.ROOT,
        results=gathering.RESULTS,
        before=gathering.collect_before(),
        after=gathering.collect_after(),
    )
