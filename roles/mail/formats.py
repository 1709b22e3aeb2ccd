"""Open formats that mail leaves in, as bytes and text: mbox, CSV, LDIF. Pure."""

from __future__ import annotations

import base64
import csv
import io
import re
import time
from collections.abc import Iterable, Mapping, Sequence

_SAFE = re.compile(r"[\x01-\x09\x0b\x0c\x0e-\x1f\x21-\x39\x3b\x3d-\x7f]"
                   r"[\x01-\x09\x0b\x0c\x0e-\x7f]*(?<! )")  # fmt: skip


def folder_name(directory: str) -> str:
    """Given a Maildir's folder (".R&AOk-unions.2026"), return its name ("Réunions/2026"); the
    inbox is "". Raise ValueError for what is no modified UTF-7 (RFC 3501, 5.1.3)."""

    def decoded(match: re.Match[str]) -> str:
        text = match[1]
        if not text:
            return "&"
        padded = text.replace(",", "/") + "=" * (-len(text) % 4)
        return base64.b64decode(padded, validate=True).decode("utf-16-be")

    parts = directory.removeprefix(".").split(".")
    return "/".join(re.sub(r"&([A-Za-z0-9+,]*)-", decoded, part) for part in parts)


def mbox_entry(message: bytes, flags: str, at: float) -> bytes:
    """One mail as it stands in an mbox file: of the kind mboxrd, whose quoting can be undone.

    `flags`: Maildir's letters. `at`: seconds since 1970, when it came.
    """
    head, separator, body = message.partition(b"\n\n")
    lines = head.split(b"\n")
    sender = b"MAILER-DAEMON"
    for line in lines:
        match = re.match(rb"(?i)return-path:\s*<([^<>\s]+)>", line)
        if match:
            sender = match[1]
            break
    # What a program that reads mbox knows flags by; others' words about them are not ours.
    kept, dropping = [], False
    for line in lines:
        if line[:1] not in (b" ", b"\t"):
            dropping = bool(re.match(rb"(?i)(x-)?status:", line))
        if not dropping:
            kept.append(line)
    status = "R" * ("S" in flags) + "O"
    more = "".join(letter for mark, letter in (("R", "A"), ("F", "F"), ("T", "D"), ("D", "T"))
                   if mark in flags)  # fmt: skip
    ending = b"\r" if lines[0].endswith(b"\r") else b""
    kept.append(f"Status: {status}".encode() + ending)
    if more:
        kept.append(f"X-Status: {more}".encode() + ending)
    text = b"\n".join(kept) + b"\n\n" + (body if separator else b"")
    quoted = re.sub(rb"(?m)^(>*From )", rb">\1", text)
    when = time.asctime(time.gmtime(at)).encode()
    return b"From " + sender + b" " + when + b"\n" + quoted.rstrip(b"\n") + b"\n\n"


def table(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A CSV file (RFC 4180), UTF-8, with a line of names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _line(name: str, value: str) -> str:
    """One attribute (RFC 2849), folded after 76 characters."""
    if _SAFE.fullmatch(value):
        text = f"{name}: {value}"
    else:
        text = f"{name}:: {base64.b64encode(value.encode()).decode()}"
    parts = [text[:76], *(text[at : at + 75] for at in range(76, len(text), 75))]
    return "\n ".join(parts) + "\n"


def ldif(organisation: str, accounts: Sequence[Mapping[str, object]]) -> str:
    """Accounts as entries of the class inetOrgPerson, below their domain (RFC 2849, 2798, 2247).

    Each has `address` and `name`, and `password` when hashes are wanted.
    """
    entries: list[list[tuple[str, str]]] = []
    for domain in dict.fromkeys(str(one["address"]).partition("@")[2] for one in accounts):
        base = ",".join(f"dc={label}" for label in domain.split("."))
        entries.append([("dn", base), ("objectClass", "top"), ("objectClass", "dcObject"),
                        ("objectClass", "organization"), ("o", organisation),
                        ("dc", domain.partition(".")[0])])  # fmt: skip
        entries.append([("dn", f"ou=people,{base}"), ("objectClass", "top"),
                        ("objectClass", "organizationalUnit"), ("ou", "people")])  # fmt: skip
        for one in accounts:
            address = str(one["address"])
            local, _, its = address.partition("@")
            if its != domain:
                continue
            name = str(one["name"]).strip() or local
            entry = [("dn", f"mail={address},ou=people,{base}"), ("objectClass", "top"),
                     ("objectClass", "person"), ("objectClass", "organizationalPerson"),
                     ("objectClass", "inetOrgPerson"), ("cn", name), ("sn", name.split()[-1]),
                     ("uid", local), ("mail", address)]  # fmt: skip
            if one.get("password"):
                entry.append(("userPassword", str(one["password"])))
            entries.append(entry)
    # (without "version: 1", which slapadd takes for an attribute)
    return "\n".join("".join(_line(name, value) for name, value in entry) for entry in entries)
