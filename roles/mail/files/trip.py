#!/usr/bin/env python3
"""trip.py [ECHO]: a mail goes the way of members' mails, and what became of it is told as JSON on
one line. Runs as root.

It is submitted, delivered, and read by IMAP; then it is handed in once more at port 25, as if it
came from somewhere else, so that this server judges it as others do: its signature, and the
policy of its domain, with what DNS says now. With ECHO, an address elsewhere that answers with
what it received, a mail goes there instead, every few hours; its answer is looked for each time.

All of it happens in an account of its own, which no copy holds; nothing stays there.
"""

from __future__ import annotations

import email
import email.policy
import fcntl
import imaplib
import json
import os
import re
import secrets
import smtplib
import sys
import time
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roles.mail.files import mailhost
else:
    import mailhost

REMEMBERED = Path("/var/lib/releve-mail/echo.json")
# Seconds: for both ways together; between two mails to the echo.
AT_MOST, EVERY = 30.0, 6 * 3600
_OURS = re.compile(rb"(?im)^(?:return-path|delivered-to):.*\r?\n(?:[ \t].*\r?\n)*")


class NotArrived(Exception):
    """The mail was taken and did not come; the message says which way."""


def found_out(text: str) -> dict[str, str]:
    """What a server wrote of a mail (RFC 8601): "dkim" and "dmarc" -> "pass" …, "" if nothing."""
    said = {}
    for method in ("dkim", "dmarc"):
        results = re.findall(rf"(?i)\b{method}=([a-z]+)", text)
        # Mails may carry several signatures: one that is right is enough.
        said[method] = "pass" if "pass" in map(str.lower, results) else (results or [""])[0]
    return said


def judged_by(raw: bytes, server: str) -> dict[str, str]:
    """What `server` itself found out about a mail, by the headers that it put in front."""
    mail = email.message_from_bytes(raw, policy=email.policy.compat32)
    every = [str(value) for value in mail.get_all("Authentication-Results") or []]
    ours = [value for value in every if value.split(";")[0].split()[:1] == [server]]
    return found_out(" ".join(ours[:1]))


def quoted(raw: bytes) -> dict[str, str]:
    """What an echo tells of the mail that it got: anywhere below its answer's own headers."""
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    texts = []
    for part in mail.walk():
        if part is not mail:
            texts += [str(value) for value in part.get_all("Authentication-Results") or []]
        if part.get_content_maintype() == "text":
            texts.append(str(part.get_content()))
    return found_out("\n".join(texts))


class Box:
    """The account's mailbox, over IMAP as members read theirs."""

    def __init__(self, address: str, user: str, password: str) -> None:
        context = mailhost.unverified()
        self.imap = imaplib.IMAP4_SSL(address, 993, ssl_context=context, timeout=10)
        self.imap.login(user, password)

    def look(self, header: str, value: str) -> tuple[str, bytes] | None:
        """The folder and the content of the mail with this header."""
        for folder in ("INBOX", "Junk"):
            if self.imap.select(folder)[0] != "OK":
                continue
            numbers = self.imap.search(None, "HEADER", header, f'"{value}"')[1][0].split()
            if numbers:
                parts = self.imap.fetch(numbers[-1].decode(), "(BODY.PEEK[])")[1]
                return folder, next(p[1] for p in parts if isinstance(p, tuple))
        return None

    def wait(self, header: str, value: str, deadline: float, what: str) -> tuple[str, bytes]:
        while (found := self.look(header, value)) is None:
            if time.monotonic() > deadline:
                raise NotArrived(f"{what} was taken and did not arrive within {AT_MOST:.0f} s")
            time.sleep(0.1)
            self.imap.noop()
        return found

    def answer(self, token: str) -> bytes | None:
        """A mail in which this token stands somewhere."""
        for folder in ("INBOX", "Junk"):
            if self.imap.select(folder)[0] != "OK":
                continue
            numbers = self.imap.search(None, "TEXT", token)[1][0].split()
            if numbers:
                parts = self.imap.fetch(numbers[-1].decode(), "(BODY.PEEK[])")[1]
                return bytes(next(p[1] for p in parts if isinstance(p, tuple)))
        return None

    def remove(self, token: str) -> None:
        """Away with this mail and what answers it, and with what others left days ago."""
        old = time.strftime("%d-%b-%Y", time.gmtime(time.time() - 86400))
        for folder in ("INBOX", "Junk"):
            if self.imap.select(folder)[0] == "OK":
                found = self.imap.search(None, "OR", "TEXT", token, "BEFORE", old)
                for number in found[1][0].split():
                    self.imap.store(number.decode(), "+FLAGS", "\\Deleted")
                self.imap.expunge()


def letter(sender: str, to: str, token: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, to
    mail["Subject"] = f"releve {token}"
    mail["Date"] = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())
    mail["Message-ID"] = f"<{token}@{mailhost.facts()['host']}>"
    mail["X-Releve-Trip"] = token
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("Relève looks whether mails arrive. This one may be deleted.\n")
    return mail


def submit(address: str, user: str, password: str, to: str, token: str) -> None:
    context = mailhost.unverified()
    with smtplib.SMTP_SSL(address, 465, "localhost", timeout=15, context=context) as door:
        door.login(user, password)
        door.sendmail(user, [to], letter(user, to, token).as_bytes())


def there_and_back(user: str, password: str) -> dict[str, Any]:
    known = mailhost.facts()
    address, host = mailhost.own_address(), str(known["host"])
    token = f"trip{secrets.token_hex(12)}"
    began = time.monotonic()
    deadline = began + AT_MOST
    found: dict[str, Any] = {}
    box = Box(address, user, password)
    try:
        submit(address, user, password, user, token)
        _, raw = box.wait("X-Releve-Trip", token, deadline, "a mail that was submitted")
        found["seconds"] = round(time.monotonic() - began, 2)
        found["signed"] = b"\ndkim-signature:" in raw.partition(b"\r\n\r\n")[0].lower()
        with smtplib.SMTP(address, 25, host, timeout=15) as door:
            again = b"X-Releve-Back: " + token.encode() + b"\r\n" + _OURS.sub(b"", raw)
            door.sendmail(user, [user], again)
        folder, raw = box.wait("X-Releve-Back", token, deadline, "a mail from elsewhere")
        found |= judged_by(raw, host)
        found["spam"] = folder == "Junk"
    finally:
        box.remove(token)
    return found


def echo(user: str, password: str, to: str) -> dict[str, Any]:
    """Read the answer to the mail that is on its way; send another one when it is time."""
    address = mailhost.own_address()
    now = time.time()
    with REMEMBERED.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        try:
            last: dict[str, Any] = json.loads(file.read())
        except ValueError:
            last = {}
        if last.get("to") == to and not last.get("answered"):
            box = Box(address, user, password)
            raw = box.answer(str(last["token"]))
            if raw is not None:
                last |= quoted(raw) | {"answered": now, "seconds": round(now - last["sent"])}
                box.remove(str(last["token"]))
        before: dict[str, Any] = {
            key: last[key] for key in ("dkim", "dmarc", "seconds") if key in last
        }
        waited = None if last.get("answered") or not last else round(now - last["sent"])
        # What a rehearsal sends would never arrive, and nothing of it may.
        held = mailhost.held_since() is not None
        if not held and (last.get("to") != to or now - last["sent"] > EVERY):
            token = f"echo{secrets.token_hex(12)}"
            submit(address, user, password, to, token)
            kept = before if last.get("to") == to else {}
            last = {**kept, "to": to, "token": token, "sent": now}
        file.truncate(0)
        file.write(json.dumps(last))
    return {"waited": waited, "held": held, **before}


def main(words: Sequence[str]) -> int:
    if len(words) > 1:
        print(__doc__, file=sys.stderr)
        return 64
    os.umask(0o077)
    user = str(mailhost.facts()["trip"])
    password = mailhost.PROBE.read_text(encoding="ascii").strip()
    try:
        found = echo(user, password, words[0]) if words else there_and_back(user, password)
    except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, NotArrived) as error:
        found = {"error": str(error) or type(error).__name__}
    mailhost.answer(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
