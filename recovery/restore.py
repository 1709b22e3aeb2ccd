"""Restoring services in daily life: a mistake undone, a service moved to another host.

The order is that of a rebuild: software, data, set-up, checks, and only then the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import roles
from backup.lend import lent
from backup.remote import human
from backup.restore import Restored
from inventories import edit
from inventories.access import ssh_target
from inventories.model import Host, Inventory
from inventories.secrets import Secrets
from recovery import steps
from recovery.errors import RecoveryError, UsageError
from recovery.phases import Progress
from recovery.steps import NEWEST, Choice
from tools import ssh


def chosen(inventory: Inventory, names: Sequence[str], to_host: str) -> tuple[str, ...]:
    """Which services are meant: those named, or all of the host's when none is.

    Raise UsageError for a name that is not there, a host without services, or services whose
    copies lie with different hosts.
    """
    if to_host not in inventory.hosts:
        raise UsageError(f"{to_host} is no host of the inventory: {', '.join(inventory.hosts)}")
    unknown = [name for name in names if name not in inventory.services]
    if unknown:
        there = ", ".join(inventory.services)
        raise UsageError(f"no service is named {', '.join(unknown)}. There is: {there}")
    found = tuple(dict.fromkeys(names)) or tuple(s.id for s in inventory.services_on(to_host))
    if not found:
        raise UsageError(f"{to_host} has no services in the inventory")
    if len({inventory.services[name].host for name in found}) > 1:
        raise UsageError("these services are on several hosts: restore them host by host")
    return found


def restore(
    file: Path,
    names: Sequence[str],
    to_host: str,
    choice: Choice = NEWEST,
    progress: Progress = lambda _: None,
) -> Mapping[str, Restored]:
    """Bring `names` (none: all of the host's) back on `to_host`; return what came back.

    Raise UsageError before anything is changed, RecoveryError, BackupError, BusyError, SshError.
    """
    inventory = roles.load(file)
    services = chosen(inventory, names, to_host)
    host = inventory.hosts[to_host]
    before = inventory.hosts[inventory.services[services[0]].host]
    if before.repository is None:
        raise UsageError(f"{before.id} has no repository in the inventory: there are no copies")
    if before.id != host.id:
        return _move(file, inventory, services, before, host, choice, progress)
    if choice.dry_run:
        return steps.restore(host, services, progress, choice)
    progress("Installing the software")
    steps.deploy(file, ("install",), services, progress, "Installing the software")
    progress("Bringing the data back")
    found = steps.restore(host, services, progress, choice)
    _set_up(file, services, host, progress)
    return found


def _set_up(file: Path, services: Sequence[str], host: Host, progress: Progress) -> None:
    progress("Setting up")
    steps.deploy(file, ("configure",), services, progress, "Setting up")
    progress("Checking")
    steps.insist(steps.check(file, services, address={host.id: str(host.address)}))


def _move(
    file: Path,
    inventory: Inventory,
    services: Sequence[str],
    before: Host,
    host: Host,
    choice: Choice,
    progress: Progress,
) -> dict[str, Restored]:
    """Bring services back on another host than theirs, and move their names there.

    Until the data is there, a failure puts the inventory back as it was.
    """
    moving = ", ".join(services)
    if choice.dry_run:
        raise UsageError(
            f"{moving} is on {before.id}: a dry run on {host.id} can say nothing before the "
            "software is there. `releve backup list` names the copies and their sizes."
        )
    keeper = steps.repository_host(inventory, before)
    if keeper is None:
        raise RecoveryError(
            f"the copies of {before.id} lie on no host of the inventory, so they cannot be lent to "
            f"{host.id}. Add the repository's host, with the role repository."
        )
    _say_where(file, services, host)
    progress(f"{file}: {moving} is on {host.id} from now on")
    try:
        progress("Installing the software")
        steps.deploy(file, ("install",), services, progress, "Installing the software")
        progress("Bringing the data back")
        with (
            ssh.session(ssh_target(host)) as to_host,
            ssh.session(ssh_target(keeper)) as to_repository,
            lent(inventory, before.id, Secrets.open(file), to_host, to_repository) as source,
        ):
            found = steps.restore(host, services, progress, replace(choice, source=source))
        # A host that never saved anything is new to whoever keeps its copies from now on.
        if theirs := steps.repository_host(inventory, host):
            stages = ("install", "configure")
            steps.deploy(file, stages, [theirs.id], progress, "Opening the repository")
    except BaseException:
        _say_where(file, services, before)
        progress(f"{file}: {moving} is on {before.id} as before")
        raise
    _set_up(file, services, host, progress)
    progress("Moving the names")
    steps.activate(file, host.id, progress)
    progress(
        f"{moving} still runs on {before.id} too, where nobody comes any more; what was written "
        "there after the copy was made is there only."
    )
    return found


def _say_where(file: Path, services: Sequence[str], host: Host) -> None:
    for name in services:
        edit.change(file, "services", name, {"host": host.id})


def summary(found: Mapping[str, Restored], *, dry_run: bool = False) -> str:
    """What came back (with `dry_run`: what would), for a terminal. Pure."""
    lines = []
    for name, one in found.items():
        when = f"{one.time:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(
            f"{name}: {'would come' if dry_run else 'came'} back from {one.snapshot[:8]} of {when}"
        )
        for path, sizes in one.sizes.items():
            said = ", ".join(f"{word} {human(size)}" for word, size in sizes.items())
            lines.append(f"  {path}: {said}")
        if not dry_run:
            counts = ", ".join(f"{n} {what}" for what, n in one.counts_now.items())
            lines.append(f"  here now: {counts}")
            if one.canaries:
                lines.append(f"  last writing found: {one.canaries[0].at:%Y-%m-%d %H:%M:%S} UTC")
            if one.saved_before:
                lines.append(f"  what was here before is in snapshot {one.saved_before[:8]}")
        lines += [f"  note: {message}" for message in one.messages]
    return "\n".join(lines) + "\n"
