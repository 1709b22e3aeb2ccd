"""`releve drill`: rehearse the loss of a host, and write the evidence."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click


@click.command(short_help="Rehearse the loss of a host, and write the evidence.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--lab", "in_lab", is_flag=True, help="On throwaway hosts of this machine (root).")
@click.option("--on", metavar="ADDRESS", help="On this blank Debian host, which is yours to lose.")
@click.option("--host-key", metavar="KEY", help="With --on: the host key that it shows.")
@click.option(
    "--disaster",
    is_flag=True,
    help="With --lab: the whole story. Deploy there, write, save, lose the host, rebuild.",
)
@click.option(
    "--release",
    help="With --lab: the Debian of its hosts, bookworm (12; unless said otherwise) or trixie "
    "(13). Take the one of the host that is rehearsed.",
)
@click.option("--lost", metavar="HOST", help="Which host; needed when several serve.")
@click.option(
    "--evidence",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("evidence"),
    show_default=True,
    help="The folder to write into.",
)
@click.option("--keep", is_flag=True, help="Leave the throwaway hosts running afterwards.")
def drill(
    file: Path,
    in_lab: bool,
    on: str | None,
    host_key: str | None,
    disaster: bool,
    release: str | None,
    lost: str | None,
    evidence: Path,
    keep: bool,
) -> None:
    """Bring the copies of a host of the inventory FILE back on a blank one, which can reach
    nothing but the repository, check every service there, and write what it proved into
    EVIDENCE: one JSON file, and one page in French and English.

    The real host goes on serving meanwhile; nothing but the copies of it is touched.

    Exit code: 0 only if every service came back whole, in the time and with the loss promised.
    """
    if in_lab == bool(on):
        raise click.UsageError("say where: --lab for throwaway hosts here, or --on ADDRESS")
    if disaster and not in_lab:
        raise click.UsageError("--disaster destroys its hosts: it needs --lab")
    if release and not in_lab:
        raise click.UsageError("--release is for the hosts of --lab: --on ADDRESS has its own")
    from cli.live import Live
    from recovery import drill as room
    from recovery.evidence import insist_writable
    from recovery.phases import Stopwatch

    insist_writable(evidence)
    with Live() as live:
        watch = Stopwatch(live)
        if in_lab:
            found = room.in_lab(
                file,
                watch,
                lost=lost,
                disaster=disaster,
                keep=keep,
                release=release or "bookworm",
            )
        else:
            found = room.on_host(file, watch, address=str(on), host_key=host_key, lost=lost)
    sys.exit(report(found, evidence))


def report(found: object, folder: Path) -> int:
    """Say what the evidence proves, write it, say where, and return the exit code."""
    from recovery import evidence as writing
    from recovery.page import page
    from recovery.summary import summary

    assert isinstance(found, writing.Evidence)  # noqa: S101 (imported late, to start fast)
    click.echo(summary(found))
    try:
        data, html = writing.write(found, folder, page(found))
    except OSError as error:
        # The work of hours is not lost for that.
        other = Path(tempfile.mkdtemp(prefix="releve-evidence-"))
        click.echo(f"releve: {folder}: {error.strerror}. Written elsewhere instead.", err=True)
        data, html = writing.write(found, other, page(found))
    click.echo(f"Evidence: {data}\n          {html}")
    return 0 if found.passed else 1
