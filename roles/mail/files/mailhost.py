#!/usr/bin/env python3
"""mailhost.py VERB: mail on a Debian host. Runs as root; answers are JSON on one line. What it has
to know stands in /etc/releve/mail.json. Passwords come on standard input and are kept as hashes.

settled, settle         are the role mailboxes there, and the accounts of the probes?
add ADDRESS NAME BYTES  an account; its password is the first line of standard input. BYTES "":
                        as everybody has, 0: no limit
password ADDRESS        another password, from standard input
remove ADDRESS          no account any more; its mailbox is put aside
list                    all accounts
share MAILBOX READER HOW    READER reads a role mailbox; HOW: "write", in its name too, or "read"
unshare MAILBOX READER  and not any more
shares                  who reads which role mailbox
targets                 aliases whose mail does not arrive as one would think
targeted                exit 0 when there are none
wait SECONDS            until everything answers
doors                   what strangers may do here: relay, log in without encryption
login                   can one log in, to read and to send?
queue                   mails that wait, and for how long the oldest does
records                 DNS against what it should say
signing, sign           does it sign with the key of the inventory? Not before DNS names that
reverse                 what this host's addresses are called in DNS, and what its name leads to
blocklists              what the lists of the inventory say of this host's addresses
reversed                says which of them are not called as the server is
counts, versions        one JSON object
canary-plant RUN AT, canary-find, sample
accounts-save, accounts-load    the accounts as SQL, on standard output, from standard input
learned-save, learned-load      what members taught the filter, as a tar archive
queue-save, queue-load          the queue as a tar archive. What was loaded stays here
let-out                 mails to others may leave: nobody else sends them any more
closed                  exit 0 when strangers may do nothing here that only members may
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pwd
import re
import stat
import sys
import time
from pathlib import Path

TYPE_CHECKING = False  # typing's own would have it loaded


class Later:
    """A module that is read when something of it is first used: a copy starts a verb half a dozen
    times, most need none of these, and to read them takes longer than what the verb does."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, what: str) -> Any:
        return getattr(importlib.import_module(self._name), what)


if TYPE_CHECKING:
    import ctypes
    import email.header as headers
    import imaplib
    import ipaddress
    import secrets
    import shutil
    import smtplib
    import socket
    import sqlite3
    import ssl
    import subprocess
    import tarfile
    import tempfile
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO, Any
else:
    ctypes, headers, imaplib = Later("ctypes"), Later("email.header"), Later("imaplib")
    ipaddress = Later("ipaddress")
    secrets, shutil, smtplib = Later("secrets"), Later("shutil"), Later("smtplib")
    socket, sqlite3, ssl = Later("socket"), Later("sqlite3"), Later("ssl")
    subprocess, tarfile, tempfile = Later("subprocess"), Later("tarfile"), Later("tempfile")

FACTS = Path("/etc/releve/mail.json")
PROBE = Path("/etc/releve/mail-probe")
BOXES = Path("/srv/mail/boxes")
DATABASE = Path("/srv/mail/accounts/accounts.sqlite")
INDEXES = Path("/var/lib/releve-mail/index")
# Where Dovecot looks up whose mailboxes somebody may read (its dictionary of the kind "file").
SHARED = Path("/var/lib/releve-mail/shared/map")
ASIDE = Path("/srv/mail/boxes/.removed")
# transport(5): empty, or that mails to others wait.
OUTWARD = Path("/var/lib/releve-mail/outward")
SPOOL = Path("/var/spool/postfix")
# The mails of others' queues that came with a copy: MACHINE-ID QUEUE-ID; the newest that many.
CAME, MANY = Path("/var/lib/releve-mail/came"), 100_000
# There while a restore is under way that loads a queue: what was here before.
LOADING = Path("/var/lib/releve-mail/loading")
MACHINE = Path("/etc/machine-id")
# How rspamd signs, and how it will.
SIGNING = Path("/etc/rspamd/local.d/dkim_signing.conf")
SIGNING_NEXT = Path("/etc/rspamd/releve-dkim-signing.conf")
# What rspamd has learned, and of which mails.
FILTER = Path("/var/lib/rspamd")
LEARNED = ("spam.sqlite", "ham.sqlite", "learn_cache.sqlite")
LMTP = "/var/spool/postfix/private/dovecot-lmtp"
OWNER, READERS, FILTERER = "vmail", "mailaccounts", "_rspamd"
POSTFIX = "postfix"
PROBES, TRIP = "releve-probe", "releve-trip"
FOLDER, KEPT = ".Releve", 5
SYSTEM = "system"
# SMTP, submission with and without STARTTLS, IMAP, rspamd, ManageSieve.
PORTS = (25, 465, 587, 993, 11332, 4190)
ADDRESS = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}@[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
SHORTEST, LONGEST = 10, 200

ACCOUNT = """
CREATE TABLE IF NOT EXISTS account (
    address TEXT PRIMARY KEY,
    local TEXT NOT NULL,
    domain TEXT NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    password TEXT NOT NULL DEFAULT '',
    quota INTEGER,
    kind TEXT NOT NULL CHECK (kind IN ('member', 'role', 'system')),
    active INTEGER NOT NULL DEFAULT 1
)
"""
# Who reads a role mailbox. Dovecot's own files about that are made from it.
SHARE = """
CREATE TABLE IF NOT EXISTS share (
    mailbox TEXT NOT NULL,
    reader TEXT NOT NULL,
    how TEXT NOT NULL CHECK (how IN ('read', 'write')),
    PRIMARY KEY (mailbox, reader)
)
"""
# As the inventory says; here because Postfix asks who may write in whose name.
ALIAS = """
CREATE TABLE IF NOT EXISTS alias (
    address TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (address, target)
)
"""
COLUMNS = {
    "account": ("address", "local", "domain", "name", "password", "quota", "kind", "active"),
    "share": ("mailbox", "reader", "how"),
}
# RFC 4314: look up, read, keep "seen"; and write flags, delete, insert, post, expunge, create
# and delete folders.
RIGHTS = {"read": "lrs", "write": "lrwstipekx"}


class ToolError(Exception):
    """It cannot be done; the message says why."""


def answer(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def run(
    argv: Sequence[str], timeout: float = 60, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, check=False, input=given
    )


def as_user(name: str, do: Callable[[], Any]) -> Any:
    """What `do` returns (as JSON), done by a process of this user. In folders that are a user's
    own, root would follow whatever links it laid there. Raise ToolError with what went wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            user = pwd.getpwnam(name)
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            said = {"value": do()}
            sys.stdout.flush()
        except BaseException as error:  # whatever it was, the parent goes on, and nobody else
            said = {"error": str(error) or type(error).__name__}
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    said = json.loads(text or '{"error": "it was ended"}')
    if "error" in said:
        raise ToolError(f"as {name}: {said['error']}")
    return said["value"]


def facts() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ToolError(f"{FACTS} is not there yet: deploy this host first") from None
    return found


# --- accounts --------------------------------------------------------------------------------


@contextlib.contextmanager
def accounts() -> Iterator[sqlite3.Connection]:
    """The accounts, in one transaction that is kept when all went well."""
    fresh = not DATABASE.exists()
    found = sqlite3.connect(DATABASE, timeout=20, isolation_level=None)
    try:
        if fresh:
            # Before anything is in it. Postfix and Dovecot read it, root alone writes.
            DATABASE.chmod(0o640)
            shutil.chown(DATABASE, "root", READERS)
        found.row_factory = sqlite3.Row
        found.execute("PRAGMA journal_mode = DELETE")
        found.execute("BEGIN IMMEDIATE")
        for table in (ACCOUNT, SHARE, ALIAS):
            found.execute(table)
        yield found
        found.execute("COMMIT")
    finally:
        found.close()


def checked(address: str) -> tuple[str, str, str]:
    """An address as it is kept, its local part and its domain."""
    address = address.lower()
    local, _, domain = address.partition("@")
    if not ADDRESS.fullmatch(address) or ".." in address:
        raise ToolError(
            f"{address!r} cannot be the address of an account: before the @ stand letters, digits "
            "and . _ -, at most 63"
        )
    if domain not in facts()["domains"]:
        raise ToolError(f"this server has no addresses in {domain}, only in "
                        + ", ".join(facts()["domains"]))  # fmt: skip
    return address, local, domain


def hashed(password: str) -> str:
    """The password as Debian keeps those of its own users: yescrypt (crypt(5))."""
    if not SHORTEST <= len(password) <= LONGEST or not password.isprintable():
        raise ToolError(f"a password has {SHORTEST} to {LONGEST} characters that can be seen")
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt_gensalt.restype = ctypes.c_char_p
    library.crypt_gensalt.argtypes = (
        ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int,
    )  # fmt: skip
    library.crypt.restype = ctypes.c_char_p
    library.crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    # No bytes given: it takes its own from the kernel.
    salt = library.crypt_gensalt(b"$y$", 0, None, 0)
    made: bytes | None = library.crypt(password.encode(), salt)
    if made is None or not made.startswith(b"$y$"):
        raise ToolError("this system's libcrypt makes no yescrypt hashes")
    return "{CRYPT}" + made.decode()


def given_password() -> str:
    return sys.stdin.readline(LONGEST + 2).rstrip("\n")


def one(found: sqlite3.Connection, address: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = found.execute(
        "SELECT * FROM account WHERE address = ?", (address,)
    ).fetchone()
    return row


def add(rest: Sequence[str]) -> None:
    address, local, domain = checked(rest[0])
    name, quota = rest[1], int(rest[2]) if rest[2] else None
    if not name.isprintable() or len(name) > 200:
        raise ToolError("a name has at most 200 characters that can be seen")
    password = hashed(given_password())
    with accounts() as found:
        there = one(found, address)
        if there is not None and there["kind"] == "role" and not there["active"]:
            raise ToolError(
                f"{address} was a role mailbox that the inventory does not name any more: it is "
                "closed, and keeps its mail. releve mail account remove puts that aside; then "
                "the address is free"
            )
        if there is not None:
            what = {"role": "a role mailbox of the inventory", SYSTEM: "the server's own"}
            raise ToolError(
                f"{address} exists already, {what.get(there['kind'], 'as an account')}. "
                "Another password for it: releve mail account password"
            )
        if address in facts()["aliases"] and address not in facts()["aliases"][address]:
            raise ToolError(
                f"{address} is an alias in the inventory: mail to it would never arrive here"
            )
        found.execute(
            "INSERT INTO account VALUES (?, ?, ?, ?, ?, ?, 'member', 1)",
            (address, local, domain, name, password, quota),
        )
    greeting = facts().get("welcome")
    if greeting:
        # The mailbox is there whether or not Dovecot takes a mail at this moment.
        with contextlib.suppress(OSError, smtplib.SMTPException):
            deliver(address, greeting["subject"], greeting["text"], sender=greeting["from"])
    answer({"address": address})


def password(rest: Sequence[str]) -> None:
    address, _, _ = checked(rest[0])
    made = hashed(given_password())
    with accounts() as found:
        there = one(found, address)
        if there is None or there["kind"] == SYSTEM:
            raise ToolError(f"there is no account {address}")
        found.execute("UPDATE account SET password = ? WHERE address = ?", (made, address))
    # Programs that are logged in with the old one have to log in again.
    run(["doveadm", "auth", "cache", "flush", address])
    run(["doveadm", "kick", address])
    answer({"address": address})


def remove(rest: Sequence[str]) -> None:
    address, local, domain = checked(rest[0])
    with accounts() as found:
        there = one(found, address)
        if there is None or there["kind"] == SYSTEM:
            raise ToolError(f"there is no account {address}")
        if there["kind"] == "role" and address in facts()["mailboxes"]:
            raise ToolError(
                f"{address} is a role mailbox of the inventory: take it out there, and deploy"
            )
        found.execute("DELETE FROM account WHERE address = ?", (address,))
        found.execute("DELETE FROM share WHERE ? IN (mailbox, reader)", (address,))
        share_with_dovecot(found)
    run(["doveadm", "auth", "cache", "flush", address])
    run(["doveadm", "kick", address])

    def aside() -> str:
        box, kept = BOXES / domain / local, ""
        if box.exists():
            # Whoever gets this address one day must not find another's mail there.
            ASIDE.mkdir(mode=0o700, exist_ok=True)
            kept = str(ASIDE / f"{address}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
            box.rename(kept)
        shutil.rmtree(INDEXES / domain / local, ignore_errors=True)
        return kept

    kept = as_user(OWNER, aside)
    aliases = sorted(a for a, to in facts()["aliases"].items() if address in to)
    answer({"address": address, "kept": kept, "aliases": aliases})


def size_of(box: Path) -> int:
    """Bytes of a mailbox, by the sizes that Maildir keeps in names, else by asking."""
    total = 0
    for file in box.glob("**/[cn][ue][rw]/*"):
        size = re.search(r",S=(\d+)", file.name)
        with contextlib.suppress(OSError):
            total += int(size[1]) if size else file.stat().st_size
    return total


def listed(_: Sequence[str]) -> None:
    with accounts() as found:
        rows = list(found.execute("SELECT * FROM account WHERE kind <> 'system' ORDER BY address"))
    default = facts()["quota"]
    answer(
        [
            {
                "address": row["address"],
                "name": row["name"],
                "kind": row["kind"],
                "active": bool(row["active"]),
                "password": bool(row["password"]),
                "quota": default if row["quota"] is None else row["quota"],
                "bytes": size_of(BOXES / row["domain"] / row["local"] / "Maildir"),
            }
            for row in rows
        ]
    )


# --- who reads a role mailbox ------------------------------------------------------------------


def put_file(path: Path, text: str) -> None:
    """Write a file in one step, in a folder that is made when it is not there."""
    made_folder(path.parent)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def made_folder(path: Path) -> None:
    """A folder for its owner alone, with those above it."""
    if not path.exists():
        made_folder(path.parent)
        path.mkdir(mode=0o700)


def wanted_rights(found: sqlite3.Connection) -> dict[Path, str]:
    """Each file by which Dovecot knows who reads what, and its text. The rights of an inbox are
    those of every folder beside it (acl_defaults_from_inbox)."""
    rows = list(found.execute("SELECT * FROM share ORDER BY mailbox, reader"))
    texts: dict[Path, str] = {
        SHARED: "".join(
            f"shared/shared-boxes/user/{row['reader']}/{row['mailbox']}\n1\n" for row in rows
        )
    }
    for row in rows:
        path = home_of(row["mailbox"]) / "Maildir/dovecot-acl"
        texts[path] = texts.get(path, "") + f"user={row['reader']} {RIGHTS[row['how']]}\n"
    for path in BOXES.glob("*/*/Maildir/dovecot-acl"):
        texts.setdefault(path, "")
    return texts


def says(path: Path, text: str) -> bool:
    """In whatever order: Dovecot writes some of them, too."""
    try:
        return sorted(path.read_text(encoding="utf-8").split("\n")) == sorted(text.split("\n"))
    except FileNotFoundError:
        return False


def share_with_dovecot(found: sqlite3.Connection) -> None:
    rights = wanted_rights(found)

    def write() -> None:
        for path, text in rights.items():
            if not text and path != SHARED:
                path.unlink(missing_ok=True)
            elif not says(path, text):
                put_file(path, text)
        # A new folder gets a copy of the rights of its time, which would outlive them.
        for path in BOXES.glob("*/*/Maildir/.*/dovecot-acl"):
            path.unlink(missing_ok=True)

    as_user(OWNER, write)


def share(rest: Sequence[str]) -> None:
    mailbox, reader, how = checked(rest[0])[0], checked(rest[1])[0], rest[2]
    with accounts() as found:
        box, person = one(found, mailbox), one(found, reader)
        if box is None or box["kind"] != "role" or not box["active"]:
            raise ToolError(
                f"{mailbox} is no role mailbox of the inventory, and a member's own mailbox is "
                "read by nobody else"
            )
        if person is None or person["kind"] == SYSTEM or not person["active"]:
            raise ToolError(f"there is no account {reader}")
        if mailbox == reader:
            raise ToolError(f"{mailbox} reads its own mail already")
        found.execute(
            "INSERT INTO share VALUES (?, ?, ?) ON CONFLICT (mailbox, reader) "
            "DO UPDATE SET how = excluded.how",
            (mailbox, reader, how),
        )
        share_with_dovecot(found)
    show(reader, mailbox, "subscribe")
    answer({"folder": f"Shared/{mailbox}"})


def unshare(rest: Sequence[str]) -> None:
    mailbox, reader = checked(rest[0])[0], checked(rest[1])[0]
    show(reader, mailbox, "unsubscribe")
    with accounts() as found:
        gone = found.execute(
            "DELETE FROM share WHERE mailbox = ? AND reader = ?", (mailbox, reader)
        ).rowcount
        if not gone:
            raise ToolError(f"{reader} does not read {mailbox}")
        share_with_dovecot(found)
    # A program that is connected has the folder open.
    run(["doveadm", "kick", reader])
    answer({"mailbox": mailbox})


def show(reader: str, mailbox: str, verb: str) -> None:
    """Mail programs show what one is subscribed to. Whoever runs none yet loses nothing if this
    fails: the folder can be subscribed to in the program."""
    top = f"Shared/{mailbox}"
    listed_now = run(["doveadm", "mailbox", "list", "-u", reader, top, f"{top}/*"])
    names = listed_now.stdout.splitlines()
    if names:
        run(["doveadm", "mailbox", verb, "-u", reader, *names])


def shares(_: Sequence[str]) -> None:
    with accounts() as found:
        rows = list(found.execute("SELECT * FROM share ORDER BY mailbox, reader"))
    answer([dict(row) for row in rows])


# --- what the inventory says -----------------------------------------------------------------


def wanted_rows() -> list[tuple[str, str, int | None, str]]:
    """Role mailboxes and the account of the probes: address, name, quota, kind."""
    known = facts()
    rows = [
        (address, about["name"], about["quota"], "role")
        for address, about in known["mailboxes"].items()
    ]
    # What looks whether mails arrive needs little room, and fills no disk with what others send.
    return [
        *rows,
        (known["system"], "Releve", 0, SYSTEM),
        (known["trip"], "Releve", 10 * 1024**2, SYSTEM),
    ]


def wanted_aliases() -> set[tuple[str, str]]:
    return {(address, to) for address, targets in facts()["aliases"].items() for to in targets}


def settled(_: Sequence[str]) -> None:
    if not DATABASE.exists():
        sys.exit(1)
    try:
        secret = PROBE.read_text(encoding="ascii").strip()
        with accounts() as found:
            rows = {row["address"]: row for row in found.execute("SELECT * FROM account")}
            passed = {
                (row["address"], row["target"]) for row in found.execute("SELECT * FROM alias")
            }
            rights = wanted_rights(found)
    except (OSError, sqlite3.Error):
        sys.exit(1)
    for address, name, quota, kind in wanted_rows():
        row = rows.get(address)
        if row is not None and row["kind"] == "member":
            continue  # told as an alias that leads nowhere is, and left alone
        if row is None or (row["name"], row["quota"], row["kind"]) != (name, quota, kind):
            sys.exit(1)
        if not row["active"]:
            sys.exit(1)
    mine = [row["password"].removeprefix("{CRYPT}") for row in rows.values()
            if row["kind"] == SYSTEM]  # fmt: skip
    gone = [a for a, row in rows.items() if row["kind"] == "role" and row["active"]
            and a not in facts()["mailboxes"]]  # fmt: skip
    if gone or not all(fits(secret, made) for made in mine) or passed != wanted_aliases():
        sys.exit(1)
    if not all(says(path, text) for path, text in rights.items()):
        sys.exit(1)


def fits(secret: str, made: str) -> bool:
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    library.crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    found: bytes | None = library.crypt(secret.encode(), made.encode())
    return bool(made) and found is not None and found.decode() == made


def settle(_: Sequence[str]) -> None:
    """Role mailboxes are added and named; one that is not in the inventory any more takes and
    shows no mail, and keeps what it has. A member's account with such an address stays a member's:
    what is in it is for nobody else to read."""
    if not PROBE.exists():
        handle = os.open(PROBE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
    made = hashed(PROBE.read_text(encoding="ascii").strip())
    with accounts() as found:
        for address, name, quota, kind in wanted_rows():
            address, local, domain = checked(address)
            found.execute(
                "INSERT INTO account VALUES (?, ?, ?, ?, '', ?, ?, 1) ON CONFLICT (address) "
                "DO UPDATE SET name = excluded.name, quota = excluded.quota, "
                "kind = excluded.kind, active = 1 WHERE kind <> 'member'",
                (address, local, domain, name, quota, kind),
            )
        names = [address for address, *_ in wanted_rows()]
        marks = ",".join("?" * len(names))
        found.execute(
            f"UPDATE account SET active = 0 WHERE kind <> 'member' AND address NOT IN ({marks})",
            names,
        )
        found.execute("UPDATE account SET password = ? WHERE kind = ?", (made, SYSTEM))
        found.execute("DELETE FROM alias")
        found.executemany("INSERT INTO alias VALUES (?, ?)", sorted(wanted_aliases()))
        share_with_dovecot(found)


def astray() -> list[dict[str, str]]:
    """Aliases that pass mail on to nobody here, accounts that an alias takes mail from, and role
    mailboxes of the inventory that are members' accounts."""
    known = facts()
    with accounts() as found:
        rows = {row["address"]: row for row in found.execute("SELECT * FROM account")}
    wrong = []
    for address, targets in sorted(known["aliases"].items()):
        for target in targets:
            local, _, domain = target.partition("@")
            bare = f"{local.partition('+')[0]}@{domain}"
            there = rows.get(bare)
            if domain in known["domains"] and bare not in known["aliases"] and (
                there is None or not there["active"] or there["kind"] == SYSTEM
            ):  # fmt: skip
                wrong.append({"alias": address, "target": target, "problem": "nobody"})
        mine = rows.get(address)
        if mine is not None and mine["active"] and address not in targets:
            wrong.append({"alias": address, "target": address, "problem": "taken"})
    return wrong + [
        {"alias": address, "target": address, "problem": "member"}
        for address in sorted(known["mailboxes"])
        if address in rows and rows[address]["kind"] == "member"
    ]


def targets(_: Sequence[str]) -> None:
    answer(astray())


def targeted(_: Sequence[str]) -> None:
    said_of = {
        "nobody": "{alias} passes mail on to {target}, and there is no such account: the others "
        "whom it names get it; where there are none, it is refused. releve mail account add, or "
        "another target",
        "taken": "{alias} is an alias and an account: what is written to it does not arrive in "
        "the account. Name {alias} itself among its targets, or remove the account",
        "member": "{alias} is a role mailbox in the inventory and a member's account here: it "
        "stays the member's. Take it out of the inventory, or remove the account (its mail is put "
        "aside) and deploy again",
    }
    wrong: dict[tuple[str, str], list[str]] = {}
    for each in astray():
        wrong.setdefault((each["problem"], each["alias"]), []).append(each["target"])
    told = [
        said_of[problem].format(alias=alias, target=", ".join(names))
        for (problem, alias), names in wrong.items()
    ]
    if told:
        raise ToolError("; ".join(told))


# --- looks -----------------------------------------------------------------------------------


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


def wait(rest: Sequence[str]) -> None:
    """rspamd takes up to half a minute when it starts for the first time."""
    deadline = time.monotonic() + float(rest[0])
    while silent := [port for port in PORTS if not answers(port)]:
        if time.monotonic() > deadline:
            ports = ", ".join(map(str, silent))
            raise ToolError(f"nothing answers at port {ports} of this host: see its journal")
        time.sleep(0.3)


def said(code: int, text: bytes) -> str:
    return f"{code} {text.decode(errors='replace')}".strip()[:200]


def unverified() -> ssl.SSLContext:
    """Whether the certificate is right is looked at from outside, under the server's name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def own_address() -> str:
    """An address of this host that is no more trusted than any other's: one that the inventory
    has, or, where that is a router's (NAT) that may not answer from within, the one that mails
    leave from."""
    addresses: list[str] = facts()["addresses"]
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as tried, contextlib.suppress(OSError):
            tried.bind((address, 0))
            return address
    family = socket.AF_INET6 if ":" in addresses[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        way.connect((addresses[0], 9))  # (sends nothing)
        return str(way.getsockname()[0])


def strangers() -> dict[str, object]:
    """Asked at this host's own address, which is no more trusted than any other."""
    known = facts()
    address = own_address()
    found: dict[str, object] = {}
    with smtplib.SMTP(address, 25, known["host"], timeout=20) as door:
        door.ehlo()
        found["auth"] = door.has_extn("auth")
        found["tls"] = door.has_extn("starttls")
        code, words = door.mail("")
        if code >= 300:
            # On a full disk nobody gets as far as that.
            raise smtplib.SMTPResponseException(code, words)
        code, words = door.rcpt("somebody@example.com")
        found["relay"], found["relayed"] = code < 300, said(code, words)
    with smtplib.SMTP(address, 587, known["host"], timeout=20) as door:
        door.ehlo()
        found["plain"] = door.has_extn("auth")
        code, _text = door.docmd("AUTH", "PLAIN")
        found["taken"] = code < 400
        door.starttls(context=unverified())
        door.ehlo()
        found["login"] = door.has_extn("auth")
        code, _text = door.mail("")
        if code < 300:
            code, _text = door.rcpt("somebody@example.com")
            found["submits"] = code < 300
        else:
            found["submits"] = False
    return found


def doors(_: Sequence[str]) -> None:
    try:
        answer(strangers())
    except (OSError, smtplib.SMTPException) as error:
        answer({"error": f"ports 25 and 587 at {own_address()}: {error or type(error).__name__}"})


def is_closed(_: Sequence[str]) -> None:
    """Exit 0 when no stranger may do what only members may. Postfix is stopped otherwise, until a
    deploy finds that it is right: what stands open for an hour is on block lists for weeks."""
    try:
        found = strangers()
    except (OSError, smtplib.SMTPException) as error:
        raise ToolError(
            f"whether strangers may send through this server could not be looked at: port 25 or "
            f"587 at {own_address()}: {error or type(error).__name__}"
        ) from None
    wrong = []
    if found["relay"] or found["submits"]:
        wrong.append("anybody can send to the world through this server")
    if found["auth"] or found["plain"] or found["taken"]:
        wrong.append("passwords are taken without encryption")
    if wrong:
        run(["systemctl", "disable", "--now", "postfix.service"])
        raise ToolError(
            "; ".join(wrong) + ". Postfix was stopped, other servers try again for days. Whatever "
            "changed /etc/postfix: the next deploy writes it anew and starts Postfix"
        )


def login(_: Sequence[str]) -> None:
    known, secret = facts(), PROBE.read_text(encoding="ascii").strip()
    found = {"read": "", "send": ""}
    try:
        with imaplib.IMAP4_SSL("127.0.0.1", 993, ssl_context=unverified(), timeout=15) as box:
            box.login(known["system"], secret)
            state, _count = box.select("INBOX", readonly=True)
            found["read"] = "" if state == "OK" else "the inbox cannot be opened"
    except (OSError, imaplib.IMAP4.error) as error:
        found["read"] = str(error) or type(error).__name__
    try:
        with smtplib.SMTP_SSL(
            "127.0.0.1", 465, known["host"], timeout=15, context=unverified()
        ) as door:
            door.login(known["system"], secret)
    except (OSError, smtplib.SMTPException) as error:
        found["send"] = str(error) or type(error).__name__
    answer(found)


def queue(_: Sequence[str]) -> None:
    done = run(["postqueue", "-j"])
    if done.returncode != 0:
        raise ToolError(f"postqueue: {done.stderr.strip()[-200:]}")
    waiting = [json.loads(line) for line in done.stdout.splitlines() if line]
    oldest = min((int(each["arrival_time"]) for each in waiting), default=None)
    why: dict[str, int] = {}
    for each in waiting:
        for person in each.get("recipients", []):
            # Addresses are members' own business.
            reason = re.sub(r"\S+@\S+", "…", str(person.get("delay_reason", ""))[:240])
            if reason:
                why[reason] = why.get(reason, 0) + 1
    since = held_since()
    answer(
        {
            "waiting": len(waiting),
            "oldest_s": None if oldest is None else max(0, int(time.time()) - oldest),
            "held_s": None if since is None else max(0, int(time.time() - since)),
            "why": max(why, key=lambda reason: why[reason]) if why else "",
        }
    )


# Servers that said nothing at all ("": the resolver), and are waited for no more.
SILENT: set[str] = set()


def ask_dns(kind: str, name: str, server: str = "") -> list[str] | None:
    """The values, each as one text; None when nobody (or not this server) answered. In a rehearsal
    nobody does: to wait for each record would take longer than a check may."""
    if server in SILENT:
        return None
    at = [f"@{server}"] if server else []
    words = ["-x", name] if kind == "PTR" else ["-t", kind, "-q", f"{name}."]
    done = run(["dig", "+time=3", "+tries=2", "+noall", "+comments", "+answer", *at, *words], 30)
    status = re.search(r"status: ([A-Z]+)", done.stdout)
    if not status:
        SILENT.add(server)
    if not status or status[1] not in ("NOERROR", "NXDOMAIN"):
        return None
    values = []
    for line in done.stdout.splitlines():
        parts = line.split(None, 4)
        if len(parts) == 5 and not line.startswith(";") and parts[3] == kind:
            text = parts[4]
            if kind == "TXT":
                text = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', text)).replace("\\;", ";")
            values.append(text.rstrip(".") if kind != "TXT" else text)
    return values


def records(_: Sequence[str]) -> None:
    found = []
    for name, kind, values, prefix in facts()["records"]:
        there = ask_dns(kind, name)
        if there is not None and prefix:
            there = [text for text in there if text.startswith(prefix)]
        found.append({"name": name, "type": kind, "wanted": values, "found": there})
    answer(found)


def in_charge(name: str) -> list[str]:
    """The servers that answer for a name, by the nearest zone above it."""
    while "." in name:
        name = name.partition(".")[2]
        if servers := ask_dns("NS", name):
            return servers
    return []


def named_in_dns() -> bool:
    """Does every server in charge that answers name our key, and one at least? What others asked
    before may be kept for a while: who was told that there is none would not believe the key."""
    for name, value in facts()["keys"].items():
        said = [ask_dns("TXT", name, server) for server in in_charge(name)]
        heard = [values for values in said if values is not None]
        if not heard or any(value not in values for values in heard):
            return False
    return True


def signing(_: Sequence[str]) -> None:
    there = SIGNING.read_text(encoding="utf-8") if SIGNING.exists() else ""
    wanted = SIGNING_NEXT.read_text(encoding="utf-8")
    # With none so far it begins, whatever DNS says: in a rehearsal it can ask nobody.
    if there != wanted and (not there or named_in_dns()):
        sys.exit(1)


def sign(_: Sequence[str]) -> None:
    new = SIGNING.with_suffix(".new")
    shutil.copyfile(SIGNING_NEXT, new)
    new.chmod(0o644)
    new.replace(SIGNING)


def reverse(_: Sequence[str]) -> None:
    known = facts()
    name = known["host"]
    # What others asked before a rebuild may be kept for a while.
    servers = in_charge(name)
    forward: list[str] | None = []
    for kind in {"AAAA" if ":" in address else "A" for address in known["addresses"]}:
        said = [ask_dns(kind, name, server) for server in servers]
        heard = next((values for values in said if values is not None), None)
        forward = None if heard is None or forward is None else [*forward, *heard]
    named = {address: ask_dns("PTR", address) for address in known["addresses"]}
    answer({"name": name, "addresses": named, "forward": forward})


def blocklists(_: Sequence[str]) -> None:
    """What the lists say of this host's addresses (RFC 5782); null of one that does not answer. One
    that has 127.0.0.1, which none may have, has everybody: it is not asked any more."""
    known = facts()
    found = []
    for zone in known["blocklists"]:
        never = ask_dns("A", f"1.0.0.127.{zone}")
        for address in known["addresses"]:
            parts = ipaddress.ip_address(address).reverse_pointer.rsplit(".", 2)[0]
            said = ask_dns("A", f"{parts}.{zone}") if never == [] else None
            # It says that it does not speak with whoever asks for us, such as a public resolver.
            refused = said is not None and any(value.startswith("127.255.") for value in said)
            found.append({"list": zone, "address": address, "said": None if refused else said})
    answer(found)


def is_reversed(_: Sequence[str]) -> None:
    if not FACTS.exists():
        return
    known = facts()
    for address in known["addresses"]:
        names = ask_dns("PTR", address)
        if names is None:
            print(f"DNS did not answer: the reverse name (PTR) of {address} could not be looked at")
        elif known["host"] not in names:
            print(
                f"the reverse name of {address} is {', '.join(names) or 'not set'}, and should be "
                f"{known['host']}: many servers refuse mails from here until then. It is set in "
                "the provider's panel, not in DNS."
            )


# --- content ---------------------------------------------------------------------------------


def boxes() -> list[Path]:
    """The Maildir of every account that ever got a mail."""
    return [
        box
        for box in BOXES.glob("*/*/Maildir")
        if ASIDE not in box.parents and box.parent.name != TRIP
    ]


def counts(_: Sequence[str]) -> None:
    messages = rules = 0
    for box in boxes():
        for folder in (box, *(f for f in box.glob(".*") if f.name != FOLDER and f.is_dir())):
            for part in ("cur", "new"):
                if (folder / part).is_dir():
                    messages += sum(1 for entry in os.scandir(folder / part) if entry.is_file())
        rules += sum(1 for _ in (box.parent / "sieve").glob("*.sieve"))
    members = 0
    if DATABASE.exists():
        with accounts() as found:
            row = found.execute("SELECT COUNT(*) FROM account WHERE kind <> 'system'").fetchone()
            members = int(row[0])
    answer({"accounts": members, "mailboxes": len(boxes()), "messages": messages, "rules": rules})


def versions(_: Sequence[str]) -> None:
    packages = {"postfix": "postfix", "dovecot": "dovecot-core", "rspamd": "rspamd"}
    told = run(["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *packages.values()]).stdout
    found = dict(line.split(" ", 1) for line in told.splitlines())
    answer({name: found.get(package, "") for name, package in packages.items()})


def mail(sender: str, to: str, subject: str, text: str, extra: str = "") -> bytes:
    return (
        f"From: {sender}\nTo: {to}\nSubject: {headers.Header(subject, 'utf-8').encode()}\n{extra}"
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
        f"Content-Transfer-Encoding: 8bit\n\n{text}\n"
    ).encode()


def deliver(
    address: str, subject: str, text: str, extra: str = "", sender: str | None = None
) -> None:
    """A mail, given to Dovecot as Postfix gives them: the account's rules are applied."""
    system = facts()["system"]
    written = mail(sender or f"Releve <{system}>", address, subject, text, extra)
    with smtplib.LMTP(LMTP, local_hostname="localhost") as door:
        if door.sock:
            door.sock.settimeout(60)
        door.sendmail(system, [address], written)


def home_of(address: str) -> Path:
    local, _, domain = address.partition("@")
    return BOXES / domain / local


def mark_of(file: Path) -> dict[str, str] | None:
    try:
        head = file.read_bytes()[:8192].decode(errors="replace").partition("\n\n")[0]
    except OSError:
        return None
    words = dict(re.findall(r"(?m)^X-Releve-(Run|At): (\S+)\r?$", head.replace("\r", "")))
    if "Run" not in words or "At" not in words:
        return None
    return {"run": words["Run"], "at": words["At"]}


def marks(home: Path) -> list[tuple[dict[str, str], Path]]:
    """Marks, newest first, each with its file."""
    found = []
    for part in ("cur", "new"):
        for file in (home / "Maildir" / FOLDER / part).glob("*"):
            mark = mark_of(file)
            if mark:
                found.append((mark, file))
    return sorted(found, key=lambda each: each[0]["at"], reverse=True)


def rule_text(runs: Sequence[str]) -> str:
    listed_runs = ", ".join(f'"{name}"' for name in runs)
    return (
        'require ["fileinto", "mailbox"];\n# Written by each copy; it proves that rules come '
        f'back.\nif header :is "X-Releve-Run" [{listed_runs}] {{\n'
        '    fileinto :create "Releve";\n}\n'
    )


def rule_file(home: Path) -> Path:
    return home / "sieve" / "releve.sieve"


def keep_rule(file: Path, text: str) -> None:
    """Write a rule into an account's folder, and put it in force unless another one is."""
    put_file(file, text)
    active = file.parent.parent / ".dovecot.sieve"
    if not active.is_symlink():
        active.symlink_to(f"sieve/{file.name}")


def plant(rest: Sequence[str]) -> None:
    run_id, at = rest
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,100}", run_id) or not re.fullmatch(
        r"[0-9TZ:-]{1,30}", at
    ):
        raise ToolError("a run is named by letters, digits and . _ : - and its time is ISO 8601")
    address = facts()["system"]
    home = home_of(address)

    def rule() -> None:
        kept = [mark["run"] for mark, _ in marks(home)][: KEPT - 1]
        keep_rule(rule_file(home), rule_text([run_id, *kept]))

    def there() -> bool:
        found = marks(home)
        for _, file in found[KEPT:]:
            file.unlink(missing_ok=True)
        return {"run": run_id, "at": at} in [mark for mark, _ in found]

    as_user(OWNER, rule)
    deliver(
        address,
        f"Relève {run_id}",
        f"Relève: written by the backup run {run_id} at {at}. It may be deleted.",
        f"X-Releve-Run: {run_id}\nX-Releve-At: {at}\n",
    )
    if not as_user(OWNER, there):
        raise ToolError("the mail was taken, but the rule did not put it into its folder")
    answer({"run": run_id, "at": at})


def find(_: Sequence[str]) -> None:
    """Marks of which both the mail and the rule are there. Asked of the accounts, whose they are:
    after a restore nothing else is there yet."""
    if not DATABASE.exists():
        answer([])
        return
    with accounts() as found:
        row = found.execute("SELECT address FROM account WHERE local = ?", (PROBES,)).fetchone()
    if row is None:
        answer([])
        return
    home = home_of(row["address"])

    def both() -> list[dict[str, str]]:
        try:
            rule = rule_file(home).read_text()
        except OSError:
            return []
        return [mark for mark, _ in marks(home) if f'"{mark["run"]}"' in rule]

    answer(as_user(OWNER, both))


def sample(_: Sequence[str]) -> None:
    """Two members: one writes to the other, whose rule puts a mail of two into a folder."""
    known = facts()
    secret = secrets.token_urlsafe(18)
    writer, reader = (f"membre-{number}@{known['domains'][0]}" for number in (1, 2))
    with accounts() as found:
        for address in (writer, reader):
            local, _, domain = address.partition("@")
            found.execute(
                "INSERT OR REPLACE INTO account VALUES (?, ?, ?, '', ?, NULL, 'member', 1)",
                (address, local, domain, hashed(secret)),
            )
    rule = 'require ["fileinto", "mailbox"];\nif header :contains "Subject" "union" {\n'
    home = home_of(reader)
    rule += '    fileinto :create "Réunions";\n}\n'
    as_user(OWNER, lambda: keep_rule(home / "sieve" / "tri.sieve", rule))
    before = len(delivered(home))
    letters = {"Réunion d’équipe": "Budget, accueil, été. ☀", "Marché de Noël": "Le vin chaud."}
    with smtplib.SMTP_SSL(
        own_address(), 465, "localhost", timeout=20, context=unverified()
    ) as door:
        door.login(writer, secret)
        for subject, text in letters.items():
            door.sendmail(writer, [reader], mail(writer, reader, subject, text))
    deadline = time.monotonic() + 60
    while len(delivered(home)) < before + len(letters):
        if time.monotonic() > deadline:
            raise ToolError("a mail that a member wrote to another did not arrive")
        time.sleep(0.1)
    if not any("R&AOk-unions" in str(file) for file in delivered(home)):
        raise ToolError("a member's rule did not put a mail into its folder")
    answer({"accounts": 2, "messages": len(letters), "rules": 1})


def delivered(home: Path) -> list[Path]:
    return list((home / "Maildir").glob("**/[cn][ue][rw]/*"))


# --- copies ----------------------------------------------------------------------------------


def quoted(value: object) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def accounts_save(_: Sequence[str]) -> None:
    """One line an account, in a fixed order: unchanged accounts are an unchanged file."""
    for table, names in COLUMNS.items():
        listed_names = ", ".join(names)
        with accounts() as found:
            query = f"SELECT {listed_names} FROM {table} ORDER BY {listed_names}"
            rows = [tuple(row) for row in found.execute(query)]
        for row in rows:
            values = ", ".join(map(quoted, row))
            print(f"INSERT INTO {table} ({listed_names}) VALUES ({values});")


def accounts_load(_: Sequence[str]) -> None:
    """In one transaction, in the file that Postfix and Dovecot have open."""
    text = sys.stdin.read()
    with accounts() as found:
        for table in COLUMNS:
            found.execute(f"DELETE FROM {table}")
        for line in text.splitlines():
            if not line.startswith(tuple(f"INSERT INTO {table} (" for table in COLUMNS)):
                raise ToolError("this is not what accounts-save writes")
            found.execute(line)
        share_with_dovecot(found)


def learned_save(_: Sequence[str]) -> None:
    """As they are at one moment each: rspamd goes on learning meanwhile."""
    as_user(FILTERER, learned_out)


def learned_out() -> None:
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as made:
        for name in LEARNED:
            if not (FILTER / name).exists():
                continue
            with tempfile.TemporaryDirectory(dir=FILTER) as folder:
                copy = Path(folder, name)
                with (
                    contextlib.closing(sqlite3.connect(FILTER / name, timeout=20)) as there,
                    contextlib.closing(sqlite3.connect(copy)) as here,
                ):
                    # It is gone in a moment: nothing waits for the disk.
                    here.execute("PRAGMA synchronous = OFF")
                    there.backup(here)
                about = tarfile.TarInfo(name)
                about.size = copy.stat().st_size
                with copy.open("rb") as file:
                    made.addfile(about, file)


def learned_load(_: Sequence[str]) -> None:
    """rspamd, which has them open, is started again after a restore."""
    run(["systemctl", "stop", "rspamd.service"])
    as_user(FILTERER, learned_in)


def learned_in() -> None:
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as saved:
        for member in saved:
            file = saved.extractfile(member)
            if member.name not in LEARNED or file is None:
                raise ToolError(f"{member.name!r} is nothing that learned-save writes")
            for rest_of in ("-wal", "-shm", "-journal"):
                Path(f"{FILTER / member.name}{rest_of}").unlink(missing_ok=True)
            new = FILTER / f"{member.name}.new"
            new.unlink(missing_ok=True)
            with new.open("wb") as made:
                shutil.copyfileobj(file, made)
            new.chmod(0o640)
            new.replace(FILTER / member.name)


# In the order in which a mail passes through them.
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold")


def queued() -> dict[str, Path]:
    """Every mail in the queue that Postfix has promised to deliver, by its name there."""
    return {file.name: file for name in QUEUES for file in queue_listed(name)}


def queue_listed(name: str) -> list[Path]:
    found = []
    for file in (SPOOL / name).glob("**/*"):
        with contextlib.suppress(OSError):
            about = file.lstat()
            # Postfix gives the right to execute to files that are complete.
            if stat.S_ISREG(about.st_mode) and about.st_mode & 0o100:
                found.append(file)
    return found


def queue_of(file: Path) -> str:
    return file.relative_to(SPOOL).parts[0]


def packed(made: tarfile.TarFile, name: str, data: bytes, at: float = 0) -> None:
    about = tarfile.TarInfo(name)
    about.size, about.mode, about.mtime = len(data), 0o700, int(at)
    made.addfile(about, io.BytesIO(data))


def queue_save(_: Sequence[str]) -> None:
    """A mail moves from queue to queue while they are listed and read: they are listed until two
    listings say nothing new. What is gone for good was delivered. (A mail of this host's own that
    is taken out of `maildrop` meanwhile gets another name, and may be there twice.)"""
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as made:
        packed(made, "machine", MACHINE.read_bytes())
        if CAME.exists():
            packed(made, "came", CAME.read_bytes())
        saved: set[str] = set()
        quiet = 0
        while quiet < 2:
            there = queued()
            fresh = sorted(there.keys() - saved)
            quiet = 0 if fresh else quiet + 1
            for name in fresh:
                try:
                    data, at = there[name].read_bytes(), there[name].stat().st_mtime
                except FileNotFoundError:
                    continue  # the next listing says where it is now
                saved.add(name)
                packed(made, f"{queue_of(there[name])}/{name}", data, at)


# Where nobody answers: mails wait, whoever wrote them, and members may go on writing. (With
# "retry:" Postfix would not take them; defer_transports ends with the next `postqueue -f`.)
HELD = "*\tsmtp:[127.0.0.1]:9\n"


def held_since() -> float | None:
    """When mails to others began to wait, None when they may leave."""
    try:
        return OUTWARD.stat().st_mtime if OUTWARD.stat().st_size else None
    except OSError:
        return None


def say_outward(text: str) -> None:
    new = OUTWARD.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    # No secret, and Postfix reads it as nobody in particular.
    new.chmod(0o644)
    new.replace(OUTWARD)
    if run(["postfix", "status"]).returncode == 0:
        run(["postfix", "reload"])


def let_out(_: Sequence[str]) -> None:
    if held_since() is not None:
        say_outward("")
        run(["postqueue", "-f"])


def came_before() -> list[str]:
    """Each mail that ever came here with a copy: the machine that had it in its queue, its name."""
    return CAME.read_text(encoding="ascii").splitlines() if CAME.exists() else []


def say_came(known: Sequence[str]) -> None:
    remember(CAME, "".join(f"{line}\n" for line in known[-MANY:]))


def remember(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    new.replace(path)


def queue_load(_: Sequence[str]) -> None:
    """On another machine than it was saved on, each mail comes back and is sent, if it did not come
    back before: then it was sent. On the same one the queue never went away, and what it lacks of
    the copy was delivered since. Nothing leaves this host until `let-out`: the one it was saved on
    may still be sending the same mails, and in a rehearsal it does.

    A restore that goes wrong loads what was here before: what came with it goes again."""
    if not all((SPOOL / name).is_dir() for name in QUEUES):
        # Where it has never run they are not there yet: this makes them.
        done = run(["postfix", "check"])
        if not all((SPOOL / name).is_dir() for name in QUEUES):
            raise ToolError(f"postfix check: {done.stderr.strip()[-200:]}")
    here = MACHINE.read_text(encoding="ascii").strip()
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as saved:
        first = saved.next()
        file = saved.extractfile(first) if first and first.name == "machine" else None
        if file is None:
            raise ToolError("this is not what queue-save writes")
        machine = file.read().decode("ascii").strip()
        if machine == here:
            queue_undone()
            print("the queue is this machine's own: it stays as it is", file=sys.stderr)
            return
        known = dict.fromkeys(came_before())
        if not LOADING.exists():
            held = held_since() is not None
            remember(LOADING, json.dumps([held, sorted(queued()), list(known)]))
        say_outward(HELD)
        came = 0
        while (member := saved.next()) is not None:
            file = saved.extractfile(member)
            name, _, queue_id = member.name.partition("/")
            if member.name == "came" and file is not None:
                # What that machine had got from one before it.
                known |= dict.fromkeys(file.read().decode("ascii").splitlines())
                continue
            right = name in QUEUES and re.fullmatch(r"[A-Za-z0-9]{6,40}", queue_id)
            if file is None or not right:
                raise ToolError(f"{member.name!r} is no mail of a queue")
            if f"{machine} {queue_id}" in known:
                continue
            enqueue(name, queue_id, file, member.mtime)
            known[f"{machine} {queue_id}"] = None
            came += 1
    # Before they get other names: killed here, it loads none of them again.
    say_came(list(known))
    # Names hold a number of the file on the disk that it came from.
    done = run(["postsuper", "-s"], 600)
    if done.returncode != 0:
        raise ToolError(f"postsuper: {done.stderr.strip()[-200:]}")
    print(f"{came} mails are in the queue again", file=sys.stderr)


def enqueue(name: str, queue_id: str, file: IO[bytes], at: float) -> None:
    """Put a mail into a queue of Postfix, which did not run meanwhile."""
    owner = pwd.getpwnam(POSTFIX)
    place = SPOOL / (name if name in ("hold", "maildrop") else "incoming")
    # The folder is not root's own: nothing that somebody laid there is written through. What is
    # there under that name came half-way in an attempt before.
    target = place / queue_id
    target.unlink(missing_ok=True)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as made:
        shutil.copyfileobj(file, made)
        made.flush()
        os.utime(handle, (at, at))
        os.fchown(handle, owner.pw_uid, owner.pw_gid)
        # Complete for Postfix from now on.
        os.fchmod(handle, 0o700)
        os.fsync(handle)


def queue_undone() -> None:
    """Take back what a restore loaded that was given up, if one was."""
    if not LOADING.exists():
        return
    held, before, known = json.loads(LOADING.read_text(encoding="ascii"))
    fresh = sorted(queued().keys() - set(before))
    if fresh:
        run(["postsuper", "-d", "-"], 600, "".join(f"{name}\n" for name in fresh))
    say_came(known)
    if not held:
        say_outward("")
    LOADING.unlink()


VERBS: dict[str, tuple[int, Callable[[Sequence[str]], None]]] = {
    "settled": (0, settled),
    "settle": (0, settle),
    "add": (3, add),
    "password": (1, password),
    "remove": (1, remove),
    "list": (0, listed),
    "share": (3, share),
    "unshare": (2, unshare),
    "shares": (0, shares),
    "targets": (0, targets),
    "targeted": (0, targeted),
    "wait": (1, wait),
    "doors": (0, doors),
    "closed": (0, is_closed),
    "login": (0, login),
    "queue": (0, queue),
    "records": (0, records),
    "signing": (0, signing),
    "sign": (0, sign),
    "reverse": (0, reverse),
    "reversed": (0, is_reversed),
    "blocklists": (0, blocklists),
    "counts": (0, counts),
    "versions": (0, versions),
    "canary-plant": (2, plant),
    "canary-find": (0, find),
    "sample": (0, sample),
    "accounts-save": (0, accounts_save),
    "accounts-load": (0, accounts_load),
    "learned-save": (0, learned_save),
    "learned-load": (0, learned_load),
    "queue-save": (0, queue_save),
    "queue-load": (0, queue_load),
    "let-out": (0, let_out),
}


def main(words: Sequence[str]) -> int:
    if not words or words[0] not in VERBS or len(words) - 1 != VERBS[words[0]][0]:
        print(__doc__, file=sys.stderr)
        return 64
    os.umask(0o077)
    try:
        VERBS[words[0]][1](words[1:])
    except (ToolError, OSError, sqlite3.Error) as error:
        print(f"mailhost.py {words[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
