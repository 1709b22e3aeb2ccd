"""What DNS answers: addresses for the looks, and records against what the roles need.

A zone whose server the inventory names (`rfc2136`) is asked there. Any other is asked at its
authoritative servers (what is true) and at this machine's resolver (what people get).
"""

from __future__ import annotations

import functools
import ipaddress
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from checks.deadline import left
from checks.http import Unreachable
from inventories.model import Inventory, Zone
from roles.interface import Finding, Record

if TYPE_CHECKING:
    import dns.resolver

# Restore time counts the TTL: people reach a new host only after it (seconds).
LONG_TTL = 3600
PATIENCE = 5.0


@dataclass(frozen=True)
class View:
    """What one server said about one record set. `problem` is set when it said nothing."""

    server: str
    values: frozenset[str] = frozenset()
    ttl: int = 0
    problem: str = ""


def judge(record: Record, views: Sequence[View], *, unwanted: Sequence[View] = ()) -> Finding:
    """Compare what servers answer with what the role needs.

    `unwanted` are the answers for the other address family, where the host has no address:
    visitors with that family would be led elsewhere. A server that does not answer counts only
    when none does.
    """
    answers = [view for view in views if not view.problem]
    if not answers:
        problem = views[0].problem if views else "no server to ask"
        return Finding("unknown", f"{record.name} {record.type}: {problem}")
    wanted = frozenset(_canonical(record.type, value) for value in record.values)
    if record.prefix:
        answers = [replace(view, values=_ours(view.values, record.prefix)) for view in answers]
    for view in answers:
        if not view.values:
            return Finding(
                "critical",
                f"{view.server} has no {record.type} record for {record.name}; it should be "
                f"{', '.join(sorted(wanted))}",
            )
        if view.values != wanted and not record.any:
            return Finding(
                "critical",
                f"{view.server} says {record.name} {record.type} "
                f"{', '.join(sorted(view.values))}; the inventory says "
                f"{', '.join(sorted(wanted))}. After a change, wait for the TTL "
                f"({view.ttl} s); otherwise correct the zone.",
            )
    for view in unwanted:
        if view.values:
            return Finding(
                "critical",
                f"{view.server} also leads {record.name} to {', '.join(sorted(view.values))}, an "
                "address that its host does not have: some visitors end up there. Remove it, or "
                "write address6 into the inventory.",
            )
    slow = max(view.ttl for view in answers)
    said = f"{record.name} {record.type} {', '.join(sorted(wanted))}, TTL {slow} s"
    if slow > LONG_TTL:
        return Finding(
            "warning",
            f"{said}: after a move people would go on finding the old host for "
            f"{slow / 3600:.0f} h. Lower the TTL to {LONG_TTL} s or less.",
        )
    silent = [view.server for view in views if view.problem]
    if silent:
        return Finding("warning", f"{said}, but {', '.join(silent)} did not answer")
    return Finding("ok", said)


def _ours(values: frozenset[str], prefix: str) -> frozenset[str]:
    return frozenset(value for value in values if value.startswith(prefix))


def _canonical(kind: str, value: str) -> str:
    if kind in ("A", "AAAA"):
        return str(ipaddress.ip_address(value))
    return value.rstrip(".").lower() if kind in ("CNAME", "MX", "SRV") else value


class Resolver:
    """Asks DNS for a run. Safe to use from several threads; answers are remembered.

    `overrides`: name -> address, used instead of asking. `in_charge`: records are asked of the
    servers in charge alone: after a change resolvers may remember the old ones for the TTL.
    """

    def __init__(
        self, inventory: Inventory, overrides: Mapping[str, str], *, in_charge: bool = False
    ) -> None:
        self._inventory = inventory
        self._in_charge = in_charge
        self._overrides = dict(overrides)
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, str], View] = {}

    def addresses(self, name: str, deadline: float) -> list[str]:
        """The addresses of `name`, IPv4 first. Raise Unreachable when there are none."""
        if name in self._overrides:
            return [self._overrides[name]]
        try:
            return [str(ipaddress.ip_address(name))]
        except ValueError:
            pass
        zone = self._inventory.zone_of(name)
        server = _server(zone)
        views = [self._ask(server, name, kind, deadline) for kind in ("A", "AAAA")]
        found = [value for view in views for value in sorted(view.values)]
        if not found:
            if problem := next((v.problem for v in views if v.problem), ""):
                raise Unreachable(f"DNS could not be asked for {name}: {problem}")
            raise Unreachable(f"DNS does not know {name}: it has no address there")
        return found

    def views(self, name: str, kind: str, deadline: float) -> list[View]:
        """What every server in charge of `name`, and what people's resolver, says of it."""
        zone = self._inventory.zone_of(name)
        servers = self._servers(name, zone, deadline)
        return [self._ask(server, name, kind, deadline) for server in servers]

    def _servers(
        self, name: str, zone: Zone | None, deadline: float
    ) -> list[tuple[str, int] | None]:
        people: list[tuple[str, int] | None] = [] if self._in_charge else [None]
        direct = _server(zone)
        if direct is not None:
            # A server with a public address serves a public zone: people's resolver knows it.
            public = ipaddress.ip_address(direct[0]).is_global
            return [direct, *people] if public else [direct]
        holding = zone.id if zone else name
        found = self._authoritative(holding, deadline)
        while self._in_charge and not found and holding.count(".") > 1:
            # In a zone that the inventory does not name: one of those above it.
            holding = holding.partition(".")[2]
            found = self._authoritative(holding, deadline)
        return [*found, *people]

    def _authoritative(self, zone: str, deadline: float) -> list[tuple[str, int]]:
        names = sorted(self._ask(None, zone, "NS", deadline).values)
        found: list[tuple[str, int]] = []
        for name in names[:4]:
            for address in sorted(self._ask(None, name, "A", deadline).values)[:1]:
                found.append((address, 53))
        return found

    def _ask(self, server: tuple[str, int] | None, name: str, kind: str, deadline: float) -> View:
        key = (str(server), name, kind)
        with self._lock:
            if key in self._known:
                return self._known[key]
        view = _query(server, name, kind, min(deadline, time.monotonic() + PATIENCE))
        with self._lock:
            self._known[key] = view
        return view


def _server(zone: Zone | None) -> tuple[str, int] | None:
    return (str(zone.server), zone.port) if zone and zone.server else None


@functools.cache
def _system() -> dns.resolver.Resolver:
    import dns.resolver

    return dns.resolver.Resolver()


def _query(server: tuple[str, int] | None, name: str, kind: str, deadline: float) -> View:
    import dns.exception
    import dns.resolver

    label = f"the server {server[0]}" if server else "this machine's resolver"
    try:
        if server:
            asking = dns.resolver.Resolver(configure=False)
            asking.nameservers, asking.port = [server[0]], server[1]
        else:
            asking = _system()
        answer = asking.resolve(
            name + ".", kind, lifetime=left(deadline), raise_on_no_answer=False, search=False
        )
    except dns.resolver.NXDOMAIN:
        return View(label)
    except TimeoutError:
        return View(label, problem="no time was left to ask DNS")
    except dns.resolver.NoResolverConfiguration:
        return View(label, problem="this machine has no resolver (/etc/resolv.conf)")
    except (dns.exception.DNSException, OSError) as error:
        from tools.dns import said

        return View(label, problem=f"{label} gives no answer ({said(error)[:160]})")
    if answer.rrset is None:
        return View(label)
    return View(
        label,
        frozenset(_canonical(kind, item.to_text().strip('"')) for item in answer.rrset)
        if kind != "NS"
        else frozenset(item.to_text().rstrip(".").lower() for item in answer.rrset),
        int(answer.rrset.ttl),
    )
