"""What every YunoHost host saves: accounts, groups, domains, certificates, mail, homes, settings,
as YunoHost gathers them. Pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from inventories.model import Host, Inventory
from roles import archives
from roles.interface import State


def state(host: Host, inventory: Inventory) -> State:
    """The system's part of the archive. It comes first on a blank host, and sets YunoHost up."""
    return State(paths=(), archive=(archives.system(),), around=archives.around())
