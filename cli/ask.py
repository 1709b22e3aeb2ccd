"""Asking whoever sits at the terminal, who may think in French."""

from __future__ import annotations

import click

_ANSWERS = {"y": True, "yes": True, "o": True, "oui": True, "n": False, "no": False, "non": False}


def confirm(question: str, *, abort: bool = False) -> bool:
    """Ask until the answer is a yes or a no (the default). With `abort`, a no ends the program:
    raise click.Abort, as the end of input does."""
    while True:
        said = click.prompt(f"{question} [y/N]", default="n", show_default=False)
        answer = _ANSWERS.get(said.strip().lower())
        if answer is None:
            click.echo("Say yes or no (oui ou non).")
            continue
        if abort and not answer:
            raise click.Abort
        return answer
