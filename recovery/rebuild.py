"""The real disaster: a host is lost with its disk, and a blank machine elsewhere takes its place.

The inventory moves first: from then on it says where the host is, and every later command,
whoever gives it, works on the new one. Each step looks at what is there, so a rebuild that was
cut off is simply run again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import roles
from agent.plan import archived_duties
from backup.trust import noted
from deploy import applied, keys
from deploy.refusal import errors_of
from inventories import edit
from inventories.access import ssh_target
from inventories.model import Host, Inventory
from inventories.secrets import Secrets
from recovery import fencing, loss, room, steps
from recovery.errors import InUse, RecoveryError, UsageError
from recovery.evidence import Evidence, Kind, Place
from recovery.loss import Loss
from recovery.phases import Progress, Stopwatch, now
from recovery.steps import NEWEST, Choice
from tools import ssh

# Seconds. What a run that was cut off told the machine last ends within: an installation.
_PATIENCE = 180


@dataclass(frozen=True)
class NewPlace:
    """The blank machine that takes over, as its provider describes it."""

    address: IPv4Address | IPv6Address
    host_key: str | None
    provider: str
    datacenter: str
    address6: IPv6Address | None = None
    port: int = 22


def new_place(
    host: Host,
    address: str,
    *,
    host_key: str | None,
    provider: str | None,
    datacenter: str | None,
    six: str | None = None,
) -> NewPlace:
    """The new machine as it was given on the command line. A rebuild of `host` that goes on takes
    what is missing from the inventory. Raise UsageError for what is missing or malformed."""
    try:
        place = ip_address(address)
        place6 = IPv6Address(six) if six else None
    except ValueError as error:
        raise UsageError(f"{error}: give the new machine's IP addresses") from None
    if host_key is not None:
        steps.insist_key(host_key)
    if place == host.address:
        given = (
            ("--provider", provider, host.provider),
            ("--datacenter", datacenter, host.datacenter),
            ("--host-key", _bare(host_key), _bare(host.host_key)),
        )
        other = [
            f"{option} ({there})" for option, said, there in given if said not in ("", None, there)
        ]
        if other:
            raise UsageError(
                f"the inventory has {host.id} at {place} already, with another {', '.join(other)}. "
                "A rebuild that goes on takes its word: leave that out. If the inventory is wrong, "
                "correct it and type this again; if another machine is meant, give its address"
            )
        host_key = host_key or host.host_key
        provider, datacenter = provider or host.provider, datacenter or host.datacenter
        place6 = place6 or host.address6
    if not provider or not datacenter:
        raise UsageError("say where the new machine stands: --provider and --datacenter")
    return NewPlace(place, host_key, provider, datacenter, place6)


def _bare(key: str | None) -> str:
    return " ".join((key or "").split()[:2])


def insist_blank(inventory: Inventory, host: Host, place: NewPlace) -> None:
    """Raise UsageError when the new machine is another host of the inventory, or the lost one
    itself under another address."""
    steps.insist_not_ours(
        inventory, place.address, place.host_key, but=host.id if moved(host, place) else ""
    )


def shown_key(place: NewPlace) -> str:
    """The host key that the new machine shows, for a person to compare. Raise SshError."""
    return ssh.scan(str(place.address), place.port)


def with_key(place: NewPlace, host_key: str) -> NewPlace:
    """The place, with the key that a person found to be right."""
    return replace(place, host_key=host_key)


def lost_host(inventory: Inventory, named: str | None) -> Host:
    """The host to rebuild: the one named, or the only one that serves anything.

    Raise UsageError when that is not one host with services and a repository.
    """
    serving = [host for host in inventory.hosts.values() if inventory.services_on(host.id)]
    if named is None and len(serving) != 1:
        there = ", ".join(host.id for host in serving) or "none"
        raise UsageError(f"say which host is lost, with --lost. These serve: {there}")
    host = inventory.hosts.get(named) if named else serving[0]
    if host is None:
        raise UsageError(f"{named} is no host of the inventory: {', '.join(inventory.hosts)}")
    if host.repository is None:
        raise UsageError(f"{host.id} has no repository in the inventory: there are no copies of it")
    if not inventory.services_on(host.id):
        raise UsageError(f"{host.id} serves nothing: a plain `releve deploy` sets it up anew")
    return host


def moved(host: Host, place: NewPlace) -> bool:
    """Whether the inventory already says that `host` is at `place`: a rebuild that goes on."""
    return host.address == place.address and host.port == place.port


def refused_afterwards(
    file: Path, inventory: Inventory, host: Host, place: NewPlace
) -> tuple[str, ...]:
    """What `releve deploy` will refuse once the host is at its new place, and does not now."""
    there = {"provider": place.provider, "datacenter": place.datacenter, "address": place.address}
    hosts = {**inventory.hosts, host.id: host.model_copy(update=there)}
    known = errors_of(inventory, file)
    then = errors_of(inventory.model_copy(update={"hosts": hosts}), file)
    return tuple(error for error in then if error not in known)


def _insist_begun(host: Host, place: NewPlace, known: Loss | None, progress: Progress) -> None:
    """Before a rebuild goes on: the machine has ended what the run before told it, and there is
    something to go on with. Raise UsageError when nothing is remembered of a loss and all of a
    deploy was done there, InUse when the machine stays busy, SshError."""
    with ssh.session(_target(host, place)) as session:
        flock = ("flock", "--conflict-exit-code=75")
        asked = session.run((*flock, "--nonblock", applied.LOCK, "true"), check=False)
        if asked.exit_code == 75:
            progress(f"{host.id} is at work still, maybe for the run before. Waiting for its end")
            wait = (*flock, f"--wait={_PATIENCE}", applied.LOCK, "true")
            if session.run(wait, check=False, timeout=_PATIENCE + 30).exit_code == 75:
                raise InUse(
                    f"{host.id} ({place.address}) has been at work for {_PATIENCE // 60} minutes: "
                    f"{applied.LOCK} there says who. Run this again when that has ended."
                )
        look = ("sh", "-c", 'cat -- "$1" 2>/dev/null || true', "look", applied.PATH)
        text = session.run(look).stdout.decode(errors="replace")
    with contextlib.suppress(applied.DamagedError):
        if known is None and applied.parse(text).digest:
            raise UsageError(
                f"{host.id} is at {place.address}, all of it was set up there, and no rebuild of "
                "it is under way: there is nothing to go on with. What a service has lost comes "
                "back with `releve restore`. If this machine is lost as well, give another one."
            )


def _target(host: Host, place: NewPlace) -> ssh.Target:
    there = {"address": place.address, "port": place.port, "host_key": place.host_key}
    told_by = "" if place.host_key == host.host_key else "--host-key"
    return replace(ssh_target(host.model_copy(update=there)), told_by=told_by)


def move(file: Path, host: Host, place: NewPlace) -> Host:
    """Write into the inventory that `host` is at `place` now, one epoch later, and change its
    keys: what the lost machine holds opens nothing any more. Return the host as it is now."""
    keys.retire(Secrets.open(file), host.id)
    edit.change(
        file,
        "hosts",
        host.id,
        {
            "address": str(place.address),
            "address6": str(place.address6) if place.address6 else None,
            "port": place.port if place.port != 22 else None,
            "host_key": place.host_key,
            "provider": place.provider,
            "datacenter": place.datacenter,
            "epoch": host.epoch + 1,
        },
    )
    return roles.load(file).hosts[host.id]


def rebuild(
    file: Path,
    place: NewPlace,
    *,
    lost: str | None = None,
    choice: Choice = NEWEST,
    kind: Kind = "rebuild",
    lost_at: datetime | None = None,
    watch: Stopwatch | None = None,
    progress: Progress = lambda _: None,
) -> Evidence:
    """Bring the lost host back on the blank machine at `place`, and return what was proved.

    `choice`: another copy than the newest. `lost_at` is the moment of the loss (default: now).
    `watch` may hold earlier phases already. A step that fails ends the rebuild; the evidence then
    says which, and running it again goes on: with the loss that the first run was about.
    Raise UsageError, InventoryError, SecretsError, SshError, or RecoveryError when the machine
    cannot take it, before anything is changed.
    """
    inventory = roles.load(file)
    host = lost_host(inventory, lost)
    watch = watch or Stopwatch(progress)
    here = moved(host, place)
    known = loss.read(file, host.id)
    secrets = Secrets.open(file)
    services = [service.id for service in inventory.services_on(host.id)]
    back = steps.BroughtBack()
    problems: list[str] = []
    finished: datetime | None = None
    if here:
        _insist_begun(host, place, known, progress)
    else:
        keeper = steps.repository_host(inventory, host)
        room.insist(
            inventory,
            host,
            ssh_target(keeper) if keeper else None,
            _target(host, place),
            noted(host.id, secrets),
            choice,
        )
    # What it waited for above belongs to the time in which nothing was done.
    about = loss.begun(known, host, moved=here, at=lost_at or now())
    memory = loss.Memory(file, host.id, about)
    watch.earlier, before = about.phases, len(watch.phases)
    watch.ended = lambda: memory.note((*watch.earlier, *watch.phases[before:]))
    try:
        _steps(file, host, place, services, memory, choice, back, watch, progress)
        finished = memory.loss.back_at
    except Exception as error:  # evidence of a failure is evidence too; the message is its content
        problems.append(str(error) or type(error).__name__)
    else:
        problems += _after(file, host, place, memory.loss, watch, progress)
        if not problems:
            loss.forget(file, host.id)
    was = about.machines[0]
    return steps.evidence(
        roles.load(file),
        host,
        back,
        kind=kind,
        was=Place(host.id, was.provider, was.datacenter),
        place=Place(host.id, place.provider, place.datacenter),
        watch=watch,
        lost_at=about.lost_at,
        finished=finished,
        names_until=memory.loss.names_until,
        problems=problems,
    )


def _steps(
    file: Path,
    host: Host,
    place: NewPlace,
    services: Sequence[str],
    memory: loss.Memory,
    choice: Choice,
    back: steps.BroughtBack,
    watch: Stopwatch,
    progress: Progress,
) -> None:
    """What members wait for: from the decision until every service answers under its name."""
    with watch.phase("access", counted=True):
        if not moved(host, place):
            move(file, host, place)
        inventory = roles.load(file)
        host = inventory.hosts[host.id]
        keeper = steps.repository_host(inventory, host)
        if keeper:
            steps.deploy(file, ("install", "configure"), [keeper.id], progress, "Changing the keys")
            fencing.publish(inventory, host, keeper, Secrets.open(file))
    with watch.phase("install", counted=True):
        steps.deploy(file, ("install",), [host.id], progress, "Installing the software")
    with watch.phase("restore", counted=True):
        whole = (*archived_duties(inventory, host.id), *services)
        steps.restore(host, whole, progress, replace(choice, once=True), back.restored)
    with watch.phase("configure", counted=True):
        steps.deploy(file, ("configure",), [host.id], progress, "Setting up")
    there = {host.id: str(place.address)}
    with watch.phase("check-address", counted=True):
        steps.insist(steps.check_at(file, host, services, there))
    with watch.phase("activate", counted=True):
        if until := steps.activate(file, host.id, progress):
            memory.update(names_until=until)
    with watch.phase("check-after", counted=True):
        # This machine's resolver may remember the lost machine for as long as the TTL says.
        results = steps.check_under_names(file, host, services, address=there, named=True)
        back.checks.update({name: steps.levels(results, name) for name in services})
        steps.insist(results)
    if memory.loss.back_at is None:
        memory.update(back_at=now())


def _after(
    file: Path, host: Host, place: NewPlace, about: Loss, watch: Stopwatch, progress: Progress
) -> list[str]:
    """What members need not wait for: everything that knows the old host, and the old host itself.

    Return what went wrong; none of it undoes the rebuild.
    """
    wrong = []
    inventory = roles.load(file)
    if errors := errors_of(inventory, file):
        # A disaster is no time to refuse; the next deploy will.
        progress("Before the next `releve deploy`, which refuses this inventory:")
        for error in errors:
            progress(f"  {error}")
    others = [other for other in inventory.hosts if other != host.id]
    try:
        # A machine that is gone takes a while not to answer.
        with watch.phase("fence", counted=False), ThreadPoolExecutor(max_workers=1) as pool:
            old = [machine.apply(host) for machine in about.machines]
            taking_over = pool.submit(_take_over, file, host.id, old, place)
            try:
                if others:
                    steps.deploy(file, applied.STAGES, others, progress, "Telling the other hosts")
            except Exception as error:
                wrong.append(f"the other hosts could not all be told: {error} Run `releve deploy`.")
            try:
                for said in taking_over.result():
                    progress(f"  {said}")
            except Exception as error:
                wrong.append(f"{error} What was about to be sent waits; then run this again.")
            if wrong:
                raise RecoveryError(" / ".join(wrong))
    except RecoveryError as error:
        return [f"The services are back, but {error}"]
    return []


def _take_over(file: Path, host_id: str, old: Sequence[Host], place: NewPlace) -> list[str]:
    """Tell the old machines to stop; then what came back may reach others. Return what to tell
    people."""
    said = [fencing.stop_old(machine, str(place.address)) for machine in old]
    services = [service.id for service in roles.load(file).services_on(host_id)]
    steps.let_out(file, host_id, services)
    return [text for text in said if text]
