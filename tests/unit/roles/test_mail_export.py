"""Mail in open formats: what other programs read of it, and what a host may not do to us."""

from __future__ import annotations

import base64
import csv
import io
import mailbox
import stat
import tarfile
from pathlib import Path

import pytest

from roles.mail import export, formats

LETTER = (
    b"Return-Path: <voisine@voisin.example>\nStatus: of others\n  folded\n"
    b"Subject: =?utf-8?q?=C3=A9?=\n\nBonjour\nFrom ici\n>From la\n\nFrom \nfin\n"
)


def test_mbox_is_read_by_others_and_its_quoting_can_be_undone(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(
        formats.mbox_entry(LETTER, "RSF", 1_700_000_000)
        + formats.mbox_entry(b"Subject: empty\n\n", "", 0)
        + formats.mbox_entry(b"From: no end of the head", "T", 0)
    )
    found = list(mailbox.mbox(path, create=False))
    assert [one["Subject"] for one in found] == ["=?utf-8?q?=C3=A9?=", "empty", None]
    assert found[0].get_from() == "voisine@voisin.example Tue Nov 14 22:13:20 2023"
    assert [set(one.get_flags()) for one in found] == [set("ROAF"), set("O"), set("OD")]
    raw = path.read_bytes()
    body = raw[raw.index(b"\n\n") + 2 :].split(b"\nFrom MAILER")[0]
    undone = body.replace(b"\n>", b"\n")
    assert undone.rstrip(b"\n") == LETTER.partition(b"\n\n")[2].rstrip(b"\n")


def test_names_of_folders_are_people_s(tmp_path: Path) -> None:
    for directory, name in ((".R&AOk-unions.2026 &AOk-t&AOk-", "Réunions/2026 été"),
                            (".A & B".replace("&", "&-"), "A & B"), ("", "")):  # fmt: skip
        assert formats.folder_name(directory) == name
    # A folder may be called as it likes: its file stays below.
    home = tmp_path / "alice@atelier.example"
    hostile = ".&AC4ALg-.x"  # "../x"
    for part in ("cur", "new"):
        (home / "Maildir" / hostile / part).mkdir(parents=True)
    export._mbox(home, f"Maildir/{hostile}/")
    assert [p.relative_to(home) for p in home.glob("mbox/**/*.mbox")] == [
        Path(f"mbox/{hostile}.mbox")
    ]


def entries(text: str) -> list[list[tuple[str, str]]]:
    """LDIF (RFC 2849) as a reader of it understands it."""
    found = []
    for block in text.replace("\n ", "").split("\n\n"):
        lines = []
        for line in block.strip().split("\n"):
            name, _, value = line.partition(":")
            plain = base64.b64decode(value[2:]).decode() if value.startswith(":") else value[1:]
            lines.append((name, plain))
        found.append(lines)
    return found


def test_accounts_are_read_back_whatever_people_are_called() -> None:
    name = "Zoé : l’été, au bord de l’eau — un nom bien plus long que ne l’est une ligne de LDIF"
    people: list[dict[str, object]] = [
        {"address": "zoe@atelier.example", "name": name, "quota": None, "password": "{CRYPT}$y$x"},
        {"address": "bob@autre.example", "name": " bob", "quota": 1},
    ]
    text = formats.ldif("L'Atelier", people)
    assert max(map(len, text.split("\n"))) <= 76
    found = entries(text)
    assert [e[0][1] for e in found] == [
        "dc=atelier,dc=example",
        "ou=people,dc=atelier,dc=example",
        "mail=zoe@atelier.example,ou=people,dc=atelier,dc=example",
        "dc=autre,dc=example",
        "ou=people,dc=autre,dc=example",
        "mail=bob@autre.example,ou=people,dc=autre,dc=example",
    ]
    assert dict(found[2])["cn"] == name
    assert dict(found[2])["userPassword"] == "{CRYPT}$y$x"
    assert "userPassword" not in dict(found[5])
    rows = list(csv.DictReader(io.StringIO(formats.table(("address", "name"), people))))
    assert rows[0] == {"address": "zoe@atelier.example", "name": name}


def test_no_host_writes_beside_the_folder(tmp_path: Path) -> None:
    there = export._there(
        b"5\tMaildir/cur/1.x:2,S\x009\tMaildir/../../cur/2\x009\tMaildir/.../cur/../3\x00"
        b"9\t/etc/passwd\x009\tsieve/../x.sieve\x000\tactive:tri.sieve\x000\tMaildir/\x00"
        b"9\tMaildir/../\x007\tMaildir/.A/dovecot-keywords\x00"
    )
    assert there.mails == {"Maildir/cur/1.x:2,S": 5}
    assert there.beside == ("Maildir/.A/dovecot-keywords",)
    assert (there.folders, there.active) == (("Maildir/",), "tri.sieve")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("Maildir/cur/1.x:2,S", "../outside", "/tmp/outside"):
            about = tarfile.TarInfo(name)
            about.size, about.mode = 5, 0o777
            archive.addfile(about, io.BytesIO(b"texte"))
    home = tmp_path / "home"
    assert export._take(made.getvalue(), set(there.mails), home) == 1
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert [p.relative_to(home) for p in files] == [Path("Maildir/cur/1.x:2,S")]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_much_mail_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "BATCH_BYTES", 10)
    monkeypatch.setattr(export, "BATCH_FILES", 3)
    mails = {"Maildir/cur/a": 4, "Maildir/cur/b": 4, "Maildir/cur/c": 90, "Maildir/cur/d": 1}
    found = list(export._batches(mails, ["sieve/x.sieve"]))
    assert found == [
        ["sieve/x.sieve", "Maildir/cur/a", "Maildir/cur/b"],
        ["Maildir/cur/c"],
        ["Maildir/cur/d"],
    ]


def packed(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return made.getvalue()


def test_what_did_not_arrive_whole_is_fetched_again_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that lists three mails, cuts one off at first, and never gives the third."""
    listed = (
        b"0\tMaildir/\x00" + b"%d\tMaildir/cur/1.x:2,S\x00" % len(LETTER)
        + b"%d\tMaildir/cur/2.x:2,\x00" % len(LETTER) + b"9\tMaildir/cur/3.x:2,\x00"
    )  # fmt: skip
    asked: list[list[bytes]] = []

    def said(_: object, words: tuple[str, ...], stdin: bytes = b"") -> bytes:
        if words[0] == "names":
            return listed
        asked.append(stdin.split(b"\0")[:-1])
        whole = LETTER if len(asked) > 1 else LETTER[:20]
        every = {"Maildir/cur/1.x:2,S": LETTER, "Maildir/cur/2.x:2,": whole}
        return packed({n: data for n, data in every.items() if n.encode() in asked[-1]})

    monkeypatch.setattr(export, "_said", said)
    done = export._account(None, "alice@atelier.example", tmp_path)  # type: ignore[arg-type]
    assert (done.mails, done.lacking) == (2, ("Maildir/cur/3.x:2,",))
    assert asked[1] == [b"Maildir/cur/2.x:2,", b"Maildir/cur/3.x:2,"]
    assert (tmp_path / "Maildir/cur/2.x:2,").read_bytes() == LETTER
    assert len(mailbox.mbox(tmp_path / "mbox/INBOX.mbox", create=False)) == 2
