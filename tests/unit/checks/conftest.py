"""Real TLS servers on loopback, with certificates by an authority made for the test."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "site.test.example"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Authority:
    """A certificate and its key, that may sign others."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def issue(
        self, subject: str, *, begins: float = -1, ends: float = 89, authority: bool = False
    ) -> Authority:
        """A new certificate for `subject`, valid from `begins` to `ends` (days from now)."""
        return _issue(subject, self, begins, ends, authority)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


_SIGNS = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
    encipher_only=False, decipher_only=False,
)  # fmt: skip


def _issue(
    subject: str, issuer: Authority | None, begins: float, ends: float, authority: bool
) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer.certificate.subject if issuer else _name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=begins))
        .not_valid_after(now + dt.timedelta(days=ends))
        .add_extension(x509.BasicConstraints(authority, None), True)
    )
    # Python 3.13 and later check what RFC 5280 asks for: key identifiers, an authority's usage.
    issuers = issuer.key if issuer else key
    for extension, critical in (
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers.public_key()), False),
        (_SIGNS, True)
        if authority
        else (x509.SubjectAlternativeName([x509.DNSName(subject)]), False),
    ):
        builder = builder.add_extension(extension, critical)
    return Authority(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


@pytest.fixture(scope="session")
def root() -> Authority:
    """The root that checks are told to trust."""
    return _issue("Test Root", None, -10, 3650, True)


@pytest.fixture(scope="session")
def trust(root: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trust") / "root.pem"
    path.write_bytes(root.pem())
    return path


Talk = Callable[[ssl.SSLSocket | socket.socket], None]
Serve = Callable[..., int]


def page(body: bytes, status: str = "200 OK", *fields: str) -> Talk:
    """Read the request, answer with `body`."""

    def talk(sock: ssl.SSLSocket | socket.socket) -> None:
        sock.recv(65536)
        head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields])
        sock.sendall(head.encode() + b"\r\n\r\n" + body)

    return talk


def drip(sock: ssl.SSLSocket | socket.socket) -> None:
    """One byte now and then, for ever."""
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        sock.sendall(b"a")
        time.sleep(0.05)


def endless(sock: ssl.SSLSocket | socket.socket) -> None:
    """A body of 2 GB, as fast as it can be read."""
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n")
    for _ in range(32768):
        sock.sendall(b"x" * 65536)


def silent(sock: ssl.SSLSocket | socket.socket) -> None:
    sock.recv(65536)
    time.sleep(30)


def close(sock: ssl.SSLSocket | socket.socket) -> None:
    sock.recv(65536)


@pytest.fixture
def talks() -> SimpleNamespace:
    """How a server may behave, by name; `stranger` makes a certificate that signs itself."""
    return SimpleNamespace(
        page=page,
        drip=drip,
        endless=endless,
        silent=silent,
        close=close,
        mute=lambda _: time.sleep(30),
        stranger=lambda: _issue(NAME, None, -1, 89, False),
    )


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve(talk, chain=[leaf, …])` -> port on 127.0.0.1, or on `address`. Without a chain it
    speaks no TLS."""
    listeners: list[socket.socket] = []

    def start(talk: Talk, chain: list[Authority] | None = None, address: str = "127.0.0.1") -> int:
        listener = socket.create_server((address, 0), backlog=128)
        listeners.append(listener)
        context: ssl.SSLContext | None = None
        if chain:
            pem = tmp_path / f"{len(listeners)}.pem"
            pem.write_bytes(chain[0].key_pem() + b"".join(link.pem() for link in chain))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)

        def one(sock: Any) -> None:
            with contextlib.suppress(OSError, IndexError), sock:  # a look may leave at once
                if context:
                    with context.wrap_socket(sock, server_side=True) as secured:
                        talk(secured)
                else:
                    talk(sock)

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(sock,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
