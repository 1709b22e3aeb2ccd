"""DNS records that several roles share."""

from __future__ import annotations

from inventories.model import Host
from roles.interface import Record


def address_records(domain: str, host: Host) -> tuple[Record, ...]:
    """Given a name and the host that serves it, return the A and AAAA record sets it needs.

    One record set per address family, in the host's order. A family the host has no address
    in gets none: the checks warn when DNS has one all the same.
    """
    by_type: dict[int, list[str]] = {}
    for address in host.addresses:
        by_type.setdefault(address.version, []).append(str(address))
    return tuple(
        Record(name=domain, type="A" if version == 4 else "AAAA", values=tuple(values))
        for version, values in by_type.items()
    )
