"""Every role there is, in the one order in which they are deployed.

A new role is a folder and one name here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from roles.interface import HostRole, Role

T = TypeVar("T")


class ByName(Mapping[str, T], Generic[T]):
    """What is known by name, and made when it is first asked for: most runs are about few roles,
    and reading all of them takes as long as reading an inventory."""

    def __init__(self, names: tuple[str, ...], make: Callable[[str], T]) -> None:
        self._names, self._make = names, make
        self._made: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


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
