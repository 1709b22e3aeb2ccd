"""The files that make an Etherpad on a Debian host, as text. No remote commands."""

from __future__ import annotations

import json
from pathlib import Path

from inventories.model import Inventory, Service
from platforms.debian import web
from platforms.debian.steps import Step
from platforms.ops import File, Folder, Item, Link
from roles.etherpad import settings as etherpad

# npm is not among them: it is 400 packages, and needed only to fetch a version that has no lock.
PACKAGES = ("nodejs", "postgresql", "curl", "ca-certificates")
_HERE = Path(__file__).parent
_WELCOME = {
    "fr": "Bienvenue ! Ce texte s'écrit à plusieurs, chaque personne a sa couleur.",
    "en": "Welcome! This text is written together, each person has a colour.",
}


def programs() -> tuple[Item, ...]:
    """The role's own programs on the host."""
    folder = str(Path(etherpad.PROGRAM).parent)
    files = sorted(p for p in (_HERE / "files").iterdir() if p.is_file())
    return (
        Folder("/usr/local/lib/releve"),
        Folder(folder),
        *(File(f"{folder}/{p.name}", p.read_bytes(), 0o755) for p in files),
    )


def installed(service: Service) -> tuple[Item, ...]:
    """The folder and the unit. The unit is there before the code, so that restored data can be
    started; it refuses to start without code."""
    root, user = etherpad.root(service), etherpad.user(service)
    return (
        Folder("/srv/etherpad"),
        Folder(root, 0o750, user, user),
        File(f"/etc/systemd/system/{etherpad.unit(service)}", unit_text(service).encode()),
    )


def configured(service: Service, inventory: Inventory) -> tuple[Item, ...]:
    """Settings, and the links and folders that Etherpad expects around its code."""
    root, user = etherpad.root(service), etherpad.user(service)
    return (
        Folder(f"{root}/var", 0o750, user, user),
        Folder(f"{root}/node_modules"),
        Link(f"{root}/node_modules/ep_etherpad-lite", "../src"),
        File(
            etherpad.config_file(service),
            settings_text(service, inventory).encode(),
            0o640,
            "root",
            user,
        ),
    )


def unit_text(service: Service) -> str:
    """The systemd unit."""
    root = etherpad.root(service)
    return web.render_file(
        _HERE / "templates/etherpad.service.j2",
        service=service,
        root=root,
        programs=Path(etherpad.PROGRAM).parent,
        user=etherpad.user(service),
        settings=etherpad.config_file(service),
    )


def settings_text(service: Service, inventory: Inventory) -> str:
    """Etherpad's settings.json. There is no administrator and no password in it."""
    chosen = etherpad.settings(service)
    locale = inventory.organisation.locale
    values = {
        "title": chosen.title,
        "ip": "127.0.0.1",
        "port": etherpad.port(service, inventory),
        "trustProxy": True,
        "showSettingsInAdminPage": False,
        "dbType": "postgres",
        "dbSettings": {
            "host": "/var/run/postgresql",  # a folder: the socket in it, which knows the user
            "user": etherpad.user(service),
            "database": etherpad.database(service),
        },
        "defaultPadText": f"{chosen.welcome or _WELCOME[locale]}\n",
        "padOptions": {"lang": locale},
        "disableIPlogging": True,
        "suppressErrorsInPadText": True,
        "exposeVersion": False,
        "minify": True,
        "maxAge": 21600,
        "skinName": "colibris",
        "loglevel": "INFO",
        "cookie": {"sameSite": "Lax"},
        "users": {},
    }
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"


def begun(service: Service) -> Step:
    """Fetching the code has begun, beside what else a deploy has to do: it takes longest of all.
    `code` waits for its end, and does it itself when it failed."""
    known = code(service)
    return Step(
        f"Etherpad's code for {service.id} is on its way",
        f'systemctl is-active -q -- "releve-fetch-${{1##*/}}" || {known.check}',
        # With what a session of root's has around it.
        "program=$2 root=$1; shift 2; systemd-run --quiet --collect -E HOME "
        '-p EnvironmentFile=-/etc/environment --unit="releve-fetch-${root##*/}" '
        '-- "$program" "$root" "$@"',
        known.arguments,
    )


def code(service: Service) -> Step:
    """The code, fetched only where it is missing or another version is wanted."""
    source = etherpad.settings(service).source
    arguments = (
        ("npm", etherpad.settings(service).version)
        if source == "npm"
        else (source.url, source.sha256)
    )
    return Step(
        f"Etherpad's code for {service.id} ({' '.join(arguments)})",
        '[ "$(cat -- "$1/src/.releve")" = "$3 $4" ]',
        'program=$2 root=$1; shift 2; "$program" "$root" "$@"',
        (etherpad.root(service), f"{Path(etherpad.PROGRAM).parent}/fetch", *arguments),
    )


def answers(service: Service, inventory: Inventory) -> Step:
    """Etherpad has started and speaks with its database."""
    wait = etherpad.program(service, inventory, "wait")
    url = f"http://127.0.0.1:{etherpad.port(service, inventory)}/api"
    return Step(
        f"{service.id} answers",
        '[ -e "$1" ] && curl --noproxy "*" -fsS -m 5 -o /dev/null "$2"',
        'shift 2; exec "$@"',
        (etherpad.api_key_file(service), url, *wait),
    )


def site(service: Service, inventory: Inventory) -> File:
    """nginx' configuration of the service."""
    body = web.render_file(
        _HERE / "templates/locations.nginx.j2", port=etherpad.port(service, inventory)
    )
    return web.site(service, body, upload_mb=20, framed=True)
