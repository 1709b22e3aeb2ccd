"""Hosts and DNS together, in the order in which they depend on each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import roles
from deploy import dns, signing
from deploy.refusal import insist_valid
from deploy.report import HostReport, Report
from deploy.run import Listener, run, selection
from inventories.model import Inventory
from inventories.secrets import Secrets
from roles.interface import Record


@dataclass(frozen=True)
class Outcome:
    """A plan, or what a deploy did. `zones`: zones that differ, or that still differ."""

    report: Report
    zones: tuple[dns.ZonePlan, ...]

    @property
    def changed(self) -> bool:
        """Whether anything differs, on a host or in DNS."""
        return self.report.changed or any(zone.differences for zone in self.zones)

    @property
    def pending(self) -> bool:
        """Whether a deploy has anything to do, be it only to remember this inventory."""
        return self.changed or any(host.unremembered for host in self.report.hosts.values())

    @property
    def exit_code(self) -> int:
        """As in docs/architecture.md. DNS of ours that cannot be asked or changed stands in the
        way; records that people have to change themselves do not."""
        if self.report.exit_code not in (0, 2):
            return self.report.exit_code
        if self.report.dry and self.changed:
            return 2
        return 1 if any(zone.error and zone.automatic for zone in self.zones) else 0


def plan(
    file: Path,
    *,
    limit: Sequence[str] = (),
    older: bool = False,
    retire: bool = False,
    valid: bool = True,
) -> Outcome:
    """What would change. Raise as `run` does, and InvalidError for an inventory with errors unless
    `valid` is False: a server that was adopted and has no repository yet can be compared."""
    inventory = roles.load(file)
    if valid:
        insist_valid(inventory, file)
    only = _services(inventory, limit)
    report = run(file, limit=limit, dry=True, older=older, retire=retire)
    found = dns.plan(inventory, only, _keys(file, inventory, only), told(report))
    return Outcome(report, found)


def deploy(
    file: Path,
    *,
    limit: Sequence[str] = (),
    older: bool = False,
    retire: bool = False,
    valid: bool = True,
    on_progress: Listener | None = None,
) -> Outcome:
    """Install and configure, then DNS, then activate: a certificate is only issued for a name
    that leads here. When DNS is right already, all of it is one run.

    Names of hosts and services that failed stay where they are; the others go on. Raise as `run`
    does, and InvalidError for an inventory with errors unless `valid` is False: whoever has lost
    a host does not stop half-way for a decision that is out of date."""
    inventory = roles.load(file)
    if valid:
        insist_valid(inventory, file)
    only = _services(inventory, limit)
    secrets = _keys(file, inventory, only)
    say = on_progress or (lambda _host, _message: None)
    zones = dns.plan(inventory, only, secrets)
    new = any(secrets and k.secret not in secrets for k in signing.keys(inventory, only))
    if not new and not any(zone.differences for zone in zones):
        report = run(file, limit=limit, older=older, retire=retire, on_progress=on_progress)
        left = tuple(zone for zone in zones if zone.error)
        if also := told(report):
            # Of zones that could not be asked, all that must be there was said above.
            more = [zone for zone in dns.plan(inventory, (), None, also) if zone.differences]
            left += dns.apply(more, Secrets.open(file), lambda text: say("DNS", text))
        return Outcome(report, left)
    first = run(
        file,
        stages=("install", "configure"),
        limit=limit,
        older=older,
        retire=retire,
        on_progress=on_progress,
    )
    ready = [name for name, host in first.hosts.items() if host.reached_end]
    broken = first.broken
    well = [s for s in only if inventory.services[s].host in ready and s not in broken]
    also = told(first)
    if new or also or len(well) < len(only):
        zones = dns.plan(inventory, well, _keys(file, inventory, well), also)
    zones = dns.apply(zones, Secrets.open(file), lambda text: say("DNS", text))
    if not ready:
        return Outcome(first, zones)
    # Names of services stay: they also say which services of a host to leave alone.
    rest = [n for n in limit if n in ready or inventory.services.get(n) in _on(inventory, ready)]
    second = run(
        file,
        stages=("activate",),
        limit=rest or ready,
        older=older,
        leave=broken,
        on_progress=on_progress,
    )
    return Outcome(merged(first, second), zones)


def told(report: Report) -> tuple[Record, ...]:
    """The records that hosts themselves said must be in DNS. Pure."""
    return tuple(
        Record(name, type_, (value,))  # type: ignore[arg-type]
        for host in report.hosts.values()
        for (name, type_), value in host.records.items()
    )


def _keys(file: Path, inventory: Inventory, only: Sequence[str]) -> Secrets | None:
    """The secrets, when any of these services signs what it sends. They need not be opened else."""
    return Secrets.open(file) if signing.keys(inventory, only) else None


def _on(inventory: Inventory, hosts: Sequence[str]) -> list[object]:
    return [s for host in hosts for s in inventory.services_on(host)]


def _services(inventory: Inventory, limit: Sequence[str]) -> tuple[str, ...]:
    """The services that a deploy with this limit touches."""
    hosts, only = selection(inventory, limit)
    return only or tuple(s.id for host in hosts for s in inventory.services_on(host))


def merged(first: Report, second: Report) -> Report:
    """Two runs over the same hosts as one report. Pure."""
    hosts: dict[str, HostReport] = {}
    for name, one in first.hosts.items():
        two = second.hosts.get(name)
        if two is None:
            hosts[name] = one
            continue
        two.changes[:0] = one.changes
        two.warnings[:0] = one.warnings
        two.services = {**one.services, **two.services}
        two.drift, two.drift_since, two.by_hand = one.drift, one.drift_since, one.by_hand
        hosts[name] = two
    return Report(
        dry=first.dry,
        hosts=hosts,
        seconds=first.seconds + second.seconds,
        made_secrets=first.made_secrets,
    )
