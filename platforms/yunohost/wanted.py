"""What a YunoHost server must be, from the inventory. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from inventories.model import (
    AppOptions,
    FirewallPort,
    Group,
    Inventory,
    Mailbox,
    Service,
    YunohostDomain,
    YunohostHost,
)

# A text, a number, true or false, or "secret:NAME".
Value: TypeAlias = bool | int | str


@dataclass(frozen=True)
class WantedApp:
    """A service as an app. `args` are the answers to the manifest's questions, but for domain,
    path and who may open it, which `domain`, `path` and `access` say."""

    service: str
    id: str
    instance: str
    domain: str
    path: str
    label: str | None = None
    access: tuple[str, ...] | None = None
    args: Mapping[str, Value] = field(default_factory=dict)
    panel: Mapping[str, Value] = field(default_factory=dict)
    source: str | None = None
    branch: str | None = None
    absent: bool = False
    # Answers to what only some releases of the package ask.
    if_asked: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class WantedOperator:
    """An account of the group admins. `keys`: all its SSH keys, one line each."""

    name: str
    person: str
    keys: tuple[str, ...] = ()
    fullname: str | None = None
    domain: str | None = None
    found: bool = False
    absent: bool = False


@dataclass(frozen=True)
class Wanted:
    """What one server must be. What is not named stays as it is."""

    host: str
    port: int = 22  # of SSH: never closed
    main_domain: str | None = None
    domains: Mapping[str, YunohostDomain] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # see `app.Needs`
    settings: Mapping[str, Value] = field(default_factory=dict)
    firewall: Mapping[str, FirewallPort] = field(default_factory=dict)
    operators: Mapping[str, WantedOperator] = field(default_factory=dict)
    mailboxes: Mapping[str, Mailbox] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    permissions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    apps: tuple[WantedApp, ...] = ()

    def part(
        self,
        services: Collection[str],
        *,
        settings: Collection[str] = (),
        domains: Collection[str] = (),
        mailboxes: Collection[str] = (),
    ) -> Wanted:
        """Of all this, only the apps of `services` and what they cannot do without: their domains,
        the groups that may open them (whose members stay as they are), and the settings, domains
        and role mailboxes that are named. Nothing else of the server changes or goes."""
        apps = tuple(app for app in self.apps if app.service in services)
        instances = {app.instance for app in apps}
        permissions = {
            name: who
            for name, who in self.permissions.items()
            if name.partition(".")[0] in instances
        }
        accesses = [*(app.access or () for app in apps), *permissions.values()]
        groups = {group for who in accesses for group in who}
        boxes = {n: m for n, m in self.mailboxes.items() if n in mailboxes and not m.absent}
        names = {
            *domains,
            *(app.domain for app in apps if not app.absent),
            *(box.domain for box in boxes.values() if box.domain),
        }
        return Wanted(
            host=self.host,
            port=self.port,
            domains={n: d for n, d in self.domains.items() if n in names and not d.absent},
            names={n: more for n, more in self.names.items() if n in names},
            settings={key: value for key, value in self.settings.items() if key in settings},
            mailboxes=boxes,
            groups={n: Group() for n, g in self.groups.items() if n in groups and not g.absent},
            permissions=permissions,
            apps=apps,
        )

    @property
    def accounts(self) -> frozenset[str]:
        """The accounts that are described here: what `server.read` wants as `described`."""
        return frozenset((*self.operators, *self.mailboxes))

    @property
    def panels(self) -> tuple[str, ...]:
        """Apps in whose panel anything is to be set."""
        return tuple(app.instance for app in self.apps if app.panel and not app.absent)

    def unsaid(self, known: Mapping[str, Mapping[str, object]]) -> tuple[str, ...]:
        """Those of them whose panel must be asked itself (`server.panel_question`): instance →
        option is known of no more than `known`."""
        return tuple(
            app.instance
            for app in self.apps
            if app.instance in self.panels
            and not app.panel.keys() <= known.get(app.instance, {}).keys()
        )


def password_of(host: str, account: str) -> str:
    """The name of the secret that holds the first password of an account made by a deploy."""
    return f"host.{host}.ynh.{account}"


def wanted_app(
    service: Service,
    app_id: str | None = None,
    *,
    args: Mapping[str, Value] | None = None,
    access: Sequence[str] | None = None,
    panel: Mapping[str, Value] | None = None,
    if_asked: Mapping[str, Value] | None = None,
) -> WantedApp:
    """A service of the inventory as an app; what its role says gives way to what the file says.

    `app_id`: the role's app in the catalog; None: the inventory names it. Raise ValueError when
    nobody does.
    """
    options = service.app or AppOptions()
    chosen = options.id or app_id
    if chosen is None:
        raise ValueError(f"services.{service.id}.app.id: say which app of the catalog this is")
    return WantedApp(
        service=service.id,
        id=chosen,
        instance=options.instance or chosen,
        domain=service.domain,
        path=service.path,
        label=options.label,
        access=options.access if options.access is not None else _tuple(access),
        args={**(args or {}), **options.args},
        panel={**(panel or {}), **options.panel},
        source=options.source,
        branch=options.branch,
        absent=options.absent,
        if_asked=if_asked or {},
    )


def _tuple(words: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(words)


def wanted(
    inventory: Inventory,
    host: str,
    apps: Iterable[WantedApp] = (),
    *,
    settings: Mapping[str, Value] | None = None,
    domains: Collection[str] = (),
    names: Mapping[str, tuple[str, ...]] | None = None,
) -> Wanted:
    """What the inventory wants of the server `host`.

    `apps`: its services, as their roles make them with `wanted_app`. `settings`, `domains` and
    `names`: what roles need beside that; the inventory's own settings win.
    """
    described = inventory.hosts[host]
    table = described.yunohost or YunohostHost()
    chosen = tuple(apps)
    named = [
        *domains,
        *(app.domain for app in chosen if not app.absent),
        *(o.domain for o in table.operators.values() if o.domain and not o.absent),
        *(m.domain for m in table.mailboxes.values() if m.domain and not m.absent),
        *([table.main_domain] if table.main_domain else []),
    ]
    return Wanted(
        host=host,
        port=described.port,
        main_domain=table.main_domain,
        domains={**{name: YunohostDomain() for name in named}, **table.domains},
        names=names or {},
        settings={**(settings or {}), **table.settings},
        firewall=table.firewall,
        operators={
            name: WantedOperator(
                name,
                one.person,
                inventory.people[one.person].ssh_keys if one.person in inventory.people else (),
                one.fullname,
                one.domain,
                one.found,
                one.absent,
            )
            for name, one in table.operators.items()
        },
        mailboxes=table.mailboxes,
        groups=table.groups,
        permissions=table.permissions,
        apps=chosen,
    )
