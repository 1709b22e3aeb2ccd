"""The keys that services sign with: which there are, and what DNS says of them."""

from __future__ import annotations

from collections.abc import Sequence

from inventories.model import Inventory
from inventories.secrets import Secrets
from roles import registry
from roles.interface import Absent, Record, SigningKey
from roles.records import dkim_record


def keys(inventory: Inventory, only: Sequence[str] | None = None) -> tuple[SigningKey, ...]:
    """The keys of the services (those named in `only`; None: all). Pure."""
    found = []
    for service in inventory.services.values():
        role = registry.SERVICES.get(service.role)
        on = role.on.get(inventory.hosts[service.host].platform) if role else None
        if on and not isinstance(on.signing, Absent) and (only is None or service.id in only):
            found.append(on.signing(service, inventory))
    return tuple(found)


def records(
    inventory: Inventory, secrets: Secrets, only: Sequence[str] | None = None
) -> tuple[Record, ...]:
    """What DNS must say of these keys. One that was not made yet has no record yet."""
    return tuple(
        Record(name, "TXT", (dkim_record(secrets.get(key.secret)),))
        for key in keys(inventory, only)
        if key.secret in secrets
        for name in key.records
    )
