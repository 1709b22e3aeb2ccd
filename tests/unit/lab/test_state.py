"""What a lab remembers, and how it numbers its hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import state
from lab.errors import LabError


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    current = state.LabState(id="abc", index=3, zones=("atelier.example",))
    current.hosts["a"] = state.HostState(10, "A", ("image", "layer"), disk=5, loss=1.5, gone=True)
    current.link("A")
    current.delays["A"] = 20.0
    state.save(current, tmp_path / "state.json")
    assert state.load(tmp_path / "state.json") == current
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0
    assert state.load(tmp_path / "none.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}', '{"hosts": {"a": {"octet": 1}}}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(LabError, match=r"state\.json is damaged"):
        state.load(tmp_path / "state.json")


def test_an_address_is_given_again_only_when_all_others_were() -> None:
    current = state.LabState(id="abc", index=3)
    first = current.free_octet()
    assert current.free_octet() == first + 1  # the first host is gone: its address stays unused
    for octet in range(state.FIRST_HOST, state.LAST_HOST + 1):
        current.hosts[f"h{octet}"] = state.HostState(octet, "A", ())
    with pytest.raises(LabError, match="room for"):
        current.free_octet()
    del current.hosts["h77"]
    assert current.free_octet() == 77
