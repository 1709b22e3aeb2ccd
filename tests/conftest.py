"""For every test. A slow or busy machine is no fault of what is tested: no deadline per example."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import programs_here

settings.register_profile("releve", deadline=None)
settings.load_profile("releve")


@pytest.fixture(scope="session")
def _programs(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """A folder of the programs that tests may start; None where packages are unknown: no Debian."""
    try:
        programs = programs_here.programs()
    except FileNotFoundError:
        return None
    folder = tmp_path_factory.mktemp("programs")
    for name, program in programs.items():
        (folder / name).symlink_to(program)
    return folder


@pytest.fixture(scope="module", autouse=True)
def only_programs_of_packages_that_are_asked_for(
    request: pytest.FixtureRequest, _programs: Path | None
) -> Iterator[None]:
    """A program that no package of the Makefile brings is not found, on any machine. Not for tests
    that boot hosts: what builds their image looks for programs inside of it."""
    boots = any(request.node.get_closest_marker(m) for m in ("lab", "live"))
    with pytest.MonkeyPatch.context() as patched:
        if _programs and not boots:
            patched.setenv("PATH", str(_programs))
        yield
