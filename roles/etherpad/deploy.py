"""Etherpad on Debian: queues what makes it, for the current pyinfra host."""

from __future__ import annotations

from inventories.model import Inventory, Service
from platforms import ops
from platforms.debian import ops as debian
from platforms.debian import steps
from roles.etherpad import configuration
from roles.etherpad import settings as etherpad


def install(service: Service, inventory: Inventory) -> None:  # noqa: ARG001
    """Node, the service's user, its empty database, its folder and its unit; no code yet, for
    that may come from a copy."""
    debian.install_web()
    if debian.once("etherpad packages"):
        ops.packages(names=configuration.PACKAGES, name="etherpad: packages")
        ops.units(running=(steps.POSTGRESQL,), name="etherpad: its database runs")
        ops.place(items=configuration.programs(), name="etherpad: programs")
    user = etherpad.user(service)
    debian.ensure(
        wanted=(
            steps.system_user(user, etherpad.root(service)),
            steps.postgresql(etherpad.database(service), user),
        ),
        name=f"{service.id}: user and database",
    )
    ops.place(items=configuration.installed(service), name=f"{service.id}: folder and unit")
    if ops.also("configure"):
        debian.ensure(wanted=(configuration.begun(service),), name=f"{service.id}: code, begun")


def configure(service: Service, inventory: Inventory) -> None:
    """The code where there is none, settings, and a site that answers."""
    debian.configure_web(inventory)
    debian.ensure(wanted=(configuration.code(service),), name=f"{service.id}: code")
    ops.place(
        items=configuration.configured(service, inventory), name=f"{service.id}: configuration"
    )
    debian.ensure(
        wanted=(
            steps.running(
                etherpad.unit(service),
                etherpad.config_file(service),
                f"/etc/systemd/system/{etherpad.unit(service)}",
                f"{etherpad.root(service)}/src/.releve",
            ),
        ),
        name=f"{service.id}: runs",
    )
    # Asked after the restart: it takes seconds to start, and what follows looks at it.
    debian.ensure(
        wanted=(configuration.answers(service, inventory),), name=f"{service.id}: answers"
    )
    debian.configure_site(service, configuration.site(service, inventory))


def activate(service: Service, inventory: Inventory) -> None:  # noqa: ARG001
    """The real certificate."""
    debian.activate_site(service)
