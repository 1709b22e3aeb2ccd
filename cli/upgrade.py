"""`releve upgrade`: upgrade services and packages, and undo what goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli.ask import confirm


@click.command(short_help="Upgrade services and packages; undo what goes wrong.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--service", "services", multiple=True, metavar="SERVICE", help="Only this one.")
@click.option("--host", metavar="HOST", help="Only what is on this host.")
@click.option("--system", is_flag=True, help="The hosts' packages as well, after the apps.")
@click.option("--dry-run", is_flag=True, help="Only say what is available.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def upgrade(
    file: Path,
    services: tuple[str, ...],
    host: str | None,
    system: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Upgrade the services of the inventory FILE, one at a time.

    Before anything changes the host is saved. After each upgrade the service's settings are
    applied again and everything is checked, from outside and inside; a service that is not as
    well as it was is brought back from that copy. Cut off, the same command finishes what was
    begun.

    Exit code: 0 all that was offered is in place and well, or there was nothing; 1 something is
    not; 69 a host cannot be reached, 75 one is busy.
    """
    from cli.live import Live
    from recovery import upgrade as room
    from recovery.upgraded import plan, summary

    with Live() as live:
        found = room.look(file, services, host, system=system, progress=live)
    click.echo(plan(found), nl=False)
    if dry_run or not any(one.anything for one in found):
        sys.exit(0)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: use --yes to go on without")
        confirm("Go on?")
    with Live() as live:
        work = room.Upgrade(file, live)
        try:
            work.run(found)
        finally:
            click.echo(summary(work.outcomes), nl=False)
    sys.exit(0 if all(outcome.ok for outcome in work.outcomes) else 1)
