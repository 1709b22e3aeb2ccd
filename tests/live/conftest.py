"""The stage for the story on a real YunoHost: `make live`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.live.story import Offered, Story, said
from tools.files import replace_file


@pytest.fixture(scope="session")
def story() -> Iterator[Story]:
    """Skips when no server is offered."""
    if not (said("HOST") and said("KEY")):
        pytest.skip("nobody offers a server: make live HOST=root@ADDRESS KEY=FILE")
    lab = Lab("live", progress=lambda text: print(f"  {text}", flush=True))
    with tempfile.TemporaryDirectory(prefix="releve-live-") as folder:
        # ssh refuses a key that others may read.
        key = Path(folder) / "key"
        replace_file(key, Path(said("KEY")).expanduser().read_bytes())
        os.environ["RELEVE_SSH_KEY"] = os.environ["RELEVE_IDENTITY"] = str(key)
        with Story(Offered.parse(said("HOST")), key, lab, said("DOMAIN")) as story:
            yield story


@pytest.fixture(scope="session")
def blanks() -> tuple[Offered, ...]:
    """The blank servers that are offered: the first is for the rebuild, the next for the drill."""
    return tuple(Offered.parse(text) for text in said("BLANK").replace(",", " ").split())
