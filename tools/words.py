"""Words for a shell: the one place where a command becomes a line of text. Pure.

A remote shell reads what ssh hands it, and pyinfra speaks in lines. Wherever a value could be in
one, the line is built here: fixed text around it, and values only as quoted words.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def line(argv: Sequence[str]) -> str:
    """The line that any POSIX shell turns back into exactly these words.

    Raise ValueError for a NUL, which no argument can hold.
    """
    if any("\0" in word for word in argv):
        raise ValueError("a NUL character cannot be part of a command")
    return shlex.join(argv)


def script(text: str, *arguments: str) -> str:
    """The line that runs `text`, a fixed script, in a shell of its own, with the arguments as
    "$1", "$2" … Raise ValueError for a NUL."""
    return line(("sh", "-c", text, "sh", *arguments))
