"""`releve adopt`: from a server that somebody set up by hand to an inventory."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Describe a YunoHost server that is there as an inventory.")
@click.argument("host", metavar="[USER@]ADDRESS[:PORT]|HOST")
@click.option(
    "--inventory",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="HOST is one of this inventory's hosts.",
)
@click.option("--host-key", metavar="LINE", help="The key that the server must show.")
@click.option("--name", metavar="NAME", help="What to call it; else as it calls itself.")
@click.option(
    "--mailbox",
    "mailboxes",
    multiple=True,
    metavar="ACCOUNT",
    help="An account that is a duty and nobody's own, such as contact. Repeatable.",
)
@click.option(
    "--as-apps", is_flag=True, help="Give every service the role app, which sees to less."
)
def adopt(
    host: str,
    inventory: Path | None,
    host_key: str | None,
    name: str | None,
    mailboxes: tuple[str, ...],
    as_apps: bool,
) -> None:
    """Read a live YunoHost server and print the inventory that describes it. Changes nothing.

    Members are counted and not named. What an inventory cannot say is listed on standard error
    and as comments in the result:

        releve adopt root@198.51.100.10 > inventory.toml

    Exit code: 0 described, 69 the server cannot be reached, 1 something else stands in the way.
    """
    from deploy import adopt as room
    from inventories.access import ssh_key_file, ssh_target

    if inventory is not None:
        import roles

        known = roles.load(inventory).hosts
        if host not in known:
            raise click.UsageError(f"{inventory} has no host {host}: {', '.join(known) or 'none'}")
        where, name = ssh_target(known[host]), name or host
    else:
        where = room.target(host, host_key, ssh_key_file())
    found = room.adopt(where, name=name, mailboxes=mailboxes, as_apps=as_apps)
    click.echo(found.text(), nl=False)
    for line in found.counted:
        click.echo(line, err=True)
    for line in found.missing:
        click.echo(f"not in it: {line}", err=True)
