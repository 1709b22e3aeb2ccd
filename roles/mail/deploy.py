"""Mail on Debian: queues what makes it, for the current pyinfra host."""

from __future__ import annotations

from inventories.model import Inventory, Service
from inventories.secrets import resolve
from platforms import ops
from platforms.debian import ops as debian
from platforms.debian import steps
from roles.mail import configuration, places
from roles.mail import settings as mail


def install(service: Service, inventory: Inventory) -> None:
    """Packages, users, folders; nothing answers yet. Raise RefusedError for a second one."""
    others = [s.id for s in inventory.services_on(service.host) if s.role == service.role]
    if others[0] != service.id:
        raise ops.RefusedError(
            f"{service.id}: this host has a mail service already ({others[0]}), and a host can "
            "have one only. Give its domains to that one, or take another host."
        )
    debian.install_web()
    wanted: tuple[str, ...] = configuration.PACKAGES
    if mail.settings(service).pop3:
        wanted = (*wanted, configuration.POP3)
    conditions = configuration.conditions()
    ops.packages(names=wanted, first=conditions, name="mail: packages")
    ops.place(items=conditions, name=f"{service.id}: starts as configured only")
    ops.place(items=configuration.programs(), name="mail: programs")
    debian.ensure(
        wanted=(
            steps.system_user(places.OWNER, places.BOXES),
            steps.system_user(places.LIMITER, places.LIMITS),
            configuration.readers(),
            configuration.learning(),
        ),
        name=f"{service.id}: users",
    )
    ops.place(items=configuration.folders(), name=f"{service.id}: folders")


def configure(service: Service, inventory: Inventory) -> None:
    """Its configuration, its sites with certificates at hand, and a server that answers."""
    secrets = ops.secrets()
    key = secrets.get(places.secret(service))
    relay = mail.settings(service).relay
    password = resolve(relay.password, secrets) if relay and relay.password else ""
    if password.strip().splitlines() != ([password] if password else []):
        raise ops.RefusedError(
            f"{service.id}: the relay's password begins or ends with a space, or has a line break "
            "in it, which Postfix cannot be told. Set the secret anew (releve secrets set)."
        )
    debian.configure_web(inventory)
    ops.place(items=configuration.published(service, inventory), name=f"{service.id}: web files")
    debian.configure_site(service, configuration.site(service, inventory))
    for one in places.sites(service, inventory):
        debian.configure_site(one.service, configuration.site_of(one, inventory))
    ops.place(
        items=(
            *configuration.rspamd(service, inventory, key),
            *configuration.dovecot(service, inventory),
            *configuration.postfix(service, inventory, password),
            *configuration.jail(service, inventory),
            *configuration.reloads(),
            *configuration.restarts(),
            configuration.facts(service, inventory, key),
        ),
        name=f"{service.id}: configuration",
    )
    debian.ensure(
        wanted=(
            configuration.way_out(),
            configuration.queue_folders(),
            configuration.settled(),
            configuration.dovecot_takes(service),
            configuration.signs(),
        ),
        name=f"{service.id}: accounts of the inventory, Dovecot's configuration",
    )
    debian.ensure(
        wanted=(
            steps.running("rspamd.service", *configuration.RSPAMD_FILES),
            steps.running("dovecot.service", *configuration.DOVECOT_FILES),
            steps.running("postfix.service", *configuration.postfix_files(service)),
            steps.running("fail2ban.service", *configuration.JAIL_FILES),
            *configuration.relayed(service),
        ),
        name=f"{service.id}: runs",
    )
    debian.ensure(
        wanted=(configuration.targeted(),),
        name=f"{service.id}: look whether every alias leads to somebody",
        _ignore_errors=True,
    )
    # Asked after they were started: it takes seconds, and what follows speaks with them.
    debian.ensure(wanted=(configuration.answering(),), name=f"{service.id}: answers")
    debian.ensure(wanted=(configuration.closed(),), name=f"{service.id}: closed to strangers")
    # Told before any name leads here. Nothing on the host can change it.
    debian.look(
        program=(places.PROGRAM, "reversed"), name=f"{service.id}: look at the addresses' own name"
    )


def activate(service: Service, inventory: Inventory) -> None:
    """The real certificates, and a key that DNS names by now."""
    debian.activate_site(service)
    for one in places.sites(service, inventory):
        debian.activate_site(one.service)
    debian.ensure(
        wanted=(
            configuration.signs(),
            steps.running("rspamd.service", *configuration.RSPAMD_FILES),
        ),
        name=f"{service.id}: signs",
    )
