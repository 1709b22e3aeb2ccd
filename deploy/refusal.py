"""Why an inventory or a host is not deployed to, in words. Pure."""

from __future__ import annotations

from pathlib import Path

import roles
from inventories.model import Host, Inventory
from roles.registry import HOSTS, SERVICES


class InvalidError(Exception):
    """An inventory with errors that `releve validate` names is not deployed."""

    exit_code = 64


def errors_of(inventory: Inventory, file: Path) -> tuple[str, ...]:
    """Every error of the judgement, as `releve validate` prints it."""
    return tuple(one.line(file) for one in roles.judge(inventory, file) if one.level == "error")


def insist_valid(inventory: Inventory, file: Path) -> None:
    """Raise InvalidError with every error of the judgement."""
    if errors := errors_of(inventory, file):
        raise InvalidError(
            "this inventory is not deployed, and nothing was changed:\n"
            + "\n".join(errors)
            + "\nMend that; or, if people decided to live with it, say so in an [[acknowledge]] "
            "with the rule, a name, a date and the reason."
        )


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
