"""What inet is told."""

from __future__ import annotations

import ipaddress

import pytest

from lab import inet


def test_names_outside_the_declared_domains_bring_their_own_zone() -> None:
    names = [
        "pad.atelier.example",
        "coffre.depot.example",
        "a.b.depot.example",
        "local",
        "10.0.0.1",
    ]
    assert inet.zones_of(["atelier.example"], names) == ("atelier.example", "depot.example")


def test_only_resolvers_that_a_host_can_reach_count() -> None:
    stub = "nameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\n"
    assert inet.resolvers(stub, "nameserver 192.0.2.53\n") == ("192.0.2.53",)
    assert inet.resolvers("nameserver 192.0.2.1\n", "nameserver 192.0.2.53\n") == ("192.0.2.1",)
    assert inet.resolvers(stub) == ()


@pytest.mark.parametrize("one", ["10.213.7.20", "fd5e:1e7e:7::14"])
def test_the_reverse_zone_holds_the_addresses(one: str) -> None:
    zone = inet.reverse_zone(one)
    assert ipaddress.ip_address(one).reverse_pointer.endswith(f".{zone}")
    # Another address of the lab stands in it as well, one of another lab does not.
    assert inet.reverse_zone(one[:-1] + "1") == zone
    assert inet.reverse_zone(one.replace("7", "9")) != zone
