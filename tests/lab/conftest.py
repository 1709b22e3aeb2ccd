"""Labs for tests: each its own, gone afterwards; those of killed test runs are swept first."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Lab, LabError
from lab.lab import names

_numbers = itertools.count(1)
MakeLab = Callable[[], Lab]


@pytest.fixture(scope="session")
def _sweep() -> None:
    if os.geteuid() != 0:
        pytest.skip("lab tests boot real hosts: run them as root")
    for name in names():
        match = re.fullmatch(r"test-([0-9]+)-[0-9]+", name)
        if match and not Path("/proc", match[1]).exists():
            with contextlib.suppress(LabError):
                Lab(name).down()


@pytest.fixture(scope="module")
def make_lab(_sweep: None) -> Iterator[MakeLab]:
    """Call it for a `Lab` that nobody else has; it is taken down after the module's tests."""
    made: list[Lab] = []

    def make() -> Lab:
        made.append(Lab(f"test-{os.getpid()}-{next(_numbers)}"))
        return made[-1]

    yield make
    for lab in made:
        lab.down()
