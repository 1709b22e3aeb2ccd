"""Names that the platform gives: users, databases, certificates. Pure; no pyinfra."""

from __future__ import annotations

import hashlib

# useradd(8) and utmp: a user's name has at most 32 characters.
_USER_MAX = 32

ACME_WEBROOT = "/var/lib/dehydrated/acme-challenges"
CERTIFICATES = "/var/lib/dehydrated/certs"
PROGRAMS = "/usr/local/lib/releve/debian"


def system_user(prefix: str, service: str) -> str:
    """Given "wp" and a service's name, return its Unix user, such as "wp-site".

    A name that would be too long is cut and ends with a digest, so that two services never
    share a user.
    """
    user = f"{prefix}-{service}"
    if len(user) <= _USER_MAX:
        return user
    digest = hashlib.sha256(service.encode()).hexdigest()[:8]
    return f"{user[: _USER_MAX - 9]}-{digest}"


def database_name(prefix: str, service: str) -> str:
    """Given "wp" and a service's name, return its database, such as "wp_site".

    Underscores only: a hyphen would have to be quoted in every statement.
    """
    return f"{prefix}_{service.replace('-', '_')}"


def certificate_paths(domain: str) -> tuple[str, str]:
    """Return the paths of the chain (PEM) and of the private key (PEM) for a domain."""
    return f"{CERTIFICATES}/{domain}/fullchain.pem", f"{CERTIFICATES}/{domain}/privkey.pem"


def certificate_folder(domain: str) -> str:
    """The folder of a domain's certificate and key. It belongs to the copy of a service, so that
    a host that takes over shows a valid certificate before any name leads to it."""
    return certificate_paths(domain)[0].rpartition("/")[0]
