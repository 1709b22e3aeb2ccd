"""`releve check`: are services reachable and well, from outside and from inside?"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import click

from cli.ending import AtOnce


@click.command(short_help="Say whether services are reachable and well.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help='Only these checks: "site", "site.tls", "*.backup". Repeatable.',
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="HOST=IP",
    help="Look at HOST (an id or a name) there, whatever DNS says. Repeatable.",
)
@click.option(
    "--timeout", type=click.FloatRange(1, 3600), default=None, help="Seconds for the whole run."
)
@click.option(
    "--watch", is_flag=True, help="For cron: remember, alert on changes, print problems only."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=None,
    help="With --watch: the file that remembers (default /var/lib/releve/checks/state.json).",
)
@click.option(
    "--jitter",
    type=click.FloatRange(0, 3600),
    default=0.0,
    metavar="SECONDS",
    help="Wait a random time below this first, so that many watches do not knock at once.",
)
def check(
    file: Path,
    only: tuple[str, ...],
    form: str,
    addresses: tuple[str, ...],
    timeout: float | None,
    watch: bool,
    state: Path | None,
    jitter: float,
) -> None:
    """Look at everything that the inventory FILE names, from outside and from inside.

    Needs no key for what anybody could see; what needs one is skipped without it.

    Exit code: 0 all is well (or skipped), 2 something is critical, else 1 something wants
    attention, else 3 something could not be found out. With --watch: 75 when the last run is
    still under way.
    """
    # A short run that makes few cycles: looking for them costs a tenth of its processor time.
    gc.set_threshold(100_000)
    from checks import authorities

    authorities.begin()
    import roles
    from checks import run as checks_run

    if (only or addresses) and watch:
        raise click.UsageError("--watch looks at everything: leave out --only and --address")
    at = dict(_address(item) for item in addresses)
    if jitter:
        import random
        import time

        time.sleep(random.uniform(0, jitter))  # noqa: S311 (spreads load, hides nothing)
    inventory = roles.load(file)
    seconds = timeout or checks_run.AT_MOST
    if watch:
        from checks import watch as watching

        sys.exit(watching.run(inventory, file, state or watching.STATE, at_most=seconds))
    found = checks_run.run(inventory, file.parent, only=only, addresses=at, at_most=seconds)
    from checks import report, result

    if form == "json":
        from datetime import UTC, datetime

        click.echo(report.as_json(found.results, found.seconds, datetime.now(UTC)))
    else:
        import shutil

        colour = sys.stdout.isatty()
        width = min(110, max(60, shutil.get_terminal_size().columns)) if colour else 100
        title = inventory.organisation.name
        click.echo(
            report.text(title, found.results, found.seconds, colour=colour, width=width),
            nl=False,
            color=colour,
        )
    sys.stdout.flush()
    raise AtOnce(result.exit_code(found.results))


def _address(item: str) -> tuple[str, str]:
    import ipaddress

    name, _, address = item.partition("=")
    try:
        return name, str(ipaddress.ip_address(address))
    except ValueError:
        raise click.UsageError(
            f"--address {item}: write HOST=IP, such as web1=192.0.2.10"
        ) from None
