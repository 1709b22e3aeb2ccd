"""Every dependency has a reason, a pinned version and hashes; every package of ours is listed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())


def name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9-]", requirement, maxsplit=1)[0].lower()


def test_each_has_a_reason_and_hashes() -> None:
    reasons = Path("docs/dependencies.md").read_text()
    direct = [name(r) for r in PROJECT["project"]["dependencies"]]
    lines = Path("requirements-dev.in").read_text().splitlines()
    for_tests = [name(line) for line in lines if line and not line.startswith("#")]
    for group, file in ((direct, "requirements.txt"), (for_tests, "requirements-dev.txt")):
        pinned = Path(file).read_text()
        for one in group:
            assert re.search(rf"^\| .*\b{one}\b.* \| \S+", reasons, re.MULTILINE), one
            assert re.search(rf"^{one}==\S+ \\\n    --hash=sha256:", pinned, re.MULTILINE), one


def test_each_package_of_ours_is_installed() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    rooms = {p.parts[0] for p in Path().glob("*/__init__.py")}
    there = {
        ".".join(p.parent.parts) for room in rooms for p in Path(room).rglob("__init__.py")
    } - {"tests", "bench"}
    assert there == listed


def test_no_registry_of_packages_is_named_in_the_tree() -> None:
    # Mirrors come from the machine's own configuration.
    for file in (
        "requirements.txt",
        "requirements-dev.txt",
        "Makefile",
        "make/venv",
        "make/packages",
    ):
        assert "://" not in Path(file).read_text(), file
