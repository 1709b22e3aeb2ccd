"""DNS records that several roles share."""

from __future__ import annotations

import base64

from inventories.model import Host
from roles.interface import Record


def address_records(domain: str, host: Host) -> tuple[Record, ...]:
    """Given a name and the host that serves it, return the A and AAAA record sets it needs.

    One record set per address family, in the host's order. A family the host has no address
    in gets none: the checks warn when DNS has one all the same.
    """
    by_type: dict[int, list[str]] = {}
    for address in host.addresses:
        by_type.setdefault(address.version, []).append(str(address))
    return tuple(
        Record(name=domain, type="A" if version == 4 else "AAAA", values=tuple(values))
        for version, values in by_type.items()
    )


def dkim_record(private: str) -> str:
    """Given a private RSA key (PEM), return the text by which others verify it (RFC 6376, 3.6.1).

    Raise ValueError when it is no key.
    """
    # Imported here: a check never needs it, and it is large.
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(private.encode(), password=None)
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
