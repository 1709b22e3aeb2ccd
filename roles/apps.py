"""What the services of a host ask of a platform that installs apps itself. Pure, but for
`asked_of`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from inventories.judge import Judgement
from inventories.model import Inventory, Service
from platforms.yunohost.app import Needs, Setting, instance_of, options
from platforms.yunohost.obstacles import number_of
from platforms.yunohost.wanted import Wanted, WantedApp, wanted
from roles.interface import Absent, OnPlatform
from roles.registry import SERVICES


def _parts(inventory: Inventory, host_id: str) -> Iterator[tuple[Service, OnPlatform]]:
    platform = inventory.hosts[host_id].platform
    for name, role in SERVICES.items():
        on = role.on.get(platform)
        for service in inventory.services_on(host_id):
            if service.role == name and on is not None:
                yield service, on


def apps_on(inventory: Inventory, host_id: str) -> tuple[WantedApp, ...]:
    """The apps that must be on a host, in the order in which to install them."""
    return tuple(
        on.app(service, inventory)
        for service, on in _parts(inventory, host_id)
        if not isinstance(on.app, Absent)
    )


def in_order(services: Iterable[Service]) -> tuple[Service, ...]:
    """Services in the order in which their apps get the names they must have: YunoHost numbers
    the instances of an app as they come."""
    return tuple(sorted(services, key=lambda service: number_of(instance_of(service))))


def needs_of(inventory: Inventory, host_id: str, services: Collection[str] | None = None) -> Needs:
    """What the services of a host (or only these of them) ask of the server itself, taken together.
    Where two say different things of one setting, the later one's word stands."""
    found = [
        on.needs(service, inventory)
        for service, on in _parts(inventory, host_id)
        if not isinstance(on.needs, Absent) and (services is None or service.id in services)
    ]
    return Needs(
        settings={name: value for one in found for name, value in one.settings.items()},
        domains=tuple(dict.fromkeys(name for one in found for name in one.domains)),
        names={domain: names for one in found for domain, names in one.names.items()},
        mailboxes=tuple(dict.fromkeys(name for one in found for name in one.mailboxes)),
    )


def wanted_of(
    inventory: Inventory, host_id: str, services: Collection[str] | None = None
) -> Wanted:
    """What a server must be; with `services`, only as far as these are concerned: what waits
    elsewhere in the inventory, above all what is to go, is none of theirs."""
    needs = needs_of(inventory, host_id)
    whole = wanted(
        inventory,
        host_id,
        apps_on(inventory, host_id),
        settings=needs.settings,
        domains=needs.domains,
        names=needs.names,
    )
    if services is None:
        return whole
    needs = needs_of(inventory, host_id, services)
    return whole.part(
        services, settings=needs.settings, domains=needs.domains, mailboxes=needs.mailboxes
    )


def asked_of(inventory: Inventory, host_id: str) -> Wanted:
    """What a server must be as far as this run is about it (see deploy/site.py): RELEVE_SERVICES
    limits it to services unless RELEVE_WHOLE names the host; RELEVE_LEAVE names those that failed
    before and are left alone."""
    only, whole, leave = (
        [name for name in os.environ.get(variable, "").split(",") if name]
        for variable in ("RELEVE_SERVICES", "RELEVE_WHOLE", "RELEVE_LEAVE")
    )
    narrow = bool(only) and host_id not in whole
    found = wanted_of(inventory, host_id, only if narrow else None)
    return replace(found, apps=tuple(app for app in found.apps if app.service not in leave))


def lacking(inventory: Inventory) -> tuple[Judgement, ...]:
    """Role mailboxes that a service reads, and that its host is not said to have."""
    out = []
    for host in inventory.hosts.values():
        there = host.yunohost.mailboxes if host.yunohost else {}
        for service, on in _parts(inventory, host.id):
            if isinstance(on.needs, Absent) or options(service).absent:
                continue
            out += [
                Judgement(
                    "mailbox",
                    "error",
                    f"services.{service.id}.settings",
                    f"{name} is no role mailbox of {host.id}",
                    f"Add [hosts.{host.id}.yunohost.mailboxes.{name}], or name one that is there",
                )
                for name in on.needs(service, inventory).mailboxes
                if name not in there or there[name].absent
            ]
    return tuple(out)


def settings_of(service: Service, inventory: Inventory) -> tuple[Setting, ...]:
    """What must be set inside a service's app. Of one that was found on a server, and of which the
    inventory says nothing inside, only what Relève itself needs there."""
    on = SERVICES[service.role].on[inventory.hosts[service.host].platform]
    said = options(service)
    if isinstance(on.settle, Absent) or said.absent:
        return ()
    every = on.settle(service, inventory)
    if said.found and not service.settings.model_fields_set:
        every = tuple(
            replace(one, wanted={n: v for n, v in one.wanted.items() if n in one.needed})
            for one in every
        )
    return tuple(one for one in every if one.wanted)


def found_inside(inventory: Inventory, host_id: str) -> dict[str, Setting]:
    """Service → what to ask of its app when it was found there, and what its package has."""
    return {
        service.id: on.tells(service)
        for service, on in _parts(inventory, host_id)
        if not isinstance(on.tells, Absent) and options(service).found
    }


def roles_of_apps() -> dict[str, str]:
    """App of the catalog → the role that stands on it; for describing a server that is there."""
    out: dict[str, str] = {}
    for name, role in SERVICES.items():
        on = role.on.get("yunohost")
        if on is None or isinstance(on.app, Absent) or name == "app":
            continue
        table = {"role": name, "host": "x", "url": "https://x.example", "settings": role.settings()}
        inventory = Inventory.model_validate(
            {
                "schema": 1,
                "organisation": {"name": "x", "contact": "x@x.example"},
                "hosts": {
                    "x": {
                        "platform": "yunohost",
                        "address": "192.0.2.1",
                        "provider": "x",
                        "datacenter": "x",
                    }
                },
                "services": {"x": table},
            }
        )
        out[on.app(inventory.services["x"], inventory).id] = name
    return out
