"""Certificates: one shared context, what a verified certificate says, why one is refused."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from checks import authorities
from roles.interface import Finding

DAY = 86400.0
# Clients renew 90-day certificates at 30 days left: at 21 a renewal has failed for a week.
WARNING_DAYS = 21.0
CRITICAL_DAYS = 7.0


@dataclass(frozen=True)
class Certificate:
    """A certificate whose chain and name were verified; times are seconds since 1970."""

    not_before: float
    not_after: float
    issuer: str


class TrustError(Exception):
    """The authority that the inventory trusts cannot be read."""

    exit_code = 64


class CertificateRefused(Exception):
    """A browser would refuse this certificate. The message says why and what to do."""


def context(trust: Path | None, trusting: str = "") -> ssl.SSLContext:
    """The one TLS context of a run: the machine's authorities, those in the file `trust`, and
    those in the text `trusting` (PEM both).

    Making one costs tens of milliseconds, using it for another connection nothing.
    Raise TrustError when `trust` cannot be read.
    """
    made = authorities.context()
    if trust is not None:
        try:
            made.load_verify_locations(cafile=str(trust))
        except OSError as error:
            why = "is no certificate as PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise TrustError(
                f"{trust}: {why}. The inventory names this file in certificates.trust: put the "
                "authority's certificate there"
            ) from None
    if trusting:
        made.load_verify_locations(cadata=trusting)
    made.options |= ssl.OP_NO_TICKET  # nobody comes back: spare servers the work of a ticket
    return made


@lru_cache(maxsize=1024)
def _seconds(text: str) -> float:
    return float(ssl.cert_time_to_seconds(text))


def describe(peer: Mapping[str, Any]) -> Certificate:
    """Given what `SSLSocket.getpeercert()` returns, return the part that is judged."""
    names = dict(pair for group in peer.get("issuer", ()) for pair in group)
    return Certificate(
        _seconds(peer["notBefore"]),
        _seconds(peer["notAfter"]),
        names.get("commonName") or names.get("organizationName") or "an unnamed authority",
    )


# Many services often show one certificate; what it says is read once in a run.
_shown: dict[bytes, Certificate] = {}


def shown(secured: ssl.SSLSocket) -> Certificate:
    """The certificate with which the other side of a verified connection proved its name."""
    der = secured.getpeercert(binary_form=True) or b""
    if der not in _shown:
        _shown[der] = describe(secured.getpeercert() or {})
    return _shown[der]


def judge(certificate: Certificate, now: float) -> Finding:
    """Judge the days left of a verified certificate.

    Certificates that live shorter than the usual 90 days are judged by a share of their life:
    warning in the last quarter, critical in the last tenth.
    """
    life = certificate.not_after - certificate.not_before
    left = certificate.not_after - now
    days = f"{left / DAY:.0f} days" if left >= 2 * DAY else f"{left / 3600:.0f} hours"
    said = f"valid for {days} more, issued by {certificate.issuer}"
    remedy = "its renewal fails: look at the ACME client's log on the host"
    if left < min(CRITICAL_DAYS * DAY, life / 10):
        return Finding("critical", f"{said}; {remedy}")
    if left < min(WARNING_DAYS * DAY, life / 4):
        return Finding("warning", f"{said}; {remedy}")
    return Finding("ok", said)


# OpenSSL's X509_V_ERR_* numbers (x509_vfy.h).
_NOT_YET, _EXPIRED, _SELF_SIGNED, _SELF_SIGNED_IN_CHAIN, _NO_ISSUER, _NO_FIRST = (
    9,
    10,
    18,
    19,
    20,
    21,
)
_WRONG_NAME, _WRONG_ADDRESS = 62, 64


def explain(error: ssl.SSLCertVerificationError, name: str, shown: bytes | None) -> str:
    """Say why a certificate for `name` was refused, and what to do.

    `shown` is the certificate itself (DER), fetched without trusting it, to name what it says.
    """
    code = error.verify_code
    what = _facts(shown) if shown else None
    if code == _EXPIRED:
        when = f" on {what.until}" if what else ""
        return f"the certificate expired{when}: renew it now, then find out why nothing renewed it"
    if code == _NOT_YET:
        return "the certificate is not valid yet: the clock of this machine or of its maker is off"
    if code in (_WRONG_NAME, _WRONG_ADDRESS):
        names = f": it is for {', '.join(what.names[:4]) or 'no name'}" if what else ""
        return (
            f"the certificate is not for {name}{names}. Does the name lead to the right host, and "
            "does that host's web server know it?"
        )
    if code in (_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN):
        return (
            f"the certificate{f' by {what.issuer}' if what else ''} leads to an authority that "
            "browsers do not know. Placeholder of a fresh install? Then `releve deploy` gets the "
            "real one once DNS leads here."
        )
    if code in (_NO_ISSUER, _NO_FIRST):
        return (
            f"the chain ends at {what.issuer if what else 'an unknown authority'}: the server does "
            "not send its intermediate certificate (serve fullchain.pem, not cert.pem), or that "
            "authority is not a public one"
        )
    return f"the certificate is refused: {error.verify_message}"


@dataclass(frozen=True)
class _Facts:
    until: str
    names: tuple[str, ...]
    issuer: str


def _facts(der: bytes) -> _Facts | None:
    # Only needed when something is wrong: this import costs more than a whole look.
    from cryptography import x509

    try:
        seen = x509.load_der_x509_certificate(der)
        issuer = seen.issuer.rfc4514_string()
        until = f"{seen.not_valid_after_utc:%Y-%m-%d at %H:%M} UTC"
        names: tuple[str, ...] = ()
        try:
            alternatives = seen.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            names = tuple(alternatives.value.get_values_for_type(x509.DNSName))
        except x509.ExtensionNotFound:
            pass
    except ValueError:
        return None
    return _Facts(until, names, issuer)
