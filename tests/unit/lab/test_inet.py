"""What inet is told."""

from __future__ import annotations

import ipaddress

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


def test_the_reverse_zone_holds_the_addresses() -> None:
    (zone,) = inet.reverse_zones(ipaddress.IPv4Network("10.213.7.0/24"))
    assert ipaddress.ip_address("10.213.7.20").reverse_pointer == f"20.{zone}"
