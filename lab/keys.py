"""Keys and certificates that a lab makes for itself."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from tools.files import replace_file


def ssh_pair(comment: str) -> tuple[bytes, str]:
    """A new ed25519 key: the private half as OpenSSH stores it, the public one as one line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private, f"{public.decode()} {comment}"


def ensure_ssh_pair(file: Path, comment: str) -> str:
    """Make `file` and `file`.pub unless they are there; return the public line."""
    public = file.with_name(file.name + ".pub")
    if not (file.exists() and public.exists()):
        secret, line = ssh_pair(comment)
        replace_file(file, secret, mode=0o600)
        replace_file(public, line.encode() + b"\n", mode=0o644)
    return public.read_text().strip()


class Authority:
    """The lab's own certificate authority: vouches for the interface of the ACME server."""

    def __init__(self, folder: Path) -> None:
        self.certificate_file = folder / "authority.pem"
        self._key_file = folder / "authority.key"

    def ensure(self) -> bytes:
        """Make it unless it is there; return its certificate as PEM."""
        if not (self.certificate_file.exists() and self._key_file.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            name = _name("Lab authority")
            certificate = (
                _builder(name, name, key.public_key())
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(_usage(sign_certificates=True), critical=True)
                .sign(key, hashes.SHA256())
            )
            replace_file(self._key_file, _private(key), mode=0o600)
            replace_file(self.certificate_file, _pem(certificate), mode=0o644)
        return self.certificate_file.read_bytes()

    def issue(self, name: str, addresses: list[str]) -> tuple[bytes, bytes]:
        """A certificate and its private key (PEM) for a name and addresses."""
        issuer = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        loaded = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self._key_file} is not the key of the lab's authority")
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        names += [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        certificate = (
            _builder(_name(name), issuer.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(loaded.public_key()),
                critical=False,
            )
            .sign(loaded, hashes.SHA256())
        )
        return _pem(certificate), _private(key)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
