"""`releve mail`: what people change in a mail service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from inventories.model import Inventory, Service

FILE = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
SERVICE = click.option("--service", metavar="NAME", help="When the address does not tell which.")


@click.group(short_help="Accounts of a mail service.")
def mail() -> None:
    """What people change in a mail service on a Debian host."""


@mail.group()
def account() -> None:
    """Members' mailboxes. They are data: no inventory names them, every copy holds them."""


@account.command()
@FILE
@click.argument("address")
@click.option("--name", default="", help="Whose it is, for whoever reads the list.")
@click.option("--quota", default="", metavar="SIZE", help='Such as "2G", "0": no limit.')
@SERVICE
def add(file: Path, address: str, name: str, quota: str, service: str | None) -> None:
    """Make the mailbox ADDRESS. Its password is asked for, or stands on standard input."""
    from roles.mail import accounts

    _checked_quota(quota)
    inventory, one = _where(file, address, service)
    accounts.add(inventory, one, address, _password(address), name, quota)
    click.echo(f"{address.lower()} is there, on {one.host}: {one.domain}, port 993 and 465.")


@account.command()
@FILE
@click.argument("address")
@SERVICE
def password(file: Path, address: str, service: str | None) -> None:
    """Give ADDRESS, a role mailbox too, another password. Whoever is logged in is logged out."""
    from roles.mail import accounts

    inventory, one = _where(file, address, service)
    accounts.password(inventory, one, address, _password(address))
    click.echo(f"{address.lower()} has another password.")


@account.command()
@FILE
@click.argument("address")
@SERVICE
@click.option("--yes", is_flag=True, help="Do not ask, at a terminal either.")
def remove(file: Path, address: str, service: str | None, yes: bool) -> None:
    """Take the mailbox ADDRESS away. What is in it is put aside on its host."""
    from cli.ask import confirm
    from roles.mail import accounts

    inventory, one = _where(file, address, service)
    if sys.stdin.isatty() and not yes:
        confirm(f"{address} will take no mail any more, and its mail is put aside. Go on?")
    gone = accounts.remove(inventory, one, address)
    where = f" Its mail lies in {one.host}:{gone.kept} until you delete it." if gone.kept else ""
    click.echo(f"{address.lower()} takes no mail any more.{where}")
    if gone.aliases:
        click.echo(
            f"In the inventory it is a target of {', '.join(gone.aliases)}: take it out there. "
            "What is written to these reaches only the others that they name, if there are any.",
            err=True,
        )


@account.command(name="list")
@FILE
@SERVICE
def list_(file: Path, service: str | None) -> None:
    """Say which mailboxes there are, and how full."""
    from backup.remote import human
    from roles.mail import accounts

    inventory, one = _where(file, "", service)
    for each in accounts.listed(inventory, one):
        most = f" of {human(each.quota)}" if each.quota else ""
        notes = [each.name] if each.name else []
        notes += ["role mailbox of the inventory"] if each.kind == "role" else []
        notes += [] if each.active else ["closed"]
        notes += [] if each.password else ["no password yet: nobody can log in"]
        tail = f"  {', '.join(notes)}" if notes else ""
        click.echo(f"{each.address}  {human(each.used)}{most}{tail}")


@mail.group()
def share() -> None:
    """Role mailboxes that several accounts read. Who does is data: no inventory names them."""


MAILBOX = click.argument("mailbox")
READER = click.argument("reader")


@share.command(name="add")
@FILE
@MAILBOX
@READER
@click.option("--read-only", is_flag=True, help="Neither change it nor write in its name.")
@SERVICE
def add_share(file: Path, mailbox: str, reader: str, read_only: bool, service: str | None) -> None:
    """Let the account READER read the role mailbox MAILBOX and write in its name."""
    from roles.mail import accounts

    inventory, one = _where(file, mailbox, service)
    folder = accounts.share(inventory, one, mailbox, reader, writes=not read_only)
    may = "cannot change it" if read_only else f"may write as {mailbox.lower()}"
    click.echo(f"{reader.lower()} reads {mailbox.lower()} in the folder {folder}, and {may}.")


@share.command(name="remove")
@FILE
@MAILBOX
@READER
@SERVICE
def remove_share(file: Path, mailbox: str, reader: str, service: str | None) -> None:
    """READER reads MAILBOX no more, and does not write in its name."""
    from roles.mail import accounts

    inventory, one = _where(file, mailbox, service)
    accounts.unshare(inventory, one, mailbox, reader)
    click.echo(f"{reader.lower()} does not read {mailbox.lower()} any more.")


@share.command(name="list")
@FILE
@SERVICE
def list_shares(file: Path, service: str | None) -> None:
    """Say who reads which role mailbox."""
    from roles.mail import accounts

    inventory, one = _where(file, "", service)
    for each in accounts.shares(inventory, one):
        may = "reads it and writes in its name" if each.writes else "reads it"
        click.echo(f"{each.mailbox}  {each.reader} {may}")


@mail.command()
@FILE
@click.option(
    "--to",
    "page",
    required=True,
    metavar="PAGE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to: a page for browsers, or, ending in .md, Markdown.",
)
@click.option("--account", metavar="ADDRESS", help="Whose; else it is for everybody.")
@SERVICE
def guide(file: Path, page: Path, account: str | None, service: str | None) -> None:
    """Write what a member needs to read mail on a phone and in Thunderbird.

    In French and English, with everything filled in but the password. The page for everybody is
    what the mail server shows at its own address, too.
    """
    from roles.mail import guide as guides

    inventory, one = _where(file, account or "", service)
    write = guides.markdown if page.suffix.lower() == ".md" else guides.page
    page.write_text(write(one, inventory, account.lower() if account else None), encoding="utf-8")
    click.echo(f"{page} is the guide for {account or f'the members of {one.id}'}.")


@mail.command()
@FILE
@click.option(
    "--to",
    "folder",
    required=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to; what is there already is not fetched again.",
)
@click.option("--account", "only", multiple=True, metavar="ADDRESS", help="Only this. Repeatable.")
@click.option("--hashes", is_flag=True, help="With the hashes of passwords, for another server.")
@SERVICE
def export(
    file: Path, folder: Path, only: tuple[str, ...], hashes: bool, service: str | None
) -> None:
    """Fetch mailboxes, rules and accounts in formats that anybody reads.

    For each account: its Maildir, one mbox file for each folder, its Sieve scripts. Beside them
    accounts.csv and accounts.ldif, aliases.csv, shares.csv. Cut off: type the same again. What was
    written is opened and counted; when a mail is missing, it says so and ends with 1.
    """
    from roles.mail import export as exports

    inventory, one = _where(file, only[0] if only else "", service)
    wanted = [address.lower() for address in only]

    def tell(done: exports.Exported) -> None:
        click.echo(
            f"{done.address}  {done.mails} mails in {done.folders} folders, {done.rules} rules "
            f"({done.fetched} mails fetched now)"
        )
        if done.lacking:
            first = "; ".join(done.lacking[:3])
            click.echo(f"  not whole: {len(done.lacking)} lacking, such as {first}", err=True)

    every = exports.export(inventory, one, folder, only=wanted, hashes=hashes, progress=tell)
    click.echo(f"{folder} holds what members wrote and got: keep it as you keep their mailboxes.")
    if any(done.lacking for done in every):
        click.echo(
            "Not all of it is there: type the same again, or see what is said above.", err=True
        )
        sys.exit(1)


def _where(file: Path, address: str, named: str | None) -> tuple[Inventory, Service]:
    import roles
    from roles.mail import accounts

    inventory = roles.load(file)
    return inventory, accounts.service_of(inventory, address, named)


def _checked_quota(quota: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    from inventories.model import Quota

    if quota:
        try:
            TypeAdapter(Quota).validate_python(quota)
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise click.UsageError(f"--quota {quota}: {why}") from None


def _password(address: str) -> str:
    """From the terminal, twice, or the first line of standard input. Never from an argument."""
    if sys.stdin.isatty():
        from roles.mail.files.mailhost import SHORTEST

        prompt = f"Password of {address} ({SHORTEST} characters or more)"
        return str(click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline(1000).rstrip("\n")
    if not line:
        raise click.UsageError("no password on standard input: nothing was changed")
    return line
