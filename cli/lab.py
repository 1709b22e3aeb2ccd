"""`releve lab`: throwaway Debian hosts on this machine. Needs root."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tools import words

if TYPE_CHECKING:
    from lab import Lab

_name = click.option("--name", default="lab", show_default=True, help="Which lab.")
_DEFAULT = Path("inventories/lab.toml")
_UNITS = {"M": 1024**2, "G": 1024**3}
_LEAST, _MOST = 64 * _UNITS["M"], 1024 * _UNITS["G"]  # less does not boot


def _lab(name: str) -> Lab:
    from lab import Lab

    return Lab(name, progress=lambda text: click.echo(f"lab: {text}", err=True))


def size(text: str) -> int:
    """Given "500M" or "2G", return the bytes (of 1024). Raise ValueError for all that is no disk
    of a lab host: 64M to 1024G."""
    if match := re.fullmatch(r"([0-9]{1,7})([MG])", text):
        number = int(match[1]) * _UNITS[match[2]]
        if _LEAST <= number <= _MOST:
            return number
    raise ValueError(
        f"{text!r} is not the size of a disk: give a whole number with M or G behind it, from 64M "
        "to 1024G, such as 500M or 2G"
    )


def _size(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _shown(number: int) -> str:
    unit = "G" if number % _UNITS["G"] == 0 else "M"
    return f"{number // _UNITS[unit]}{unit}"


def _again(name: str, *verb: str) -> str:
    """The command of this lab that people can copy."""
    return words.line(("releve", "lab", *verb, *(() if name == "lab" else ("--name", name))))


@click.group(short_help="Throwaway hosts on this machine.")
def lab() -> None:
    """Throwaway Debian hosts on this machine, in a network of their own, with a DNS server and
    a certificate authority. Needs root, and nothing outside the lab is touched."""


@lab.command(short_help="Boot an inventory's hosts.")
@click.argument("file", type=click.Path(path_type=Path), default=_DEFAULT)
@click.option("--host", "hosts", multiple=True, help="Only this host; may be repeated.")
@click.option("--release", default="bookworm", show_default=True, help="Of new hosts.")
@click.option("--disk", metavar="SIZE", callback=_size, help="What new hosts can fill: 500M, 2G.")
@_name
def up(file: Path, hosts: tuple[str, ...], release: str, disk: int | None, name: str) -> None:
    """Boot the hosts of the inventory FILE (inventories/lab.toml) and write the inventory that
    every other verb can use with them. Repeatable."""
    import roles

    chosen = _lab(name)
    chosen.up(roles.load(file), hosts or None, release=release, disk=disk)
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
@click.option("--name", default=None, help="This lab alone (default: all of them).")
def status(name: str | None) -> None:
    """List the labs of this machine and their hosts."""
    from lab.lab import names

    there = names()
    if name is not None and name not in there:
        raise click.UsageError(f"there is no lab {name}: {', '.join(there) or 'none at all'}")
    there = (name,) if name else there
    if not there:
        click.echo("There is no lab. Bring one up: releve lab up")
    for each in there:
        click.echo(f"{each}:")
        for host, facts in _lab(each).status().items():
            state = "on" if facts["running"] else "off"
            extra = [f"{facts['datacenter']}"] if facts["datacenter"] else []
            disk = facts["disk"]
            extra += [f"disk {_shown(disk)}"] if isinstance(disk, int) else []
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


@lab.command(short_help="Make a datacenter far away.")
@click.argument("datacenter")
@click.argument("milliseconds", metavar="MS", type=float)
@_name
def delay(datacenter: str, milliseconds: float, name: str) -> None:
    """Make each round trip between DATACENTER and all that is outside of it, this machine
    included, last MS milliseconds longer; 0 ends it. Hosts that boot later are as far."""
    by = _lab(name).delay(datacenter, milliseconds)
    if not milliseconds:
        click.echo(f"{datacenter} is as near as before.")
        return
    click.echo(
        f"Each round trip to and from {datacenter} takes {milliseconds:g} ms more (by {by}). "
        f"To end it: {_again(name, 'delay', datacenter, '0')}"
    )


@lab.command(short_help="Lose packets of a host.")
@click.argument("host")
@click.argument("percent", type=float)
@_name
def loss(host: str, percent: float, name: str) -> None:
    """Lose PERCENT of the packets to HOST, and of those from it; 0 ends it. So does switching
    the host off and on."""
    _lab(name).loss(host, percent)
    if not percent:
        click.echo(f"{host} loses no packets.")
        return
    click.echo(
        f"{host} loses {percent:g} % of its packets, each way. To end it: "
        f"{_again(name, 'mend', host)}"
    )


@lab.command(short_help="Unplug a host's network cable.")
@click.argument("host")
@_name
def cut(host: str, name: str) -> None:
    """Unplug the network cable of HOST. It stays on, and nobody reaches it."""
    _lab(name).cut(host)
    click.echo(f"The cable of {host} is unplugged. To plug it in: {_again(name, 'mend', host)}")


@lab.command(short_help="End cut and loss.")
@click.argument("host")
@_name
def mend(host: str, name: str) -> None:
    """Plug the network cable of HOST in again, and lose no more of its packets."""
    _lab(name).mend(host)
    click.echo(f"The cable of {host} is plugged in, and it loses no packets.")
