"""What could be upgraded on a host, what cannot and why, and what an upgrade left half done.

Reading refreshes the host's lists of what exists and changes nothing else. Lists that could not
be refreshed are an error: what is read from old ones is worth nothing.
"""

from __future__ import annotations

import json
import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from inventories.access import ssh_target
from inventories.model import Host, Inventory, Service
from platforms.debian import packages
from platforms.debian.packages import Package
from platforms.yunohost import answers, arguments, commands, durable, remote
from platforms.yunohost.answers import Answer, App, UnreadableError, Upgrades
from platforms.yunohost.durable import Command, Task
from platforms.yunohost.errors import YunohostError, checked
from platforms.yunohost.server import Question, origin
from platforms.yunohost.wanted import WantedApp
from recovery.errors import RecoveryError
from recovery.phases import Progress
from roles.interface import Absent
from roles.registry import SERVICES
from tools import ssh
from tools.ssh import Connection

# What is being upgraded, as one file each: whoever comes after an interruption finds it there.
MARKS = "/var/lib/releve/upgrading"
# The name of the mark, and of the outcome, of a host's packages. No service can be called so.
PACKAGES = "_packages"


@dataclass(frozen=True)
class Waiting:
    """An app that can be upgraded. `source`: where from, None for the catalog. `exchanged`: its
    package came from elsewhere until now, and is taken whatever its version. `since`: when it was
    upgraded last, as YunoHost notes it."""

    service: str
    instance: str
    before: str
    after: str
    source: str | None = None
    exchanged: bool = False
    since: str = ""


@dataclass(frozen=True)
class Held:
    """Something that is not upgraded, and why."""

    subject: str
    why: str


@dataclass(frozen=True)
class Mark:
    """An upgrade that was begun. `service`: PACKAGES for a host's packages. `versions`: of the
    packages before; `bad`: the checks that were not well before."""

    service: str
    instance: str = ""
    before: str = ""
    after: str = ""
    snapshot: str = ""
    bad: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    exchanged: bool = False
    since: str = ""


@dataclass(frozen=True)
class Available:
    """What is available on one host. `others`: apps that could be upgraded and are no services
    of the inventory. `system`: whether the packages are meant as well. `pending`: what the
    inventory asks of these services and is set up along with an upgrade, a line each. `problem`:
    why nothing can be upgraded on this host."""

    host: str
    apps: tuple[Waiting, ...] = ()
    held: tuple[Held, ...] = ()
    others: tuple[str, ...] = ()
    packages: tuple[Package, ...] = ()
    migrations: tuple[str, ...] = ()
    unfinished: tuple[Mark, ...] = ()
    system: bool = False
    pending: tuple[str, ...] = ()
    problem: str = ""

    @property
    def anything(self) -> bool:
        """Whether there is something to do."""
        return bool(self.apps or self.unfinished or (self.system and self.packages))


# --- pure -------------------------------------------------------------------------------------


def app_of(service: Service, inventory: Inventory) -> WantedApp | None:
    """The app that a service is on a YunoHost server; None when it is a part of the server."""
    role = SERVICES.get(service.role)
    on = role.on.get("yunohost") if role else None
    if on is None or isinstance(on.app, Absent):
        return None
    wanted = on.app(service, inventory)
    return None if wanted.absent else wanted


def source_of(app: WantedApp) -> str | None:
    """Where an app comes from when that is not the catalog."""
    return commands.source_url(app.source, app.branch) if app.source else None


_HELD = {
    "fail_requirements": "its new version asks for more than this server has (a newer YunoHost, "
    "memory, disk): upgrade the system first (--system), or see `yunohost app info {} --full`",
    "bad_quality": "the catalog says that its package does not work at present",
    "url_required": "it is not in the catalog: write its source into the inventory",
}


def sorted_out(
    wanted: Sequence[WantedApp],
    installed: Mapping[str, App],
    offered: Upgrades,
    versions: Mapping[str, str],
) -> tuple[tuple[Waiting, ...], tuple[Held, ...], tuple[str, ...]]:
    """Which apps wait, which are held back, and which others wait that are nobody's service.

    `versions`: instance -> the version that a source outside of the catalog has now.
    """
    waiting, held = [], []
    for app in wanted:
        here = installed.get(app.instance)
        if here is None:
            held.append(Held(app.service, "it is not installed there: releve deploy"))
            continue
        source, since = source_of(app), upgraded_at(here)
        exchanged = origin(here) != (source or "")
        if app.source:
            new = versions.get(app.instance, "")
            if new and (exchanged or new != here.version):
                waiting.append(
                    Waiting(app.service, app.instance, here.version, new, source, exchanged, since)
                )
            continue
        offer = offered.apps.get(app.instance)
        if exchanged and here.repository:
            new = offer.new if offer and offer.new else here.version
            waiting.append(
                Waiting(app.service, app.instance, here.version, new, None, exchanged, since)
            )
            continue
        if exchanged:
            why = f"the catalog does not have it: write source = {origin(here)!r} again"
            held.append(Held(app.service, why))
            continue
        if offer is None or offer.status == "up_to_date":
            continue
        if offer.status == "upgradable":
            waiting.append(
                Waiting(
                    app.service,
                    app.instance,
                    offer.current or here.version,
                    offer.new,
                    since=since,
                )
            )
        else:
            why = _HELD.get(offer.status, f"YunoHost says {offer.status!r} of it")
            held.append(Held(app.service, why.format(app.instance)))
    ours = {app.instance for app in wanted}
    others = tuple(name for name in offered.apps if name not in ours)
    return tuple(waiting), tuple(held), others


def upgraded_at(app: App) -> str:
    """When an app was upgraded last, as YunoHost notes it; "" when it never was."""
    return str(app.settings.get("update_time") or "")


def marks(files: Mapping[str, str]) -> tuple[Mark, ...]:
    """Given the marks on a host, path -> text, return them typed. One that was cut off while it
    was written never came to be: writing is one step."""
    found = []
    for text in files.values():
        about = json.loads(text)
        about["bad"] = tuple(about.get("bad") or ())
        found.append(Mark(**about))
    return tuple(found)


def mark_path(service: str) -> str:
    """Where the mark of a service's upgrade lies."""
    return f"{MARKS}/{service}"


# --- reading ----------------------------------------------------------------------------------


def put_mark(connection: Connection, mark: Mark) -> None:
    """Note on the host that an upgrade begins. Raise SshError."""
    connection.run(("install", "-d", "-m", "0700", "--", MARKS))
    connection.write(mark_path(mark.service), json.dumps(asdict(mark)).encode())


def clear_mark(connection: Connection, service: str) -> None:
    """Note that nothing is left to do. Raise SshError."""
    connection.run(("rm", "-f", "--", mark_path(service)))


def versions(connection: Connection) -> packages.Installed:
    """The packages that are there. Raise SshError."""
    said = connection.run(packages.VERSIONS).stdout
    return packages.installed(said.decode(errors="replace"))


def read(
    inventory: Inventory,
    host: Host,
    services: Sequence[Service],
    *,
    system: bool,
    progress: Progress,
) -> Available:
    """What is available on `host` for `services`, and for its packages if `system`.

    Raise SshError, YunohostError, StepError, RecoveryError.
    """
    with ssh.session(ssh_target(host)) as connection:
        progress(f"{host.id}: reading what is available")
        if host.platform == "yunohost":
            # What was left running must not be taken for what is there.
            connection.run(
                (*durable.SETTLE, str(durable.TURN)), timeout=durable.TURN + 60, check=False
            )
        if system:
            _refresh(connection, host)
        looked = remote.look(connection, (Question("marks", files=f"{MARKS}/*"),))
        files = looked["marks"]
        left = marks(files) if not isinstance(files, Answer) else ()
        names = {s.id for s in services}
        left = tuple(m for m in left if m.service in names or (system and m.service == PACKAGES))
        if host.platform != "yunohost":
            said = connection.run(packages.SIMULATE, timeout=120).stdout.decode(errors="replace")
            return Available(
                host.id, packages=packages.waiting(said), unfinished=left, system=system
            )
        wanted = [app for s in services if (app := app_of(s, inventory)) is not None]
        everyone = [app for s in inventory.services_on(host.id) if (app := app_of(s, inventory))]
        custom = {app.instance: source for app in wanted if (source := source_of(app))}
        asked = (
            Question("apps", argv=commands.app_list(full=True)),
            *(Question(s, argv=commands.app_manifest(s)) for s in sorted(set(custom.values()))),
        )
        found = remote.look(connection, asked)
    offered = _offered(host)
    told = {name: one for name, one in found.items() if isinstance(one, Answer)}
    new: dict[str, str] = {}
    unread = []
    for app in wanted:
        if source := custom.get(app.instance):
            try:
                manifest = arguments.manifest(checked(told[source], host=host.id))
                new[app.instance] = manifest.version
            except (YunohostError, UnreadableError) as error:
                # Somebody else's server that is gone says nothing against other apps.
                unread.append(Held(app.service, f"{source} cannot be read: {error}"))
    waiting, held, others = sorted_out(
        wanted, answers.apps(checked(told["apps"], host=host.id)), offered, new
    )
    begun = {mark.service for mark in left}
    ours = {app.instance for app in everyone}
    return Available(
        host.id,
        apps=tuple(one for one in waiting if one.service not in begun),
        held=(*held, *unread),
        others=tuple(name for name in others if name not in ours),
        packages=tuple(Package(p.name, p.current, p.new) for p in offered.system),
        migrations=offered.migrations,
        unfinished=left,
        system=system,
    )


def _refresh(connection: Connection, host: Host) -> None:
    done = connection.run(packages.REFRESH, timeout=packages.REFRESH_TIMEOUT, check=False)
    if done.exit_code != 0:
        said = [
            line
            for line in (done.stdout + done.stderr).decode(errors="replace").splitlines()
            if line.startswith(("E:", "W:", "Err:"))
        ]
        raise RecoveryError(
            f"{host.id}: apt could not fetch the lists of packages: {' / '.join(said[-3:])}. "
            "Nothing was changed. See that the host reaches its mirrors, then run this again."
        )


def _offered(host: Host) -> Upgrades:
    """What YunoHost offers, from a fresh catalog and apt's lists as they are."""
    task = Task(
        f"{host.id}: see what is available",
        (
            Command(commands.tools_update("apps", refresh=True)),
            Command(commands.tools_update("system", refresh=False)),
        ),
    )
    done = remote.perform(ssh_target(host), durable.name(random.token_hex(4), 1, task), task)
    if error := durable.failure(done, host.id):
        raise error
    of_apps, of_system = (answers.upgrades(answer) for answer in done.answers)
    return Upgrades(
        of_apps.apps,
        of_system.system,
        of_system.migrations,
        of_apps.catalog_age,
    )
