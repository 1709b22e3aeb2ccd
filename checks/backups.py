"""Judge whether a host's copies are young enough, by receipts that it signed. Pure but for
`ssh-keygen`, which verifies signatures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from inventories.model import Host, Inventory
from roles.interface import Finding


def judge(status: Mapping[str, Any], inventory: Inventory, host: Host, now: datetime) -> Finding:
    """placeholder until the receipt format is known"""
    raise NotImplementedError
