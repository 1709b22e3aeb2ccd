"""`releve restore`: bring services' data back."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from recovery.steps import Choice


@click.command(short_help="Bring a service's data back.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--all", "every", is_flag=True, help="Every service of HOST, or of that of --from.")
@click.option("--from", "from_host", metavar="HOST", help="With --all: move this host's services.")
@click.option("--to", "to_host", required=True, metavar="HOST", help="A host of the inventory.")
@click.option("--at", metavar="TIME", help="The newest copy not later than this (ISO 8601, UTC).")
@click.option("--snapshot", metavar="ID", help="This very copy; see `releve backup list`.")
@click.option("--dry-run", is_flag=True, help="Only say what would come back, and the sizes.")
@click.option("--replace", is_flag=True, help="Over a service in use. It is saved first.")
@click.option("--url", metavar="URL", help="At this address from now on (YunoHost apps).")
@click.option("--no-snapshot", is_flag=True, help="With --replace: do not save it first.")
def restore(
    file: Path,
    services: tuple[str, ...],
    every: bool,
    from_host: str | None,
    to_host: str,
    at: str | None,
    snapshot: str | None,
    dry_run: bool,
    replace: bool,
    no_snapshot: bool,
    url: str | None,
) -> None:
    """Bring the data of SERVICE back on HOST, from the newest copy or the one named.

    HOST may be the service's own, a blank one, or one that already serves others. When it is
    another than the inventory says, the service moves there: the inventory is changed, and its
    names follow once it is well there.

    Exit code: 0 all came back whole and is well; 1 not, and what was there before is in place
    again unless the message says otherwise; 75 something else works on that host.
    """
    from cli.live import Live
    from recovery import restore as room

    if bool(services) == every:
        raise click.UsageError("say which services, or --all")
    if from_host and not every:
        raise click.UsageError("--from says whose services --all means: name none besides")
    choice = choice_of(at, snapshot, dry_run=dry_run, replace=replace, no_snapshot=no_snapshot)
    with Live() as live:
        done = room.restore(file, services, to_host, choice, live, whose=from_host, url=url)
    click.echo(room.summary(done, dry_run=dry_run, replacing=replace), nl=False)
    sys.exit(0)


def choice_of(
    at: str | None,
    snapshot: str | None,
    *,
    dry_run: bool = False,
    replace: bool = False,
    no_snapshot: bool = False,
) -> Choice:
    """Which copy, from the words --at and --snapshot, and how. Raise UsageError."""
    from recovery.steps import Choice

    if at and snapshot:
        raise click.UsageError("--at and --snapshot both choose the copy: give one")
    moment = _time(at) if at else None
    return Choice(snapshot, moment, replace=replace, dry_run=dry_run, no_snapshot=no_snapshot)


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f'--at {text}: write a time such as "2026-01-31" or "2026-01-31T18:30"'
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
