"""What an admin may say about a WordPress, and where its parts lie on a Debian host. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from inventories.model import Inventory, Line, Mail, Service, Settings, Timezone, matching
from platforms.debian import names

PROGRAM = "/usr/local/lib/releve/wordpress/wp.php"
CODE = "/usr/share/wordpress"

# WordPress' own names of languages, such as "fr_FR"; what Debian's wordpress-l10n brings.
Locale = Annotated[
    str, matching(r"[a-z]{2,3}(_[A-Z]{2}(_[a-z0-9]+)?)?", 'a language such as "fr_FR"')
]
LOCALES = {"fr": "fr_FR", "en": "en_US"}


class WordPressSettings(Settings):
    """On Debian, all but `upload_mb` are the first content of an empty site; later the site's own
    admins may change them there, and a deploy leaves that alone. On YunoHost, whose package asks
    for few of them, a deploy sets them; `upload_mb` is the package's there."""

    title: Line | None = None  # default: the organisation's name
    locale: Locale | None = None  # default: the organisation's language
    admin_mail: Mail | None = None  # default: the organisation's contact
    timezone: Timezone = "Europe/Paris"
    upload_mb: int = 64  # the largest file that a member may send, in MiB
    # On YunoHost only (Debian updates its own package): what WordPress updates by itself.
    # None: as it is.
    updates: Literal["all", "minor", "none"] | None = None


def settings(service: Service) -> WordPressSettings:
    """The service's settings with their type. Raise TypeError for another role's service."""
    if not isinstance(service.settings, WordPressSettings):
        raise TypeError(f"{service.id} is not a wordpress service")
    return service.settings


def user(service: Service) -> str:
    """The Unix user that PHP runs as. It is the MariaDB user's name as well: MariaDB knows it
    by its socket, so that there is no password."""
    return names.system_user("wp", service.id)


def database(service: Service) -> str:
    """The MariaDB database. Root reaches it through the socket without a password."""
    return names.database_name("wp", service.id)


def root(service: Service) -> str:
    """The folder that holds `wp-content`; all in it belongs to `user`."""
    return f"/var/lib/wordpress/{service.id}"


def config_file(service: Service) -> str:
    """What Debian's wp-config.php includes; written by every deploy, holds no secret."""
    return f"/etc/wordpress/config-{service.id}.php"


def salts_file(service: Service) -> str:
    """The keys of cookies and nonces, made on the host, root:USER 0640. Part of a copy: without
    it everybody has to log in again."""
    return f"/etc/wordpress/salts-{service.id}.php"


def admin_file(service: Service) -> str:
    """The first administrator's password ("admin"), 0600, made when the site was empty."""
    return f"/etc/releve/{service.id}.admin"


def pool_file(service: Service) -> str:
    """PHP-FPM's configuration of this site."""
    return f"/etc/wordpress/fpm-{service.id}.conf"


def socket(service: Service) -> str:
    """Where nginx reaches this site's PHP."""
    return f"/run/wordpress-{service.id}/php.sock"


def unit(service: Service) -> str:
    """The systemd unit that runs this site's PHP."""
    return f"wordpress@{service.id}.service"


def timer(service: Service) -> str:
    """The systemd timer that runs what WordPress has planned, every five minutes."""
    return f"wordpress-cron@{service.id}.timer"


def cron_unit(service: Service) -> str:
    """What `timer` starts."""
    return f"wordpress-cron@{service.id}.service"


def nginx_site(service: Service) -> str:
    """The configuration of this site that nginx reads."""
    return f"/etc/nginx/sites-enabled/{service.id}"


def certificate_paths(service: Service) -> tuple[str, str]:
    """The chain and the private key that nginx shows for this service."""
    return names.certificate_paths(service.domain)


def locale(service: Service, inventory: Inventory) -> str:
    """The site's first language."""
    return settings(service).locale or LOCALES[inventory.organisation.locale]


def program(service: Service, *arguments: str) -> tuple[str, ...]:
    """The argv, for root on the host, of a verb of files/wp.php:

    `is-installed` (exit 0 or 1), `install JSON` (password on stdin), `upgrade` (brings the
    database to the code's version and flushes caches; repeatable), `cron`, `counts`,
    `versions`, `canary-plant RUN AT`, `canary-find`, `health`.
    """
    return ("runuser", "-u", user(service), "--", "php", PROGRAM, service.id, *arguments)
