"""One HTTPS look with a deadline: connect, verify, GET, read a bounded part of the answer.

Whatever the other side does (silence, single bytes, endless bodies, redirect loops), a look ends
at its deadline (`checks.deadline`) and holds at most MAX_BODY bytes. A GET is all that is needed,
so `checks.answer` reads answers: `http.client` costs as much processor time as the TLS handshake,
and its timeouts begin anew with every byte.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urljoin

from checks import answer, tls
from checks.deadline import left, watch
from tools import urls

MAX_BODY = 1 << 20
MAX_REDIRECTS = 5
MAX_SAID = 1 << 14  # of a mail server, before it encrypts
AGENT = "releve-check"

Resolve = Callable[[str], Sequence[str]]


class Unreachable(Exception):
    """No answer that could be judged. The message says what happened and what it may mean."""


@dataclass(frozen=True)
class Answer:
    """What came back. Header names are in lower case; `body` is at most MAX_BODY bytes.

    `certificate` is the first server's, not that of where a redirect led. `elsewhere`: where it
    would have sent people on, to a server that cannot answer for the first one; "" when it did
    not.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    certificate: tls.Certificate | None
    elsewhere: str = ""


def connect(addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
    """Open a TCP connection to the first of `addresses` that accepts; it is shut at the deadline.

    Raise OSError (of the last address tried) or TimeoutError.
    """
    problem: OSError = OSError("no address to try")
    for index, address in enumerate(addresses):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            # One dead address must not eat the time of the others. What connecting may take is that
            # limit (socket(7)).
            seconds = left(deadline) / (len(addresses) - index)
            whole, part = divmod(max(1, int(seconds * 1e6)), 1_000_000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", whole, part))
            sock.connect((address, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            watch(sock, deadline)
            return sock
        except BlockingIOError:
            sock.close()
            problem = TimeoutError()
        except OSError as error:
            sock.close()
            problem = error
    raise problem


def _encrypt(
    context: ssl.SSLContext, plain: socket.socket, name: str, deadline: float
) -> ssl.SSLSocket:
    """Begin TLS on a connection, which is closed when that fails. Raise OSError, ValueError,
    TimeoutError."""
    # As bytes: of a text, IDNA's codec reads each label once more.
    shown_name = name.encode() if name.isascii() else name
    secured = context.wrap_socket(
        plain, server_hostname=shown_name, do_handshake_on_connect=False
    )  # `plain` is empty from now on
    try:
        watch(secured, deadline)
        secured.do_handshake()
    except ssl.SSLCertVerificationError:
        secured.close()
        raise
    except OSError:
        secured.close()
        left(deadline)
        raise
    return secured


def _received(sock: socket.socket, size: int, deadline: float) -> bytes:
    """What comes next, b"" at the end. Raise OSError, TimeoutError."""
    left(deadline)
    try:
        data = sock.recv(size)
    except OSError:
        left(deadline)
        raise
    if not data:
        left(deadline)
    return data


def _starttls(plain: socket.socket, deadline: float) -> None:
    """Have a mail server begin to encrypt (RFC 3207). Raise Unreachable when it will not."""
    for command, wanted in ((b"", b"220"), (b"EHLO releve.invalid", b"250"), (b"STARTTLS", b"220")):
        if command:
            plain.sendall(command + b"\r\n")
        said = b""
        # The last line of an answer has a space after its number.
        while not re.search(rb"(?m)^\d{3} [^\n]*\n", said) and len(said) < MAX_SAID:
            more = _received(plain, 4096, deadline)
            if not more:
                break
            said += more
        if not said.startswith(wanted):
            word = said[:60].decode(errors="replace").strip() or "nothing"
            what = command.decode() or "a connection"
            raise Unreachable(f"the mail server answers {word!r} to {what}")


def _untrusted_certificate(
    addresses: Sequence[str], port: int, name: str, *, starttls: bool
) -> bytes | None:
    """The certificate shown, without trusting it, to say what is wrong with it. 3 s at most."""
    loose = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    loose.check_hostname = False
    loose.verify_mode = ssl.CERT_NONE  # nothing but the certificate itself is read
    deadline = time.monotonic() + 3
    try:
        with connect(addresses, port, deadline) as plain:
            if starttls:
                _starttls(plain, deadline)
            with _encrypt(loose, plain, name, deadline) as secured:
                return secured.getpeercert(binary_form=True)
    except (OSError, Unreachable):
        return None


def handshake(
    name: str,
    port: int,
    addresses: Sequence[str],
    context: ssl.SSLContext,
    deadline: float,
    *,
    starttls: bool = False,
) -> ssl.SSLSocket:
    """Open a verified TLS connection for `name` at one of `addresses`; with `starttls`, to a mail
    server that begins without.

    Raise CertificateRefused when chain, dates or name do not hold; Unreachable otherwise.
    """
    try:
        plain = connect(addresses, port, deadline)
    except TimeoutError:
        raise Unreachable(
            f"no answer from {', '.join(addresses)} port {port}: host down, or a firewall drops it"
        ) from None
    except ConnectionRefusedError:
        raise Unreachable(
            f"{', '.join(addresses)} refuses connections on port {port}: does the service run?"
        ) from None
    except OSError as error:
        raise Unreachable(
            f"{', '.join(addresses)} port {port} cannot be reached: {error.strerror or error}"
        ) from None
    try:
        if starttls:
            _starttls(plain, deadline)
        return _encrypt(context, plain, name, deadline)
    except Unreachable:
        plain.close()
        raise
    except ssl.SSLCertVerificationError as error:
        plain.close()
        shown = _untrusted_certificate(addresses, port, name, starttls=starttls)
        raise tls.CertificateRefused(tls.explain(error, name, shown)) from None
    except TimeoutError:
        plain.close()
        what = "mail" if starttls else "web"
        raise Unreachable(
            f"accepts connections, then says nothing: the {what} server hangs"
        ) from None
    except (OSError, ValueError) as error:
        plain.close()
        raise Unreachable(f"the encrypted connection fails: {_plain(error)}") from None


def _plain(error: Exception) -> str:
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return "the other side hangs up"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def fetch(
    url: str,
    resolve: Resolve,
    context: ssl.SSLContext,
    deadline: float,
    elsewhere: Collection[str] | None = (),
) -> Answer:
    """GET `url` (https), following at most MAX_REDIRECTS encrypted redirects.

    Another server does not answer for this one: a redirect to a name that has none of the first
    one's addresses is not followed, unless the name is among `elsewhere` (None: wherever it
    leads). `resolve` turns a name into addresses (and may raise Unreachable); `deadline` is
    monotonic seconds for everything together. Raise Unreachable or CertificateRefused.
    """
    last: Answer | None = None
    home: tuple[str, frozenset[str]] | None = None
    seen: list[str] = []
    while True:
        try:
            parts = urls.split(url)
        except ValueError:
            raise Unreachable(f"redirects to {url[:200]!r}, which is no address") from None
        if parts.scheme != "https" or not parts.name:
            raise Unreachable(
                f"redirects to {url[:200]}, which is not encrypted: passwords would travel openly"
            )
        addresses = resolve(parts.name)
        if home is None or last is None:
            home = parts.name, frozenset(addresses)
        elif elsewhere is not None and parts.name != home[0] and home[1].isdisjoint(addresses):
            if parts.name not in elsewhere:
                return replace(last, elsewhere=url)
            elsewhere = None  # from there on it is their affair
        seen.append(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        status, headers, body, certificate = _get(
            parts.name, parts.port or 443, target, addresses, context, deadline
        )
        last = Answer(status, headers, body, last.certificate if last else certificate)
        if status not in (301, 302, 303, 307, 308) or "location" not in headers:
            return last
        url = urljoin(url, headers["location"]).partition("#")[0]
        if url in seen:
            raise Unreachable(f"redirects in a circle, back to {url[:200]}")
        if len(seen) > MAX_REDIRECTS:
            raise Unreachable(f"more than {MAX_REDIRECTS} redirects, last to {url[:200]}")


def _get(
    name: str,
    port: int,
    target: str,
    addresses: Sequence[str],
    context: ssl.SSLContext,
    deadline: float,
) -> tuple[int, dict[str, str], bytes, tls.Certificate]:
    if any(character <= " " or character > "~" for character in target):
        raise Unreachable(f"redirects to a malformed address {target[:200]!r}")
    host = name if port == 443 else f"{name}:{port}"
    with handshake(name, port, addresses, context, deadline) as sock:
        certificate = tls.shown(sock)
        try:
            sock.sendall(
                f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\n"
                "Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n".encode()
            )

            def receive() -> bytes:
                return _received(sock, 16384, deadline)

            return (*answer.read(receive, MAX_BODY), certificate)
        except TimeoutError:
            raise Unreachable("answers too slowly: gave up before the page was complete") from None
        except answer.Broken as error:
            raise Unreachable(str(error)) from None
        except (OSError, ValueError) as error:
            raise Unreachable(f"the connection breaks: {_plain(error)}") from None


def certificate(
    name: str,
    port: int,
    resolve: Resolve,
    context: ssl.SSLContext,
    deadline: float,
    *,
    starttls: bool = False,
) -> tls.Certificate:
    """The verified certificate of `name`:`port`. Raise Unreachable or CertificateRefused."""
    with handshake(name, port, resolve(name), context, deadline, starttls=starttls) as sock:
        return tls.shown(sock)


def greeting(name: str, port: int, resolve: Resolve, expected: bytes, deadline: float) -> bytes:
    """Connect to a plain port and read what it says first, as far as `expected` is long.

    Raise Unreachable.
    """
    addresses = resolve(name)
    try:
        with connect(addresses, port, deadline) as sock:
            said = b""
            while len(said) < len(expected):
                more = _received(sock, len(expected) - len(said), deadline)
                if not more:
                    break
                said += more
            return said
    except TimeoutError:
        raise Unreachable(f"port {port} does not answer in time") from None
    except OSError as error:
        raise Unreachable(f"port {port} cannot be reached: {_plain(error)}") from None
