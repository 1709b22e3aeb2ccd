"""`releve plan`: what a deploy would change."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command(short_help="Show what a deploy would change.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--limit", multiple=True, metavar="HOST|SERVICE", help="Only these. Repeatable.")
@click.option("--older", is_flag=True, help="Plan for an inventory older than the one applied.")
@click.option(
    "--retire", is_flag=True, help="Switch off what the inventory asks for no more. Data stay."
)
@click.option("--full", is_flag=True, help="What is in new files, too.")
def plan(file: Path, limit: tuple[str, ...], older: bool, retire: bool, full: bool) -> None:
    """Show what `releve deploy FILE` would change on each host and in DNS. Changes nothing.
    Errors that `releve validate` names come last: a deploy waits until they are mended.

    Of what is there already, each difference is shown; of what is new, the names.

    Exit code: 0 nothing to change, 2 something, 77 a host does not take your key, 69 one
    cannot be reached, 1 something else stands in the way.
    """
    import roles
    from deploy import everything, text
    from deploy.refusal import errors_of

    found = everything.plan(file, limit=limit, older=older, retire=retire, valid=False)
    click.echo(text.plan(found.report, found.zones, full=full), nl=False)
    if errors := errors_of(roles.load(file), file):
        click.echo("A deploy refuses this inventory until this is mended:", err=True)
        for line in errors:
            click.echo(line, err=True)
    sys.exit(found.exit_code)
