"""`releve backup`: save, list, verify and prune copies."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.ask import confirm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from backup.receipts import Receipt
    from inventories.model import Inventory, Repository
    from inventories.secrets import Secrets
    from tools.restic import Snapshot
    from tools.ssh import Connection

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


def _each(hosts: Iterable[str], work: Callable[[str], bool]) -> int:
    """Do `work` for each host; False means that something is not well there. One that goes wrong
    stops none of the others. Return the exit code: the worst, as a deploy of several has it."""
    from backup.errors import BackupError
    from inventories.secrets import SecretsError
    from tools.age import AgeError
    from tools.ssh import CommandError, SshError

    codes = {0}
    for name in hosts:
        try:
            codes.add(0 if work(name) else 1)
        except (BackupError, SecretsError, AgeError, SshError, CommandError) as error:
            said = str(error)
            click.echo(f"releve: {said if name in said else f'{name}: {said}'}", err=True)
            codes.add(getattr(error, "exit_code", 1))
    order = (1, 77, 69, 75)
    return min(codes - {0}, key=lambda c: order.index(c) if c in order else 0, default=0)


@contextlib.contextmanager
def _keeper(inventory: Inventory, host: str) -> Iterator[tuple[Connection, Repository]]:
    """A session with whoever keeps a host's copies, and the repository."""
    from backup import repository
    from tools import ssh

    _, where = repository.of_host(inventory, host)
    with ssh.session(repository.target(inventory, where)) as session:
        yield session, where


def _receipts(inventory: Inventory, host: str, of: Iterable[Snapshot]) -> dict[str, Receipt]:
    from backup import receipts

    with _keeper(inventory, host) as (session, repository):
        return receipts.fetch(session, repository, host, [s.run for s in of])


@backup.command("run", short_help="Have hosts save themselves now.")
@_FILE
@_HOSTS
def run(file: Path, hosts: tuple[str, ...]) -> int:
    """Have every host of FILE that has a repository save itself now, and follow it."""
    import roles
    from backup import run as saving
    from backup.remote import human
    from backup.repository import protected
    from inventories.access import ssh_target
    from tools import ssh

    inventory = roles.load(file)

    def save(name: str) -> bool:
        def tell(text: str) -> None:
            click.echo(f"{name}: {text}", err=True)

        with ssh.session(ssh_target(inventory.hosts[name])) as session:
            saved = saving.run(session, on_progress=tell)
        click.echo(
            f"{name}: snapshot {saved.snapshot}, {human(saved.bytes)} saved, "
            f"{human(saved.bytes_added)} sent, {saved.seconds:.0f} s"
        )
        for service, errors in saved.errors.items():
            for error_text in errors:
                click.echo(f"releve: {name}: {service}: {error_text}", err=True)
        return saved.ok

    code = _each(protected(inventory, hosts), save)
    # Whoever asks for all of it must not believe that all of it is saved.
    unsaved = [j for j in roles.judge(inventory) if j.rule == "no-repository" and not hosts]
    for judgement in unsaved:
        click.echo(f"releve: {judgement.line(file)}", err=True)
    return code or int(bool(unsaved))


@backup.command("list", short_help="List snapshots: run, time, services, size.")
@_FILE
@_HOSTS
@_FORMAT
def list_(file: Path, hosts: tuple[str, ...], form: str) -> int:
    """List what the repositories of FILE hold, read from the repositories themselves."""
    from datetime import UTC, datetime

    from backup.prune import doubt
    from backup.remote import human
    from backup.repository import open_repository, protected

    inventory, secrets = _open(file)
    rows = []

    def read(name: str) -> bool:
        with open_repository(inventory, name, secrets) as opened:
            snapshots = opened.snapshots()
        receipts = _receipts(inventory, name, snapshots)
        for snapshot in snapshots:
            receipt = receipts.get(snapshot.run)
            rows.append(
                {
                    "host": name,
                    "snapshot": snapshot.id,
                    "time": snapshot.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "run": snapshot.run,
                    "services": list(snapshot.values("service")),
                    "bytes": receipt.body.get("bytes") if receipt else None,
                    "complete": receipt.ok if receipt else None,
                    "doubt": doubt(snapshot, datetime.now(UTC)) or None,
                }
            )
        return True

    worst = _each(protected(inventory, hosts), read)
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
    from backup.verify import recent
    from backup.verify import verify as judge

    inventory, secrets = _open(file)

    def look(name: str) -> bool:
        now = datetime.now(UTC)
        trusted = trust.look(inventory.hosts[name], secrets)
        with open_repository(inventory, name, secrets) as opened:
            snapshots = opened.snapshots()
            receipts = _receipts(inventory, name, recent(snapshots, now, newest))
            found = judge(opened, snapshots, receipts, trusted, now, read=read, newest=newest)
        for problem in found.problems:
            click.echo(f"releve: {name}: {problem}", err=True)
        for note in found.notes:
            click.echo(f"{name}: {note}", err=True)
        click.echo(
            f"{name}: {found.snapshots} snapshots; {len(found.verified)} newest verified by "
            f"receipt and manifest; {len(found.problems)} problem(s)"
        )
        return found.ok

    return _each(protected(inventory, hosts), look)


@backup.command("prune", short_help="Remove snapshots that need not be kept.")
@_FILE
@_HOSTS
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(file: Path, hosts: tuple[str, ...], dry_run: bool, yes: bool) -> int:
    """Remove what the `keep` of each repository in FILE does not keep.

    Snapshots whose date cannot be true are named, count for nothing, and stay as evidence.
    Receipts of runs of which no snapshot is left go too.
    """
    from datetime import UTC, datetime

    from backup import receipts as beside
    from backup import trust
    from backup.errors import BackupError
    from backup.prune import apply, plan
    from backup.repository import demand_writable, of_host, open_repository, protected

    inventory, secrets = _open(file)

    def clear(name: str) -> bool:
        trusted = trust.look(inventory.hosts[name], secrets)
        if trusted.problem:
            raise BackupError(f"{name}: nothing was removed: {trusted.problem}")
        _, repository = of_host(inventory, name)
        # Before the snapshots: what a run that ends meanwhile leaves is not to go.
        with _keeper(inventory, name) as (session, _):
            told = beside.runs(session, repository, name)
        with open_repository(inventory, name, secrets) as opened:
            snapshots = opened.snapshots()
            receipts = _receipts(inventory, name, snapshots)
            good = {
                s.id
                for s in snapshots
                for r in [receipts.get(s.run)]
                if r and r.ok and (not trusted.knows(r) or trusted.accepts(r))
            }
            wanted = plan(snapshots, repository.keep, datetime.now(UTC), good)
            for snapshot, why in wanted.doubtful:
                click.echo(f"releve: {name}: {snapshot.short} stays and counts for nothing: {why}")
            for snapshot in wanted.remove:
                click.echo(f"{name}: {snapshot.short} of {snapshot.time:%Y-%m-%d %H:%M} goes")
            stay = {s.run for s in snapshots} - {s.run for s in wanted.remove}
            idle = [run for run in told if run not in stay]
            also = f", and {len(idle)} receipts of runs without one" if idle else ""
            click.echo(f"{name}: {len(wanted.keep)} stay, {len(wanted.remove)} go{also}")
            if dry_run:
                return True
            if wanted.remove and not yes:
                confirm(
                    f"Remove {len(wanted.remove)} snapshots of {name}?",
                    f"Nothing was removed from the copies of {name}.",
                )
            if wanted.remove:
                with _keeper(inventory, name) as (session, _):
                    demand_writable(session, repository, name)
                apply(opened, wanted)
        if idle:
            with _keeper(inventory, name) as (session, _):
                beside.remove(session, repository, name, idle)
        return True

    return _each(protected(inventory, hosts), clear)
