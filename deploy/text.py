"""Reports for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from deploy import fold
from deploy.dns import ZonePlan
from deploy.report import Change, HostReport, Report


def plan(report: Report, zones: Sequence[ZonePlan] = (), *, full: bool = False) -> str:
    """What a deploy would change, host by host, then DNS. Ends with one line that sums it up.
    With `full`, what is in new files as well, and packages where they are asked for."""
    lines: list[str] = []
    folded = False
    for host in report.hosts.values():
        shown = host if full else _folded(host)
        folded |= shown.changes != host.changes
        lines += _host(shown, "would change")
    lines += dns(zones)
    if report.made_secrets:
        lines.append(f"Would make secrets: {', '.join(report.made_secrets)}.")
    hosts = sum(1 for host in report.hosts.values() if host.changed)
    records = sum(len(zone.differences) for zone in zones)
    if not hosts and not records:
        seen = report.ok and not any(zone.error for zone in zones)
        lines.append("Nothing to change." if seen else "Nothing to change where we could look.")
    else:
        sums = f"{_count(hosts, 'host')}, {_count(records, 'DNS record set')}"
        more = " New files are named only: releve plan --full FILE shows them." if folded else ""
        lines.append(f"Would change: {sums}.{more}")
    return "\n".join(lines) + "\n"


def _folded(host: HostReport) -> HostReport:
    packages = fold.packages(host.changes)
    rest = fold.without_packages(host.changes)
    left = [Change(change.operation, fold.details(change.details)) for change in rest]
    if packages:
        left.insert(0, Change(_count(len(packages), "package"), (" ".join(packages),)))
    return replace(host, changes=left)


def result(report: Report) -> str:
    """What a deploy did: what changed, and for each host that failed what, why, what to do."""
    lines: list[str] = []
    for host in report.hosts.values():
        lines += _host(host, "changed", details=False)
    good = sum(1 for host in report.hosts.values() if host.ok)
    but = ", but for the warnings" if any(host.warnings for host in report.hosts.values()) else ""
    if report.ok and not report.changed:
        lines.append(f"Nothing to change: {_count(good, 'host')} as the inventory says{but}.")
    elif report.ok:
        lines.append(f"Done: {_count(good, 'host')} as the inventory says{but}.")
    else:
        bad = ", ".join(_undone(host) for host in report.hosts.values() if not host.ok)
        lines.append(f"Not done: {bad}. Done: {_count(good, 'host')}. Running it again continues.")
        if any(host.reached_end for host in report.hosts.values()):
            lines.append(
                "What is done has this inventory now: to go back to the one before on all of it, "
                "deploy that one with --older."
            )
    return "\n".join(lines) + "\n"


def _undone(host: HostReport) -> str:
    if host.reached_end:
        return f"{', '.join(host.services)} on {host.host}"
    return host.host


def _host(host: HostReport, verb: str, *, details: bool = True) -> list[str]:
    lines = []
    if host.drift or host.by_hand:
        lines.append(f"  changed by hand since the last deploy ({host.drift_since}):")
        lines += [f"    {path} ({what})" for path, what in host.drift]
        lines += [f"    {line}" for line in host.by_hand]
    for change in host.changes:
        lines.append(f"  {verb}: {change.operation}")
        if details:
            lines += [f"      {line}" for text in change.details for line in text.splitlines()]
    lines += [f"  warning: {line}" for text in host.warnings for line in text.splitlines()]
    for service, failure in host.services.items():
        lines.append(f"  {service} failed at {failure.operation!r}:")
        lines += [f"      {line}" for line in failure.error.splitlines()]
    if host.services and host.reached_end:
        lines.append("  The rest of the host went on. Fix that and run this again.")
    if not host.reached_end:
        where = f" at {host.operation!r}" if host.operation else ""
        lines.append(f"  {host.state}{where}:")
        lines += [f"      {line}" for line in host.error.splitlines()]
        lines += [f"      {host.remedy}"] if host.remedy else []
    return [host.host, *lines] if lines else []


def dns(zones: Iterable[ZonePlan]) -> list[str]:
    """The differences in DNS, and for manual zones what people have to do."""
    lines: list[str] = []
    for zone in zones:
        if not zone.differences and not zone.error:
            continue
        lines.append(f"DNS of {zone.zone.id}")
        if zone.error:
            lines += [f"      {line}" for line in zone.error.splitlines()]
        if zone.error and not zone.differences:
            who = (
                "the next deploy sets them"
                if zone.automatic
                else "by hand, where the zone is hosted"
            )
            lines.append(f"  not known whether these records are there; they must be ({who}):")
            lines += [f"      {line}" for line in zone.whole.splitlines()]
        if zone.differences and not zone.automatic:
            lines.append("  by hand, at whoever hosts this zone; then run this again:")
        lines += [f"      {line}" for line in zone.fragment.splitlines()]
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
