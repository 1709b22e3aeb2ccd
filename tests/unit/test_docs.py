"""Every command that the pages show exists, with its options, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from cli.main import VERBS, main

ROOT = Path(__file__).resolve().parents[2]
PAGES = (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
_COMMAND = re.compile(r"\breleve ((?:[a-z]+ ?)+)([^`#\n]*)")


def _command(words: list[str]) -> click.Command | None:
    """The click command that `words` begin with, None when there is none."""
    context = click.Context(main)
    found = main.get_command(context, words[0])
    for word in words[1:]:
        if not isinstance(found, click.Group):
            break
        found = found.get_command(context, word)
    return found


def wrong_commands(text: str) -> list[str]:
    """What `text` shows as a command of ours and is none."""
    wrong = []
    for line in text.splitlines():
        for match in _COMMAND.finditer(line):
            words = match[1].split()
            # "releve secrets set|edit" names several; prose has "releve" without a verb.
            if words[0] not in VERBS or match[2].startswith("|"):
                continue
            command = _command(words)
            if command is None:
                wrong.append(match[0])
                continue
            known = {option for param in command.params for option in param.opts}
            wrong += [f"{match[0]} ({o})" for o in re.findall(r"--[a-z-]+", match[2])
                      if o not in known | {"--help"}]  # fmt: skip
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    assert wrong_commands(page.read_text()) == []


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert wrong_commands("`releve backup mend FILE` and `releve deploy FILE --force`") == [
        "releve backup mend FILE",
        "releve deploy FILE --force (--force)",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_both_languages_show_the_same_commands() -> None:
    for english, french in (
        ("README.md", "LISEZMOI.md"),
        ("docs/operations.md", "docs/operations.fr.md"),
        ("docs/lab.md", "docs/lab.fr.md"),
    ):
        shown = [
            {(match[1].split()[0], *re.findall(r"--[a-z-]+", match[2]))
             for match in _COMMAND.finditer((ROOT / page).read_text())
             if match[1].split()[0] in VERBS}
            for page in (english, french)
        ]  # fmt: skip
        assert shown[0] == shown[1]
