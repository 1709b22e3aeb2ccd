"""WordPress on Debian: queues what makes it, for the current pyinfra host."""

from __future__ import annotations

from inventories.model import Inventory, Service
from platforms import ops
from platforms.debian import ops as debian
from platforms.debian import steps
from roles.wordpress import configuration
from roles.wordpress import settings as wordpress


def install(service: Service, inventory: Inventory) -> None:  # noqa: ARG001
    """Packages, the site's user, its empty database and folders."""
    debian.install_web()
    if debian.once("wordpress packages"):
        ops.packages(names=configuration.PACKAGES, name="wordpress: packages")
        ops.units(running=(steps.MARIADB,), name="wordpress: its database runs")
        debian.ensure(
            wanted=(steps.known_packages(*configuration.THEMES),), name="wordpress: themes"
        )
        ops.place(items=configuration.programs(), name="wordpress: programs")
    user = wordpress.user(service)
    debian.ensure(
        wanted=(
            steps.system_user(user, wordpress.root(service)),
            steps.mariadb(wordpress.database(service), user),
        ),
        name=f"{service.id}: user and database",
    )
    ops.place(items=configuration.folders(service), name=f"{service.id}: folders")


def configure(service: Service, inventory: Inventory) -> None:
    """Configuration, first content where there is none, and a site that answers."""
    debian.configure_web(inventory)
    ops.place(items=configuration.files(service), name=f"{service.id}: configuration")
    debian.ensure(
        wanted=(
            configuration.links(service),
            configuration.salts(service),
            configuration.first_content(service, inventory),
            configuration.tables_current(service),
        ),
        name=f"{service.id}: content",
    )
    debian.ensure(
        wanted=(
            steps.running(
                wordpress.unit(service),
                wordpress.pool_file(service),
                "/etc/systemd/system/wordpress@.service",
            ),
            steps.running(wordpress.timer(service)),
        ),
        name=f"{service.id}: PHP and planned tasks run",
    )
    debian.configure_site(service, configuration.site(service))


def activate(service: Service, inventory: Inventory) -> None:  # noqa: ARG001
    """The real certificate."""
    debian.activate_site(service)
