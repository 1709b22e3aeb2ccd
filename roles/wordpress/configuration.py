"""The files that make a WordPress on a Debian host, as text. No remote commands."""

from __future__ import annotations

import json
from pathlib import Path

from inventories.model import Inventory, Service
from platforms.debian import web
from platforms.debian.steps import MARIADB, Step
from platforms.ops import File, Folder, Item
from roles.wordpress import settings as wordpress

PACKAGES = (
    # WordPress wants PHP in Apache or "php", and that wants Apache or one of the others: in this
    # order, Apache stays out.
    "php-fpm",
    "php",
    "wordpress",
    "wordpress-l10n",
    "mariadb-server",
    "php-cli",
    "php-curl",
    "php-gd",
    "php-intl",
    "php-mbstring",
    "php-mysql",
    "php-xml",
    "php-zip",
)
# Each release of Debian brings the theme that new sites of its WordPress have. A site that comes
# from an older release looks for the one it had, and is an empty page without it.
THEMES = (
    "wordpress-theme-twentytwentyfive",
    "wordpress-theme-twentytwentyfour",
    "wordpress-theme-twentytwentythree",
)
_FILES = Path(__file__).parent / "files"
_UNITS = "/etc/systemd/system"


def _template(name: str, service: Service) -> str:
    return web.render_file(
        Path(__file__).parent / "templates" / name,
        service=service,
        settings=wordpress.settings(service),
        wordpress=wordpress,
    )


def programs() -> tuple[Item, ...]:
    """The role's own programs on the host."""
    folder = str(Path(wordpress.PROGRAM).parent)
    files = sorted(p for p in _FILES.iterdir() if p.is_file())
    return (
        Folder("/usr/local/lib/releve"),
        Folder(folder),
        *(File(f"{folder}/{p.name}", p.read_bytes(), 0o755) for p in files),
    )


def folders(service: Service) -> tuple[Item, ...]:
    """The site's own wp-content, empty, with the themes that Debian brings next to those that
    the site's admins may add."""
    root, user = wordpress.root(service), wordpress.user(service)
    content = f"{root}/wp-content"
    inside = ("languages", "languages/plugins", "languages/themes", "plugins", "themes", "uploads")
    return (
        # MariaDB and PHP have made their own; this one holds all sites of the host.
        Folder("/var/lib/wordpress"),
        Folder(root, 0o755, user, user),
        Folder(content, 0o755, user, user),
        *(Folder(f"{content}/{name}", 0o755, user, user) for name in inside),
    )


def files(service: Service) -> tuple[Item, ...]:
    """Configuration of WordPress, its PHP and its planned tasks."""
    user = wordpress.user(service)
    return (
        File(
            wordpress.config_file(service),
            _template("config.php.j2", service).encode(),
            0o640,
            "root",
            user,
        ),
        File(wordpress.pool_file(service), _template("fpm.conf.j2", service).encode()),
        File(f"{_UNITS}/wordpress@.service", _template("fpm.service.j2", service).encode()),
        File(f"{_UNITS}/wordpress-cron@.timer", _template("cron.timer.j2", service).encode()),
        # Not a template unit of systemd: the user's name does not follow from the site's.
        File(
            f"{_UNITS}/{wordpress.cron_unit(service)}",
            _template("cron.service.j2", service).encode(),
        ),
    )


def site(service: Service) -> File:
    """nginx' configuration of the service."""
    body = _template("locations.nginx.j2", service)
    return web.site(service, body, upload_mb=wordpress.settings(service).upload_mb)


def links(service: Service) -> Step:
    """Debian's themes, plugins and languages, linked into the site's wp-content. What the site's
    admins put there themselves stays; links into a package that has gone are removed."""
    return Step(
        f"Debian's themes and languages in {wordpress.root(service)}/wp-content",
        """for kind in themes plugins languages; do
    for from in "/usr/share/wordpress/wp-content/$kind"/*; do
        [ ! -e "$from" ] || [ -e "$1/$kind/${from##*/}" ] || exit 1
    done
done""",
        """for kind in themes plugins languages; do
    find "$1/$kind" -maxdepth 1 -xtype l -lname "/usr/share/wordpress/*" -delete
    for from in "/usr/share/wordpress/wp-content/$kind"/*; do
        to=$1/$kind/${from##*/}
        [ ! -e "$from" ] || [ -e "$to" ] || ln -s -- "$from" "$to"
    done
done
""",
        (f"{wordpress.root(service)}/wp-content",),
    )


def salts(service: Service) -> Step:
    """Keys of cookies and nonces, made on the host once."""
    return Step(
        f"the keys of {service.id}'s cookies, made on the host",
        '[ -s "$1" ] && [ "$(stat -c %a:%G -- "$1")" = "640:$2" ]',
        """umask 077
if ! [ -s "$1" ]; then
    { echo '<?php // Made on this host; part of the copy of the site.'
      for name in AUTH_KEY SECURE_AUTH_KEY LOGGED_IN_KEY NONCE_KEY \\
                  AUTH_SALT SECURE_AUTH_SALT LOGGED_IN_SALT NONCE_SALT; do
          printf "define('%s', '%s');\\n" "$name" "$(openssl rand -hex 48)"
      done; } > "$1.new"
    mv -- "$1.new" "$1"
fi
chown "root:$2" -- "$1"; chmod 0640 -- "$1"
""",
        (wordpress.salts_file(service), wordpress.user(service)),
    )


def first_content(service: Service, inventory: Inventory) -> Step:
    """A site with one administrator when the database is empty. The password is made on the host,
    passes through a pipe, and stays in a file for root."""
    chosen = wordpress.settings(service)
    wanted = {
        "title": chosen.title or inventory.organisation.name,
        "mail": chosen.admin_mail or inventory.organisation.contact,
        "locale": wordpress.locale(service, inventory),
        "timezone": chosen.timezone,
    }
    return Step(
        f"a first page and an administrator in {service.id}, for its database is empty",
        'shift 2; exec "$@" is-installed',
        """file=$1 wanted=$2; shift 2
umask 077; mkdir -p -- "${file%/*}"
[ -s "$file" ] || { openssl rand -base64 18 > "$file.new"; mv -- "$file.new" "$file"; }
"$@" install "$wanted" < "$file"
""",
        (
            wordpress.admin_file(service),
            json.dumps(wanted, ensure_ascii=False, sort_keys=True),
            *wordpress.program(service),
        ),
        server=MARIADB,
    )


def tables_current(service: Service) -> Step:
    """The database has the tables that the installed code wants."""
    return Step(
        f"{service.id}'s tables are those of the installed WordPress",
        'exec "$@" is-current',
        'exec "$@" upgrade',
        wordpress.program(service),
        server=MARIADB,
    )
