"""The pages that describe an inventory name every key, rule and setting there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from inventories.fields import NAMES, RIGHT
from inventories.judge import RULES
from inventories.model import Inventory, RepositoryUrl, Settings, Timezone
from inventories.wording import problems_of
from roles.registry import SERVICES


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models(argument)


def keys(model: type[BaseModel], at: str = "") -> Iterator[str]:
    """Every key as in `hosts.*.address`."""
    for name, field in model.model_fields.items():
        if name == "id" and field.is_required():
            continue
        path = f"{at}{field.alias or name}"
        inner = [m for m in models(field.annotation) if m not in (RepositoryUrl, Settings)]
        if inner:
            named = "dict" in str(field.annotation)
            for one in inner:
                yield from keys(one, f"{path}.*." if named else f"{path}.")
        else:
            yield path


@pytest.mark.parametrize("page", ["inventory.md", "inventory.fr.md"])
def test_the_reference_is_complete(page: str) -> None:
    text = Path("docs", page).read_text(encoding="utf-8")
    sections = {
        part.split("]")[0].strip("[`").split(".")[0]: part for part in text.split("\n## `")[1:]
    }
    for key in keys(Inventory):
        table, _, rest = key.replace(".*", "").partition(".")
        where = sections[table] if rest else text
        assert f"`{rest or table}`" in where, f"{page} lacks {key}"
    for rule in RULES:
        assert f"| `{rule}` |" in text, f"{page} lacks the rule {rule}"
    for role in SERVICES.values():
        section = sections["services"].split(role.name + "\n")[-1].split("\n### ")[0]
        for name in role.settings.model_fields:
            assert f"| `{name}` |" in section, f"{page} lacks {role.name}'s {name}"


def test_what_would_be_right_is_said_of_keys_that_exist() -> None:
    known = set(keys(Inventory))
    for pattern in RIGHT:
        parent_of_known = any(k.startswith(pattern + ".") for k in known)
        assert re.sub(r"(\.\*)+$", "", pattern) in known or parent_of_known, pattern


def test_names_are_described_where_names_are_chosen() -> None:
    known = set(keys(Inventory))
    for pattern in NAMES:
        assert pattern in known or any(k.startswith(pattern + ".*.") for k in known), pattern


@pytest.mark.parametrize("role", sorted(SERVICES))
def test_what_does_not_fit_a_setting_is_told_in_our_words(role: str) -> None:
    model = SERVICES[role].settings
    for name, field in model.model_fields.items():
        for value in ("\N{SECTION SIGN} 1", ["\N{SECTION SIGN}"]):
            data = {name: value}
            try:
                model.model_validate(data)
            except ValidationError as error:
                for _, problem in problems_of(error, data, model):
                    assert "pattern" not in problem.remedy, (name, field.annotation, problem)
                    assert "Rule: " not in problem.remedy, (name, field.annotation, problem)


def test_a_time_zone_is_one_that_there_is() -> None:
    zones = TypeAdapter(Timezone)
    for name in ("UTC", "Europe/Paris", "America/Argentina/Buenos_Aires", "Etc/GMT+5"):
        assert zones.validate_python(name) == name
    for name in ("Europe/Atelier", "europe/paris", "Europe", "../Europe/Paris", "Paris", ""):
        with pytest.raises(ValidationError, match="name of a time zone"):
            zones.validate_python(name)
