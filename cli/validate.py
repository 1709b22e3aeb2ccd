"""`releve validate`: everything that is wrong with an inventory, at once. Needs no key."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from inventories.judge import Judgement
from inventories.load import digest
from inventories.problems import InventoryError


@click.command(short_help="Say everything that is wrong with an inventory.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def validate(file: Path, form: str) -> None:
    """Say everything that is wrong with the inventory FILE, and what would be right.

    Exit code 0: it can be used, warnings are printed. 64: it cannot.
    """
    import roles

    try:
        inventory = roles.load(file)
    except InventoryError as error:
        if form == "json":
            problems: list[dict[str, object]] = [
                {"level": "error", "path": p.path, "line": p.line, "message": p.message,
                 "remedy": p.remedy}
                for p in error.problems
            ]  # fmt: skip
            _json(file, False, None, problems)
        else:
            for line in error.lines():
                click.echo(line)
            click.echo(_summary(file, len(error.problems), 0))
        sys.exit(InventoryError.exit_code)
    found = roles.judge(inventory, file)
    errors = sum(1 for j in found if j.level == "error")
    if form == "json":
        _json(file, not errors, digest(inventory), [_as_json(j) for j in found])
    else:
        for judgement in found:
            click.echo(judgement.line(file))
        for entry in inventory.acknowledge:
            until = f" until {entry.until}" if entry.until else ""
            where = f" for {entry.path}" if entry.path else ""
            click.echo(
                f"{file}: acknowledged [{entry.rule}]{where} by {entry.by} on {entry.date}{until}: "
                f"{entry.reason}"
            )
        click.echo(_summary(file, errors, len(found) - errors))
    sys.exit(InventoryError.exit_code if errors else 0)


def _summary(file: Path, errors: int, warnings: int) -> str:
    counted = ", ".join(
        f"{number} {word}{'s' if number > 1 else ''}"
        for number, word in ((errors, "error"), (warnings, "warning"))
        if number
    )
    verdict = "cannot be used" if errors else "can be used"
    return f"{file}: {verdict}" + (f" ({counted})" if counted else "")


def _as_json(judgement: Judgement) -> dict[str, object]:
    return {
        "level": judgement.level,
        "rule": judgement.rule,
        "path": judgement.path,
        "line": judgement.number,
        "message": judgement.message,
        "remedy": judgement.remedy,
    }


def _json(file: Path, ok: bool, said: str | None, problems: list[dict[str, object]]) -> None:
    document = {"file": str(file), "ok": ok, "digest": said, "problems": problems}
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))
