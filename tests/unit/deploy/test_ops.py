"""The shared operations' commands, run for real on files of this machine."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platforms import ops
from tools.shell import _Stream


def sh(command: object) -> list[str]:
    line = command.get_raw_value() if hasattr(command, "get_raw_value") else str(command)
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True).stdout.splitlines()


def test_paths_tells_files_folders_links_and_what_is_not_there(tmp_path: Path) -> None:
    odd = tmp_path / "-n o'dd $(touch hacked) \\ é"
    odd.write_bytes(b"content")
    odd.chmod(0o640)
    (tmp_path / "link").symlink_to("/nowhere/at all")
    (tmp_path / "folder").mkdir(mode=0o700)
    paths = [str(odd), *(str(tmp_path / name) for name in ("link", "folder", "missing"))]
    found = ops.parse_paths(sh(ops.Paths().command(paths)))
    assert found[str(odd)].sha256 == hashlib.sha256(b"content").hexdigest()
    assert (found[str(odd)].mode, found[str(odd)].kind) == (0o640, "regular file")
    assert found[str(tmp_path / "link")].target == "/nowhere/at all"
    assert (found[str(tmp_path / "folder")].kind, found[str(tmp_path / "folder")].mode) == (
        "directory",
        0o700,
    )
    assert str(tmp_path / "missing") not in found
    assert not (tmp_path / "hacked").exists()


def test_units_reads_blocks_in_any_number() -> None:
    text = "Id=a.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\nId=b.timer"
    found = ops.Units().process(text.splitlines())
    assert found == {"a.service": ("loaded", "active", "enabled"), "b.timer": ("", "", "")}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("test", "load", "kept"),
    [("true", "true", True), ("false", "true", False), ("true", "false", False)],
)
def test_a_file_that_is_refused_is_taken_back(
    tmp_path: Path, there: bool, test: str, load: str, kept: bool
) -> None:
    new, path = tmp_path / "f.candidate", tmp_path / "f"
    new.write_text("new")
    if there:
        path.write_text("old")
    done = subprocess.run(
        ["sh", "-c", ops._TRY, "try", str(new), str(path), test, load], capture_output=True
    )
    assert (done.returncode == 0) == kept
    assert path.exists() == (there or kept)
    if path.exists():
        assert path.read_text() == ("new" if kept else "old")
    assert sorted(p.name for p in tmp_path.iterdir()) == (["f"] if there or kept else [])


@given(
    body=st.binary(max_size=400),
    before=st.binary(max_size=20),
    code=st.integers(0, 255),
    cuts=st.lists(st.integers(0, 500), max_size=6),
)
def test_any_bytes_come_through_the_shells_frame(
    body: bytes, before: bytes, code: int, cuts: list[int]
) -> None:
    begin, end = "0123456789abcdefB", "0123456789abcdefE"
    data = before + begin.encode() + body + end.encode() + b"%d\n" % code + b"stray"
    stream = _Stream(begin, end)
    edges = [0, *sorted(cuts), len(data)]
    for start, stop in itertools.pairwise(edges):
        stream.feed(data[start:stop])
    assert (stream.body, stream.tail) == (body, b"%d" % code)
