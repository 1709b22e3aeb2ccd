"""From a TOML file to an `Inventory`, or to every problem at once; and back.

The inventory's structure is judged by the models, the references between its tables here,
and whether the whole is wise in `inventories.judge`.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from ast import literal_eval
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from inventories.lines import line_numbers, line_of
from inventories.model import Inventory, Settings
from inventories.problems import InventoryError, Problem, Step, dotted
from inventories.references import references
from inventories.wording import problems_of
from tools.files import replace_file
from tools.toml import dumps

MAX_BYTES = 1_000_000  # an inventory is written by hand
# How the parser names a table: ('hosts', 'monts').
_TABLE = re.compile(r"""\((?:(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?:, |,(?=\))|(?=\))))+\)""")


def load(
    path: Path,
    settings_models: Mapping[str, type[Settings]],
    host_roles: Collection[str] | None = None,
) -> Inventory:
    """Read and check the inventory in `path`.

    `settings_models`: service role -> model of its settings; a role that is not there is
    unknown. `host_roles`: the duties that a host may name; None lets any pass.
    Raise InventoryError with all problems; no other exception, whatever the bytes are.
    """
    text = read_text(path)
    document = parse(path, text)
    inventory: Inventory | None = None
    problems = _check_schema(document)
    if not problems:
        inventory, problems = _build(document, settings_models)
        problems += references(document, settings_models.keys(), host_roles)
    if problems or inventory is None:
        numbers = line_numbers(text)
        found: dict[Problem, int | None] = {}
        for steps, problem in problems:
            found.setdefault(problem, line_of(steps, numbers))
        placed = [Problem(p.path, p.message, p.remedy, line) for p, line in found.items()]
        raise InventoryError(path, sorted(placed, key=lambda p: p.line or 0))
    return inventory


def read_text(path: Path) -> str:
    """The text of an inventory file. Raise InventoryError when it cannot be read as text."""

    def wrong(message: str, remedy: str, line: int | None = None) -> InventoryError:
        return InventoryError(path, [Problem("", message, remedy, line)])

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise wrong("there is no such file", "Give the path of an inventory") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise wrong(f"cannot be read: {reason}", "Give the path of a readable file") from None
    if len(data) > MAX_BYTES:
        raise wrong("is larger than 1 MB", "An inventory is a small text file: is this one?")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise wrong(
            f"is not UTF-8 text (byte {data[error.start]:#04x} in line {line})",
            "Save it as UTF-8 in your editor",
            line,
        ) from None


def parse(path: Path, text: str) -> dict[str, Any]:
    """Parse TOML. Raise InventoryError with the line where it stops being TOML."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        reason, line = "tables or lists are nested too deeply", None
    except ValueError as error:  # TOMLDecodeError, and numbers that are too long
        reason = str(error)
        match = re.search(r" \(at line (\d+), column (\d+)\)$", reason)
        line = int(match[1]) if match else None
        if match:
            reason = f"{reason[: match.start()]}, in line {match[1]}, column {match[2]}"
            reason = _TABLE.sub(lambda table: f"[{dotted(literal_eval(table[0]))}]", reason)
        elif reason.endswith("(at end of document)"):
            line = text.count("\n") + 1
    problem = Problem(
        "",
        f"is not TOML: {reason}",
        'Each line is a [table] or a pair such as name = "value"; texts stand in double quotes',
        line,
    )
    raise InventoryError(path, [problem])


def _check_schema(document: Mapping[str, Any]) -> list[tuple[tuple[Step, ...], Problem]]:
    if "schema" not in document:
        return [
            (
                (),
                Problem("schema", "is missing", 'Write "schema = 1" as the first line of the file'),
            )
        ]
    schema = document["schema"]
    if isinstance(schema, bool) or schema != 1:
        later = isinstance(schema, int) and not isinstance(schema, bool) and schema > 1
        message = "was written for a later version of Relève" if later else "is not a known version"
        remedy = "Update Relève, or write schema = 1" if later else "Write schema = 1"
        return [(("schema",), Problem("schema", message, remedy))]
    return []


def _build(
    document: Mapping[str, Any], models: Mapping[str, type[Settings]]
) -> tuple[Inventory | None, list[tuple[tuple[Step, ...], Problem]]]:
    """Validate settings with the role's model, then the whole with ours."""
    problems: list[tuple[tuple[Step, ...], Problem]] = []
    document = dict(document)
    services = document.get("services")
    if isinstance(services, dict):
        built: dict[str, Any] = {}
        for name, service in services.items():
            role = service.get("role") if isinstance(service, dict) else None
            model = models.get(role) if isinstance(role, str) else None
            if not isinstance(service, dict):
                built[name] = service
                continue
            settings = service.get("settings", {})
            at: tuple[Step, ...] = ("services", name, "settings")
            if model is None:
                # The role is the problem, and reported as such; its settings cannot be judged.
                settings = Settings()
            else:
                try:
                    settings = model.model_validate(settings)
                except ValidationError as error:
                    problems += problems_of(error, settings, model, prefix=at)
                    settings = Settings()
            built[name] = {**service, "settings": settings}
        document["services"] = built
    try:
        return Inventory.model_validate(document), problems
    except ValidationError as error:
        return None, problems + problems_of(error, document, Inventory)


def plain(inventory: Inventory) -> dict[str, Any]:
    """The inventory as TOML would hold it: no defaults, no ids beside the keys they repeat."""
    data = inventory.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    for table in data.values():
        if isinstance(table, dict):
            for entry in table.values():
                if isinstance(entry, dict):
                    entry.pop("id", None)
                    if entry.get("settings") == {}:
                        del entry["settings"]
    for entry in data.get("acknowledge", ()):
        for name in ("date", "until"):
            if name in entry:
                entry[name] = date.fromisoformat(entry[name])
    return {"schema": data.pop("schema"), **data}


def dump(inventory: Inventory, path: Path) -> None:
    """Write an inventory as TOML (0644, in one step); `load` reads an equal one from it."""
    replace_file(path, dumps(plain(inventory)).encode(), mode=0o644)


def digest(inventory: Inventory) -> str:
    """The sha256, in hexadecimal, of what the inventory means: comments, the order of keys and
    defaults that are written out make no difference."""
    data = inventory.model_dump(mode="json", by_alias=True)
    text = json.dumps(data, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
