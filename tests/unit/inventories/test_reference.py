"""The pages that describe an inventory name every key, rule and setting there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from inventories.fields import NAMES, RIGHT
from inventories.judge import RULES
from inventories.model import Inventory, RepositoryUrl, Settings
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
