"""Kinds of services and duties of hosts. `load` is how everyone reads an inventory."""

from __future__ import annotations

from pathlib import Path

from inventories.model import Inventory


def load(path: Path) -> Inventory:
    """Read the inventory in `path` with the settings models of every registered role.

    Raise InventoryError with every problem at once.
    """
    # Imported here because the registry imports the roles, which are below this package.
    from inventories.load import load as load_with
    from roles.registry import HOSTS, SERVICES

    return load_with(path, {name: role.settings for name, role in SERVICES.items()}, HOSTS.keys())
