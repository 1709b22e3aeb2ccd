"""Kinds of services and duties of hosts. `load` is how everyone reads an inventory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from inventories.model import Inventory

if TYPE_CHECKING:
    from inventories.judge import Judgement


def load(path: Path) -> Inventory:
    """Read the inventory in `path` with the settings models of every registered role.

    Raise InventoryError with every problem at once.
    """
    # Imported here because the registry imports from this package.
    from inventories.load import load as load_with
    from roles.interface import ByName
    from roles.registry import HOSTS, SERVICES

    models = ByName(tuple(SERVICES), lambda name: SERVICES[name].settings)
    return load_with(path, models, HOSTS.keys())


def judge(inventory: Inventory, file: Path | None = None) -> tuple[Judgement, ...]:
    """Whether the whole is wise, with what the registry knows; errors first.

    `file`: where the inventory lies, to see whether it has a file of secrets, and that of the
    authority that it names, and to say in which line what was judged stands.
    A deploy should refuse an inventory with an error among these; checks should not care.
    """
    from inventories.judge import judge as judge_with
    from inventories.lines import line_at, line_numbers
    from inventories.load import read_text
    from inventories.secrets import secrets_file
    from roles.apps import lacking
    from roles.interface import Absent
    from roles.registry import HOSTS, SERVICES
    from tools import channels

    of_roles: list[Judgement] = []
    for service in inventory.services.values():
        role = SERVICES.get(service.role)
        if role is not None and not isinstance(role.judge, Absent):
            of_roles += role.judge(service, inventory)
    found = judge_with(
        inventory,
        platforms={name: role.on.keys() for name, role in SERVICES.items()},
        host_platforms={name: role.on.keys() for name, role in HOSTS.items()},
        secrets_file=None if file is None else secrets_file(file).exists(),
        trust_file=None if file is None else _trusted(inventory, file),
        channel=channels.understood,
    )
    everything = [*lacking(inventory), *of_roles, *found]
    if file is not None and everything:
        numbers = line_numbers(read_text(file))
        everything = [replace(one, number=line_at(one.path, numbers)) for one in everything]
    return tuple(sorted(everything, key=lambda one: one.level != "error"))


def _trusted(inventory: Inventory, file: Path) -> bool:
    named = inventory.certificates.trust
    return named is None or (file.parent / named).is_file()
