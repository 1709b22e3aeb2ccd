"""nginx, TLS and certificates: what every site on a Debian host shares. No remote commands."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from inventories.model import Inventory, Service
from platforms.debian import names
from platforms.ops import File, Folder, Gone, Item
from tools import words

PACKAGES = ("nginx", "openssl", "dehydrated", "ca-certificates", "curl")
TRUST_FILE = "/etc/dehydrated/releve-authority.pem"
RENEWAL = "releve-certificates.timer"
# What a deploy wrote lies here; nginx reads a copy that it was asked about (`nginx -t`) before.
DEPLOYED = "/etc/nginx/releve"
_SITES = "/etc/nginx/sites-enabled"
SHARED_FILES = (
    (f"{DEPLOYED}/00-unknown", f"{_SITES}/00-unknown"),
    (f"{DEPLOYED}/tls.conf", "/etc/nginx/conf.d/releve.conf"),
)
_HERE = Path(__file__).parent


class NotAtRoot(ValueError):
    """A service that wants to live under a path, which a role cannot do."""


@cache
def _environment(folder: Path) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Not HTML. What is filled in comes from the narrow types of the inventory's model.
        autoescape=False,  # noqa: S701
    )


def render(template: str, **values: Any) -> str:
    """Fill one of the platform's `templates/`; a value that is missing is an error."""
    return render_file(_HERE / "templates" / template, **values)


def render_file(template: Path, **values: Any) -> str:
    """Fill a role's own template; a value that is missing is an error."""
    return _environment(template.parent).get_template(template.name).render(**values)


def site(service: Service, body: str, *, upload_mb: int = 10, framed: bool = False) -> File:
    """nginx' configuration of one service: https with the service's certificate, http only for
    ACME and as a way to https, around `body` (the role's locations).

    `upload_mb`: the largest request, in MiB. `framed`: other sites may show it in a frame.
    Raise NotAtRoot when the service's address has a path.
    """
    if service.path != "/":
        raise NotAtRoot(
            f"services.{service.id}.url: the {service.role} role serves whole host names only; "
            f"write https://{service.domain} without {service.path}"
        )
    chain, key = names.certificate_paths(service.domain)
    text = render(
        "site.nginx.j2",
        service=service,
        chain=chain,
        key=key,
        webroot=names.ACME_WEBROOT,
        body=body,
        upload_mb=upload_mb,
        framed=framed,
    )
    return _file(f"{DEPLOYED}/{service.id}", text)


def live_site(service: Service) -> str:
    """The file of a site that nginx reads."""
    return live(f"{DEPLOYED}/{service.id}")


def live(site: str) -> str:
    """Given a site as it was deployed, return the copy of it that nginx reads."""
    return f"{_SITES}/{site.rpartition('/')[2]}"


def shared(inventory: Inventory, authority: str | None = None) -> tuple[Item, ...]:
    """What all sites of a host share: the default server (refuses unknown names), dehydrated's
    configuration, the daily renewal. `authority`: PEM of a private ACME authority, if any."""
    program = f"{names.PROGRAMS}/certificate"
    return (
        Folder("/usr/local/lib/releve"),
        Folder(names.PROGRAMS),
        Folder(names.ACME_WEBROOT),
        Folder(names.CERTIFICATES, 0o700),
        Folder(DEPLOYED),
        # Debian's own default site would answer for every name.
        Gone(f"{_SITES}/default"),
        _file(f"{DEPLOYED}/00-unknown", render("unknown.nginx.j2")),
        _file(f"{DEPLOYED}/tls.conf", render("tls.nginx.j2")),
        _file("/etc/dehydrated/conf.d/releve.sh", dehydrated_config(inventory, authority)),
        _file(TRUST_FILE, authority) if authority else Gone(TRUST_FILE),
        _file(program, (_HERE / "files/certificate").read_text(encoding="utf-8"), 0o755),
        _file(
            "/etc/systemd/system/releve-certificates.service",
            render("certificates.service.j2", program=program),
        ),
        _file(f"/etc/systemd/system/{RENEWAL}", render("certificates.timer.j2")),
    )


def _file(path: str, text: str, mode: int = 0o644) -> File:
    return File(path, text.encode(), mode)


def dehydrated_config(inventory: Inventory, authority: str | None = None) -> str:
    """dehydrated's settings (a shell file, hence quoted)."""
    values: Mapping[str, str] = {
        "CA": inventory.certificates.directory,
        "CONTACT_EMAIL": inventory.organisation.contact,
        "WELLKNOWN": names.ACME_WEBROOT,
        "KEY_ALGO": "prime256v1",
        # Of the account alone; making one of 4096 bits, the default, can take seconds.
        "KEYSIZE": "2048",
        "CURL_OPTS": f"--cacert {TRUST_FILE} --capath /etc/ssl/certs" if authority else "",
    }
    lines = "".join(f"{key}={words.line((value,))}\n" for key, value in values.items())
    return f"# Written by Relève; changes are lost.\n{lines}"


def authority_of(inventory: Inventory, folder: Path) -> str | None:
    """The PEM text of the inventory's private ACME authority, or None for a public one.

    `folder` is where the inventory file lies. Raise OSError when the file cannot be read.
    """
    trust = inventory.certificates.trust
    return (folder / trust).read_text(encoding="ascii") if trust else None
