"""Changing an inventory file in place, as a careful admin would: comments and order stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tomlkit
import tomlkit.items

from inventories.load import read_text
from inventories.problems import InventoryError, Problem
from tools.files import replace_file


def change(path: Path, table: str, name: str, values: Mapping[str, str | int | None]) -> None:
    """Set `values` in `[TABLE.NAME]` of the file at `path`; None takes a key away.

    The file is replaced in one step, with its mode kept. Raise InventoryError when that table is
    not there.
    """
    document = tomlkit.parse(read_text(path))
    outer = document.get(table)
    entry = outer.get(name) if isinstance(outer, Mapping) else None
    if not isinstance(entry, (tomlkit.items.AbstractTable, tomlkit.container.OutOfOrderTableProxy)):
        problem = Problem(f"{table}.{name}", "is not in the file", "Nothing was changed.")
        raise InventoryError(path, [problem])
    for key, value in values.items():
        if value is None:
            entry.pop(key, None)
        elif entry.get(key) != value:
            entry[key] = value
    mode = path.stat().st_mode & 0o777
    replace_file(path, tomlkit.dumps(document).encode(), mode=mode)
