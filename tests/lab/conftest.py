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


# What shares hosts stays in one test process. What takes longest begins first; the tests of
# recovery have a house of their own, for they take as long as all others of the house together.
_HOUSE = ("test_checks", "test_deploy", "test_services")
_LONGEST_FIRST = ("test_recovery", *_HOUSE, "test_mail", "test_story", "test_backup")
# Set where the tests marked `long` are asked for too.
_LONG = "RELEVE_TEST_LONG"


def pytest_configure(config: pytest.Config) -> None:
    """Whoever has the longest chain of tests goes first where processors are short: what is ready
    before it would leave them idle at the end."""
    if getattr(config, "workerinput", {}).get("workerid", "gw0") != "gw0":
        os.nice(5)


def pytest_report_header() -> list[str]:
    left_out = "left out: the tests marked long (make test-long runs them)"
    return [] if os.environ.get(_LONG) else [left_out]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get(_LONG):
        # Counted as left out, not as skipped: it was not asked for (make test-long).
        left = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]

    def turn(item: pytest.Item) -> int:
        name = item.path.stem if item.path.parent.name == "lab" else ""
        return _LONGEST_FIRST.index(name) if name in _LONGEST_FIRST else len(_LONGEST_FIRST)

    items.sort(key=turn)


class _ByHosts(LoadScopeScheduling):
    """Test processes share the work, one group of modules after the other in each."""

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0])
        return "house" if module.stem in _HOUSE else str(module)


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


@contextlib.contextmanager
def deployed(folder: Path, also: str = "") -> Iterator[House]:
    """A house with `also` in its inventory; its lab is taken down afterwards."""
    lab = Lab(new_name())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEVE_SSH_KEY", str(lab.key_file))
        patch.setenv("RELEVE_IDENTITY", str(lab.key_file))
        try:
            yield House(lab, folder, also)
        finally:
            lab.down()


@pytest.fixture(scope="session")
def _house(_sweep: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with deployed(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(scope="module")
def house(_house: House) -> Iterator[House]:
    """Deployed, saved once, and at the module's beginning as when it was frozen. A test leaves
    it well, or says `house.reset()` first."""
    if _house.dirty:
        _house.reset()
    yield _house
    _house.dirty = True
