"""Mailboxes as members have them: accents, odd file names, heavy attachments, marks and labels.
What they hold is read and worked on over IMAP, as their programs do."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import random
import re
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from email.header import Header
from email.utils import encode_rfc2231

from lab import Lab
from tests.lab.post import Door, Imap

# As IMAP spells them (RFC 3501, 5.1.3): Réunions, Réunions/Été 2025, Budget & co, 会議.
FOLDERS = (
    "INBOX", "Sent", "R&AOk-unions", "R&AOk-unions/&AMk-t&AOk- 2025", "Budget &- co", "&TxqLcA-",
    "Projets", "Projets/Archives",
)  # fmt: skip
# The ones that `working` moves mails between.
BUSY = ("Projets", "Projets/Archives")
NAMES = ("compte rendu été.pdf", 'devis "final" (2).odt', "../../etc/passwd", "会議.txt", "a" * 120)
FLAGS = "DFRSTabc"  # as Maildir spells them; small letters are labels
LABELS = ("$Label1", "urgent", "$Forwarded")
BOXES = "/srv/mail/boxes"
WORDS = "Bonjour à toutes, voici le compte rendu de l’été.\r\n" * 3000
HEAVY = 30_000_000  # bytes of an attachment: what the largest mail that is let through can hold

# folder -> number -> (marks, when it came, what it says)
Content = dict[str, dict[str, tuple[tuple[str, ...], str, str]]]


def quoted(folder: str) -> str:
    return f'"{folder}"'


def mail(chance: random.Random, number: int, to: str, heavy: int) -> bytes:
    """A mail: mostly short, some with a file, and `heavy` bytes in its file when that is not 0."""
    subject = Header(f"N° {number} : réunion d’été ☀ " + "x" * chance.randrange(60), "utf-8")
    head = (
        f"From: zoe{number}@voisin.example\r\nTo: {to}\r\nSubject: {subject.encode(linesep='')}\r\n"
        f"Message-ID: <{number}.{to}>\r\nMIME-Version: 1.0\r\n"
    )
    words = WORDS[: int(chance.lognormvariate(7.5, 1)) + 1]
    text = f"Content-Type: text/plain; charset=utf-8\r\n\r\n{number} {words}\r\n".encode()
    if not heavy and chance.random() > 0.3:
        return head.encode() + text
    data = chance.randbytes(heavy or int(chance.lognormvariate(10.5, 1)))
    name = encode_rfc2231(chance.choice(NAMES), "utf-8")
    head += 'Content-Type: multipart/mixed; boundary="=_x"\r\n\r\n--=_x\r\n'
    about = (
        "\r\n--=_x\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: "
        f"base64\r\nContent-Disposition: attachment; filename*={name}\r\n\r\n"
    )
    body = base64.encodebytes(data).replace(b"\n", b"\r\n")
    return head.encode() + text + about.encode() + body + b"--=_x--\r\n"


def fill(
    lab: Lab,
    host: str,
    accounts: Sequence[str],
    count: int,
    heavy: tuple[int, ...] = (),
    first: int = 0,
) -> None:
    """Put `count` mails, with numbers from `first` on, into the folders of accounts on a mail
    server of ours, as one who brings Maildirs along; as many as there are sizes (bytes) have a
    file that large. The same every time."""
    chance = random.Random(first)  # noqa: S311 (mails, no secrets)
    sizes = [*heavy, *(0,) * (count - len(heavy))]
    chance.shuffle(sizes)
    for start in range(0, count, 500):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as made:
            for address in accounts:
                folders_of(made, home(address))
            for number in range(start, min(count, start + 500)):
                address = accounts[number % len(accounts)]
                folder = FOLDERS[number // len(accounts) % len(FOLDERS)]
                data = mail(chance, first + number, address, sizes[number])
                flags = "".join(sorted(chance.sample(FLAGS, chance.randrange(4))))
                part, end = ("new", "") if chance.random() < 0.2 else ("cur", f":2,{flags}")
                at = 1_700_000_000 + (first + number) * 1000
                name = f"{at}.M{first + number}P1.poste,S={len(data)},W={len(data)}{end}"
                add(made, f"{home(address)}/{place(folder)}{part}/{name}", data, at)
        argv = ("tar", "-x", "-C", BOXES)
        lab.run(host, argv, stdin=packed.getvalue(), timeout=600)


def home(address: str) -> str:
    local, _, domain = address.partition("@")
    return f"{domain}/{local}/Maildir"


def place(folder: str) -> str:
    """Where Maildir++ has a folder below its top, with a slash at the end."""
    return "" if folder == "INBOX" else f".{folder.replace('/', '.')}/"


def folders_of(made: tarfile.TarFile, top: str) -> None:
    """The folders, who is subscribed to them, and what letters stand for labels."""
    parents = [top.rpartition("/")[0], *(f"{top}/{place(folder)}" for folder in FOLDERS)]
    for folder in parents:
        add(made, folder, None)
        for part in ("cur", "new") if folder != parents[0] else ():
            add(made, f"{folder}/{part}", None)
    for folder in FOLDERS:
        labels = "".join(f"{n} {label}\n" for n, label in enumerate(LABELS))
        add(made, f"{top}/{place(folder)}dovecot-keywords", labels.encode())
    names = "V\t2\n\n" + "".join(folder.replace("/", "\t") + "\n" for folder in FOLDERS[1:])
    add(made, f"{top}/subscriptions", names.encode())


def add(made: tarfile.TarFile, name: str, data: bytes | None, at: int = 0) -> None:
    """A file, or a folder without data."""
    about = tarfile.TarInfo(name.rstrip("/"))
    about.uname = about.gname = "vmail"
    about.mtime = at or int(time.time())
    if data is None:
        about.type, about.mode = tarfile.DIRTYPE, 0o700
    else:
        about.size, about.mode = len(data), 0o600
    made.addfile(about, io.BytesIO(data or b""))


def folders(box: Imap) -> list[str]:
    _, lines = box.list()
    found = [re.search(rb' "/" "?(.*?)"?$', line) for line in lines if isinstance(line, bytes)]
    return sorted(match[1].decode() for match in found if match)


def content(door: Door, address: str, password: str) -> Content:
    """All that a member's program can know of an account."""
    found: Content = {}
    with door.imap(address, password) as box:
        for folder in folders(box):
            _, count = box.select(quoted(folder), readonly=True)
            valid = str(box.response("UIDVALIDITY")[1][0])
            found[f"{folder} {valid}"] = here = {}
            last = int(count[0] or b"0")
            for first in range(1, last + 1, 100):
                numbers = f"{first}:{min(last, first + 99)}"
                _, parts = box.fetch(numbers, "(UID FLAGS INTERNALDATE BODY.PEEK[])")
                for part in parts:
                    if not isinstance(part, tuple):
                        continue
                    head = part[0].decode()
                    uid, flags, at = (
                        match[1] if match else ""
                        for match in (
                            re.search(r"UID (\d+)", head),
                            re.search(r"FLAGS \((.*?)\)", head),
                            re.search(r'INTERNALDATE "(.*?)"', head),
                        )
                    )
                    marks = tuple(sorted(set(flags.split()) - {r"\Recent"}))
                    here[uid] = marks, at, hashlib.sha256(part[1]).hexdigest()
    return found


@contextlib.contextmanager
def working(door: Door, address: str, password: str) -> Iterator[list[int]]:
    """Meanwhile a member marks mails and moves them between the folders BUSY, again and again.
    Yield a list with the number of times so far."""
    stop, done = threading.Event(), [0]

    def work() -> None:
        with door.imap(address, password) as box:
            chance = random.Random(5)  # noqa: S311
            while not stop.is_set():
                for here, there in (BUSY, BUSY[::-1]):
                    box.select(quoted(here))
                    _, numbers = box.uid("SEARCH", "ALL")
                    for uid in chance.sample(numbers[0].decode().split(), 5):
                        for sign in "-+":
                            box.uid("STORE", uid, f"{sign}FLAGS", r"(\Seen \Flagged)")
                        state, said = box.uid("MOVE", uid, quoted(there))
                        assert state == "OK", said
                        done[0] += 1

    member = threading.Thread(target=work)
    member.start()
    try:
        yield done
    finally:
        stop.set()
        member.join()
