"""The recordings of a real YunoHost 12.1.25: commands as they were typed, and as they ended.

`tests/contract/recordings/NNN-name.json` holds argv, exit code, both streams, seconds, a note.
Hosts, names and passwords in them are of servers made for the purpose and gone since.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from platforms.yunohost.answers import Answer

FOLDER = Path(__file__).parent / "recordings"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@dataclass(frozen=True)
class Recording:
    name: str
    answer: Answer
    seconds: float
    note: str

    @property
    def number(self) -> str:
        return self.name[:3]


@functools.cache
def recording(name: str) -> Recording:
    """Given a name, or its number, return the recording."""
    whole = next(each for each in NAMES if each == name or each[:3] == name)
    raw = json.loads((FOLDER / f"{whole}.json").read_text())
    # Two of them (379, 380) are of a connection that was cut: there was no exit code.
    code = raw["exit_code"] if isinstance(raw["exit_code"], int) else -9
    return Recording(
        whole,
        Answer(tuple(raw["argv"]), code, raw["stdout"], raw["stderr"]),
        float(raw["seconds"] or 0),
        raw["note"],
    )


def typed(argv: tuple[str, ...]) -> tuple[str, ...]:
    """An argv without what only says how to print and how long to wait."""
    out: list[str] = []
    words = iter(argv)
    for word in words:
        if word in ("--output-as", "--timeout"):
            next(words)
        elif word != "--quiet":
            out.append(word)
    return tuple(out)


def inside(name: str, command: str) -> Answer:
    """Given a recording of a shell line and the start of a yunohost command in it, return the
    answer to that command. Its exit code is the first `rc=N` in what the line printed.
    """
    whole = recording(name).answer
    line = whole.argv[2]
    start = line.index(command)
    typed_words: list[str] = []
    lexer = shlex.shlex(line[start:], posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for word in lexer:
        if re.fullmatch(r"[;&|]+|>.*", word):
            break
        typed_words.append(word)
    before, found, _ = whole.stdout.partition("rc=")
    code = int(whole.stdout[len(before) + 3]) if found else whole.exit_code
    # What the line printed before it, and did not come from the command.
    return Answer(tuple(typed_words), code, before, whole.stderr)
