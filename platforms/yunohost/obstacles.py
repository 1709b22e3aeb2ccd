"""What of an inventory a server cannot become, known before anything is changed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from platforms.yunohost import commands
from platforms.yunohost.answers import App, same_setting, version_number
from platforms.yunohost.server import (
    ADMINS,
    DOMAIN_SETTINGS,
    SHOWN_BY,
    SPECIAL_GROUPS,
    Server,
    origin,
    port_id,
)
from platforms.yunohost.steps import Obstacle
from platforms.yunohost.wanted import Value, Wanted, WantedApp, password_of

OLDEST = (12, 1)  # what the commands and answers of this package were seen with

# What YunoHost keeps for its admins (src/user.py of 12.1.25).
ADMIN_ALIASES = frozenset(("root", "admin", "admins", "webmaster", "postmaster", "abuse"))


def obstacles(wanted: Wanted, server: Server) -> tuple[Obstacle, ...]:
    """Everything that stands in the way; empty when `converge` may go on."""
    if not server.installed:
        return (
            Obstacle(
                f"hosts.{wanted.host}",
                "YunoHost is not set up there",
                "Give [hosts.…yunohost] a main_domain and an installer, and deploy",
            ),
        )
    if version_number(server.version) < OLDEST:
        return (
            Obstacle(
                f"hosts.{wanted.host}",
                f"runs YunoHost {server.version or 'of an unknown version'}; this needs 12.1",
                "Upgrade it first",
            ),
        )
    if server.untold:
        # Otherwise each of them would be installed a second time.
        return (
            Obstacle(
                f"hosts.{wanted.host}",
                f"YunoHost does not tell about {', '.join(server.untold)}, installed there: its "
                "catalog is missing or old and cannot be fetched, or that app is damaged",
                "Run there: yunohost tools update apps; then see what yunohost app list says",
            ),
        )
    return (
        *_settings(wanted, server),
        *_domains(wanted, server),
        *_people(wanted, server),
        *_apps(wanted, server),
        *_permissions(wanted, server),
    )


def from_the_start(wanted: Wanted) -> tuple[Obstacle, ...]:
    """What of it no new server could become, before YunoHost is set up on it; what depends on
    what YunoHost brings along is left to `obstacles`."""
    new = Server(installed=True, main_domain=wanted.main_domain or "")
    return (*_domains(wanted, new), *_people(wanted, new), *_apps(wanted, new))


def unsaved(wanted: Wanted, server: Server, service: str) -> tuple[str, ...]:
    """What to say of the app of a service that is there and whose package cannot save it."""
    return tuple(
        f"services.{app.service}: {app.instance} has no backup script: no copy will hold it, and "
        "each copy of this host is told as incomplete. Ask for one where its package is made, or "
        "take another app."
        for app in wanted.apps
        if app.service == service
        and not app.absent
        and app.instance in server.apps
        and not server.apps[app.instance].backs_up
    )


def strayed(wanted: Wanted, server: Server, service: str) -> tuple[str, ...]:
    """What to say of the app of a service whose package is from elsewhere than the inventory
    says. An upgrade exchanges it, which has a copy to go back to."""
    lines = []
    for app in wanted.apps:
        found = server.apps.get(app.instance)
        if app.service != service or app.absent or found is None:
            continue
        has, asked = origin(found), source_of(app) if app.source else ""
        if has != asked:
            lines.append(
                f"services.{service}.app.source: the package of {app.instance} is to come from "
                f"{asked or 'the catalog'}, and {f'is from {has}' if has else 'is not'}. To "
                "exchange it, with a copy before and checks after: releve upgrade FILE --service "
                f"{service}"
            )
    return tuple(lines)


def source_of(app: WantedApp) -> str:
    """What YunoHost is told to install: an id of the catalog, or the address of a package."""
    return commands.source_url(app.source, app.branch) if app.source else app.id


def _at(wanted: Wanted, *words: str) -> str:
    return ".".join(("hosts", wanted.host, "yunohost", *words))


def is_secret(value: Value) -> bool:
    """Whether an inventory names a secret here instead of a value."""
    return isinstance(value, str) and value.startswith("secret:")


def _settings(wanted: Wanted, server: Server) -> Iterator[Obstacle]:
    for key, value in wanted.settings.items():
        path = _at(wanted, "settings", key)
        known = server.settings.get(key)
        if known is None:
            yield Obstacle(path, "YunoHost has no such setting", "See: yunohost settings list")
        elif known.masked and not is_secret(value):
            yield Obstacle(path, "is a password", 'Write "secret:NAME"')
        elif is_secret(value) and not known.masked:
            yield Obstacle(path, "is none of what YunoHost keeps secret", "Write the value itself")
        elif not is_secret(value) and same_setting(value, known.value):
            continue
        elif (switch := SHOWN_BY.get(key)) and (state := server.settings.get(switch)):
            told = wanted.settings.get(switch, state.value)
            if same_setting(told, False) or told == "":
                yield Obstacle(path, f"is not taken while {switch} is off", "Write that, too")
    for name, port in wanted.firewall.items():
        if port.absent and name == port_id(str(wanted.port), "tcp"):
            yield Obstacle(_at(wanted, "firewall", name), "is how Relève comes in", "Leave it open")


def _domains(wanted: Wanted, server: Server) -> Iterator[Obstacle]:
    main = wanted.main_domain or server.main_domain
    leaving = {app.instance for app in wanted.apps if app.absent}
    moving = {app.instance: app.domain for app in wanted.apps if not app.absent}
    for name, domain in wanted.domains.items():
        path = _at(wanted, "domains", name)
        if domain.absent and name == main:
            yield Obstacle(path, "is the main domain", "Choose another main_domain first")
        elif domain.absent:
            here = [
                app.id
                for app in server.apps.values()
                if app.id not in leaving and moving.get(app.id, app.domain) == name
            ]
            if here:
                yield Obstacle(path, f"is used by {', '.join(here)}", "Move or remove that first")
        for key in domain.settings:
            if key not in DOMAIN_SETTINGS:
                yield Obstacle(
                    f"{path}.settings.{key}",
                    "cannot be read back from YunoHost",
                    f"Use one of: {', '.join(DOMAIN_SETTINGS)}",
                )


def _people(wanted: Wanted, server: Server) -> Iterator[Obstacle]:
    domains = {
        *server.domains,
        *((wanted.main_domain,) if wanted.main_domain else ()),
        *(name for name, domain in wanted.domains.items() if not domain.absent),
    }
    present = {
        **{n: "operators" for n, o in wanted.operators.items() if not o.absent},
        **{n: "mailboxes" for n, m in wanted.mailboxes.items() if not m.absent},
    }
    for name, table in present.items():
        path = _at(wanted, table, name)
        if name in server.groups:
            yield Obstacle(path, "is the name of a group there", "Choose another name")
        elif name not in server.names and name in ADMIN_ALIASES:
            yield Obstacle(path, "is a name that YunoHost keeps for itself", "Choose another name")
        elif name not in server.names and name in server.reserved:
            yield Obstacle(path, "is an account of the system there", "Choose another name")
    for name, mailbox in wanted.mailboxes.items():
        for alias in mailbox.aliases or ():
            local, _, domain = alias.partition("@")
            path = _at(wanted, "mailboxes", name, "aliases")
            if local in ADMIN_ALIASES:
                yield Obstacle(path, f"{alias} belongs to the admins", "Take it out")
            elif domain not in domains:
                yield Obstacle(path, f"{domain} is no domain of this server", "Add it to domains")
    for name, group in wanted.groups.items():
        path = _at(wanted, "groups", name)
        if name in SPECIAL_GROUPS:
            yield Obstacle(
                path, "is a group that YunoHost keeps itself", "Use operators, or take it out"
            )
        elif not group.absent and (name in server.names or name in present):
            yield Obstacle(path, "is the name of an account", "Choose another name")
    leaving = {name for name, operator in wanted.operators.items() if operator.absent}
    staying = present.keys() & wanted.operators.keys()
    admins = server.groups.get(ADMINS)
    if leaving and not staying and not (admins and (admins.others or admins.members - leaving)):
        yield Obstacle(_at(wanted, "operators"), "nobody would be admin", "Keep one operator")


class Names(Protocol):
    """What knows which names it has."""

    def __contains__(self, name: str, /) -> bool: ...


def strangers(wanted: Wanted, server: Server, secrets: Names) -> tuple[Obstacle, ...]:
    """Accounts that are somebody's there, and that the inventory takes for a duty's: a member who
    chose that name would lose the mailbox to others.

    An account is ours when a deploy made its password, which is among the `secrets` then;
    when it is an admin already; or when the inventory says that it was found there.
    """
    asked = {
        **{("operators", n): o.found or n in server.admins or o.absent
           for n, o in wanted.operators.items()},
        **{("mailboxes", n): m.found for n, m in wanted.mailboxes.items()},
    }  # fmt: skip
    return tuple(
        Obstacle(
            _at(wanted, table, name),
            "is the name of an account that is there already, and no deploy made it: it may be a "
            "member's",
            "Choose another name; or, if this very account is meant, write found = true",
        )
        for (table, name), known in asked.items()
        if name in server.names and not known and password_of(wanted.host, name) not in secrets
    )


def number_of(instance: str) -> int:
    """2 for "wordpress__2", 1 for "wordpress"."""
    tail = instance.rpartition("__")[2]
    return int(tail) if "__" in instance and tail.isdecimal() else 1


def will_be_called(app_id: str, taken: set[str]) -> str:
    """The name that YunoHost will give the next instance of an app: the first that is free."""
    number = 1
    while (name := app_id if number == 1 else f"{app_id}__{number}") in taken:
        number += 1
    return name


def in_order(wanted: Wanted) -> tuple[WantedApp, ...]:
    """The apps that must be there, in an order in which they get the names they must have."""
    present = [app for app in wanted.apps if not app.absent]
    return tuple(sorted(present, key=lambda app: number_of(app.instance)))


def _collide(one: tuple[str, str], other: tuple[str, str]) -> bool:
    # src/utils/app_utils.py of 12.1.25: the same address, or one at the root of the domain.
    return one[0] == other[0] and (one[1] == other[1] or "/" in (one[1], other[1]))


def _place(app: App) -> tuple[str, str]:
    return app.domain, app.path or "/"


def _apps(wanted: Wanted, server: Server) -> Iterator[Obstacle]:
    taken = set(server.apps)
    here = {app.id: _place(app) for app in server.apps.values() if app.domain}
    first: dict[str, str] = {}
    for app in in_order(wanted):
        path = f"services.{app.service}"
        if (same := first.setdefault(app.instance, app.service)) != app.service:
            yield Obstacle(
                f"{path}.app.instance",
                f"would be the app {app.instance}, as {same} is",
                f'Name each: instance = "{app.id}__2" for the second one',
            )
            continue
        found = server.apps.get(app.instance)
        place = (app.domain, app.path)
        if app.instance in server.ghosts:
            yield Obstacle(
                path,
                f"{app.instance} is listed there without being there, as after a failed restore",
                f"Remove it: yunohost app remove {app.instance}",
            )
            continue
        if since := server.unfinished.get(app.instance):
            yield Obstacle(
                path,
                f"the installation of {app.instance} began {since:%Y-%m-%d %H:%M} UTC and has not "
                "ended: it still runs, or the machine stopped in the middle of it",
                "Wait for its end. If none is under way, remove what there is of it, and deploy "
                f"again, which installs it anew: yunohost app remove {app.instance}",
            )
            continue
        if found is None:
            name = will_be_called(app.id, taken)
            taken.add(name)
            if name != app.instance:
                yield Obstacle(
                    f"{path}.app.instance",
                    f"YunoHost would call the new app {name}, not {app.instance}",
                    f'Write instance = "{name}"',
                )
        elif found.manifest != app.id:
            yield Obstacle(
                f"{path}.app.instance",
                f"{app.instance} is {found.manifest} there, not {app.id}",
                "Name the right instance",
            )
        elif found.domain and _place(found) != place and not found.changes_url:
            yield Obstacle(
                f"{path}.url",
                f"{app.instance} is at {found.url} and cannot move",
                "Write that address, or install another one",
            )
        if found is None or (found.domain and _place(found) != place):
            for other, at in here.items():
                if other != app.instance and _collide(place, at):
                    yield Obstacle(
                        f"{path}.url",
                        f"{''.join(at)} is taken by {other} there",
                        "Choose another address, or move that app first",
                    )
            for rival in in_order(wanted):
                if rival.instance != app.instance and _collide(place, (rival.domain, rival.path)):
                    yield Obstacle(
                        f"{path}.url",
                        f"YunoHost cannot have it beside that of {rival.service}: an app at the "
                        "root of a domain has it alone",
                        "Give one of them a domain of its own",
                    )
        panel = server.panels.get(app.instance)
        for key, value in app.panel.items():
            if panel is not None and key not in panel:
                yield Obstacle(
                    f"{path}.app.panel.{key}",
                    f"{app.instance} has no such option",
                    f"Known: {', '.join(sorted(panel))}"
                    if panel
                    else "It has no configuration panel: take it out",
                )
            elif panel is not None and panel[key].masked and not is_secret(value):
                yield Obstacle(f"{path}.app.panel.{key}", "is a password", 'Write "secret:NAME"')


def _permissions(wanted: Wanted, server: Server) -> Iterator[Obstacle]:
    groups = {
        *SPECIAL_GROUPS,
        *server.groups,
        *(name for name, group in wanted.groups.items() if not group.absent),
    } - {name for name, group in wanted.groups.items() if group.absent}
    asked = [
        (_at(wanted, "permissions", name), name, who) for name, who in wanted.permissions.items()
    ]
    to_come = {app.instance for app in wanted.apps if not app.absent} - server.apps.keys()
    for path, name, _ in asked:
        # What an app will bring along is not known before it is there.
        if name not in server.permissions and name.partition(".")[0] not in to_come:
            yield Obstacle(
                path, "there is no such permission", "See: yunohost user permission list"
            )
    accesses = [(f"services.{a.service}.app.access", "", a.access or ()) for a in wanted.apps]
    for path, _, who in (*asked, *accesses):
        for group in who:
            if group not in groups:
                yield Obstacle(path, f"there is no group {group}", "Add it to groups")
