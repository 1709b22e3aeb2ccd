"""What looks say of servers that misbehave, and that every look ends in time."""

from __future__ import annotations

import resource
import ssl
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from checks import http, tls

Serve = Any  # see conftest.py
Authority = Any
NAME = "site.test.example"


def get(port: int, trust: Path, seconds: float = 5.0, path: str = "/") -> http.Answer:
    return http.fetch(
        f"https://{NAME}:{port}{path}",
        lambda _: ["127.0.0.1"],
        tls.context(trust),
        time.monotonic() + seconds,
    )


def test_a_page_and_its_certificate_come_in_one_look(
    serve: Serve, talks: SimpleNamespace, root: Authority, trust: Path
) -> None:
    answer = get(serve(talks.page(b"hello"), [root.issue(NAME)]), trust)
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.certificate is not None
    assert answer.certificate.issuer == "Test Root"
    assert 88 < (answer.certificate.not_after - time.time()) / tls.DAY < 90


def test_an_authority_is_believed_that_only_this_run_was_told_of(
    serve: Serve, talks: SimpleNamespace, root: Authority, trust: Path
) -> None:
    port = serve(talks.page(b"x"), [root.issue(NAME)])
    whom = (f"https://{NAME}:{port}/", lambda _: ["127.0.0.1"])
    with pytest.raises(tls.CertificateRefused):
        http.fetch(*whom, tls.context(None), time.monotonic() + 5)
    told = tls.context(None, trusting=trust.read_text())
    assert http.fetch(*whom, told, time.monotonic() + 5).status == 200


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    for why in ("No such file", "is no certificate"):
        with pytest.raises(tls.TrustError, match=f"ca.pem: {why}.*certificates.trust"):
            tls.context(file)
        file.write_text("nothing of the kind")


def test_a_chain_through_an_intermediate_holds_when_it_is_sent(
    serve: Serve, talks: SimpleNamespace, root: Authority, trust: Path
) -> None:
    middle = root.issue("Middle", authority=True)
    leaf = middle.issue(NAME)
    assert get(serve(talks.page(b"x"), [leaf, middle]), trust).status == 200
    with pytest.raises(tls.CertificateRefused, match=r"Middle.*intermediate.*fullchain"):
        get(serve(talks.page(b"x"), [leaf]), trust)


def mail_server(leaf: Authority, tmp_path: Path, offers: bool = True) -> Any:
    """What a mail server says at port 25 until it encrypts."""
    pem = tmp_path / "mail.pem"
    pem.write_bytes(leaf.key_pem() + leaf.pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def talk(sock: Any) -> None:
        sock.sendall(b"220-mx.test.example\r\n220 ESMTP\r\n")
        assert sock.recv(100).startswith(b"EHLO ")
        sock.sendall(b"250-mx.test.example\r\n")
        sock.sendall(b"250-SIZE 1\r\n250 STARTTLS\r\n")
        assert sock.recv(100) == b"STARTTLS\r\n"
        sock.sendall(b"220 2.0.0 Ready\r\n" if offers else b"502 5.5.1 Not here\r\n")
        with context.wrap_socket(sock, server_side=True) as secured:
            secured.recv(1)

    return talk


def starttls(port: int, trust: Path) -> tls.Certificate:
    deadline = time.monotonic() + 5
    where = (NAME, port, lambda _: ["127.0.0.1"])
    return http.certificate(*where, tls.context(trust), deadline, starttls=True)


def test_a_mail_server_s_certificate_is_seen_once_it_encrypts(
    serve: Serve, root: Authority, trust: Path, tmp_path: Path
) -> None:
    found = starttls(serve(mail_server(root.issue(NAME), tmp_path)), trust)
    assert found.issuer == "Test Root"
    old = root.issue(NAME, begins=-90, ends=-3)
    with pytest.raises(tls.CertificateRefused, match=r"expired on 20\d\d"):
        starttls(serve(mail_server(old, tmp_path)), trust)
    with pytest.raises(http.Unreachable, match=r"'502 5\.5\.1 Not here' to STARTTLS"):
        starttls(serve(mail_server(old, tmp_path, offers=False)), trust)


@pytest.mark.parametrize(
    ("subject", "begins", "ends", "said"),
    [
        (NAME, -90, -3, r"expired on 20\d\d-\d\d-\d\d"),
        ("other.test.example", -1, 89, r"not for site\.test\.example: it is for other\.test\.ex"),
        (NAME, 5, 89, "not valid yet"),
    ],
)
def test_a_refused_certificate_is_explained(
    serve: Serve,
    talks: SimpleNamespace,
    root: Authority,
    trust: Path,
    subject: str,
    begins: float,
    ends: float,
    said: str,
) -> None:
    port = serve(talks.page(b"x"), [root.issue(subject, begins=begins, ends=ends)])
    with pytest.raises(tls.CertificateRefused, match=said):
        get(port, trust)


def test_a_placeholder_certificate_is_recognised(
    serve: Serve, talks: SimpleNamespace, root: Authority, trust: Path
) -> None:
    stranger = talks.stranger()
    with pytest.raises(tls.CertificateRefused, match="browsers do not know"):
        get(serve(talks.page(b"x"), [stranger]), trust)


@pytest.mark.parametrize(
    ("talk", "said"),
    [("drip", "too slowly"), ("silent", "too slowly"), ("close", "hangs up without an answer")],
)
def test_a_look_ends_at_its_deadline(
    serve: Serve, talks: SimpleNamespace, root: Authority, trust: Path, talk: str, said: str
) -> None:
    port = serve(getattr(talks, talk), [root.issue(NAME)])
    began = time.monotonic()
    with pytest.raises(http.Unreachable, match=said):
        get(port, trust, seconds=0.6)
    assert time.monotonic() - began < 1.5


def test_a_server_that_never_begins_tls_is_given_up(
    serve: Serve, talks: SimpleNamespace, trust: Path
) -> None:
    began = time.monotonic()
    with pytest.raises(http.Unreachable, match="says nothing"):
        get(serve(talks.mute), trust, seconds=0.5)
    assert time.monotonic() - began < 1.5


def test_plain_http_and_closed_ports_are_named(
    serve: Serve, talks: SimpleNamespace, trust: Path
) -> None:
    with pytest.raises(http.Unreachable, match="encrypted connection fails"):
        get(serve(talks.page(b"x")), trust)
    with pytest.raises(http.Unreachable, match="refuses connections on port 1:"):
        get(1, trust)


def test_a_huge_body_is_read_in_part_only(
    serve: Serve, talks: SimpleNamespace, root: Authority, trust: Path
) -> None:
    port = serve(talks.endless, [root.issue(NAME)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = get(port, trust)
    assert len(answer.body) == http.MAX_BODY
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB


def test_redirects_are_followed_but_not_in_circles_nor_into_the_open(
    serve: Serve, talks: SimpleNamespace, root: Authority, trust: Path
) -> None:
    seen: list[bytes] = []

    def talk(sock: ssl.SSLSocket) -> None:
        path = sock.recv(65536).split(b" ")[1]
        seen.append(path)
        to = {
            b"/": "/welcome?a=b",
            b"/circle": "/circle2",
            b"/circle2": "/circle",
            b"/open": "http://site.test.example/",
            b"/far": "/far" + "r" * len(seen),
            b"/evil": "https://site.test.example:99999999/",
            b"/split": "/a b",
        }.get(path if not path.startswith(b"/farr") else b"/far")
        fields = f"Location: {to}\r\n" if to else ""
        status = "302 Found" if to else "200 OK"
        sock.sendall(f"HTTP/1.1 {status}\r\n{fields}Content-Length: 2\r\n\r\nok".encode())

    port = serve(talk, [root.issue(NAME)])
    assert get(port, trust).body == b"ok"
    assert seen == [b"/", b"/welcome?a=b"]
    for path, said in (
        ("/circle", "in a circle"),
        ("/open", "not encrypted"),
        ("/far", "more than 5 redirects"),
        ("/evil", "which is no address"),
        ("/split", "malformed address"),
    ):
        with pytest.raises(http.Unreachable, match=said):
            get(port, trust, path=path)
    assert b"/a" not in seen


def test_another_server_does_not_answer_for_the_first_one(
    serve: Serve, talks: SimpleNamespace, root: Authority, trust: Path
) -> None:
    """A parking page is well, too; the portal of the same server is this server."""
    here, away = "127.0.0.1", "127.0.0.2"
    known = {NAME: [here, "::1"], "portal.example": [here], "parked.example": [away]}
    asked: list[str] = []

    def talk(sock: ssl.SSLSocket) -> None:
        asked.append(sock.recv(65536).split(b" ")[1].decode())
        to = {
            "/login": f"https://portal.example:{portal}/sso",
            "/lost": f"https://parked.example:{parked}/sale",
            "/both": f"https://portal.example:{portal}/lost",
            "/on": f"https://parked.example:{parked}/on",
        }.get(asked[-1])
        sock.sendall(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())

    def further(sock: ssl.SSLSocket) -> None:
        path = sock.recv(65536).split(b" ")[1]
        to = f"https://portal.example:{portal}/lot" if path == b"/on" else ""
        if path == b"/lost":
            to = f"https://parked.example:{parked}/sale"
        status = f"302 Found\r\nLocation: {to}" if to else "200 OK"
        sock.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nfine".encode())

    portal = serve(further, [root.issue("portal.example")])
    parked = serve(further, [root.issue("parked.example")], address=away)
    port = serve(talk, [root.issue(NAME)])

    def look(path: str, *elsewhere: str, anywhere: bool = False) -> http.Answer:
        return http.fetch(
            f"https://{NAME}:{port}{path}",
            known.__getitem__,
            tls.context(trust),
            time.monotonic() + 5,
            None if anywhere else elsewhere,
        )

    assert (look("/login").status, look("/login").elsewhere) == (200, "")
    for path in ("/lost", "/both"):
        answer = look(path)
        assert (answer.status, answer.elsewhere.partition(":")[2][:16]) == (302, "//parked.example")
        assert look(path, "other.example").elsewhere
        assert look(path, "parked.example").body == b"fine"
        assert look(path, anywhere=True).body == b"fine"
    # Where it was to lead, it is their affair.
    assert look("/on", "parked.example").body == b"fine"
