"""Asking for a yes."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from cli.ask import Declined, confirm
from cli.main import explain


@click.command()
def go() -> None:
    confirm("Go on?")
    click.echo("gone on")


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("oui\n", True), ("o\n", True), ("Y\n", True), ("non\n", False), ("\n", False),
     ("peut-être\nyes\n", True)],
)  # fmt: skip
def test_yes_and_no_in_two_languages(typed: str, answer: bool) -> None:
    done = CliRunner().invoke(go, input=typed)
    assert ("gone on" in done.output) is answer


def test_a_no_is_no_interruption() -> None:
    done = CliRunner().invoke(go, input="n\n")
    assert isinstance(done.exception, Declined)
    assert explain(done.exception) == (1, "releve: Nothing was changed.")
    # The end of input is one.
    assert isinstance(
        CliRunner().invoke(go, input="", standalone_mode=False).exception, click.Abort
    )
    assert explain(click.Abort())[0] == 130
