"""Labs for tests: gone afterwards; those of killed test runs are swept first."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from lab import Lab, LabError
from lab.lab import names
from recovery.drill import lab_name
from tests.lab.house import House

_numbers = itertools.count(1)
MakeLab = Callable[[], Lab]


def new_name() -> str:
    """A name for a lab or an inventory that tells later runs whose it was."""
    return f"test-{os.getpid()}-{next(_numbers)}"


# Modules that boot hosts of their own; all others visit the house.
_BY_THEMSELVES = {"test_backup", "test_lab", "test_mail", "test_story", "test_yunohost"}


class _ByHosts(LoadScopeScheduling):
    """What shares hosts runs in one test process: the house, which takes long to deploy, in one;
    in the others one module after the other of those that boot hosts of their own or none."""

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0])
        if module.parent.name != "lab" or module.stem in _BY_THEMSELVES:
            return str(module)
        return "house"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByHosts(config, log)


@pytest.fixture(scope="session")
def _sweep() -> None:
    if os.geteuid() != 0:
        pytest.skip("lab tests boot real hosts: run them as root")
    for name in names():
        match = re.fullmatch(r"test-([0-9]+)-[0-9]+|drill-test-([0-9]+)-[0-9]+-[0-9a-f]+", name)
        if match and not Path("/proc", match[1] or match[2]).exists():
            with contextlib.suppress(LabError):
                Lab(name).down()


@pytest.fixture(scope="module")
def make_lab(_sweep: None) -> Iterator[MakeLab]:
    """Call it for a `Lab` that nobody else has; it is taken down after the module's tests."""
    made: list[Lab] = []

    def make() -> Lab:
        made.append(Lab(new_name()))
        return made[-1]

    yield make
    for lab in made:
        lab.down()


@pytest.fixture
def new_file(tmp_path: Path, _sweep: None) -> Iterator[Path]:
    """Where to put an inventory for `releve drill --lab`: its lab, named after the file, is
    gone afterwards even if the test fails."""
    file = tmp_path / f"{new_name()}.toml"
    yield file
    Lab(lab_name(file)).down()


@pytest.fixture(scope="session")
def _house(_sweep: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    lab = Lab(new_name())
    # What is tested there takes longest: others wait for it, not it for them.
    with contextlib.suppress(PermissionError):
        os.nice(-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEVE_SSH_KEY", str(lab.key_file))
        patch.setenv("RELEVE_IDENTITY", str(lab.key_file))
        try:
            yield House(lab, tmp_path_factory.mktemp("house"))
        finally:
            lab.down()


@pytest.fixture(scope="module")
def house(_house: House) -> Iterator[House]:
    """Deployed, saved once, and at the module's beginning as when it was frozen. A test leaves
    it well, or says `house.reset()` first."""
    if _house.dirty:
        _house.reset()
    yield _house
    _house.dirty = True
