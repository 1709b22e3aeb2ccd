"""What a deploy queues for each host, gathered without pyinfra: the roles' deploy modules, run
with the shared operations replaced by lists."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from deploy import keys
from inventories.model import Inventory
from inventories.secrets import Secrets
from platforms import ops
from platforms.debian import ops as debian
from platforms.debian.steps import Step
from roles.registry import HOSTS, SERVICES


@dataclass
class Queued:
    """Files and other items, steps, and what is tested before it is loaded, in their order."""

    items: list[ops.Item] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    loads: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return {item.path: item.content for item in self.items if isinstance(item, ops.File)}


@contextmanager
def _gathering(into: Queued, data: Any, secrets: Secrets) -> Iterator[None]:
    """The shared operations fill `into`."""

    def packages(names: Sequence[str], first: Sequence[ops.Item] = (), **_: Any) -> None:
        into.items += first

    def tested(file: ops.File, test: str, load: str, holds: str, **_: Any) -> None:
        into.items.append(file)
        into.loads.append((test, load, holds))

    asked: set[str] = set()

    def once(key: str) -> bool:
        first = key not in asked
        asked.add(key)
        return first

    nothing = SimpleNamespace(data=data, connector=None, connector_data={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "place", lambda items, **_: into.items.extend(items))
        patch.setattr(ops, "packages", packages)
        patch.setattr(ops, "tested", tested)
        patch.setattr(ops, "units", lambda **_: None)
        patch.setattr(ops, "installed", set)
        patch.setattr(ops, "secrets", lambda: secrets)
        patch.setattr(debian, "ensure", lambda wanted, **_: into.steps.extend(wanted))
        patch.setattr(debian, "look", lambda **_: None)
        patch.setattr(debian, "once", once)
        patch.setattr(debian, "host", nothing)
        for module, names in (
            ("roles.base.deploy", ()),
            ("roles.repository.deploy", ("_users",)),
            ("roles.watch.deploy", ("_version",)),
        ):
            loaded = importlib.import_module(module)
            patch.setattr(loaded, "target", nothing)
            for name in names:
                patch.setattr(loaded, name, lambda **_: None)
        yield


def queued(inventory: Inventory, host_id: str, file: Any, secrets: Secrets) -> Queued:
    """All that a deploy queues for a Debian host of the inventory, whose file is `file`."""
    out = Queued()
    host = inventory.hosts[host_id]
    keys.fill(inventory, secrets)
    data = SimpleNamespace(releve_inventory=str(file), get={"releve_inventory": str(file)}.get)
    with _gathering(out, data, secrets):
        for stage in ("install", "configure", "activate"):
            for duty in HOSTS.values():
                if duty.name == "base" or duty.name in host.roles:
                    module = importlib.import_module(duty.on["debian"].deploy)
                    getattr(module, stage)(host, inventory)
            for role in SERVICES.values():
                for service in inventory.services_on(host_id):
                    if service.role == role.name:
                        module = importlib.import_module(role.on["debian"].deploy)
                        getattr(module, stage)(service, inventory)
    return out
