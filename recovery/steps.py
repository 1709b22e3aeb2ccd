"""The steps that a restore, a rebuild and a drill share: software, data, set-up, checks.

Each looks at what is there, so running one again after it was cut off continues.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import roles
from backup import run as backup_run
from backup.errors import BackupError, BusyError, UnreachableError
from backup.restore import Restored, Together, restore_service, restore_together
from checks import run as checking
from checks.inside import NOT_LOOKED_AT
from checks.result import Result
from deploy import dns, everything, text
from deploy import run as deploying
from deploy.report import Report
from inventories.access import ssh_target
from inventories.load import digest
from inventories.model import Host, Inventory, Service
from platforms.yunohost import commands
from recovery.errors import RecoveryError, UsageError
from recovery.evidence import Evidence, Kind, Mark, Place, ServiceEvidence, operator, span
from recovery.phases import Progress, Stopwatch, now
from roles.interface import Absent, Argv, Restore
from roles.registry import SERVICES
from tools import ssh
from tools.dns import DnsError, ask

# How often the authoritative servers are asked whether people have changed a record, seconds.
_PAUSE = 15
# The records by which people are led to a machine.
_LEADING = ("A", "AAAA", "CNAME")


@dataclass
class BroughtBack:
    """What was measured so far, service by service; a failure leaves what came before it."""

    restored: dict[str, Restored] = field(default_factory=dict)
    checks: dict[str, dict[str, str]] = field(default_factory=dict)


def deploy(
    file: Path, stages: Sequence[str], limit: Sequence[str], progress: Progress, what: str
) -> None:
    """Deploy, and raise RecoveryError naming each host that failed, why, and what to do."""
    report = deploying.run(
        file,
        stages=stages,
        limit=limit,
        on_progress=lambda host, message: progress(f"  {host}: {message}"),
    )
    _insist_deployed(report, what)


def foreseen(file: Path, limit: Sequence[str]) -> tuple[str, ...]:
    """What setting these up again (the stage configure) would change now, a line each. Raise
    RecoveryError when it would be refused."""
    report = deploying.run(file, stages=("configure",), limit=limit, dry=True)
    _insist_deployed(report, "Comparing the settings with the inventory")
    return tuple(
        line
        for host in report.hosts.values()
        for change in host.changes
        for line in (change.details or (change.operation,))
    )


def _insist_deployed(report: Report, what: str) -> None:
    if not report.ok:
        said = [
            " ".join(
                part for part in (f"{host.host}:", host.operation, host.error, host.remedy) if part
            )
            for host in report.hosts.values()
            if not host.reached_end
        ]
        said += [
            f"{host.host}: {failure.operation} {failure.error}"
            for host in report.hosts.values()
            for failure in host.services.values()
        ]
        raise RecoveryError(f"{what} did not succeed. {' / '.join(said)}")


def deploy_everything(file: Path, progress: Progress) -> None:
    """The whole deploy with DNS, as `releve deploy --yes` does it. Raise RecoveryError."""
    done = everything.deploy(
        file, valid=False, on_progress=lambda host, message: progress(f"  {host}: {message}")
    )
    _insist_deployed(done.report, "The deploy")
    if done.zones:
        raise RecoveryError("DNS could not be set: " + " / ".join(text.dns(done.zones)))


def backup(file: Path, host_id: str, progress: Progress) -> None:
    """Have a host save itself now. Raise RecoveryError when any service was not saved whole."""
    inventory = roles.load(file)
    with ssh.session(ssh_target(inventory.hosts[host_id])) as session:
        saved = backup_run.run(session, on_progress=lambda message: progress(f"  {message}"))
    if not saved.ok:
        said = [
            f"{backup_run.called(name)}: {'; '.join(errors)}"
            for name, errors in saved.errors.items()
            if errors
        ]
        raise RecoveryError(f"{host_id} was not saved whole: {' / '.join(said)}")


def _indented(progress: Progress) -> Progress:
    return lambda message: progress(f"  {message}")


def _under(service: str, progress: Progress) -> Progress:
    return lambda message: progress(f"  {service}: {message}")


@dataclass(frozen=True)
class Choice:
    """Which copy, and how: the words of `backup.restore.restore_service`."""

    snapshot: str | None = None
    at: datetime | None = None
    replace: bool = False
    dry_run: bool = False
    no_snapshot: bool = False
    once: bool = False
    unless_live: bool = False
    source: str | None = None


NEWEST = Choice()


def restore(
    host: Host,
    services: Sequence[str],
    progress: Progress,
    choice: Choice = NEWEST,
    found: dict[str, Restored] | None = None,
) -> dict[str, Restored]:
    """Bring the data of `services` back on `host`, one after another, in the given order. `found`
    is filled as they come back, whatever happens to those after them.

    One that does not come back does not keep the others from it. At the end raise BackupError with
    all that did not; of a single one, what `restore_service` raises. Raise at once for a duty,
    which the services stand on, and for a host that is busy or cannot be reached.
    """
    found = {} if found is None else found
    failed: dict[str, BackupError] = {}
    with ssh.session(ssh_target(host)) as session:
        at_once = _at_once(session, host, services, choice, progress)
        for service in services:
            which = replace(choice, snapshot=at_once.ready.get(service, choice.snapshot))
            try:
                if service in at_once.failed:
                    raise at_once.failed[service]
                if service in at_once.back:
                    found[service] = at_once.back[service]
                    continue
                progress(f"  {service}: bringing the data back")
                found[service] = restore_service(
                    session, service, on_progress=_under(service, progress), **vars(which)
                )
            except (BusyError, UnreachableError):
                raise
            except BackupError as error:
                if len(services) == 1 or service.startswith("_"):  # a duty, such as _base
                    raise
                progress(f"  {service}: {error}")
                failed[service] = error
    if failed:
        said = " / ".join(f"{name}: {error}" for name, error in failed.items())
        raise BackupError(
            f"{host.id}: {', '.join(failed)} did not come back, everything else did. {said}"
        )
    return found


def _at_once(
    session: ssh.Connection,
    host: Host,
    services: Sequence[str],
    choice: Choice,
    progress: Progress,
) -> Together:
    """What comes back by one command, before the others do in their turn: of what YunoHost
    gathered, and of nothing else."""
    if host.platform != "yunohost" or len(services) < 2 or choice.dry_run:
        return Together({}, {}, {})
    progress("  what can be brought back at once")
    done = restore_together(
        session,
        services,
        snapshot=choice.snapshot,
        at=choice.at,
        once=choice.once,
        source=choice.source,
        on_progress=_indented(progress),
    )
    if done.back:
        progress(f"  {', '.join(done.back)}: back, by one command")
    return done


def check(
    file: Path,
    services: Sequence[str],
    *,
    address: Mapping[str, str] | None = None,
    named: bool = False,
    trusting: str = "",
) -> tuple[Result, ...]:
    """Check `services` from outside and inside. With `address` (host id -> IP), look there,
    whatever DNS says: names that lead elsewhere are then as they should be, unless they are
    `named`: then the servers in charge must say so. `trusting`: more authorities to believe, as
    PEM."""
    inventory = roles.load(file)
    found = checking.run(
        inventory,
        file.parent,
        only=list(services),
        addresses=address or {},
        in_charge=named,
        trusting=trusting,
    )
    return tuple(r for r in found.results if named or not address or r.check != "dns")


def authority(host: Host, domains: Iterable[str]) -> str:
    """As PEM, whoever signed the certificates that a YunoHost server made itself for `domains`,
    until their names lead there and others vouch for them. "" elsewhere. Raise SshError."""
    if host.platform != "yunohost":
        return ""
    shown = (commands.CERTIFICATE.format(name) for name in domains)
    files = (commands.AUTHORITY, commands.SIGNER, *shown)
    with ssh.session(ssh_target(host)) as session:
        # Unlike cat, it ends the last line of each, and goes on after one that is not there.
        said = session.run(("grep", "-hs", "", "--", *files), check=False).stdout.decode()
    return said if "BEGIN CERTIFICATE" in said else ""


def check_at(
    file: Path, host: Host, services: Sequence[str], address: Mapping[str, str]
) -> tuple[Result, ...]:
    """As `check`, on a host that the names of these services do not lead to yet: nobody but the
    server itself can vouch for them."""
    own = authority(host, _names(file, services))
    return check(file, services, address=address, trusting=own)


def check_under_names(
    file: Path,
    host: Host,
    services: Sequence[str],
    *,
    address: Mapping[str, str] | None = None,
    named: bool = False,
) -> tuple[Result, ...]:
    """As `check`, where names lead to `host`: its own word for itself counts only for domains of
    which the inventory wants no other (`certificate = "self-signed"`)."""
    domains = roles.load(file).hosts[host.id].yunohost
    own = {n for n, d in domains.domains.items() if d.certificate == "self-signed"} if (
        domains
    ) else set()  # fmt: skip
    served = roles.load(file).services
    alone = [name for name in services if served[name].domain in own]
    if not alone:
        return check(file, services, address=address, named=named)
    rest = [name for name in services if name not in alone]
    vouching = authority(host, _names(file, alone))
    found = check(file, alone, address=address, named=named, trusting=vouching)
    return (*found, *(check(file, rest, address=address, named=named) if rest else ()))


def _names(file: Path, services: Sequence[str]) -> frozenset[str]:
    inventory = roles.load(file)
    return frozenset(inventory.services[name].domain for name in services)


def not_well(result: Result) -> bool:
    """Whether a check found something wrong, or could not look. An alert leaves it at one line
    when a host does not answer; whoever goes on because all is well must have looked."""
    return result.level in ("critical", "unknown") or result.message == NOT_LOOKED_AT


def insist(results: Sequence[Result]) -> None:
    """Raise RecoveryError when a service is not well: what must not be switched over to."""
    bad = [r for r in results if not_well(r) and r.kind == "service"]
    if bad:
        said = " / ".join(f"{result.id}: {result.message}" for result in bad)
        raise RecoveryError(f"Not well after the restore: {said}")


def insist_not_ours(
    inventory: Inventory, address: object, host_key: str | None, but: str = ""
) -> None:
    """Raise UsageError when the machine that is to be overwritten is a host of the inventory
    (other than `but`), by its address or by its host key."""
    shown = (host_key or "").split()[:2]
    for host in inventory.hosts.values():
        known = (host.host_key or "").split()[:2]
        if host.id != but and (address in host.addresses or (shown and shown == known)):
            raise UsageError(
                f"{address} is {host.id}, which is in use: what is on it would be lost. Give a "
                "blank machine."
            )


def insist_key(host_key: str) -> None:
    """Raise UsageError when --host-key is no public key."""
    try:
        ssh.parse_public_key(host_key)
    except ValueError as error:
        raise UsageError(
            f"--host-key {host_key[:60]!r}: {error}. Give the line of "
            "/etc/ssh/ssh_host_ed25519_key.pub from the machine's console"
        ) from None


def repository_host(inventory: Inventory, host: Host) -> Host | None:
    """The host that keeps this one's copies, when it is one of ours."""
    repository = inventory.repositories.get(host.repository or "")
    return inventory.hosts.get(repository.host) if repository else None


def activate(file: Path, host_id: str, progress: Progress) -> datetime | None:
    """Move the names of a host's services to it, then do what needs those names.

    Zones that we may not change are printed for people and waited for, for as long as it takes:
    whoever breaks that off runs the command again. Return until when resolvers may remember where
    the names led before; None when all led here already.
    """
    inventory = roles.load(file)
    services = [service.id for service in inventory.services_on(host_id)]
    zones = dns.plan(inventory, services)
    remembered = _remembered(zones)
    told = ""
    while waiting := [z for z in zones if z.differences and not z.automatic]:
        asked = "\n".join(zone.fragment for zone in waiting)
        if asked != told:
            progress(
                "  Change these records at your registrar; this goes on as soon as they answer:"
            )
            progress(asked)
            told = asked
        time.sleep(_PAUSE)
        zones = dns.plan(inventory, services)
    done = everything.deploy(
        file,
        limit=[host_id],
        valid=False,
        on_progress=lambda host, message: progress(f"  {host}: {message}"),
    )
    _insist_deployed(done.report, "Activating")
    if done.zones:
        raise RecoveryError("The names could not all be moved: " + " / ".join(text.dns(done.zones)))
    if remembered is None:
        return None
    progress(
        f"  For up to {span(remembered)} (the TTL of the records), some people may still be led "
        "to where the names led before."
    )
    return now() + timedelta(seconds=remembered)


def _remembered(zones: Sequence[dns.ZonePlan]) -> int | None:
    """For how many seconds resolvers may remember addresses that are to change, as the servers in
    charge tell them; None when none is. One that does not answer now is not asked twice."""
    found = []
    for zone in zones:
        for difference in zone.differences:
            if zone.server and difference.found and difference.type in _LEADING:
                with contextlib.suppress(DnsError):
                    found.append(ask(zone.server, difference.name, difference.type).ttl or 0)
    return max(found, default=None)


def restores(
    inventory: Inventory, host: Host, services: Sequence[str]
) -> tuple[tuple[Service, Restore], ...]:
    """How each of `services` comes back on `host`, as far as it does. Pure."""
    found = []
    for name in services:
        service = inventory.services[name]
        restore = SERVICES[service.role].on[host.platform].restore
        if not isinstance(restore, Absent):
            found.append((service, restore(service, inventory)))
    return tuple(found)


def let_out(file: Path, host_id: str, services: Sequence[str]) -> None:
    """Let what came back reach others, now that nobody else serves in these names.

    Raise SshError, CommandError: until it is done, it waits."""
    inventory = roles.load(file)
    host = inventory.hosts[host_id]
    commands = [a for _, one in restores(inventory, host, services) for a in one.let_out]
    _run(host, commands)


def leave(inventory: Inventory, before: Host, services: Sequence[str]) -> None:
    """Have services that moved away from `before` reach nobody from there any more.

    Raise SshError, CommandError."""
    commands = [a for _, one in restores(inventory, before, services) for a in one.leave]
    _run(before, commands)


def waiting(inventory: Inventory, host: Host, services: Sequence[str]) -> str:
    """What to tell people when services came back on `host` and nobody let them out. Pure."""
    found = [(s.id, one.let_out) for s, one in restores(inventory, host, services) if one.let_out]
    if not found:
        return ""
    how = "; ".join(shlex.join(argv) for _, commands in found for argv in commands)
    return (
        f" What {', '.join(name for name, _ in found)} had to send when another machine's copy was "
        f"made waits until somebody says that nobody else sends it. On {host.id}: {how}"
    )


def _run(host: Host, commands: Sequence[Argv]) -> None:
    if commands:
        with ssh.session(ssh_target(host)) as session:
            for argv in commands:
                session.run(argv, timeout=120)


def levels(results: Sequence[Result], service: str) -> dict[str, str]:
    """Check name -> level, of one service's results."""
    return {result.check: result.level for result in results if result.subject == service}


def evidence_of(
    inventory: Inventory,
    service: str,
    restored: Restored | None,
    checks: Mapping[str, str],
) -> ServiceEvidence:
    """What is proved of one service: from what the host said after its restore, and the checks."""
    entry = inventory.services[service]
    if restored is None:
        return ServiceEvidence(service, entry.role, entry.url, (), {}, {}, {}, {}, dict(checks))
    return ServiceEvidence(
        id=service,
        role=entry.role,
        url=entry.url,
        found=tuple(Mark(mark.run, mark.at) for mark in restored.canaries),
        counts_before=restored.counts_saved,
        counts_after=restored.counts_now,
        versions_before=restored.versions_saved,
        versions_after=restored.versions_now,
        checks=dict(checks),
        bytes_restored=restored.bytes,
    )


def evidence(
    inventory: Inventory,
    host: Host,
    back: BroughtBack,
    *,
    kind: Kind,
    was: Place,
    place: Place,
    watch: Stopwatch,
    lost_at: datetime,
    finished: datetime | None,
    problems: Sequence[str],
    names_until: datetime | None = None,
) -> Evidence:
    """Everything that was measured, as evidence. `finished`: when every service was back;
    `names_until`: until when people may be led to the lost machine."""
    repository = inventory.repositories[host.repository or ""]
    return Evidence(
        kind=kind,
        organisation=inventory.organisation.name,
        locale=inventory.organisation.locale,
        who=operator(),
        started=watch.phases[0].started if watch.phases else lost_at,
        finished=now(),
        lost_at=lost_at,
        was=was,
        now=place,
        snapshot=", ".join(sorted({r.snapshot[:8] for r in back.restored.values()})),
        phases=(*watch.earlier, *watch.phases),
        services=tuple(
            evidence_of(inventory, s.id, back.restored.get(s.id), back.checks.get(s.id, {}))
            for s in inventory.services_on(host.id)
        ),
        rpo_target=repository.rpo.total_seconds(),
        rto_target=repository.rto.total_seconds(),
        rto=(finished - lost_at).total_seconds() if finished else None,
        names_until=names_until,
        inventory=digest(inventory),
        version=version("releve"),
        problems=tuple(problems),
    )
