"""Restoring services in daily life: a mistake undone, a service moved to another host.

The order is that of a rebuild: software, data, set-up, checks, and only then the names.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import roles
from agent.plan import archived_duties
from backup.errors import BackupError
from backup.foresee import foresee
from backup.lend import lent
from backup.remote import human
from backup.repository import open_repository
from backup.restore import Restored
from backup.trust import noted
from deploy.refusal import errors_of
from inventories import edit
from inventories.access import ssh_target
from inventories.model import Host, Inventory, Service
from inventories.secrets import Secrets
from platforms.yunohost import remote
from platforms.yunohost.obstacles import obstacles
from platforms.yunohost.server import QUESTIONS, read
from recovery import room, steps
from recovery.errors import RecoveryError, UsageError
from recovery.phases import Progress, now
from recovery.steps import NEWEST, Choice
from roles.apps import wanted_of
from tools import ssh
from tools.ssh import CommandError, SshError


def chosen(
    inventory: Inventory, names: Sequence[str], to_host: str, whose: str | None = None
) -> tuple[str, ...]:
    """Which services are meant: those named, or all of the host `whose` (default: `to_host`) when
    none is.

    Raise UsageError for a name that is not there, a host without services, or services whose
    copies lie with different hosts.
    """
    for host in filter(None, (to_host, whose)):
        if host not in inventory.hosts:
            raise UsageError(f"{host} is no host of the inventory: {', '.join(inventory.hosts)}")
    unknown = [name for name in names if name not in inventory.services]
    if unknown:
        there = ", ".join(inventory.services)
        raise UsageError(f"no service is named {', '.join(unknown)}. There is: {there}")
    host = whose or to_host
    found = tuple(dict.fromkeys(names)) or tuple(s.id for s in inventory.services_on(host))
    if not found:
        hint = "" if whose else ". To move those of another host there: --all --from HOST"
        raise UsageError(f"{host} has no services in the inventory{hint}")
    if len({inventory.services[name].host for name in found}) > 1:
        raise UsageError("these services are on several hosts: restore them host by host")
    return found


def restore(
    file: Path,
    names: Sequence[str],
    to_host: str,
    choice: Choice = NEWEST,
    progress: Progress = lambda _: None,
    *,
    whose: str | None = None,
    url: str | None = None,
    save: bool = True,
) -> Mapping[str, Restored]:
    """Bring `names` (none: all of those of the host `whose`, by default `to_host`) back on
    `to_host`; return what came back, or with `choice.dry_run` what would.

    With `url` the one service named is at that address once its data is back. With `save` the host
    saves itself after live data was replaced, so that no later restore brings that back.

    Raise UsageError before anything is changed, RecoveryError, BackupError, BusyError, SshError.
    """
    inventory = roles.load(file)
    services = chosen(inventory, names, to_host, whose)
    host = inventory.hosts[to_host]
    before = inventory.hosts[inventory.services[services[0]].host]
    if before.repository is None:
        raise UsageError(f"{before.id} has no repository in the inventory: there are no copies")
    if url is not None and before.id != host.id:
        raise UsageError(
            f"{services[0]} is on {before.id}: move it first, without --url. Once it is well on "
            f"{host.id}, write the new url into {file} and deploy"
        )
    if url is not None:
        _refuse_address(file, names, host, choice, url)
    if before.id != host.id:
        _refuse_place(file, inventory, services, host)
        return _move(_Move(file, inventory, services, before, host), choice, progress)
    # All of a host that is not set up yet: first the accounts, domains and settings it had.
    duties = archived_duties(inventory, host.id) if not names else ()
    if choice.dry_run:
        return steps.restore(host, services, progress, choice)
    progress("Installing the software")
    steps.deploy(file, ("install",), services, progress, "Installing the software")
    progress("Bringing the data back")
    found: dict[str, Restored] = {}
    if duties:
        first = steps.restore(host, duties, progress, replace(choice, unless_live=True))
        found |= {name: one for name, one in first.items() if not one.live}
    found |= steps.restore(host, services, progress, choice)
    with _telling_what_waits(inventory, host, services):
        if url is not None:
            _move_address(file, inventory.services[services[0]], url, progress)
            _check(file, services, host, progress)
        else:
            # Never the host as a whole: what waits in the inventory for a deploy, above all what
            # is to go, is not what people asked for here.
            _set_up(file, services, host, progress)
    steps.let_out(file, host.id, services)
    if choice.replace and save:
        # Else the newest copy would be that of what was just replaced.
        progress("Saving what is there now")
        try:
            steps.backup(file, host.id, progress)
        except (BackupError, RecoveryError, SshError) as error:
            progress(
                f"{error}. The newest copy is of what was there before the restore: until the next "
                "one, a restore or a rebuild would bring that back."
            )
    if url is not None:
        _name(file, services, host, progress)
    return found


def _refuse_place(file: Path, inventory: Inventory, services: Sequence[str], host: Host) -> None:
    """Raise UsageError when services cannot stand on `host` by the rules that a deploy goes by,
    such as that it has a repository: from there on nothing would save them, nor bring them back."""
    there = {
        name: inventory.services[name].model_copy(update={"host": host.id}) for name in services
    }
    known = errors_of(inventory, file)
    moved = inventory.model_copy(update={"services": {**inventory.services, **there}})
    if errors := [error for error in errors_of(moved, file) if error not in known]:
        raise UsageError(
            f"{', '.join(services)} cannot move to {host.id}: `releve deploy` would refuse the "
            "inventory from then on. Nothing was changed:\n" + "\n".join(errors)
        )


def _refuse_address(file: Path, names: Sequence[str], host: Host, choice: Choice, url: str) -> None:
    """Raise UsageError or InventoryError when a restore to another address cannot be. YunoHost's
    apps know how to change theirs, as far as their packages do."""
    if host.platform != "yunohost":
        raise UsageError(
            f"--url is for apps of YunoHost. On {host.id}, write the new url into {file} and deploy"
        )
    if len(names) != 1:
        raise UsageError("--url is one address, for one service: restore them one after another")
    if choice.dry_run:
        raise UsageError("a dry run changes no address: leave --url out")
    # Beside the file: what it names lies there too.
    trial = file.with_name(f".{file.stem}.trial.toml")
    try:
        shutil.copy(file, trial)
        edit.change(trial, "services", names[0], {"url": url})
        wanted = wanted_of(roles.load(trial), host.id, names)
    finally:
        trial.unlink(missing_ok=True)
    with ssh.session(ssh_target(host)) as session:
        there = read(remote.look(session, QUESTIONS), wanted.accounts)
    # What is not there, or not set up, cannot say yet whether it can move.
    if there.installed and (
        found := [o for o in obstacles(wanted, there) if o.path.startswith(f"services.{names[0]}.")]
    ):
        raise UsageError(f"{url} cannot be: {' '.join(map(str, found))} Nothing was changed.")


def _move_address(file: Path, service: Service, url: str, progress: Progress) -> None:
    """Give a service that was just brought back another address, in the inventory and there. When
    it cannot have it, the inventory is as before. Raise RecoveryError."""
    edit.change(file, "services", service.id, {"url": url})
    progress(f"{file}: {service.id} is at {url} from now on")
    try:
        steps.deploy(file, ("configure",), [service.id], progress, "Changing the address")
    except RecoveryError:
        edit.change(file, "services", service.id, {"url": service.url})
        progress(f"{file}: {service.id} is at {service.url} as before; its data is back there")
        raise


def _set_up(file: Path, services: Sequence[str], host: Host, progress: Progress) -> None:
    progress("Setting up")
    steps.deploy(file, ("configure",), services, progress, "Setting up")
    _check(file, services, host, progress)


def _check(file: Path, services: Sequence[str], host: Host, progress: Progress) -> None:
    progress("Checking")
    # A name that leads elsewhere yet can have no certificate but the server's own.
    address = {host.id: str(host.address)}
    steps.insist(steps.check_at(file, host, services, address))


def _name(file: Path, services: Sequence[str], host: Host, progress: Progress) -> None:
    """Let the names of services lead to `host`, where they are well, and get their certificates.
    Raise RecoveryError when people would be warned off afterwards."""
    progress("Moving the names")
    steps.activate(file, host.id, progress)
    progress("Checking under the names")
    address = {host.id: str(host.address)}
    try:
        steps.insist(steps.check_under_names(file, host, services, address=address))
    except RecoveryError as error:
        said = str(error).rstrip(".")
        raise RecoveryError(
            f"The data is back on {host.id} and the names lead there. {said}. Nothing is left to "
            f"restore; for a certificate, `releve deploy {file} --limit {host.id}` asks again."
        ) from error


@dataclass(frozen=True)
class _Move:
    """Services that are to go from the host `before` to `host`."""

    file: Path
    inventory: Inventory
    services: tuple[str, ...]
    before: Host
    host: Host


def _move(it: _Move, choice: Choice, progress: Progress) -> dict[str, Restored]:
    """Bring services back on another host than theirs, and move their names there.

    Until the data is there, a failure puts the inventory back as it was.
    """
    file, services, host = it.file, it.services, it.host
    moving = ", ".join(services)
    if choice.dry_run:
        return _foreseen(it, choice, progress)
    keeper = steps.repository_host(it.inventory, it.before)
    if keeper is None:
        raise RecoveryError(
            f"the copies of {it.before.id} lie on no host of the inventory, so they cannot be lent "
            f"to {host.id}. Add the repository's host, with the role repository."
        )
    secrets = Secrets.open(file)
    room.insist(
        it.inventory,
        it.before,
        ssh_target(keeper),
        ssh_target(host),
        noted(it.before.id, secrets),
        choice,
        whole=False,
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
            lent(it.inventory, it.before.id, Secrets.open(file), to_host, to_repository) as source,
        ):
            found = steps.restore(host, services, progress, replace(choice, source=source))
        # A host that never saved anything is new to whoever keeps its copies from now on.
        if theirs := steps.repository_host(it.inventory, host):
            stages = ("install", "configure")
            steps.deploy(file, stages, [theirs.id], progress, "Opening the repository")
    except BaseException:
        _say_where(file, services, it.before)
        progress(f"{file}: {moving} is on {it.before.id} as before")
        raise
    with _telling_what_waits(it.inventory, host, services):
        _set_up(file, services, host, progress)
        _name(file, services, host, progress)
    _leave(it, progress)
    return found


def _leave(it: _Move, progress: Progress) -> None:
    """Let what came back reach others once nothing of it does so from where it was."""
    inventory, services, before = it.inventory, it.services, it.before
    stopped = [s.id for s, one in steps.restores(inventory, before, services) if one.leave]
    try:
        steps.leave(inventory, before, services)
    except (SshError, CommandError) as error:
        said = str(error).rstrip(".")
        progress(
            f"{', '.join(stopped)} could not be stopped on {before.id}: {said}."
            + steps.waiting(inventory, it.host, services)
        )
    else:
        steps.let_out(it.file, it.host.id, services)
    running = [name for name in services if name not in stopped]
    for names, what in ((running, "still runs on {} too"), (stopped, "is stopped on {}")):
        if names:
            progress(
                f"{', '.join(names)} {what.format(before.id)}, where nobody comes any more; what "
                "was written there after the copy was made is there only."
            )


@contextlib.contextmanager
def _telling_what_waits(
    inventory: Inventory, host: Host, services: Sequence[str]
) -> Iterator[None]:
    """What fails within leaves what came back unable to reach others: say so."""
    try:
        yield
    except RecoveryError as error:
        said = steps.waiting(inventory, host, services)
        raise RecoveryError(f"{str(error).rstrip('.')}.{said}" if said else str(error)) from error


def _foreseen(it: _Move, choice: Choice, progress: Progress) -> dict[str, Restored]:
    """What would come to the other host, seen from here: nothing of these services is there yet.

    Raise RecoveryError when it has no room for them, with the sizes, or an older Debian."""
    host = it.host.id
    with open_repository(it.inventory, it.before.id, Secrets.open(it.file)) as opened:
        found = {
            name: foresee(opened, name, now(), snapshot=choice.snapshot, at=choice.at)
            for name in it.services
        }
    with ssh.session(ssh_target(it.host)) as session:
        os_release = session.run(room.OS_RELEASE, check=False).stdout.decode(errors="replace")
        disks = room.disks(session.run(room.DISKS).stdout.decode(errors="replace"))
    for name, coming in found.items():
        room.insist_release(coming.system, os_release, f"{name} cannot come to {host}")
    sizes = room.fits({name: coming.needs for name, coming in found.items()}, disks, host)
    moving = ", ".join(it.services)
    progress(f"{moving} would move from {it.before.id} to {host}. What the software takes is extra")
    return {name: coming.restored(sizes[name]) for name, coming in found.items()}


def _say_where(file: Path, services: Sequence[str], host: Host) -> None:
    for name in services:
        edit.change(file, "services", name, {"host": host.id})


def summary(
    found: Mapping[str, Restored], *, dry_run: bool = False, replacing: bool = False
) -> str:
    """What came back (with `dry_run`: what would), for a terminal. `replacing`: people said that
    what is in use may be replaced. Pure."""
    lines = []
    for name, one in found.items():
        when = f"{one.time:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(
            f"{name}: {'would come' if dry_run else 'came'} back from {one.snapshot[:8]} of {when}"
        )
        if dry_run:
            for path, sizes in one.sizes.items():
                where = "of the host" if len(one.sizes) == 1 else f"that holds {path}"
                lines.append(
                    f"  it takes {human(sizes['needed'])} on the disk {where}, where "
                    f"{human(sizes['free'])} are free"
                )
            counts = ", ".join(f"{n} {what}" for what, n in one.counts_saved.items())
            if counts:
                lines.append(f"  it holds {counts}")
            if one.live:
                how = "this goes over it" if replacing else "without --replace nothing would come"
                lines.append(f"  {name} is in use here: {one.live}; {how}")
        else:
            counts = ", ".join(f"{n} {what}" for what, n in one.counts_now.items())
            lines.append(f"  here now: {counts}")
            if one.canaries:
                lines.append(f"  last writing found: {one.canaries[0].at:%Y-%m-%d %H:%M:%S} UTC")
            if one.saved_before:
                lines.append(f"  what was here before is in snapshot {one.saved_before[:8]}")
        lines += [f"  note: {message}" for message in one.messages]
    return "\n".join(lines) + "\n"
