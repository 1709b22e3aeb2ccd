"""Whom the checks ask about a name."""

from __future__ import annotations

import time

import pytest

from checks import dns
from checks.dns import Resolver, View
from inventories.model import Inventory
from tests.unit.inventories.examples import good

# The only server in charge of example.org, and of nothing above or below it.
SERVER = ("192.0.2.53", 53)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Inventory:
    def query(server: tuple[str, int] | None, name: str, kind: str, _: float) -> View:
        told = {"example.org NS": "ns.example.org", "ns.example.org A": SERVER[0]}
        if kind == "NS" or name == "ns.example.org":
            found = told.get(f"{name} {kind}")
            return View("resolver", frozenset([found] if found else []))
        return View(str(server), frozenset(["192.0.2.1" if server == SERVER else "192.0.2.99"]))

    monkeypatch.setattr(dns, "_query", query)
    return Inventory.model_validate({**good(), "domains": {"example.org": {}}, "services": {}})


def servers(resolver: Resolver, name: str) -> list[str]:
    return [view.server for view in resolver.views(name, "A", time.monotonic() + 5)]


def test_what_people_get_is_asked_too_but_not_right_after_a_change(asked: Inventory) -> None:
    assert servers(Resolver(asked, {}), "www.example.org") == [str(SERVER), "None"]
    assert servers(Resolver(asked, {}, in_charge=True), "www.example.org") == [str(SERVER)]


def test_a_name_in_no_declared_zone_is_asked_of_the_zone_above(asked: Inventory) -> None:
    undeclared = asked.model_copy(update={"domains": {}})
    assert servers(Resolver(undeclared, {}, in_charge=True), "a.b.example.org") == [str(SERVER)]
