"""What an admin may say about an Etherpad, and where its parts lie on a Debian host. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from inventories.model import HttpsUrl, Inventory, Line, Model, Service, Settings, Sha256, matching
from platforms.debian import names

PROGRAM = "/usr/local/lib/releve/etherpad/pad.py"
_FIRST_PORT = 9001  # Etherpad's own default; the next services get the next ones


class Tarball(Model):
    """An upstream release that lies somewhere, and what it must be."""

    url: HttpsUrl
    sha256: Sha256


class EtherpadSettings(Settings):
    title: Line = "Etherpad"
    # Etherpad 2 is started, built and installed otherwise.
    # "npm": the package that Etherpad's authors publish there, in the version below.
    source: Literal["npm"] | Tarball = "npm"
    version: Annotated[
        str, matching(r"1\.[0-9]+\.[0-9]+", 'a version of Etherpad 1 such as "1.8.14"')
    ] = "1.8.14"
    welcome: Line | None = None  # the first line of a new pad


def settings(service: Service) -> EtherpadSettings:
    """The service's settings with their type. Raise TypeError for another role's service."""
    if not isinstance(service.settings, EtherpadSettings):
        raise TypeError(f"{service.id} is not an etherpad service")
    return service.settings


def user(service: Service) -> str:
    """The Unix user of the service and owner of its folder. It is the PostgreSQL role's name as
    well: PostgreSQL knows it by its socket ("peer"), so that there is no password."""
    return names.system_user("ep", service.id)


def database(service: Service) -> str:
    """The PostgreSQL database, owned by `user`. `runuser -u postgres` administrates it."""
    return names.database_name("ep", service.id)


def root(service: Service) -> str:
    """The installed tree with settings.json, APIKEY.txt and SESSIONKEY.txt: all of it is part
    of a copy, so that a blank host needs neither npm nor a download."""
    return f"/srv/etherpad/{service.id}"


def config_file(service: Service) -> str:
    """Etherpad's settings; written by every deploy, holds no secret."""
    return f"{root(service)}/settings.json"


def api_key_file(service: Service) -> str:
    """The key of Etherpad's HTTP interface, 0600, made by Etherpad itself at its first start."""
    return f"{root(service)}/APIKEY.txt"


def unit(service: Service) -> str:
    """The systemd unit."""
    return f"etherpad@{service.id}.service"


def nginx_site(service: Service) -> str:
    """The configuration of this site that nginx reads."""
    return f"/etc/nginx/sites-enabled/{service.id}"


def certificate_paths(service: Service) -> tuple[str, str]:
    """The chain and the private key that nginx shows for this service."""
    return names.certificate_paths(service.domain)


def port(service: Service, inventory: Inventory) -> int:
    """The port on 127.0.0.1. Counted over the whole inventory, so that a service that moves to
    another host never meets its own number there."""
    pads = sorted(s.id for s in inventory.services.values() if s.role == service.role)
    return _FIRST_PORT + pads.index(service.id)


def program(service: Service, inventory: Inventory, *arguments: str) -> tuple[str, ...]:
    """The argv, for root on the host, of a verb of files/pad.py:

    `wait` (until it answers, at most 60 s), `counts`, `versions`, `write PAD TEXT`, `read PAD`,
    `canary-plant RUN AT`, `canary-find`, `health`.
    """
    return (
        "python3",
        PROGRAM,
        root(service),
        str(port(service, inventory)),
        *arguments,
    )
