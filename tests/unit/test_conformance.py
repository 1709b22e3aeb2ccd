"""Every registered role has every aspect of the interface, or says why not."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_args

import pytest

import roles
from inventories.model import AppOptions, Host, Inventory, Service
from platforms.yunohost.app import Needs, Setting
from platforms.yunohost.wanted import WantedApp
from roles.interface import (
    Absent,
    Canary,
    Dump,
    HostOnPlatform,
    HttpProbe,
    InsideProbe,
    OnPlatform,
    OutsideProbe,
    Record,
    Restore,
    Role,
    State,
    TcpProbe,
    TlsProbe,
)
from roles.registry import HOSTS, SERVICES

SAMPLE = roles.load(Path("inventories/lab.toml"))
PAIRS = [(role, platform) for role in SERVICES.values() for platform in role.on]
HOST_PAIRS = [(role, platform) for role in HOSTS.values() for platform in role.on]


def sample(role: Role, platform: str) -> tuple[Service, Inventory]:
    """A service of the role, on a host of the platform, with the role's own defaults."""
    host = SAMPLE.hosts["monts"].model_copy(update={"platform": platform})
    service = Service(
        id="essai",
        role=role.name,
        host="monts",
        url="https://essai.atelier.example",
        settings=role.settings(),
        app=AppOptions(id="hextris") if role.name == "app" else None,
    )
    inventory = SAMPLE.model_copy(
        update={"hosts": {**SAMPLE.hosts, "monts": host}, "services": {"essai": service}}
    )
    return service, inventory


def complain(aspect: object, where: str) -> Iterator[str]:
    """An aspect is a callable, or Absent with a reason that says something."""
    if isinstance(aspect, Absent):
        if len(aspect.reason.split()) < 3:
            yield f"{where} is absent without a reason"
    elif not callable(aspect):
        yield f"{where} is neither there nor Absent"


def missing_aspects(role: Role) -> list[str]:
    out = [*complain(role.outside, "outside"), *complain(role.dns, "dns")]
    if not role.on:
        out.append("it stands on no platform")
    for platform, on in role.on.items():
        for name in ("inside", "state", "restore", "canary", "units", "app", "needs", "settle"):
            out += complain(getattr(on, name), f"on {platform}: {name}")
    return out


COMMANDS = ("argv", "save", "load", "do", "undo", "counts", "versions", "plant", "find")


def texts(value: Any) -> Iterator[Any]:
    """Every argument of every command inside a value of the interface."""
    if is_dataclass(value):
        for field in fields(value):
            inner = getattr(value, field.name)
            if field.name in (
                "argv",
                "save",
                "load",
                "do",
                "undo",
                "counts",
                "versions",
            ) or field.name in ("plant", "find"):
                yield inner
            elif field.name in ("stop", "prepare", "accept"):
                yield from inner
            elif isinstance(inner, tuple):
                for part in inner:
                    yield from texts(part)


def check_commands(value: Any) -> None:
    for argv in texts(value):
        assert isinstance(argv, tuple), argv
        assert all(isinstance(word, str) and "\0" not in word for word in argv), argv
    json.dumps([list(argv) for argv in texts(value)])  # the agent's plan is JSON


@pytest.mark.parametrize("role", SERVICES.values(), ids=lambda r: r.name)
def test_no_aspect_is_left_out(role: Role) -> None:
    assert missing_aspects(role) == []
    assert SERVICES[role.name] is role
    assert role.title.en
    assert role.title.fr


def test_a_role_with_a_hole_is_refused() -> None:
    role = next(iter(SERVICES.values()))
    on = next(iter(role.on.values()))
    holed = replace(role, on={"debian": replace(on, canary=None)})  # type: ignore[arg-type]
    assert missing_aspects(holed) == ["on debian: canary is neither there nor Absent"]
    silent = replace(role, dns=Absent(""))
    assert missing_aspects(silent) == ["dns is absent without a reason"]


@pytest.mark.parametrize(("role", "platform"), PAIRS, ids=lambda v: getattr(v, "name", v))
def test_what_a_role_says_has_the_right_form(role: Role, platform: str) -> None:
    service, inventory = sample(role, platform)
    on: OnPlatform = role.on[platform]
    assert importlib.util.find_spec(on.deploy), f"{on.deploy} does not exist"
    if not isinstance(role.outside, Absent):
        probes = role.outside(service, inventory)
        assert probes
        assert all(isinstance(p, get_args(OutsideProbe)) for p in probes)
        assert len({p.name for p in probes}) == len(probes)
        for probe in probes:
            # Nothing that arrives may make a judgement raise.
            if isinstance(probe, HttpProbe):
                assert probe.url.startswith("https://")
                for status, body in ((200, b""), (500, b"\xff\x00"), (0, b"x" * 10_000)):
                    assert probe.judge(status, {}, body).level in (
                        "ok",
                        "warning",
                        "critical",
                        "unknown",
                    )
            else:
                assert isinstance(probe, (TlsProbe, TcpProbe))
    if not isinstance(role.dns, Absent):
        for record in role.dns(service, inventory):
            assert isinstance(record, Record)
            assert not record.name.endswith(".")
            if record.type in ("A", "AAAA"):
                assert all(
                    ip_address(v) in inventory.hosts["monts"].addresses for v in record.values
                )
    if not isinstance(on.inside, Absent):
        check_inside(on.inside(service, inventory))
    if not isinstance(on.state, Absent):
        check_state(on.state(service, inventory))
    if not isinstance(on.restore, Absent):
        restore = on.restore(service, inventory)
        assert isinstance(restore, Restore)
        check_commands(restore)
    if not isinstance(on.canary, Absent):
        canary = on.canary(service, inventory)
        assert isinstance(canary, Canary)
        assert canary.plant
        assert canary.find
        check_commands(canary)
    if not isinstance(on.app, Absent):
        app = on.app(service, inventory)
        assert isinstance(app, WantedApp)
        assert platform == "yunohost"
    if not isinstance(on.needs, Absent):
        assert isinstance(on.needs(service, inventory), Needs)
    if not isinstance(on.settle, Absent):
        for one in on.settle(service, inventory):
            assert isinstance(one, Setting)
            assert all(isinstance(word, str) for word in (*one.read, *one.write))
    if not isinstance(on.units, Absent):
        units = on.units(service, inventory)
        assert all(u.endswith((".service", ".timer", ".socket")) for u in units)


@pytest.mark.parametrize(("role", "platform"), HOST_PAIRS, ids=lambda v: getattr(v, "name", v))
def test_what_a_host_role_says_has_the_right_form(role: Any, platform: str) -> None:
    on: HostOnPlatform = role.on[platform]
    assert importlib.util.find_spec(on.deploy), f"{on.deploy} does not exist"
    assert [*complain(on.inside, "inside"), *complain(on.state, "state")] == []
    host = SAMPLE.hosts["coffre"]
    assert isinstance(host, Host)
    if not isinstance(on.inside, Absent):
        check_inside(on.inside(host, SAMPLE))
    if not isinstance(on.state, Absent):
        check_state(on.state(host, SAMPLE))


def check_inside(probes: tuple[InsideProbe, ...]) -> None:
    assert len({p.name for p in probes}) == len(probes)
    for probe in probes:
        check_commands(probe)
        assert 0 < probe.timeout <= 60
        for code, said in ((0, ""), (1, "{"), (127, "\x00é"), (0, "[]"), (0, "null"), (0, "{}")):
            assert probe.judge(code, said).level in ("ok", "warning", "critical", "unknown")


def check_state(state: State) -> None:
    check_commands(state)
    assert all(p.startswith("/") and ".." not in p for p in (*state.paths, *state.excludes))
    for dump in state.dumps:
        assert isinstance(dump, Dump)
        assert dump.save
        assert dump.load
        assert "/" not in dump.name
    for quiesce in state.quiesce:
        assert quiesce.do
        assert quiesce.undo
        assert quiesce.at_most > 0
