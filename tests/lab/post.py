"""How a member's mail program speaks with a server of the lab: by address, and over certificates
that are valid for the server's name."""

from __future__ import annotations

import base64
import imaplib
import smtplib
import socket
import ssl
import time
from email.message import EmailMessage, Message
from email.parser import BytesParser
from pathlib import Path


class Imap(imaplib.IMAP4_SSL):
    """IMAP, logged in."""

    def __init__(self, door: Door, user: str, password: str) -> None:
        self.door = door
        super().__init__(door.name, 993, timeout=20)
        self.login(user, password)

    def _create_socket(self, *_: object) -> ssl.SSLSocket:
        return self.door.tls(993)

    def messages(self, folder: str = "INBOX") -> list[Message]:
        """What lies in a folder, which is made when it is not there."""
        state, _ = self.select(folder)
        if state != "OK":
            return []
        _, numbers = self.search(None, "ALL")
        found = []
        for number in numbers[0].split():
            _, parts = self.fetch(number.decode(), "(RFC822)")
            assert isinstance(parts[0], tuple)
            found.append(BytesParser().parsebytes(parts[0][1]))
        return found


class Door:
    """A mail server at `address`, called `name`."""

    def __init__(self, address: str, name: str, ca: Path) -> None:
        self.address, self.name = address, name
        self.context = ssl.create_default_context(cafile=str(ca))

    def tls(self, port: int) -> ssl.SSLSocket:
        """A connection that is encrypted from the beginning. Raise ssl.SSLError for a certificate
        that is not the server's."""
        made = socket.create_connection((self.address, port), timeout=20)
        return self.context.wrap_socket(made, server_hostname=self.name)

    def imap(self, user: str, password: str) -> Imap:
        return Imap(self, user, password)

    def plain(self, port: int) -> smtplib.SMTP:
        """SMTP without encryption so far."""
        smtp = smtplib.SMTP(timeout=30, local_hostname="member.lab.internal")
        smtp.connect(self.address, port)
        smtp._host = self.name  # type: ignore[attr-defined]  # the name that STARTTLS looks for
        smtp.ehlo()
        return smtp

    def submit(self, user: str, password: str, *, port: int = 465) -> smtplib.SMTP:
        """SMTP, encrypted and logged in."""
        if port == 465:
            smtp = smtplib.SMTP(timeout=30, local_hostname="member.lab.internal")
            smtp.sock = self.tls(465)
            smtp.file = None
            code, said = smtp.getreply()
            assert code == 220, said
            smtp.ehlo()
        else:
            smtp = self.plain(port)
            smtp.starttls(context=self.context)
            smtp.ehlo()
        smtp.login(user, password)
        return smtp

    def wait_for(
        self, user: str, password: str, subject: str, *, folder: str = "INBOX", seconds: float = 20
    ) -> Message:
        """The mail with this subject, once it is in the folder."""
        deadline = time.monotonic() + seconds
        with self.imap(user, password) as box:
            while True:
                found = [m for m in box.messages(folder) if m["Subject"] == subject]
                if found:
                    return found[0]
                assert time.monotonic() < deadline, f"{subject!r} never came to {user} {folder}"
                time.sleep(0.3)
                box.noop()

    def keep_rule(self, user: str, password: str, name: str, script: str) -> None:
        """Put a Sieve script in force, over ManageSieve (RFC 5804)."""
        sock: socket.socket = socket.create_connection((self.address, 4190), timeout=20)

        def until_ok() -> str:
            said = b""
            while (
                not said.rpartition(b"\r\n")[0]
                .rpartition(b"\r\n")[2]
                .startswith((b"OK", b"NO", b"BYE"))
            ):
                more = sock.recv(4096)
                assert more, said
                said += more
            last = said.rstrip().rpartition(b"\r\n")[2] or said
            assert last.startswith(b"OK"), said
            return said.decode()

        greeting = until_ok()
        assert "PLAIN" not in greeting, "a password would be taken without encryption"
        sock.sendall(b"STARTTLS\r\n")
        until_ok()
        sock = self.context.wrap_socket(sock, server_hostname=self.name)
        until_ok()
        secret = base64.b64encode(f"\0{user}\0{password}".encode())
        data = script.encode()
        for command in (
            b'AUTHENTICATE "PLAIN" "' + secret + b'"\r\n',
            f'PUTSCRIPT "{name}" {{{len(data)}+}}\r\n'.encode() + data + b"\r\n",
            f'SETACTIVE "{name}"\r\n'.encode(),
        ):
            sock.sendall(command)
            until_ok()
        sock.close()


def letter(sender: str, to: str, subject: str, text: str = "Bonjour à toutes.") -> EmailMessage:
    """A mail as a member's program writes it."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    mail["Date"] = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())
    mail["Message-ID"] = f"<{time.time_ns()}@member.lab.internal>"
    mail.set_content(text)
    return mail
