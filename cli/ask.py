"""Asking whoever sits at the terminal, who may think in French."""

from __future__ import annotations

import click

_ANSWERS = {"y": True, "yes": True, "o": True, "oui": True, "n": False, "no": False, "non": False}


class Declined(Exception):
    """Somebody said no."""

    exit_code = 1


def confirm(question: str, otherwise: str = "Nothing was changed.") -> None:
    """Ask until the answer is a yes or a no (the default), and go on only after a yes.

    Raise Declined, which says `otherwise`, after a no; click.Abort at the end of input."""
    while True:
        said = click.prompt(f"{question} [y/N]", default="n", show_default=False)
        answer = _ANSWERS.get(said.strip().lower())
        if answer is None:
            click.echo("Say yes or no (oui ou non).")
        elif answer:
            return
        else:
            raise Declined(otherwise)
