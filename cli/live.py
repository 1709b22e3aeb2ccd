"""Live progress of something long: a clock and what is being done, kept when it matters."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import click


class Live:
    """A function for `progress`. On a terminal details are dim; elsewhere all lines are plain."""

    def __enter__(self) -> Live:
        self._began = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.stdout.flush()

    def __call__(self, message: str) -> None:
        clock = time.strftime("%M:%S", time.gmtime(time.monotonic() - self._began))
        for line in message.splitlines() or [""]:
            click.echo(
                click.style(f"{clock}  ", dim=True)
                + (click.style(line, dim=True) if line.startswith(" ") else line)
            )
        sys.stdout.flush()
