"""An inventory as it is inside a lab: same services and duties, other addresses and keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from inventories.model import Certificates, Host, Inventory, Person, Zone
from lab import inet
from lab.errors import LabError, Unknown

OPERATOR = "lab"
TSIG_SECRET = "lab.tsig"  # noqa: S105 - the name of a secret, not its value


@dataclass(frozen=True)
class Place:
    """Where a lab host is. `host_key`: its public SSH host key, one line."""

    address: str
    address6: str | None
    host_key: str

    def apply(self, host: Host) -> Host:
        """The host as the lab knows it."""
        return host.model_copy(
            update={
                "address": IPv4Address(self.address),
                "address6": IPv6Address(self.address6) if self.address6 else None,
                "host_key": self.host_key,
                "port": 22,
                "user": "root",
            }
        )


def to_boot(inventory: Inventory, only: Iterable[str] | None) -> tuple[Host, ...]:
    """Which hosts of the inventory the lab shall boot; `only` by id, None all.

    Raise LabError for an unknown host and for one that is not a plain Debian.
    """
    wanted = list(inventory.hosts) if only is None else list(only)
    if unknown := [name for name in wanted if name not in inventory.hosts]:
        raise Unknown(f"The inventory has no host {', '.join(unknown)}")
    hosts = tuple(inventory.hosts[name] for name in wanted)
    if other := [f"{h.id} ({h.platform})" for h in hosts if h.platform != "debian"]:
        raise LabError(
            f"The lab boots Debian hosts only, and {', '.join(other)} is of another platform. "
            "Name the hosts it shall boot, or give it an inventory without them"
        )
    if "inet" in wanted:
        raise LabError(
            "In a lab, inet is the host with the DNS server and the certificate authority. "
            "Give the inventory's own host inet another name"
        )
    return hosts


def zones(inventory: Inventory) -> tuple[str, ...]:
    """The domains that the lab's DNS server shall be in charge of."""
    names = [service.domain for service in inventory.services.values()]
    names += [repository.url.host for repository in inventory.repositories.values()]
    return inet.zones_of(inventory.domains, names)


def inside(
    inventory: Inventory,
    places: Mapping[str, Place],
    *,
    server: str,
    public_key: str,
    trust: str,
) -> Inventory:
    """The inventory with the lab's facts. `server`: the DNS server's address; `public_key`: the
    lab operator's, one line; `trust`: name of the PEM file of the authorities beside it."""
    values: dict[str, Any] = {
        "hosts": {
            name: places[name].apply(host) if name in places else host
            for name, host in inventory.hosts.items()
        },
        "repositories": {
            # In the lab each host is reached at the one address that it has.
            name: repository.model_copy(update={"address": None})
            for name, repository in inventory.repositories.items()
        },
        "domains": {
            name: Zone(
                id=name,
                dns="rfc2136",
                server=IPv4Address(server),
                key=inet.KEY,
                secret=f"secret:{TSIG_SECRET}",
                ttl=inet.TTL,
            )
            for name in zones(inventory)
        },
        "people": {
            **inventory.people,
            OPERATOR: Person(
                id=OPERATOR,
                mail=f"operator@{inet.DOMAIN}",
                keys=(public_key,),
                duties=("deploy", "restore", "dns"),
            ),
        },
        "certificates": Certificates(directory=inet.DIRECTORY, trust=trust),
    }
    return inventory.model_copy(update=values)
