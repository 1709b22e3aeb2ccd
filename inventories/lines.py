"""In which line of a TOML file a value stands. Best effort: for messages only."""

from __future__ import annotations

import re
import tomllib

from inventories.problems import Step, dotted

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]")
_PAIR = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")


def _keys(dotted: str) -> tuple[str, ...]:
    """Take a dotted key apart with the real parser, which knows the quoting."""
    try:
        value: object = tomllib.loads(f"{dotted} = 0")
    except (ValueError, RecursionError):
        return ()
    out = []
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        out.append(name)
    return tuple(out)


def line_numbers(text: str) -> dict[tuple[Step, ...], int]:
    """Given the text of a TOML file, return path -> line number, counted from 1.

    Values inside one-line tables and lists have the line of what holds them: see `line_of`.
    """
    found: dict[tuple[Step, ...], int] = {}
    counts: dict[tuple[Step, ...], int] = {}
    table: tuple[Step, ...] = ()
    for number, line in enumerate(text.split("\n"), start=1):
        start = line[:2000]  # nobody's key is longer: keep hostile files cheap
        if header := _HEADER.match(start):
            table = _keys(header[2])
            if header[1] == "[[":
                index = counts.get(table, 0)
                counts[table] = index + 1
                table = (*table, index)
            for end in range(1, len(table) + 1):
                found.setdefault(table[:end], number)
        elif pair := _PAIR.match(start):
            path = (*table, *_keys(pair[1]))
            for end in range(len(table) + 1, len(path) + 1):
                found.setdefault(path[:end], number)
    return found


def line_at(path: str, numbers: dict[tuple[Step, ...], int]) -> int | None:
    """As `line_of`, of a path as `inventories.problems.dotted` writes it."""
    around = [
        steps
        for steps in numbers
        if (place := dotted(steps)) == path or path.startswith((f"{place}.", f"{place}["))
    ]
    return numbers[max(around, key=len)] if around else None


def line_of(steps: tuple[Step, ...], numbers: dict[tuple[Step, ...], int]) -> int | None:
    """Given the steps to a value, return its line, or that of the closest thing around it."""
    for end in range(len(steps), 0, -1):
        if steps[:end] in numbers:
            return numbers[steps[:end]]
    return None
