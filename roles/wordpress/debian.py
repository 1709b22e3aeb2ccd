"""What a copy of a WordPress consists of, how it comes back, and the mark that proves it. Pure.

The code itself is Debian's package and comes back with `install`. The site's configuration is
part of the copy, although a deploy writes it as well: with it the restored site can be counted
and searched before the next `configure` runs.
"""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from inventories.model import Inventory, Service
from platforms.debian import names
from platforms.debian import units as units_of
from roles.interface import Canary, Dump, OnPlatform, Restore, State
from roles.wordpress import probes
from roles.wordpress import settings as wordpress

# Fixed texts; values arrive as "$1", never inside the text. The name in "$1" is made of letters,
# digits and underscores (platforms.debian.names), so that backquotes are enough for SQL.
_LOAD = (
    'set -eu; mariadb --execute "DROP DATABASE IF EXISTS \\`$1\\`; CREATE DATABASE \\`$1\\` '
    'CHARACTER SET utf8mb4"; exec mariadb --default-character-set=utf8mb4 "$1"'
)
# On a host where only `install` ran there is nothing to start yet; `configure` will.
_START = 'set -eu; test -e "$1" || exit 0; shift; exec systemctl start "$@"'


def state(service: Service, inventory: Inventory) -> State:
    """wp-content, the keys of its cookies, its configuration, certificate, and the database.

    The database is dumped in one transaction (InnoDB), so that nothing needs to stand still. It
    is dumped before files are copied: a file that is sent meanwhile is a file too many, never a
    page that names a file that is missing.
    """
    content = f"{wordpress.root(service)}/wp-content"
    return State(
        paths=(
            wordpress.root(service),
            wordpress.salts_file(service),
            wordpress.config_file(service),
            names.certificate_folder(service.domain),
        ),
        dumps=(
            Dump(
                "mariadb.sql",
                save=(
                    "mariadb-dump",
                    "--single-transaction",
                    "--quick",
                    "--routines",
                    "--triggers",
                    "--events",
                    "--hex-blob",
                    "--skip-dump-date",  # an unchanged database gives an unchanged file
                    "--default-character-set=utf8mb4",
                    wordpress.database(service),
                ),
                load=("sh", "-c", _LOAD, "load", wordpress.database(service)),
            ),
        ),
        excludes=(f"{content}/cache", f"{content}/upgrade"),
        counts=wordpress.program(service, "counts"),
        versions=wordpress.program(service, "versions"),
    )


def restore(service: Service, inventory: Inventory) -> Restore:
    """PHP and its planned tasks stand still while data moves; then WordPress brings the tables
    to the version of the code that is here, which may be newer than the copy's."""
    runs = (wordpress.unit(service), wordpress.timer(service))
    return Restore(
        stop=(units_of.stop(*runs, wordpress.cron_unit(service)),),
        accept=(
            wordpress.program(service, "upgrade"),
            ("sh", "-c", _START, "start", wordpress.pool_file(service), *runs),
            units_of.RELOAD_NGINX,
        ),
    )


def canary(service: Service, inventory: Inventory) -> Canary:
    """A private page, as an editor could have written it."""
    return Canary(
        plant=wordpress.program(service, "canary-plant"),
        find=wordpress.program(service, "canary-find"),
        sample=wordpress.program(service, "sample"),
    )


def units(service: Service, inventory: Inventory) -> tuple[str, ...]:
    """What must not run on a host that has been replaced."""
    return (
        wordpress.timer(service),
        wordpress.cron_unit(service),
        wordpress.unit(service),
        "nginx.service",
    )


ON = OnPlatform(
    deploy="roles.wordpress.deploy",
    inside=probes.inside,
    state=state,
    restore=restore,
    canary=canary,
    units=units,
)
