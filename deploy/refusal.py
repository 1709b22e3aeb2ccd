"""Why a host is not deployed to, in words. Pure."""

from __future__ import annotations

from inventories.model import Host


def wrong_platform(host: Host) -> str:
    """What to say of a host with a platform that a deploy cannot handle; empty for others."""
    if host.platform == "debian":
        return ""
    return (
        f"{host.id} has the platform {host.platform}, which Relève cannot deploy to yet; checks of "
        "it work. Leave it out with --limit."
    )
