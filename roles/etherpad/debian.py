"""What a copy of an Etherpad consists of, how it comes back, and the mark that proves it. Pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from inventories.model import Inventory, Service
from platforms.debian import names
from platforms.debian import units as units_of
from roles.etherpad import probes
from roles.etherpad import settings as etherpad
from roles.interface import Canary, Dump, OnPlatform, Restore, State

# Fixed text; values arrive as "$1" and "$2", never inside the text. The tables are created by
# their owner, who may do no more than that.
_LOAD = (
    "set -eu; cd /; "
    'runuser -u postgres -- dropdb --if-exists --force -- "$1"; '
    "runuser -u postgres -- createdb --template=template0 --encoding=UTF8 --locale=C.UTF-8 "
    '--owner="$2" -- "$1"; '
    'exec runuser -u "$2" -- psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 '
    '--single-transaction --output=/dev/null --dbname="$1"'
)
# On a host where only `install` ran there may be nothing to start yet; `configure` will.
_START = 'systemctl cat -- "$1" >/dev/null 2>&1 || exit 0; exec systemctl start -- "$1"'


def state(service: Service, inventory: Inventory) -> State:
    """The installed tree with its keys, the certificate, and the database.

    pg_dump sees one moment of the database, and the tree does not change while it runs, so that
    nothing needs to stand still.
    """
    return State(
        paths=(etherpad.root(service), names.certificate_folder(service.domain)),
        dumps=(
            Dump(
                "postgresql.sql",
                save=(
                    "runuser",
                    "-u",
                    "postgres",
                    "--",
                    "pg_dump",
                    "--no-owner",
                    "--no-privileges",
                    f"--dbname={etherpad.database(service)}",
                ),
                load=(
                    "sh",
                    "-c",
                    _LOAD,
                    "load",
                    etherpad.database(service),
                    etherpad.user(service),
                ),
            ),
        ),
        counts=etherpad.program(service, inventory, "counts"),
        versions=etherpad.program(service, inventory, "versions"),
    )


def restore(service: Service, inventory: Inventory) -> Restore:
    """Etherpad keeps pads in memory and writes them later: it must stand still meanwhile."""
    return Restore(
        stop=(units_of.stop(etherpad.unit(service)),),
        accept=(
            ("sh", "-c", _START, "start", etherpad.unit(service)),
            etherpad.program(service, inventory, "wait"),
            units_of.RELOAD_NGINX,
        ),
    )


def canary(service: Service, inventory: Inventory) -> Canary:
    """A pad, as a member could have written it."""
    return Canary(
        plant=etherpad.program(service, inventory, "canary-plant"),
        find=etherpad.program(service, inventory, "canary-find"),
        sample=etherpad.program(service, inventory, "sample"),
    )


def units(service: Service, inventory: Inventory) -> tuple[str, ...]:
    """What must not run on a host that has been replaced."""
    return (etherpad.unit(service), "nginx.service")


ON = OnPlatform(
    deploy="roles.etherpad.deploy",
    inside=probes.inside,
    state=state,
    restore=restore,
    canary=canary,
    units=units,
)
