"""Each rule speaks when it should, is silent when not, and can be acknowledged with a date."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from inventories.judge import RULES, Judgement, judge
from inventories.load import load
from inventories.model import Inventory, Settings
from tests.unit.inventories.examples import good
from tools import channels
from tools.toml import dumps

TODAY = date(2026, 11, 23)


def build(tmp_path: Path, document: dict[str, Any]) -> Inventory:
    file = tmp_path / "a.toml"
    file.write_text(dumps(document))
    return load(file, {"wordpress": Settings, "mail": Settings})


def said(tmp_path: Path, document: dict[str, Any], **known: Any) -> list[Judgement]:
    return list(judge(build(tmp_path, document), today=TODAY, **known))


def test_a_good_inventory_has_nothing_to_be_said(tmp_path: Path) -> None:
    assert said(tmp_path, good(), platforms={"wordpress": ["debian"]}, secrets_file=False) == []


HEALTH = {"name": "x", "contact": "a@b.example", "health_data": True}

CASES: list[tuple[str, str, tuple[str, ...], object]] = [
    ("repository-place", "error", ("hosts", "monts", "datacenter"), "nte "),
    ("repository-provider", "warning", ("hosts", "monts", "provider"), "AUTRE"),
    ("no-repository", "error", ("hosts", "monts", "repository"), None),
    ("hds", "error", ("organisation",), HEALTH),
    ("decrypt", "warning", ("people", "secours", "keys"), []),
    ("restore", "warning", ("people", "secours", "duties"), ["dns"]),
    ("alert-depends", "warning", ("alerts",), {"a": {"url": "mailto://a:b@mx.atelier.example"}}),
    (
        "alert-depends",
        "warning",
        ("alerts",),
        {"a": {"url": "mailto://x.example?to=a@atelier.example"}},
    ),
    ("alert-depends", "warning", ("alerts",), {"a": {"url": "json://198.51.100.10/x"}}),
    ("alert-token", "warning", ("alerts",), {"a": {"url": "ntfy://tk_0123456789abcdef0123/sujet"}}),
    ("alert-address", "error", ("alerts",), {"a": {"url": "smoke://signal"}}),
    ("alert-address", "error", ("alerts",), {"a": {"url": "équipe"}}),
    ("watch-place", "warning", ("hosts", "vigie", "datacenter"), "GRA"),
    ("no-watch", "warning", ("hosts", "vigie", "roles"), []),
    ("host-key", "warning", ("hosts", "monts", "host_key"), None),
    ("host-address", "error", ("hosts", "monts", "address"), "127.0.0.1"),
    ("host-address", "error", ("hosts", "monts", "address6"), "fe80::1"),
    ("same-host", "error", ("hosts", "vigie", "address"), "198.51.100.10"),
    (
        "retention",
        "warning",
        ("repositories", "coffre", "keep"),
        {"within": "1d", "weekly": 0, "monthly": 0},
    ),
    ("zone", "warning", ("domains",), {}),
    ("url-path", "error", ("services", "site", "url"), "https://atelier.example/wiki"),
    ("ttl", "warning", ("domains", "atelier.example", "ttl"), 86400),
    ("platform", "warning", ("hosts", "monts", "platform"), "yunohost"),
    ("secrets-file", "warning", ("alerts",), {"a": {"url": "secret:x"}}),
    ("trust-file", "error", ("certificates",), {"trust": "ca.pem"}),
]


@pytest.mark.parametrize(("rule", "level", "steps", "value"), CASES)
def test_each_rule_speaks_and_can_be_acknowledged(
    tmp_path: Path, rule: str, level: str, steps: tuple[str, ...], value: object
) -> None:
    document = good()
    place: Any = document
    for step in steps[:-1]:
        place = place[step]
    if value is None:
        del place[steps[-1]]
    else:
        place[steps[-1]] = value
    known: dict[str, Any] = {"platforms": {"wordpress": ["debian"]}, "secrets_file": False}
    known["channel"] = channels.understood
    known["trust_file"] = "trust" not in document.get("certificates", {})
    found = said(tmp_path, document, **known)
    about = [j for j in found if j.rule == rule]
    assert [j.level for j in about] == [level], found
    assert about[0].message
    assert about[0].remedy

    document["acknowledge"] = [
        {"rule": rule, "by": "coordination", "date": TODAY, "reason": "Known"}
    ]
    assert [j for j in said(tmp_path, document, **known) if j.rule == rule] == []
    document["acknowledge"][0]["path"] = "hosts.elsewhere"
    assert [j for j in said(tmp_path, document, **known) if j.rule == rule] == about


def test_every_rule_is_tried() -> None:
    # Those that are about YunoHost servers have tests of their own below.
    others = {"yunohost", "instances", "domain-in-use", "operators", "mail-unnamed"}
    assert {rule for rule, *_ in CASES} | others == set(RULES)


def test_nobody_is_an_error(tmp_path: Path) -> None:
    document = good()
    for person in document["people"].values():
        person["keys"], person["duties"] = [], []
    found = {j.rule: j.level for j in said(tmp_path, document)}
    assert found == {"decrypt": "error", "restore": "error"}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"rule": "hdss"}, "acknowledge[0].rule"),
        ({"date": date(2026, 11, 24)}, "acknowledge[0].date"),
        ({"date": date(2025, 1, 1), "until": date(2026, 11, 22)}, "acknowledge[0].until"),
        ({"until": date(2026, 11, 1)}, "acknowledge[0].until"),
    ],
)
def test_an_acknowledgement_that_does_not_hold_is_an_error_and_silences_nothing(
    tmp_path: Path, change: dict[str, Any], path: str
) -> None:
    document = good()
    document["organisation"]["health_data"] = True
    entry = {"rule": "hds", "by": "coordination", "date": TODAY, "reason": "x", **change}
    document["acknowledge"] = [entry]
    found = said(tmp_path, document)
    assert [(j.rule, j.path) for j in found if j.level == "error"] == [
        ("acknowledgement", path),
        ("hds", "repositories.coffre"),
    ]


def on_yunohost() -> dict[str, Any]:
    document = good()
    document["hosts"]["monts"]["platform"] = "yunohost"
    document["hosts"]["monts"]["yunohost"] = {
        "main_domain": "atelier.example",
        "operators": {"claire": {"person": "coordination"}},
    }
    document["services"]["mail"] = {
        "role": "mail",
        "host": "monts",
        "url": "https://atelier.example/yunohost/sso",
    }
    return document


def rules(tmp_path: Path, document: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(j.rule, j.level, j.path) for j in said(tmp_path, document)]


def test_a_yunohost_server_that_is_right_has_nothing_to_be_said(tmp_path: Path) -> None:
    assert rules(tmp_path, on_yunohost()) == []


def test_a_server_whose_mail_is_no_service_loses_its_names_when_it_is_lost(tmp_path: Path) -> None:
    document = on_yunohost()
    del document["services"]["mail"]
    assert rules(tmp_path, document) == [("mail-unnamed", "warning", "hosts.monts")]


def test_what_only_yunohost_knows_is_wrong_elsewhere(tmp_path: Path) -> None:
    document = good()
    document["hosts"]["monts"]["yunohost"] = {}
    document["services"]["site"]["app"] = {"label": "x"}
    assert rules(tmp_path, document) == [
        ("yunohost", "error", "hosts.monts.yunohost"),
        ("yunohost", "error", "services.site.app"),
    ]


def test_two_services_of_one_role_need_names_of_their_own(tmp_path: Path) -> None:
    document = on_yunohost()
    document["services"]["blog"] = {
        **document["services"]["site"],
        "url": "https://b.atelier.example",
    }
    assert rules(tmp_path, document) == [("instances", "error", "services.blog")]
    document["services"]["blog"]["app"] = {"instance": "wordpress__2"}
    assert rules(tmp_path, document) == []


def test_a_domain_in_use_cannot_go(tmp_path: Path) -> None:
    document = on_yunohost()
    table = document["hosts"]["monts"]["yunohost"]
    table["domains"] = {"atelier.example": {"absent": True}}
    (found,) = said(tmp_path, document)
    assert (found.rule, found.level) == ("domain-in-use", "error")
    assert "services.site, services.mail, main_domain" in found.message


def test_an_operator_without_a_key_lets_nobody_in(tmp_path: Path) -> None:
    document = on_yunohost()
    document["people"]["coordination"]["keys"] = []
    assert ("operators", "warning", "hosts.monts.yunohost.operators") in rules(tmp_path, document)
    document = on_yunohost()
    document["hosts"]["monts"]["yunohost"]["operators"]["claire"]["absent"] = True
    assert ("operators", "warning", "hosts.monts.yunohost.operators") in rules(tmp_path, document)
