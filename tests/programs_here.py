"""Which programs tests may start on this machine: those of the packages that the Makefile asks for.

Who writes a test has more installed than a new machine has, and would not notice.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lab.requirements import PROGRAMS

MAKEFILE = Path(__file__).resolve().parents[1] / "Makefile"
# What the README asks for before anything is typed; python3-venv: make/venv.
GIVEN = frozenset({"git", "make", "python3", "python3-venv"})
_LISTS = Path("/var/lib/dpkg/info")
_FORMAT = "${Package}|${Essential}|${Provides}|${Pre-Depends}, ${Depends}\n"


def asked_for(makefile: str) -> frozenset[str]:
    """The packages in a Makefile's lines `make/packages PACKAGE "REASON" PACKAGE "REASON"…`."""
    lines = re.findall(r"^\t@make/packages ([^$\n]*)$", makefile.replace("\\\n", ""), re.MULTILINE)
    return frozenset(re.findall(r'([a-z0-9][a-z0-9.+-]+)\s+"[^"]*"', " ".join(lines)))


def brought(wanted: Iterable[str], installed: str) -> frozenset[str]:
    """`wanted` and Debian's essential packages with all that they depend on, as far as it is
    installed. `installed`: dpkg-query's answer in _FORMAT."""
    todo = list(wanted)
    needs: dict[str, list[str]] = {}
    providers: dict[str, list[str]] = {}
    for line in installed.splitlines():
        package, essential, provides, depends = line.split("|", 3)
        needs[package] = _names(depends)
        for name in (package, *_names(provides)):
            providers.setdefault(name, []).append(package)
        todo += [package] if essential == "yes" else []
    found: set[str] = set()
    while todo:
        for package in providers.get(todo.pop(), ()):
            if package not in found:
                found.add(package)
                todo += needs[package]
    return frozenset(found)


def _names(relation: str) -> list[str]:
    """Every package in a list of dependencies, without versions and architectures."""
    bare = re.sub(r"\([^)]*\)|\[[^]]*\]|:[a-z0-9]+", "", relation)
    return re.findall(r"[a-z0-9][a-z0-9.+-]+", bare)


def programs() -> dict[str, Path]:
    """Each program that may be started, by name. Raise FileNotFoundError: this is no Debian."""
    argv = ["dpkg-query", "--show", "--showformat", _FORMAT]
    installed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    packages = brought(GIVEN | asked_for(MAKEFILE.read_text()) | PROGRAMS.keys(), installed)
    files: set[str] = set()
    for list_ in _LISTS.glob("*.list"):
        if list_.stem.partition(":")[0] in packages:
            # /bin is /usr/bin, whatever a package says.
            files |= {re.sub(r"^/(s?bin)/", r"/usr/\1/", f) for f in list_.read_text().split("\n")}
    return {
        one.name: one
        for folder in (Path("/usr/sbin"), Path("/usr/bin"))
        for one in folder.iterdir()
        # One of several (awk, nc) is a link to the one that is chosen.
        if str(one) in files or str(one.resolve()) in files
    }
