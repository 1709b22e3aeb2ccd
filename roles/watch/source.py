"""What the watch host needs to run the checks: our own source, and pinned dependencies.

The source is read from the folder that this very program runs from, so that the watch always
checks with the version that deployed it.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent.parent

# What `releve check` imports; the rooms that change hosts do not go to the watch.
ROOMS = ("agent", "checks", "cli", "inventories", "platforms", "roles", "tools")

# pyinfra deploys; it and what only it needs (gevent …) stay at home.
_NOT_NEEDED = {"pyinfra"}


class SourceError(Exception):
    """The checks cannot be packed from here."""


def archive(root: Path = ROOT) -> bytes:
    """The source as a .tar.gz that is the same, byte for byte, for the same files."""
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for room in ROOMS:
            for path in sorted((root / room).rglob("*")):
                if not path.is_file() or "__pycache__" in path.parts:
                    continue
                data = path.read_bytes()
                info = tarfile.TarInfo(str(path.relative_to(root)))
                info.size, info.mode = len(data), 0o644
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def requirements(root: Path = ROOT) -> str:
    """The hash-pinned lines that the checks need. Raise SourceError when there is no such file."""
    file = root / "requirements.txt"
    try:
        pinned = file.read_text()
    except FileNotFoundError:
        raise SourceError(
            f"{file} is not there, and the watch host installs its dependencies from it: deploy "
            "a watch host from a checkout of Relève, not from an installed package"
        ) from None
    return select(pinned, closure(_direct()))


def _direct() -> list[str]:
    """Names of what Relève itself asks for, as its metadata say, without what deploys."""
    lines = importlib.metadata.requires("releve") or []
    found = [Requirement(line) for line in lines]
    return [r.name for r in found if r.marker is None and _name(r.name) not in _NOT_NEEDED]


def closure(names: Iterable[str]) -> set[str]:
    """These packages and all that they need in turn, as installed here."""
    found: set[str] = set()
    waiting = [_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another Python or another system
        found.add(name)
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(_name(requirement.name))
    return found


def select(pinned: str, names: set[str]) -> str:
    """Given the text of a requirements file with hashes, return the entries of `names`."""
    entries: Mapping[str, str] = {
        _name(match[1]): match[0]
        for match in re.finditer(
            r"^([A-Za-z0-9][\w.-]*)==(?:[^\n]*\\\n)*[^\n]*\n", pinned, re.MULTILINE
        )
    }
    return "".join(entries[name] for name in sorted(entries) if name in names)


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
