"""The DNS records that services need: what is there, what differs, and changing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from deploy import signing
from inventories.model import Inventory, Zone
from inventories.secrets import Secrets, SecretsError
from roles import registry
from roles.interface import Absent, Record
from tools import dns
from tools.dns import Difference, DnsError, Key, RecordSet, Server


@dataclass(frozen=True)
class ZonePlan:
    """One zone: what differs, or why nobody could be asked. `server`: who was asked."""

    zone: Zone
    records: tuple[RecordSet, ...]
    differences: tuple[Difference, ...] = ()
    server: Server | None = None
    error: str = ""

    @property
    def automatic(self) -> bool:
        """Whether we may change it ourselves."""
        return self.zone.dns == "rfc2136"

    @property
    def fragment(self) -> str:
        """The differences as lines of a zone file."""
        return dns.fragment(self.differences, self.zone.ttl)

    @property
    def whole(self) -> str:
        """All that must be there, as lines of a zone file: when nobody could be asked."""
        return dns.fragment(dns.compare(self.records, {}), self.zone.ttl)


def records(inventory: Inventory, only: Sequence[str] | None = None) -> tuple[Record, ...]:
    """Every record that the services (those named in `only`; None: all) need. Pure."""
    found: list[Record] = []
    for service in inventory.services.values():
        wanted = registry.SERVICES[service.role].dns
        if (only is None or service.id in only) and not isinstance(wanted, Absent):
            found += wanted(service, inventory)
    return tuple(dict.fromkeys(found))


def zones(
    inventory: Inventory, wanted: Iterable[Record]
) -> tuple[tuple[Zone, tuple[Record, ...]], ...]:
    """The records by the zone that holds them. A name in no declared zone is a manual one of its
    own: we say what it needs and leave it to people. Pure."""
    grouped: dict[str, tuple[Zone, list[Record]]] = {}
    for record in wanted:
        zone = inventory.zone_of(record.name) or Zone(id=record.name)
        grouped.setdefault(zone.id, (zone, []))[1].append(record)
    return tuple((zone, tuple(found)) for zone, found in grouped.values())


def plan(
    inventory: Inventory,
    only: Sequence[str] | None = None,
    secrets: Secrets | None = None,
    also: Sequence[Record] = (),
) -> tuple[ZonePlan, ...]:
    """Ask the servers in charge, and compare. What cannot be asked is an `error` of its zone.

    `secrets`: with them, the public halves of keys that services sign with are among it. `also`:
    what hosts themselves said must be there."""
    wanted = (*records(inventory, only), *also)
    if secrets is not None:
        wanted += signing.records(inventory, secrets, only)
    return tuple(_compare(zone, found) for zone, found in zones(inventory, wanted))


def beside(record: RecordSet, there: Sequence[str]) -> RecordSet:
    """The record set with what others have under its name, where only a part of it is ours.

    `there`: what a server answers, as `dns.look` has it. Raise DnsError. Pure.
    """
    prefix = record.prefix if isinstance(record, Record) else ""
    if not prefix or not isinstance(record, Record):
        return record
    texts = [dns.plain_text(text) for text in there]
    own = tuple(text for text in texts if text.startswith(prefix)) if record.any else ()
    others = (text for text in texts if not text.startswith(prefix))
    return replace(record, values=(*(own or record.values), *others))


def _compare(zone: Zone, found: Sequence[Record]) -> ZonePlan:
    wanted = dns.with_other_family(found)
    try:
        servers = _servers(zone)
        # Any one of them: they serve the same zone, and the first that answers tells.
        for number, server in enumerate(servers):
            try:
                there = dns.look(server, wanted)
            except DnsError:
                if number + 1 == len(servers):
                    raise
                continue
            whole = tuple(beside(r, there.get((r.name.lower(), r.type), ())) for r in wanted)
            return ZonePlan(zone, whole, dns.compare(whole, there), server)
        raise DnsError(f"nobody is in charge of {zone.id}")
    except DnsError as error:
        return ZonePlan(zone, wanted, error=str(error))


def _servers(zone: Zone) -> tuple[Server, ...]:
    if zone.dns == "rfc2136" and zone.server:
        return (Server(str(zone.server), zone.port),)
    return dns.authoritative(zone.id)


def apply(
    plans: Iterable[ZonePlan], secrets: Secrets, say: Callable[[str], None] = lambda _: None
) -> tuple[ZonePlan, ...]:
    """Change the zones that we may change, and tell with `say`. Return those that still differ:
    manual ones, and those whose server refused (with `error`)."""
    left = []
    for zone_plan in plans:
        zone = zone_plan.zone
        if not zone_plan.differences:
            if zone_plan.error:
                left.append(zone_plan)
            continue
        if not zone_plan.automatic or zone.key is None or zone.secret is None:
            left.append(zone_plan)
            continue
        try:
            key = Key(zone.key, secrets.get(zone.secret.removeprefix("secret:")))
            changed = {(d.name, d.type) for d in zone_plan.differences}
            wanted = [r for r in zone_plan.records if (r.name.lower(), r.type) in changed]
            assert zone_plan.server is not None  # noqa: S101 (there are differences)
            dns.update(zone_plan.server, zone.id, key, wanted, ttl=zone.ttl)
        except (DnsError, SecretsError) as error:
            left.append(
                ZonePlan(
                    zone, zone_plan.records, zone_plan.differences, zone_plan.server, str(error)
                )
            )
            continue
        for difference in zone_plan.differences:
            values = ", ".join(difference.wanted) or "none"
            say(f"{difference.name} {difference.type}: {values}")
    return tuple(left)
