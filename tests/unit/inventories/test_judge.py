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
from tools.toml import dumps

TODAY = date(2026, 11, 23)


def build(tmp_path: Path, document: dict[str, Any]) -> Inventory:
    file = tmp_path / "a.toml"
    file.write_text(dumps(document))
    return load(file, {"wordpress": Settings})


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
    ("watch-place", "warning", ("hosts", "vigie", "datacenter"), "GRA"),
    ("no-watch", "warning", ("hosts", "vigie", "roles"), []),
    ("host-key", "warning", ("hosts", "monts", "host_key"), None),
    (
        "retention",
        "warning",
        ("repositories", "coffre", "keep"),
        {"within": "1d", "weekly": 0, "monthly": 0},
    ),
    ("zone", "warning", ("domains",), {}),
    ("ttl", "warning", ("domains", "atelier.example", "ttl"), 86400),
    ("platform", "warning", ("hosts", "monts", "platform"), "yunohost"),
    ("secrets-file", "warning", ("alerts",), {"a": {"url": "secret:x"}}),
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
    assert {rule for rule, *_ in CASES} == set(RULES)


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
