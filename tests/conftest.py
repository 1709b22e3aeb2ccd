"""For every test. A slow or busy machine is no fault of what is tested: no deadline per example."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import programs_here

settings.register_profile("releve", deadline=None)
settings.load_profile("releve")


@pytest.fixture(scope="session", autouse=True)
def only_programs_of_packages_that_are_asked_for(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A program that no package of the Makefile brings is not found, on any machine. Not for tests
    that boot hosts: what builds their image looks for programs inside of it."""
    if any(item.get_closest_marker(m) for item in request.session.items for m in ("lab", "live")):
        yield
        return
    with pytest.MonkeyPatch.context() as patched:
        try:
            programs = programs_here.programs()
        except FileNotFoundError:  # no Debian: its packages are unknown
            yield
            return
        folder = tmp_path_factory.mktemp("programs")
        for name, program in programs.items():
            (folder / name).symlink_to(program)
        patched.setenv("PATH", str(folder))
        yield
