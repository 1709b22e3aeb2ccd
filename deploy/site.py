"""What pyinfra runs: every role of every host of the inventory, in one fixed order.

    pyinfra @releve/inventories/atelier.toml deploy/site.py

Which of the three stages run is in RELEVE_STAGES ("install,configure,activate", the default);
RELEVE_SERVICES names the only services to touch (default: all), RELEVE_LEAVE those to leave alone,
RELEVE_WHOLE the hosts that are meant as a whole all the same.

Two rules of pyinfra shape this file. It orders operations per host, by place in the code, so
the loops run over *all* roles and services of the inventory on every host, in the same order,
and skip those that are elsewhere; `host.loop` makes each turn a place of its own. And hosts wait
for each other only at an operation that all of them have, hence the barriers: the repository
must know the hosts' keys before `agent.py init` uses them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from pyinfra.context import ctx_host, ctx_state, state
from pyinfra.context import host as _host

from deploy import agent, begin, events, finish, keys
from deploy.applied import STAGES
from deploy.connector import inventory_of
from inventories.model import Host, Inventory, Service
from platforms import ops
from roles import apps, registry

host: Any = _host  # pyinfra's own annotations have gaps


def wanted_stages() -> tuple[str, ...]:
    """The stages to run, in their order. Raise ValueError for one that does not exist."""
    named = _named("RELEVE_STAGES")
    unknown = set(named) - set(STAGES)
    if unknown:
        raise ValueError(f"RELEVE_STAGES: {', '.join(sorted(unknown))}; there is {STAGES}")
    return tuple(stage for stage in STAGES if not named or stage in named)


def module_of(on: Mapping[str, Any], wanted: Host, what: str) -> Any:
    """The deploy module of a role on this host's platform. Raise RefusedError without one."""
    part = on.get(wanted.platform)
    if part is None:
        raise ops.RefusedError(f"{what} cannot stand on {wanted.platform} ({wanted.id}) yet")
    return importlib.import_module(part.deploy)


def duties(stage: str, wanted: Host, inventory: Inventory) -> None:
    """Queue the duties of the host: base, which every host has, then those it names."""
    for role in host.loop(registry.HOSTS.values()):
        if role.name == "base" or role.name in wanted.roles:
            module = module_of(role.on, wanted, role.name)
            with host.deploy(role.name, None, None):
                getattr(module, stage)(wanted, inventory)


def _named(variable: str) -> list[str]:
    return [name for name in os.environ.get(variable, "").split(",") if name]


def is_wanted(service: Service) -> bool:
    """Whether this run touches the service."""
    only = _named("RELEVE_SERVICES")
    return service.id not in _named("RELEVE_LEAVE") and (not only or service.id in only)


def is_whole(wanted: Host, inventory: Inventory) -> bool:
    """Whether this run is about all that the host has."""
    meant = not _named("RELEVE_SERVICES") or wanted.id in _named("RELEVE_WHOLE")
    return meant and all(map(is_wanted, inventory.services_on(wanted.id)))


def services(stage: str, wanted: Host, inventory: Inventory) -> None:
    """Queue the services of the host."""
    for role in host.loop(registry.SERVICES.values()):
        here = [s for s in inventory.services.values() if s.role == role.name]
        for service in host.loop(apps.in_order(here)):
            if service.host != wanted.id or not is_wanted(service):
                continue
            module = module_of(role.on, wanted, f"{service.id} ({role.name})")
            with (
                host.deploy(f"{service.id} ({role.name})", None, None),
                events.of_service(state, this_host(), service.id),
            ):
                getattr(module, stage)(service, inventory)


def site(wanted: Host, inventory: Inventory) -> None:
    """Queue everything for the current host."""
    stages = wanted_stages()
    begin.begin(this_host(), wanted, inventory)
    host.connector_data["releve_stages"] = stages
    host.connector_data["releve_all"] = is_whole(wanted, inventory)
    for stage in host.loop(STAGES):
        if stage in stages:
            duties(stage, wanted, inventory)
            services(stage, wanted, inventory)
            finish.barrier(name="Wait for the other hosts")
            with host.deploy("agent", None, None):
                getattr(agent, stage)(wanted, inventory)
            finish.barrier(name="Wait for the other hosts")
    finish.retire(name="What the inventory asks for no more")
    finish.remember(name="Remember what was applied")


def this_host() -> Any:
    """The current host itself, which stays the same one when pyinfra turns to another."""
    return ctx_host.get()  # type: ignore[no-untyped-call]


def main() -> None:
    """Queue everything for the current host; a mistake there leaves the other hosts alone."""
    this: Any = this_host()
    run: Any = ctx_state.get()  # type: ignore[no-untyped-call]
    if not any(isinstance(handler, events.Progress) for handler in run.callback_handlers):
        run.add_callback_handler(events.Progress())
        # `--yes` would skip the prediction of changes, and with it the reading ahead that the
        # fact cache lives on.
        run.check_for_changes = True
    inventory = inventory_of(host.data.releve_inventory)
    try:
        if begin.dry():
            # A plan for hosts that are new: with keys that live as long as this process, so that
            # the rest of what it would change can be compared.
            keys.fill(inventory, ops.secrets())
        site(inventory.hosts[host.data.releve_host], inventory)
    except Exception as error:  # whatever it is, it must not stop the other hosts
        begin.tell_drift(this)
        if this in run.active_hosts:
            begin.fail(run, this, error)
            return
        tell_unanswered(this)
        if not run.active_hosts:
            raise  # "No hosts remaining!": pyinfra ends here, and so do we
        return
    begin.tell_drift(this)
    if this not in run.active_hosts:
        tell_unanswered(this)


def tell_unanswered(this: Any) -> None:
    """Say at which question pyinfra gave the host up."""
    why = this.connector_data.get("releve_error") or "which, pyinfra did not say"
    if this.connector_data.get(events.LOST):
        events.emit("unreachable", host=this.name, message=why)
        return
    message = f"a question to the host had no answer: {why}\nRun that on the host to see more."
    events.emit("failed", host=this.name, message=message)


if not state.is_executing:
    main()
