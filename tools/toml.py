"""Writing TOML, as much of it as we need. Reading is in the standard library (`tomllib`)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def quote(text: str) -> str:
    """Given any text, return it as a TOML basic string on one line."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def key(name: str) -> str:
    """Given a key, return it bare where TOML allows that, else quoted."""
    return name if _BARE.fullmatch(name) else quote(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key(k)} = {_value(v)}" for k, v in value.items())
        return "{ " + inside + " }" if inside else "{}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def dumps(document: Mapping[str, Any], *, depth: int = 2) -> str:
    """Given nested tables, return the TOML text.

    Tables down to `depth` get a header of their own, deeper ones stand on one line. A list of
    tables at the top becomes `[[name]]`. Raise TypeError for what TOML cannot say (None …).
    """
    lines: list[str] = []
    _table(document, (), depth, lines)
    return "\n".join(lines).strip("\n") + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...], depth: int, lines: list[str]) -> None:
    later: list[tuple[str, Any]] = []
    for name, value in table.items():
        tables = (
            isinstance(value, (list, tuple))
            and value
            and all(isinstance(v, Mapping) for v in value)
        )
        if len(path) < depth and (isinstance(value, Mapping) or (tables and not path)):
            later.append((name, value))
        else:
            lines.append(f"{key(name)} = {_value(value)}")
    for name, value in later:
        here = (*path, name)
        header = ".".join(key(part) for part in here)
        if isinstance(value, Mapping):
            # A table that only holds tables needs no header, but an empty one does.
            if (
                not value
                or not all(isinstance(v, Mapping) for v in value.values())
                or len(here) >= depth
            ):
                lines.extend(("", f"[{header}]"))
            _table(value, here, depth, lines)
        else:
            for entry in value:
                lines.extend(("", f"[[{header}]]"))
                _table(entry, here, len(here), lines)
