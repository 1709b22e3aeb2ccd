"""Every role there is, in the one order in which they are deployed.

A new role is a folder and one name here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from roles.interface import ByName, HostRole, Role


def _service(name: str) -> Role:
    role: Role = importlib.import_module(f"roles.{name}").ROLE
    return role


def _duty(name: str) -> HostRole:
    role: HostRole = importlib.import_module(f"roles.{name}").ROLE
    return role


# Duties of hosts come before services. `base` is on every host without being written there.
HOSTS: Mapping[str, HostRole] = ByName(("base", "repository", "watch"), _duty)

# Mail first: others write and are written to by it.
SERVICES: Mapping[str, Role] = ByName(
    ("mail", "wordpress", "etherpad", "nextcloud", "discourse", "cryptpad", "app"), _service
)
