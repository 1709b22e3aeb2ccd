"""Any app of YunoHost's catalog by its id. Pure.

What no package says in a form that could be read stands in the inventory: where large data lies,
which units serve.
"""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import contextlib
from collections.abc import Mapping
from urllib.parse import urlsplit

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from platforms.yunohost.wanted import WantedApp, wanted_app
from roles import units as units_of
from roles.app import common
from roles.app import settings as chosen_of
from roles.interface import (
    Absent,
    Argv,
    Canary,
    Finding,
    HttpProbe,
    InsideProbe,
    OnPlatform,
    OutsideProbe,
    Quiesce,
    Record,
    Restore,
    State,
    TlsProbe,
)
from roles.records import address_records
from tools import urls

_STOP = 'systemctl stop -- "$@" || [ $? -eq 5 ]'
# Units that came with the app and went with it need no starting.
_START = 'for unit; do systemctl cat -- "$unit" >/dev/null 2>&1 || continue; '
_START += 'systemctl start -- "$unit"; done'


def stop(*units: str) -> Argv:
    """The argv that stops `units`, those of them that exist."""
    return ("sh", "-c", _STOP, "stop", *units)


def start(*units: str) -> Argv:
    """The argv that starts `units`, those of them that exist."""
    return ("sh", "-c", _START, "start", *units)


def judge_page(expect: tuple[int, ...], contains: str | None, status: int, body: bytes) -> Finding:
    """Judge an app's page by what the inventory says of it."""
    if status in (502, 503, 504):
        return Finding(
            "critical",
            f"nginx answers, the app behind it does not (HTTP {status}). On the host: "
            "systemctl --failed, then that unit's journal",
        )
    if status not in expect:
        wanted = " or ".join(map(str, expect))
        return Finding("critical", f"the page answers HTTP {status} instead of {wanted}")
    if contains and status == 200 and contains.encode() not in body:
        return Finding("critical", f"the page does not hold “{contains}”")
    return Finding("ok", "the page is served")


def outside(service: Service, inventory: Inventory) -> tuple[OutsideProbe, ...]:
    """The certificate, and the page by what the inventory says of it."""
    chosen = chosen_of.settings(service)
    expect, contains = chosen.expect, chosen.contains

    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
        return judge_page(expect, contains, status, body)

    return (
        TlsProbe("tls", service.domain, urlsplit(service.url).port or 443),
        HttpProbe("https", f"{service.url}/", judge, _elsewhere(service)),
    )


def _elsewhere(service: Service) -> tuple[str, ...]:
    """The names of other servers to which its address may send people: those that the inventory
    says, and where an app that is nothing but a way there leads."""
    named = chosen_of.settings(service).elsewhere
    said = ynh.options(service)
    if said.id != "redirect":
        return named
    with contextlib.suppress(ValueError):
        return (*named, urls.split(str(said.args.get("target", ""))).name)
    return named


def dns(service: Service, inventory: Inventory) -> tuple[Record, ...]:
    """Its name leads to its host."""
    return address_records(service.domain, inventory.hosts[service.host])


def app(service: Service, inventory: Inventory) -> WantedApp:
    """As the inventory says: YunoHost's id, and an answer to each of its questions. Raise
    ValueError when it says no id."""
    return wanted_app(service, access=ynh.VISITORS)


def inside(service: Service, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """Is it there, can it be saved, do its units run?"""
    return (
        common.installed(service),
        *(units_of.probe(unit, name=f"unit-{unit}") for unit in chosen_of.settings(service).units),
    )


def state(service: Service, inventory: Inventory) -> State:
    """What its packager's script gathers, and the folders that the inventory names beside it."""
    chosen = chosen_of.settings(service)
    still = chosen.data and chosen.still == "stop" and chosen.units
    return common.state(
        service,
        paths=chosen.data,
        quiesce=(Quiesce(stop(*chosen.units), start(*chosen.units), 3600),) if still else (),
        versions=common.program(service, "versions"),
    )


def restore(service: Service, inventory: Inventory) -> Restore:
    """Its packager's script starts it; the units that the inventory names are seen to."""
    units = chosen_of.settings(service).units
    return Restore(accept=(start(*units),) if units else ())


def canary(service: Service, inventory: Inventory) -> Canary:
    """A note beside its data, of ours: what its members write, only the app itself knows."""
    return Canary(
        common.program(service, "canary-plant"),
        common.program(service, "canary-find"),
        ("true",),
    )


def units(service: Service, inventory: Inventory) -> tuple[str, ...]:
    """What must not run on a host that has been replaced."""
    return (*chosen_of.settings(service).units, "nginx.service")


ON = OnPlatform(
    deploy=common.DEPLOY,
    inside=inside,
    state=state,
    restore=restore,
    canary=canary,
    units=units,
    app=app,
    settle=Absent("what can be set inside any app, its own panel sets"),
)
