"""Why a host is not deployed to, in words. Pure."""

from __future__ import annotations

from inventories.model import Host, Inventory
from roles.registry import HOSTS, SERVICES


def misplaced(host: Host, inventory: Inventory) -> str:
    """What to say of a host that is to do what cannot be done on its platform; empty for others.

    Said before anything is sent to any host.
    """
    platform = host.platform
    duties = [n for n in ("base", *host.roles) if n in HOSTS and platform not in HOSTS[n].on]
    services = [
        f"{service.id} ({service.role})"
        for service in inventory.services_on(host.id)
        if service.role in SERVICES and platform not in SERVICES[service.role].on
    ]
    if not duties and not services:
        return ""
    return (
        f"{host.id} has the platform {platform}, on which Relève cannot set up "
        f"{', '.join([*duties, *services])}. Put that on another host, or leave {host.id} out "
        "with --limit."
    )
