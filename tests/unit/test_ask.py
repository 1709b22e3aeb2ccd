"""Asking for a yes."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from cli.ask import confirm


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("oui\n", True), ("o\n", True), ("Y\n", True), ("non\n", False), ("\n", False),
     ("peut-être\nyes\n", True)],
)  # fmt: skip
def test_yes_and_no_in_two_languages(typed: str, answer: bool) -> None:
    @click.command()
    def ask() -> None:
        click.echo(f"answer {confirm('Go on?')}")

    done = CliRunner().invoke(ask, input=typed)
    assert f"answer {answer}" in done.output


def test_a_no_can_end_the_program() -> None:
    @click.command()
    def ask() -> None:
        confirm("Go on?", abort=True)

    assert CliRunner().invoke(ask, input="n\n").exit_code == 1
    assert CliRunner().invoke(ask, input="").exit_code == 1
    assert CliRunner().invoke(ask, input="y\n").exit_code == 0
