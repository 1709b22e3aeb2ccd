"""The progress of a deploy: plain lines for files and logs, more on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time

PROGRAM = """
import sys
from cli.board import board
with board() as say:
    say("web", "base: Packages")
    say("web", "[bold]not markup[/bold] é\\nsecond line")
    say("safe", "x" * 300)
print("rich" in sys.modules)
"""
LINES = ["web: base: Packages", "web: [bold]not markup[/bold] é", f"safe: {'x' * 300}"]


def test_a_pipe_gets_plain_lines_and_rich_is_not_even_loaded() -> None:
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == [*LINES, "False"]
    assert said.stderr == ""


def on_a_terminal(term: str) -> str:
    outer, inner = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL, stdout=inner, stderr=inner,
        env={**os.environ, "TERM": term, "COLUMNS": "80"},
    ) as process:  # fmt: skip
        os.close(inner)
        said = b""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                more = os.read(outer, 65536)
            except OSError:
                break
            if not more:
                break
            said += more
    os.close(outer)
    assert process.returncode == 0
    return said.decode()


def test_a_terminal_shows_the_same_lines_and_clears_what_it_showed_below() -> None:
    said = on_a_terminal("xterm")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", said)
    for line in LINES[:2]:
        assert line in plain.splitlines(), said
    assert "True" in plain
    assert re.search(r"web +0 s +done", plain)
    # The cursor is back, whatever came in between.
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")


def test_a_terminal_that_can_do_nothing_gets_plain_lines() -> None:
    assert "\x1b" not in on_a_terminal("dumb")
