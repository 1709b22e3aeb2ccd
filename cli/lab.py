"""`releve lab`: throwaway Debian hosts on this machine. Needs root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tools import words

if TYPE_CHECKING:
    from lab import Lab

_name = click.option("--name", default="lab", show_default=True, help="Which lab.")
_DEFAULT = Path("inventories/lab.toml")


def _lab(name: str) -> Lab:
    from lab import Lab

    return Lab(name, progress=lambda text: click.echo(f"lab: {text}", err=True))


@click.group(short_help="Throwaway hosts on this machine.")
def lab() -> None:
    """Throwaway Debian hosts on this machine, in a network of their own, with a DNS server and
    a certificate authority. Needs root, and nothing outside the lab is touched."""


@lab.command(short_help="Boot an inventory's hosts.")
@click.argument("file", type=click.Path(path_type=Path), default=_DEFAULT)
@click.option("--host", "hosts", multiple=True, help="Only this host; may be repeated.")
@click.option("--release", default="bookworm", show_default=True, help="Of new hosts.")
@_name
def up(file: Path, hosts: tuple[str, ...], release: str, name: str) -> None:
    """Boot the hosts of the inventory FILE (inventories/lab.toml) and write the inventory that
    every other verb can use with them. Repeatable."""
    import roles

    chosen = _lab(name)
    chosen.up(roles.load(file), hosts or None, release=release)
    click.echo(f"The lab {name} is up. Its inventory and its key:")
    click.echo(f"  {chosen.inventory_file}")
    click.echo(f"  export RELEVE_SSH_KEY={chosen.key_file} RELEVE_IDENTITY={chosen.key_file}")


@lab.command(short_help="Remove a lab with all its hosts.")
@_name
@click.option("--all", "every", is_flag=True, help="Every lab of this machine.")
def down(name: str, every: bool) -> None:
    """Remove the lab: hosts, disks, network. Images and downloaded packages stay."""
    from lab.lab import names

    there = names()
    for each in there if every else (name,):
        _lab(each).down()
        click.echo(f"The lab {each} is {'gone' if each in there else 'not there'}.")


@lab.command(short_help="List labs and their hosts.")
def status() -> None:
    """List the labs of this machine and their hosts."""
    from lab.lab import names

    there = names()
    if not there:
        click.echo("There is no lab. Bring one up: releve lab up")
    for name in there:
        click.echo(f"{name}:")
        for host, facts in _lab(name).status().items():
            state = "on" if facts["running"] else "off"
            extra = [f"{facts['datacenter']}"] if facts["datacenter"] else []
            extra += [f"delay {facts['delay']:g} ms"] if facts["delay"] else []
            extra += [f"loss {facts['loss']:g} %"] if facts["loss"] else []
            extra += ["cable cut"] if facts["cut"] else []
            click.echo(
                f"  {host:<16} {state:<4} {facts['address']!s:<15} {facts['image']!s:<10} "
                + ", ".join(extra)
            )


@lab.command(
    short_help="Open a session on a host.", context_settings={"ignore_unknown_options": True}
)
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_name
def ssh(host: str, command: tuple[str, ...], name: str) -> None:
    """Open a session on HOST as root, or run COMMAND there. `inet` is a host too."""
    chosen = _lab(name)
    target = chosen.target(host)
    if shutil.which("ssh") is None:
        raise click.ClickException("ssh is not on this machine: apt-get install openssh-client")
    known = chosen.folder / f"known_hosts.{host}"
    known.write_text(f"{target.address} {target.host_key}\n")
    argv = ["ssh", "-i", str(chosen.key_file), "-o", f"UserKnownHostsFile={known}"]
    argv += ["-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-F", "none"]
    # The other side's shell takes it apart again.
    line = [words.line(command)] if command else []
    os.execvp("ssh", [*argv, f"root@{target.address}", *line])  # noqa: S606


@lab.command(short_help="Lose a host and its disk.")
@click.argument("host")
@_name
def destroy(host: str, name: str) -> None:
    """Lose HOST for good, with all that is on its disk. `releve lab up` makes a blank one."""
    _lab(name).destroy(host)
    click.echo(f"{host} and its disk are gone.")
