"""Etherpad as an app of YunoHost (etherpad_ynh): arguments, settings, copies. Pure.

The package keeps all pads in one embedded database file in its data folder and copies it while
Etherpad writes; here Etherpad stands still for that moment. The folder is part of the archive, not
beside it: the package starts Etherpad while it is restored, and waits until it runs, which it only
does once the file is its own.
"""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from platforms.yunohost.app import Setting
from platforms.yunohost.wanted import WantedApp
from roles import units as units_of
from roles.app import common
from roles.etherpad import settings as etherpad
from roles.interface import (
    Argv,
    InsideProbe,
    Quiesce,
    Restore,
    State,
)

# What the package asks for; the rest of the world reads English.
LANGUAGES = ("ca", "de", "en", "es", "fr", "gl", "hu", "it", "nl", "pt")

_START = (
    'systemctl cat -- "$1" >/dev/null 2>&1 || exit 0; systemctl start -- "$1"; shift; exec "$@"'
)


def program(service: Service, *arguments: str) -> Argv:
    """The argv, for root on the host, of a verb of files/pad.py; the port is in its settings."""
    return ("python3", etherpad.PROGRAM, ynh.install_dir(service), "-", *arguments)


def app(service: Service, inventory: Inventory) -> WantedApp:
    """Questions of the package: language, admin, password (of Etherpad's own admin page, which
    YunoHost's admins alone reach). Until 2.5 it also asks for a program, of hundreds of megabytes,
    that writes PDF files."""
    language = inventory.organisation.locale
    args = ynh.with_admin(
        service,
        inventory,
        {
            "language": language if language in LANGUAGES else "en",
            "password": f"secret:service.{service.id}.password",
        },
    )
    return ynh.app(service, args=args, if_asked={"export": "none"})


def settle(service: Service, inventory: Inventory) -> tuple[Setting, ...]:
    """The interface with a key, by which pads are counted and marked; title and first line. The
    package keeps settings.json when it updates, and fills in few of them."""
    chosen = etherpad.settings(service)
    unit = ynh.service_unit(service)
    wanted: dict[str, ynh.Value] = {"interface": "apikey", "title": chosen.title}
    if chosen.welcome:
        wanted["defaultPadText"] = f"{chosen.welcome}\n"
    names, secrets = ynh.names_of(wanted)
    return (
        Setting(
            "etherpad",
            program(service, "get", unit, names, secrets),
            program(service, "set", unit, secrets),
            wanted,
            needed=frozenset(("interface",)),
        ),
    )


def tells(service: Service) -> Setting:
    """What may have been set inside one that was found."""
    unit = ynh.service_unit(service)
    wanted: dict[str, ynh.Value] = {"title": "Etherpad", "defaultPadText": None}
    names, secrets = ynh.names_of(wanted)
    write = program(service, "set", unit, secrets)
    return Setting("etherpad", program(service, "get", unit, names, secrets), write, wanted)


def inside(service: Service, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What only the host can know."""
    return (units_of.probe(ynh.service_unit(service)), common.installed(service))


def state(service: Service, inventory: Inventory) -> State:
    """All of it with YunoHost's archive."""
    unit = ynh.service_unit(service)
    return common.state(
        service,
        quiesce=(
            Quiesce(
                units_stop(unit),
                ("sh", "-c", _START, "start", unit, *program(service, "wait")),
                1800,
                answers=False,
            ),
        ),
        counts=program(service, "counts"),
        versions=program(service, "versions"),
    )


def units_stop(unit: str) -> Argv:
    """The argv that stops a unit, if it exists."""
    return ("sh", "-c", 'systemctl stop -- "$1" || [ $? -eq 5 ]', "stop", unit)


def restore(service: Service, inventory: Inventory) -> Restore:
    """Etherpad reads its file when it starts, and then its interface must answer to us."""
    unit = ynh.service_unit(service)
    return Restore(accept=(program(service, "interface", unit),))


# Marked by a pad, as a member could have written it.
ON = common.with_program(
    program,
    own_unit=True,
    inside=inside,
    state=state,
    restore=restore,
    app=app,
    settle=settle,
    tells=tells,
)
