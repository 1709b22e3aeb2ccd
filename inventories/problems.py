"""What is wrong with an inventory, said so that somebody who did not write it can mend it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.toml import key

Step = str | int


@dataclass(frozen=True)
class Problem:
    """One error: where (path and line, when known), what is wrong, what would be right."""

    path: str
    message: str
    remedy: str
    line: int | None = None


class InventoryError(Exception):
    """An inventory that cannot be used. Holds every problem, in the order of the file."""

    exit_code = 64

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> Iterable[str]:
        """One line per problem, as compilers write them, so that editors can jump there."""
        for problem in self.problems:
            place = f"{self.file}:{problem.line}" if problem.line else f"{self.file}"
            path = f"{problem.path}: " if problem.path else ""
            yield f"{place}: {path}{problem.message}. {problem.remedy}."


def printable(text: str) -> str:
    """Given any text, return it without characters that could command or mislead a terminal."""
    return "".join(
        c if unicodedata.category(c)[0] not in "CZ" or c == " " else f"\\u{ord(c):04x}"
        for c in text
    )


def shown(value: object) -> str:
    """Given any value of a file, return it for a message: quoted, at most 60 characters."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    text = printable(text.lower() if isinstance(value, bool) else text)
    return text if len(text) <= 60 else text[:57] + "…" + ('"' if isinstance(value, str) else "")


def dotted(steps: Iterable[Step]) -> str:
    """Given the steps to a value, return them as in `services.forum.url` or `people.x.keys[0]`."""
    out = ""
    for step in steps:
        if isinstance(step, int):
            out += f"[{step}]"
        else:
            out += ("." if out else "") + printable(key(step))
    return out
