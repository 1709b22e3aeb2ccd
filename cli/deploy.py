"""`releve deploy`: bring hosts to what the inventory says."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli.ask import confirm


@click.command(short_help="Bring hosts to what the inventory says.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--limit", multiple=True, metavar="HOST|SERVICE", help="Only these. Repeatable.")
@click.option("--yes", is_flag=True, help="Do not show the plan and ask first.")
@click.option("--older", is_flag=True, help="Go back to an inventory older than the one applied.")
@click.option(
    "--retire", is_flag=True, help="Switch off what the inventory asks for no more. Data stay."
)
def deploy(file: Path, limit: tuple[str, ...], yes: bool, older: bool, retire: bool) -> None:
    """Install, configure and activate what the inventory FILE says, DNS included.

    Shows the plan and asks first. What is right already is left alone, so that running it again
    after a failure continues there. A host that fails does not stop the others.

    Exit code: 0 all is as the inventory says, 1 a host failed, 77 one does not take your key, 69
    one cannot be reached, 75 one is busy.
    """
    from cli.board import board
    from deploy import everything, text

    if not yes:
        found = everything.plan(file, limit=limit, older=older, retire=retire)
        click.echo(text.plan(found.report, found.zones), nl=False)
        if not found.pending:
            sys.exit(found.exit_code)
        if found.changed:
            if not sys.stdin.isatty():
                raise click.UsageError("there is nobody to ask: use --yes to go on without")
            confirm("Go on?")

    with board() as listener:
        done = everything.deploy(
            file, limit=limit, older=older, retire=retire, on_progress=listener
        )
    if done.report.made_secrets:
        click.echo(f"New secrets, kept with the others: {', '.join(done.report.made_secrets)}")
    for line in text.dns(done.zones):
        click.echo(line)
    click.echo(text.result(done.report), nl=False)
    sys.exit(done.exit_code)
