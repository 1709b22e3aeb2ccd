"""What all services that are apps of a YunoHost server share: names, places, what must be
installed, what must be set afterwards. Pure; a role's `yunohost.py` fills it in.

Places on a server (packaging format 2, helpers 2.1): code in /var/www/INSTANCE, large data in
/home/yunohost.app/INSTANCE, what YunoHost knows of an app in /etc/yunohost/apps/INSTANCE. An
instance is the first "wordpress" or one of its later sisters, "wordpress__2".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inventories.model import AppOptions, Host, Inventory, Service
from platforms.yunohost.answers import Answer
from platforms.yunohost.wanted import WantedApp, password_of, wanted_app

Argv = tuple[str, ...]
Scalar = bool | int | str

FOLDER = "/usr/local/lib/releve/yunohost"
# Runs a command of an app as the app does: its user, its PHP or Node, its folder. See its text.
AS_APP = f"{FOLDER}/as-app"
VISITORS = ("visitors",)


@dataclass(frozen=True)
class Needs:
    """What a service asks of the server itself, beside an app."""

    settings: Mapping[str, Scalar] = field(default_factory=dict)  # `yunohost settings`
    domains: tuple[str, ...] = ()
    # Domain -> names that its certificate must hold as well; the app's package asks for them.
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mailboxes: tuple[str, ...] = ()  # accounts that must be among the host's role mailboxes


@dataclass(frozen=True)
class Secret:
    """A wanted value that stands in the secrets file under this name."""

    name: str


Value = Scalar | Sequence[Any] | Mapping[str, Any] | Secret | None


@dataclass(frozen=True)
class Setting:
    """Things that must have certain values inside an app, asked for and set together.

    `read` prints one JSON object, name -> value now, of the names in `wanted`; of a secret only
    its `fingerprint`. `write` gets {name: value} on its standard input, sets what differs, reads
    it back, and fails with the names that are not as wanted. Both may be repeated.
    """

    name: str  # "occ", for people
    read: Argv
    write: Argv
    wanted: Mapping[str, Value]
    # Those of `wanted` without which nothing can be counted or marked in the app.
    needed: frozenset[str] = frozenset()


def fingerprint(name: str, value: str) -> str:
    """What a program on a host tells of a secret instead of the secret: always the same for one
    value, and slow to guess from."""
    salt = f"releve:{name}".encode()
    found = hashlib.scrypt(value.encode(), salt=salt, n=2**12, r=8, p=1, dklen=18)
    return f"scrypt:{found.hex()}"


def names_of(wanted: Mapping[str, Value]) -> tuple[str, str]:
    """The two last arguments of `read`, as JSON: all names, and those of secrets."""
    secrets = sorted(n for n, v in wanted.items() if isinstance(v, Secret))
    return json.dumps(sorted(wanted)), json.dumps(secrets)


def setting(name: str, program: Argv, wanted: Mapping[str, Value]) -> Setting:
    """The setting that `program`'s verbs `get NAMES SECRETS` and `set SECRETS` look after."""
    every, secrets = names_of(wanted)
    return Setting(name, (*program, "get", every, secrets), (*program, "set", secrets), wanted)


def resolved(one: Setting, secret: Callable[[str], str]) -> dict[str, Any]:
    """The wanted values with the secrets put in: what `write` gets. Raise what `secret` raises."""
    return {n: secret(v.name) if isinstance(v, Secret) else v for n, v in one.wanted.items()}


def differences(
    one: Setting, exit_code: int, stdout: str, secret: Callable[[str], str]
) -> tuple[str, ...]:
    """What is not as wanted, a line each for people; empty when all is well.

    An answer that cannot be read counts as different: an app that is not installed yet, or does
    not start. No line holds a secret.
    """
    try:
        now = json.loads(stdout) if exit_code == 0 else None
    except ValueError:
        now = None
    if not isinstance(now, dict):
        return (f"{one.name}: {', '.join(one.wanted)} (cannot be asked yet)",) if one.wanted else ()
    lines = []
    for name, value in one.wanted.items():
        here = now.get(name)
        if isinstance(value, Secret):
            if here != fingerprint(name, secret(value.name)):
                lines.append(f"{one.name}: {name}: secret, not shown")
        elif not same(here, value):
            lines.append(f"{one.name}: {name}: {_shown(here)} -> {_shown(value)}")
    return tuple(lines)


def set_by_somebody(one: Setting, answer: Answer) -> tuple[str, ...]:
    """What is set inside an app otherwise than its package has it (`wanted`), a line each."""
    try:
        now = json.loads(answer.stdout) if answer.exit_code == 0 else None
    except ValueError:
        now = None
    if not isinstance(now, dict):
        why = next((line for line in reversed(answer.stderr.splitlines()) if line.strip()), "")
        return (f"it could not be asked: {why[:200] or f'exit {answer.exit_code}'}",)
    return tuple(
        f"{name} is {_shown(now[name])}"
        for name, usual in one.wanted.items()
        if now.get(name) not in (None, "", [], {}) and not same(now[name], usual)
    )


def same(here: object, wanted: object) -> bool:
    """Whether two values mean the same. Apps keep most as text: "1" is 1, "yes" is true."""
    if isinstance(wanted, bool) or isinstance(here, bool):
        return _truth(here) is _truth(wanted) is not None
    if isinstance(wanted, (int, str)) and isinstance(here, (int, str)):
        return str(here) == str(wanted)
    return here == wanted


def _truth(value: object) -> bool | None:
    text = str(value).lower()
    if text in ("true", "1", "yes", "t", "on", "enabled"):
        return True
    return False if text in ("false", "0", "no", "f", "off", "", "none", "disabled") else None


def _shown(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:117]}…"


# --- one service -----------------------------------------------------------------------------


def options(service: Service) -> AppOptions:
    """What the inventory says of the service as an app."""
    return service.app or AppOptions()


def instance_of(service: Service) -> str:
    """The app's instance: as the inventory says, else the id in the catalog, which is the role's
    name where the inventory says none."""
    said = options(service)
    return said.instance or said.id or service.role


def install_dir(service: Service) -> str:
    """Where the app's code lies."""
    return f"/var/www/{instance_of(service)}"


def data_dir(service: Service) -> str:
    """Where an app with large data keeps it."""
    return f"/home/yunohost.app/{instance_of(service)}"


def app(
    service: Service,
    *,
    id: str | None = None,
    args: Mapping[str, Scalar] | None = None,
    access: tuple[str, ...] = VISITORS,
    panel: Mapping[str, Scalar] | None = None,
    if_asked: Mapping[str, Scalar] | None = None,
) -> WantedApp:
    """The app of a service: what its role says, and the inventory's own words before that. `id`:
    where the catalog has it under another name than the role's. `if_asked`: answers to what only
    some releases of the package ask."""
    return wanted_app(
        service, id or service.role, args=args, access=access, panel=panel, if_asked=if_asked
    )


def host_of(service: Service, inventory: Inventory) -> Host:
    """The host that the service stands on."""
    return inventory.hosts[service.host]


def main_domain(service: Service, inventory: Inventory) -> str:
    """The server's main domain; the service's own where the inventory names none."""
    server = host_of(service, inventory).yunohost
    return (server.main_domain if server else None) or service.domain


def admin(service: Service, inventory: Inventory) -> str | None:
    """The first account of an operator: who is asked for as an app's first administrator."""
    server = host_of(service, inventory).yunohost
    accounts = server.operators if server else {}
    return next((name for name, about in accounts.items() if not about.absent), None)


def with_admin(
    service: Service, inventory: Inventory, args: Mapping[str, Scalar] | None = None
) -> dict[str, Scalar]:
    """`args` with an administrator where there is one to name. Without, the question stays open,
    and who installs says so."""
    name = admin(service, inventory)
    return {**(args or {}), **({"admin": name} if name else {})}


def mail_of(account: str, service: Service, inventory: Inventory) -> str:
    """The address of a role mailbox of the service's host."""
    server = host_of(service, inventory).yunohost
    box = server.mailboxes.get(account) if server else None
    return f"{account}@{(box.domain if box else None) or main_domain(service, inventory)}"


def password(account: str, service: Service) -> Secret:
    """Where the first password of an account of the service's host stands."""
    return Secret(password_of(service.host, account))


def as_app(service: Service, *argv: str) -> Argv:
    """`argv` run as the service's app: see files/as-app for "{php}" and the folders."""
    return (AS_APP, instance_of(service), *argv)


def service_unit(service: Service) -> str:
    """The systemd unit that an app's package makes, when it has one."""
    return f"{instance_of(service)}.service"
