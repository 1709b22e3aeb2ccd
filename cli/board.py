"""What several hosts are doing: lines as they come, and on a terminal one more line per host."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from deploy.run import Listener

if TYPE_CHECKING:
    from rich.table import Table


def tell(host: str, message: str) -> None:
    """The first line of a message, after the host that it is about."""
    click.echo(f"{host}: {message.splitlines()[0] if message else ''}")


@contextmanager
def board() -> Iterator[Listener]:
    """A listener for `deploy`. Nothing but plain lines reaches a file, a pipe or a log; a terminal
    also shows, below them and only until the end, each host, since when and at what it is."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield tell
        return
    # Only here: it takes a while to import.
    from rich.live import Live
    from rich.text import Text

    at: dict[str, tuple[float, str]] = {}

    def table() -> Table:
        from rich.table import Table

        rows = Table.grid(padding=(0, 2))
        for host, (since, doing) in at.items():
            # Text: what a host says is never read as markup.
            rows.add_row(host, f"{time.monotonic() - since:4.0f} s", Text(doing, no_wrap=True))
        return rows

    with Live(get_renderable=table, refresh_per_second=2, transient=True) as live:

        def show(host: str, message: str) -> None:
            first = message.splitlines()[0] if message else ""
            at[host] = (time.monotonic(), f"done: {first}")
            live.console.print(Text(f"{host}: {first}"), soft_wrap=True)

        yield show
