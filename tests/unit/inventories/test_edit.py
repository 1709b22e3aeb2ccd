"""An inventory is edited the way a person would: only the values change."""

from __future__ import annotations

from pathlib import Path

import pytest

from inventories.edit import change
from inventories.problems import InventoryError

TEXT = """# ours
schema = 1

[hosts.monts]  # the server
address = "192.0.2.1"   # at OVH
address6 = "2001:db8::1"
epoch = 1

[services.site]
host = "monts"
"""


def test_only_what_is_named_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(TEXT)
    file.chmod(0o640)
    change(file, "hosts", "monts", {"address": "192.0.2.9", "epoch": 2, "address6": None})
    text = file.read_text()
    assert '[hosts.monts]  # the server\naddress = "192.0.2.9"   # at OVH\nepoch = 2\n' in text
    assert text.startswith("# ours")
    assert '[services.site]\nhost = "monts"' in text
    assert file.stat().st_mode & 0o777 == 0o640


def test_an_inline_table_is_edited_too(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('hosts = { monts = { address = "192.0.2.1" } }\n')
    change(file, "hosts", "monts", {"address": "192.0.2.2"})
    assert '"192.0.2.2"' in file.read_text()


def test_a_table_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(TEXT)
    with pytest.raises(InventoryError):
        change(file, "hosts", "nowhere", {"address": "192.0.2.9"})
    assert file.read_text() == TEXT
