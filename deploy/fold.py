"""What a plan shows of a change when people read it: differences of what is there in full, of what
is new the names. A blank host is hundreds of lines else, in which nobody sees what matters. Pure.

What it reads are the texts that operations tell (`platforms.ops`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from deploy.report import Change

_PACKAGES = "packages: "
_NEW = "--- /dev/null\n+++ "
_FOLDER = re.compile(r"(/[^\n]*)/: mode [0-7]+, \S+")
_PROGRAM = re.compile(r"(/usr/local/lib/releve)/[^\n]+: (?:new|another version), \d+ lines")


def packages(changes: Iterable[Change]) -> tuple[str, ...]:
    """Names of all Debian packages that these changes install, in their order."""
    named = (text.removeprefix(_PACKAGES) for text in _texts(changes) if text.startswith(_PACKAGES))
    return tuple(dict.fromkeys(name for names in named for name in names.split()))


def without_packages(changes: Iterable[Change]) -> tuple[Change, ...]:
    """The changes but for the packages; one that was nothing else is left out."""
    left = []
    for change in changes:
        details = tuple(text for text in change.details if not text.startswith(_PACKAGES))
        if details or not change.details:
            left.append(Change(change.operation, details))
    return tuple(left)


def details(texts: Sequence[str]) -> tuple[str, ...]:
    """The details of one change: folders and our own programs counted, new files named."""
    out: list[str] = []
    folders: list[str] = []
    programs = 0
    for text in texts:
        if match := _FOLDER.fullmatch(text):
            folders.append(match[1])
        elif _PROGRAM.fullmatch(text):
            programs += 1
        elif text.startswith(_NEW):
            path, _, body = text.removeprefix(_NEW).partition("\n")
            added = sum(1 for line in body.splitlines() if line.startswith("+"))
            out.append(f"{path}: new, {added} lines")
        else:
            out.append(text)
    if folders:
        top = [f for f in folders if not any(f.startswith(f"{other}/") for other in folders)]
        below = f", and {len(folders) - len(top)} below" if len(folders) > len(top) else ""
        out.insert(0, f"folders: {', '.join(top)}{below}")
    if programs:
        out.append(f"programs of Relève: {programs}")
    return tuple(out)


def _texts(changes: Iterable[Change]) -> Iterable[str]:
    return (text for change in changes for text in change.details)
