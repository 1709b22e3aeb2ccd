"""`releve rebuild`: bring a lost host back on a blank one."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli.ask import confirm
from cli.restore import choice_of


@click.command(short_help="Bring a lost host back on a blank one.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--host", "address", required=True, metavar="NEW", help="IP address of the new host.")
@click.option(
    "--host-key", metavar="KEY", help="Its host key; without it the one it shows is asked."
)
@click.option("--provider", help="Who runs it.")
@click.option("--datacenter", help="Where it stands.")
@click.option("--address6", help="Its IPv6 address, if it has one.")
@click.option("--lost", metavar="HOST", help="Which host is lost; needed when several serve.")
@click.option(
    "--at", metavar="TIME", help="From the newest copy not later than this (ISO 8601, UTC)."
)
@click.option("--snapshot", metavar="ID", help="From this very copy; see `releve backup list`.")
@click.option("--yes", is_flag=True, help="Do not ask before the old host is given up.")
@click.option(
    "--evidence",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("evidence"),
    show_default=True,
    help="The folder to write what it proved into.",
)
def rebuild(
    file: Path,
    address: str,
    host_key: str | None,
    provider: str | None,
    datacenter: str | None,
    address6: str | None,
    lost: str | None,
    at: str | None,
    snapshot: str | None,
    yes: bool,
    evidence: Path,
) -> None:
    """The real disaster. NEW is a blank Debian host whose root you can reach: what the inventory
    FILE says of the lost host is set up there, the newest copies come back, everything is checked,
    and the names move. The inventory is changed to say where the host is now; the old one can
    neither save nor serve any more.

    Cut off half-way, the same command goes on where it was. A service that came back already is
    not brought back again, from another copy either.

    Exit code: 0 every service is back and well, 1 something is not.
    """
    import roles
    from cli.drill import report
    from cli.live import Live
    from recovery import rebuild as room
    from recovery.evidence import insist_writable
    from recovery.phases import Stopwatch

    choice = choice_of(at, snapshot)
    inventory = roles.load(file)
    host = room.lost_host(inventory, lost)
    place = room.new_place(
        host, address, host_key=host_key, provider=provider, datacenter=datacenter, six=address6
    )
    insist_writable(evidence)
    if place.host_key is None:
        shown = room.shown_key(place)
        click.echo(f"{address} shows the host key\n  {shown}")
        click.echo("Compare it with what the provider's console shows for the new machine.")
        if not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: give that key with --host-key")
        confirm("Is it the same?")
        place = room.with_key(place, shown)
    room.insist_blank(inventory, host, place)
    if not room.moved(host, place) and (
        errors := room.refused_afterwards(file, inventory, host, place)
    ):
        click.echo(
            "There, `releve deploy` will refuse this inventory until it is changed:", err=True
        )
        for error in errors:
            click.echo(f"  {error}", err=True)
    if not yes and not room.moved(host, place):
        if not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: use --yes to go on without")
        click.echo(
            f"{host.id} at {host.address} ({host.provider}, {host.datacenter}) will be given "
            f"up: if it still runs, it is stopped. {host.id} will be {address} "
            f"({place.provider}, {place.datacenter})."
        )
        confirm("Go on?")
    with Live() as live:
        found = room.rebuild(
            file, place, lost=host.id, choice=choice, watch=Stopwatch(live), progress=live
        )
    sys.exit(report(found, evidence))
