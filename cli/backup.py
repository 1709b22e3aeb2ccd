"""`releve backup`: save, list, verify and prune copies."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.ask import confirm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backup.receipts import Receipt
    from inventories.model import Inventory
    from inventories.secrets import Secrets

_FILE = click.argument("file", type=click.Path(path_type=Path))
_HOSTS = click.option(
    "--host", "hosts", multiple=True, metavar="HOST", help="Only this host. Repeatable."
)
_FORMAT = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")


@click.group(short_help="Save, list, verify and prune copies.")
def backup() -> None:
    """Copies of hosts, in repositories elsewhere that hosts can add to and not delete from."""


def _how_much(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    # As `restic check --read-data-subset` reads it; anything else would look like damage.
    if text is None or re.fullmatch(r"[0-9]+(\.[0-9]+)?%|[0-9]+[KMGT]?|[0-9]+/[0-9]+", text):
        return text
    raise click.BadParameter('write "100%", "5%", "2G" or "3/12"')


def _open(file: Path) -> tuple[Inventory, Secrets]:
    import roles
    from inventories.secrets import Secrets

    identity = os.environ.get("RELEVE_IDENTITY")
    return roles.load(file), Secrets.open(file, Path(identity).expanduser() if identity else None)


def _receipts(inventory: Inventory, host: str) -> Mapping[str, Receipt]:
    from backup import receipts, repository
    from tools import ssh

    _, where = repository.of_host(inventory, host)
    with ssh.session(repository.target(inventory, where)) as session:
        return receipts.fetch(session, where, host)


@backup.command("run", short_help="Have hosts save themselves now.")
@_FILE
@_HOSTS
def run(file: Path, hosts: tuple[str, ...]) -> int:
    """Have every host of FILE that has a repository save itself now, and follow it."""
    import roles
    from backup import run as saving
    from backup.errors import BackupError
    from backup.remote import human
    from backup.repository import protected
    from inventories.access import ssh_target
    from tools import ssh

    inventory = roles.load(file)
    worst = 0
    for name in protected(inventory, hosts):

        def tell(text: str, name: str = name) -> None:
            click.echo(f"{name}: {text}", err=True)

        try:
            with ssh.session(ssh_target(inventory.hosts[name])) as session:
                saved = saving.run(session, on_progress=tell)
        except BackupError as error:
            click.echo(f"releve: {error}", err=True)
            worst = worst or error.exit_code
            continue
        except ssh.SshError as error:
            click.echo(f"releve: {error}", err=True)
            worst = worst or 69
            continue
        click.echo(
            f"{name}: snapshot {saved.snapshot}, {human(saved.bytes)} of which "
            f"{human(saved.bytes_added)} are new, {saved.seconds:.0f} s"
        )
        for service, errors in saved.errors.items():
            for error_text in errors:
                click.echo(f"releve: {name}: {service}: {error_text}", err=True)
        worst = worst or (0 if saved.ok else 1)
    return worst


@backup.command("list", short_help="List snapshots: run, time, services, size.")
@_FILE
@_HOSTS
@_FORMAT
def list_(file: Path, hosts: tuple[str, ...], form: str) -> int:
    """List what the repositories of FILE hold, read from the repositories themselves."""
    from datetime import UTC, datetime

    from backup.errors import BackupError
    from backup.prune import doubt
    from backup.remote import human
    from backup.repository import open_repository, protected
    from tools import ssh

    inventory, secrets = _open(file)
    rows = []
    worst = 0
    for name in protected(inventory, hosts):
        try:
            receipts = _receipts(inventory, name)
            with open_repository(inventory, name, secrets) as opened:
                snapshots = opened.snapshots()
        except BackupError as error:
            click.echo(f"releve: {error}", err=True)
            worst = worst or error.exit_code
            continue
        except (ssh.SshError, ssh.CommandError) as error:
            click.echo(f"releve: {error}", err=True)
            worst = worst or 69
            continue
        else:
            for snapshot in snapshots:
                run_id = next(iter(snapshot.values("run")), "")
                receipt = receipts.get(run_id)
                rows.append(
                    {
                        "host": name,
                        "snapshot": snapshot.id,
                        "time": snapshot.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                        "run": run_id,
                        "services": list(snapshot.values("service")),
                        "bytes": receipt.body.get("bytes") if receipt else None,
                        "complete": receipt.ok if receipt else None,
                        "doubt": doubt(snapshot, datetime.now(UTC)) or None,
                    }
                )
    if form == "json":
        click.echo(json.dumps(rows, indent=1))
        return worst
    for row in rows:
        size = human(float(str(row["bytes"]))) if row["bytes"] is not None else "no receipt"
        state = {True: "", False: "  INCOMPLETE", None: ""}[row["complete"]]  # type: ignore[index]
        odd = f"  LEFT OUT: {row['doubt']}" if row["doubt"] else ""
        services = ", ".join(row["services"])  # type: ignore[arg-type]
        click.echo(
            f"{row['host']}  {str(row['snapshot'])[:8]}  {row['time']}  {size:>10}  "
            f"{services}  {row['run']}{state}{odd}"
        )
    if not rows and not worst:
        click.echo("There is no snapshot yet. Make one: releve backup run FILE", err=True)
    return worst


@backup.command("verify", short_help="Are the copies what they claim to be?")
@_FILE
@_HOSTS
@click.option(
    "--read",
    metavar="HOW-MUCH",
    callback=_how_much,
    help='Read data back and verify it: "100%", "5%", "2G", or "3/12" for the third twelfth.',
)
@click.option("--newest", type=click.IntRange(1), default=5, help="How many manifests to read.")
def verify(file: Path, hosts: tuple[str, ...], read: str | None, newest: int) -> int:
    """Check the repositories of FILE, the hosts' signed receipts, and the manifests."""
    from datetime import UTC, datetime

    from backup import trust
    from backup.repository import open_repository, protected
    from backup.verify import verify as look

    inventory, secrets = _open(file)
    worst = 0
    for name in protected(inventory, hosts):
        receipts = _receipts(inventory, name)
        trusted = trust.look(inventory.hosts[name], secrets)
        with open_repository(inventory, name, secrets) as opened:
            found = look(opened, receipts, trusted, datetime.now(UTC), read=read, newest=newest)
        for problem in found.problems:
            click.echo(f"releve: {name}: {problem}", err=True)
        for note in found.notes:
            click.echo(f"{name}: {note}", err=True)
        click.echo(
            f"{name}: {found.snapshots} snapshots; {len(found.verified)} newest verified by "
            f"receipt and manifest; {len(found.problems)} problem(s)"
        )
        worst = worst or (0 if found.ok else 1)
    return worst


@backup.command("prune", short_help="Remove snapshots that need not be kept.")
@_FILE
@_HOSTS
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(file: Path, hosts: tuple[str, ...], dry_run: bool, yes: bool) -> int:
    """Remove what the `keep` of each repository in FILE does not keep.

    Snapshots whose date cannot be true are named, count for nothing, and stay as evidence.
    """
    from datetime import UTC, datetime

    from backup import trust
    from backup.errors import BackupError
    from backup.prune import apply, plan
    from backup.repository import of_host, open_repository, protected

    inventory, secrets = _open(file)
    for name in protected(inventory, hosts):
        _, repository = of_host(inventory, name)
        receipts = _receipts(inventory, name)
        trusted = trust.look(inventory.hosts[name], secrets)
        if trusted.problem:
            raise BackupError(f"{name}: nothing was removed: {trusted.problem}")
        with open_repository(inventory, name, secrets) as opened:
            snapshots = opened.snapshots()
            good = {
                s.id
                for s in snapshots
                for r in [receipts.get(next(iter(s.values("run")), ""))]
                if r and r.ok and (not trusted.knows(r) or trusted.accepts(r))
            }
            wanted = plan(snapshots, repository.keep, datetime.now(UTC), good)
            for snapshot, why in wanted.doubtful:
                click.echo(f"releve: {name}: {snapshot.short} stays and counts for nothing: {why}")
            for snapshot in wanted.remove:
                click.echo(f"{name}: {snapshot.short} of {snapshot.time:%Y-%m-%d %H:%M} goes")
            click.echo(f"{name}: {len(wanted.keep)} stay, {len(wanted.remove)} go")
            if dry_run or not wanted.remove:
                continue
            if not yes:
                confirm(f"Remove {len(wanted.remove)} snapshots of {name}?", abort=True)
            apply(opened, wanted)
    return 0
