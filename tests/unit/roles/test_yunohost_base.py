"""The duty "base" on YunoHost: who gets in, when a set-up would shut us out, what is probed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inventories.access import ssh_target, watch_user
from inventories.model import Host, Inventory
from roles.base import keys, server, yunohost_probes

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "KEY0" * 10 + "aaa"
OTHER = KEY[:-1] + "b"
SUDO = {"security.password.passwordless_sudo": True}


def inventory(**host: Any) -> Inventory:
    place = {"platform": "yunohost", "address": "203.0.113.9", "provider": "p", "datacenter": "d"}
    table = {"operators": {"coordination": {"person": "one"}, "keyless": {"person": "two"}}}
    table |= host.pop("yunohost", {})
    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "x", "contact": "x@example.org"},
            "people": {
                "one": {"mail": "a@example.org", "keys": [KEY], "duties": ["deploy"]},
                "two": {"mail": "b@example.org"},
            },
            "hosts": {"monts": {**place, "yunohost": table, **host}},
        }
    )


def monts(**host: Any) -> Host:
    return inventory(**host).hosts["monts"]


def test_whoever_may_open_the_door_is_tried() -> None:
    assert ssh_target(monts()).others == ("coordination", "keyless")
    target = ssh_target(monts(user="coordination"))
    assert (target.user, target.others) == ("coordination", ("keyless", "root"))
    assert watch_user(monts()) == "releve-watch"


def test_on_debian_nobody_else_is_tried_and_the_watch_is_root() -> None:
    plain = inventory().hosts["monts"].model_copy(update={"platform": "debian", "yunohost": None})
    assert ssh_target(plain).others == ()
    assert watch_user(plain) == "root"


def test_the_first_operator_with_a_key_sets_it_up() -> None:
    assert server.first_operator(monts(), inventory()) == "coordination"
    gone = {"operators": {"coordination": {"person": "one", "absent": True}}}
    assert server.first_operator(monts(yunohost=gone), inventory()) is None


@pytest.mark.parametrize(
    ("host", "own", "shut"),
    [
        ({}, KEY, "passwordless_sudo"),
        ({"yunohost": {"settings": SUDO}}, KEY, ""),
        ({"yunohost": {"settings": SUDO}}, OTHER, "belongs to none"),
        ({"yunohost": {"settings": SUDO}, "address": "10.1.2.3"}, OTHER, ""),
        ({"address": "10.1.2.3"}, KEY, ""),
        ({"address": "10.1.2.3", "user": "coordination"}, KEY, "passwordless_sudo"),
    ],
)
def test_nobody_is_shut_out_by_a_set_up(host: dict[str, Any], own: str, shut: str) -> None:
    all_of_it = inventory(**host)
    said = server.shut_out(all_of_it.hosts["monts"], all_of_it, own)
    assert shut in said
    assert bool(said) is bool(shut)


def test_keys_of_others_stay_in_roots_list() -> None:
    old = f"# mine\n{OTHER} by hand"
    assert keys.with_lines(old, [f"{KEY} one"]) == f"{old}\n{KEY} one\n".encode()
    there = f"{KEY} laptop\n"
    assert keys.with_lines(there, [f"{KEY} one"]) == there.encode()


def test_the_watch_asks_through_sudo_where_it_is_not_root() -> None:
    (line,) = keys.watchers([("eye", KEY)], sudo=True)
    assert line.startswith('restrict,command="sudo -n /usr/local/lib/releve/agent.py status" ')


def test_services_that_do_not_run_are_named() -> None:
    states = ["active"] * len(yunohost_probes.SERVICES)
    assert yunohost_probes.judge_services(0, "\n".join(states)).level == "ok"
    states[1] = "failed"
    found = yunohost_probes.judge_services(3, "\n".join(states))
    assert found.level == "critical"
    assert "slapd (failed)" in found.message
    assert yunohost_probes.judge_services(1, "").level == "unknown"


def test_what_the_diagnosis_found_is_a_warning_that_names_it() -> None:
    found = yunohost_probes.judge_diagnosis(0, json.dumps({"dnsrecords": ["a", "b"]}))
    assert found.level == "warning"
    assert "dnsrecords (2)" in found.message
    assert yunohost_probes.judge_diagnosis(0, "{}").level == "ok"
    assert yunohost_probes.judge_diagnosis(0, "gibberish").level == "unknown"
    assert yunohost_probes.judge_diagnosis(1, "{}").level == "unknown"


def test_a_portal_that_is_not_there_is_critical() -> None:
    assert yunohost_probes.judge_portal(0, '{"apps": {}}').level == "ok"
    assert yunohost_probes.judge_portal(7, "").level == "critical"
    assert yunohost_probes.judge_portal(0, "<html>").level == "critical"


def test_passwords_over_ssh_are_a_warning_with_the_setting_to_write() -> None:
    found = yunohost_probes.judge_ssh(0, "passwordauthentication yes\n")
    assert found.level == "warning"
    assert "ssh_password_authentication" in found.message
    assert yunohost_probes.judge_ssh(0, "passwordauthentication no\n").level == "ok"


def test_no_probe_starts_yunohost() -> None:
    for probe in yunohost_probes.inside(monts(), inventory()):
        assert probe.argv[0] != "yunohost"
