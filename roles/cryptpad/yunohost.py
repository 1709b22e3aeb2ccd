"""CryptPad as an app of YunoHost (cryptpad_ynh): settings, copies. Pure.

All its data lies in its own folder, which the package saves whole. It only ever adds to its
files, so that nothing has to stand still. People's content is encrypted in their browsers: who
runs the server cannot read or export it, only each member can.
"""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from platforms.yunohost.app import Needs, Setting
from platforms.yunohost.wanted import WantedApp
from roles import units as units_of
from roles.app import common
from roles.cryptpad import probes
from roles.cryptpad import settings as cryptpad
from roles.interface import (
    Argv,
    InsideProbe,
    Restore,
    State,
)

PROGRAM = "/usr/local/lib/releve/cryptpad/drive.py"


def program(service: Service, *arguments: str) -> Argv:
    """The argv, for root on the host, of a verb of files/drive.py."""
    return ("python3", "-IS", PROGRAM, ynh.instance_of(service), *arguments)


def app(service: Service, inventory: Inventory) -> WantedApp:
    """The package asks for a domain of its own and nothing else."""
    return ynh.app(service)


def needs(service: Service, inventory: Inventory) -> Needs:
    """A certificate for the sandbox too, which is no domain of YunoHost's: the package has YunoHost
    ask for both names (its hook cert_alternate_names)."""
    return Needs(names={service.domain: (cryptpad.sandbox(service),)})


def settle(service: Service, inventory: Inventory) -> tuple[Setting, ...]:
    """Admins' keys in config.js, the rest by decrees, as CryptPad's own panel does."""
    chosen = cryptpad.settings(service)
    wanted: dict[str, ynh.Value] = {}
    if chosen.admins:
        wanted["adminKeys"] = sorted(chosen.admins)
    if chosen.quota:
        wanted["defaultStorageLimit"] = cryptpad.size(chosen.quota)
    if chosen.upload:
        wanted["maxUploadSize"] = cryptpad.size(chosen.upload)
    if chosen.closed is not None:
        wanted["restrictRegistration"] = chosen.closed
    if chosen.contact:
        wanted["adminEmail"] = chosen.contact
    if chosen.inactive_days:
        wanted["inactiveTime"] = chosen.inactive_days
    return (ynh.setting("cryptpad", program(service), wanted),)


def tells(service: Service) -> Setting:
    """What may have been set inside one that was found."""
    names = (
        "defaultStorageLimit", "maxUploadSize", "restrictRegistration", "adminEmail",
        "inactiveTime",
    )  # fmt: skip
    wanted: dict[str, ynh.Value] = {"adminKeys": [], **dict.fromkeys(names)}
    return ynh.setting("cryptpad", program(service), wanted)


def inside(service: Service, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What only the host can know."""
    return (
        units_of.probe(ynh.service_unit(service)),
        InsideProbe("sandbox-name", program(service, "sandbox"), probes.judge_sandbox),
        common.installed(service),
    )


def state(service: Service, inventory: Inventory) -> State:
    """All of it with YunoHost's archive."""
    return common.state(
        service, counts=program(service, "counts"), versions=program(service, "versions")
    )


def restore(service: Service, inventory: Inventory) -> Restore:
    """It answers again."""
    return Restore(accept=(program(service, "wait"),))


# Marked by a file in its store, read back as a browser gets it. A document could only be written
# with a member's keys.
ON = common.with_program(
    program,
    own_unit=True,
    inside=inside,
    state=state,
    restore=restore,
    app=app,
    needs=needs,
    settle=settle,
    tells=tells,
)
