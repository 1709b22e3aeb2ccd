"""An inventory as it is inside a lab."""

from __future__ import annotations

import pytest

from inventories.model import Inventory
from lab.errors import LabError
from lab.inventory import Place, inside, to_boot, zones

INVENTORY = Inventory.model_validate(
    {
        "schema": 1,
        "organisation": {"name": "Atelier", "contact": "contact@atelier.example"},
        "people": {"a": {"mail": "a@atelier.example"}},
        "hosts": {
            "one": {"platform": "debian", "address": "192.0.2.1", "port": 2222, "user": "admin",
                    "provider": "p", "datacenter": "A", "roles": ["base"], "epoch": 3},
            "two": {"platform": "debian", "address": "192.0.2.2", "provider": "p",
                    "datacenter": "B"},
            "box": {"platform": "yunohost", "address": "192.0.2.3", "provider": "p",
                    "datacenter": "B"},
        },
        "repositories": {
            "near": {"url": "ssh-append://u@near.depot.example/x", "host": "two", "provider": "p",
                     "datacenter": "B"},
            "far": {"url": "ssh-append://u@far.example/x", "host": "two", "provider": "p",
                    "datacenter": "B", "address": "192.0.2.9"},
        },
        "domains": {"atelier.example": {"ttl": 7200}},
        "services": {"site": {"role": "wordpress", "host": "one", "url": "https://elsewhere.org"}},
    }
)  # fmt: skip
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK3uMX1wH9PNeftBT1wPKMPtPY8R2wsSKlVxWm/vExaK x"


def test_addresses_and_keys_change_and_what_a_host_does_stays() -> None:
    places = {
        "one": Place("10.213.1.10", "fd5e:1e7e:1::a", KEY),
        "two": Place("10.213.1.11", None, KEY),
    }
    changed = inside(INVENTORY, places, server="10.213.1.2", public_key=KEY, trust="ca.pem")
    one = changed.hosts["one"]
    assert [str(a) for a in one.addresses] == ["10.213.1.10", "fd5e:1e7e:1::a"]
    assert (one.port, one.user, one.host_key, one.roles, one.epoch) == (
        22, "root", KEY, ("base",), 3
    )  # fmt: skip
    assert changed.hosts["box"] == INVENTORY.hosts["box"]
    # Whatever way people had to them elsewhere, here they are where their host is.
    assert {repository.address for repository in changed.repositories.values()} == {None}
    assert set(changed.people) == {"a", "lab"}
    assert set(changed.domains) == {
        "atelier.example", "depot.example", "elsewhere.org", "far.example"
    }  # fmt: skip
    assert {z.dns for z in changed.domains.values()} == {"rfc2136"}
    assert {z.ttl for z in changed.domains.values()} == {30}
    # What was made here passes the model's own judgement.
    assert Inventory.model_validate_json(changed.model_dump_json(by_alias=True)) is not None
    assert set(zones(INVENTORY)) == set(changed.domains)


def test_only_debian_hosts_can_be_asked_for() -> None:
    assert [host.id for host in to_boot(INVENTORY, ["two"])] == ["two"]
    with pytest.raises(LabError, match="box \\(yunohost\\)"):
        to_boot(INVENTORY, None)
    with pytest.raises(LabError, match="no host three"):
        to_boot(INVENTORY, ["two", "three"])
