"""What a mail service holds, into a folder of the admin's machine, in formats that anybody reads.

Repeatable: what is there is not fetched again, so that what was cut off goes on. Nothing in the
folder is ever deleted."""

from __future__ import annotations

import io
import json
import mailbox
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inventories.access import ssh_target
from inventories.model import Inventory, Service
from roles.mail import formats
from roles.mail.accounts import AccountError
from tools import ssh

PROGRAM = "/usr/local/lib/releve/mail/export.py"
# What is asked for at once; what has arrived of it is kept in any case.
BATCH_BYTES, BATCH_FILES = 32 * 2**20, 2000
_MAIL = re.compile(r"(Maildir/(?:\.[^/\0]+/)?)(cur|new)/([^/\0]+)")
_BESIDE = re.compile(r"Maildir/(?:\.[^/\0]+/)?(?:dovecot-keywords|subscriptions)|"
                     r"sieve/[^/\0]+\.sieve")  # fmt: skip
_FOLDER = re.compile(r"Maildir/(?:\.[^/\0]+/)?")

# A mail that its owner moves meanwhile is asked for again under its new name, this often.
ROUNDS = 3


@dataclass(frozen=True)
class Exported:
    """What the folder holds now of one account, as it reads when it is opened again, and how much
    of it was fetched this time. `lacking`: what of the host's is not there, or not whole."""

    address: str
    mails: int
    folders: int
    rules: int
    fetched: int
    lacking: tuple[str, ...] = ()


Progress = Callable[[Exported], None]


@dataclass(frozen=True)
class _There:
    """What an account consists of on its host: mails with their sizes, small files, folders."""

    mails: dict[str, int]
    beside: tuple[str, ...]
    folders: tuple[str, ...]
    active: str


def export(
    inventory: Inventory,
    service: Service,
    folder: Path,
    *,
    only: Sequence[str] = (),
    hashes: bool = False,
    progress: Progress = lambda _: None,
) -> tuple[Exported, ...]:
    """Write accounts as CSV and LDIF, and of each account (of `only` these) the Maildir, an mbox
    file for each folder and the Sieve scripts. `hashes`: those of passwords, too. `progress` is
    told of each account when it is done.

    Raise AccountError (no such account, a host that is not deployed yet, hashes of an earlier run
    that would be lost), SshError, OSError.
    """
    _folder(folder)
    for where in () if hashes else [folder / one for one in only or ("",)]:
        file = where / "accounts.csv"
        if file.exists() and "password" in file.read_text(encoding="utf-8").partition("\n")[0]:
            raise AccountError(
                f"{file} has the hashes of passwords, from an earlier export: a new one without "
                "them would take its place. Export with --hashes again, or into another folder"
            )
    with ssh.session(ssh_target(inventory.hosts[service.host])) as session:
        words = ("accounts", "hashes") if hashes else ("accounts",)
        known = json.loads(_said(session, words))
        chosen = [one for one in known["accounts"] if not only or one["address"] in only]
        if missing := set(only) - {str(one["address"]) for one in chosen}:
            raise AccountError(f"{service.host}: there is no account {', '.join(sorted(missing))}")
        for one in chosen:
            if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*@[a-z0-9.-]+", str(one["address"])):
                raise AccountError(f"{service.host}: {one['address']!r} cannot be a folder")
        _accounts(inventory, folder, known, only, hashes=hashes)
        done = []
        for one in chosen:
            address = str(one["address"])
            done.append(_account(session, address, folder / address))
            progress(done[-1])
    return tuple(done)


def _accounts(
    inventory: Inventory, folder: Path, known: Any, only: Sequence[str], *, hashes: bool
) -> None:
    """Of all of them, beside their folders; of `only` some, in the folder of each."""
    names = ("address", "name", "kind", "active", "quota", *(("password",) if hashes else ()))
    everyone = known["accounts"]
    groups = {folder / a: [one for one in everyone if one["address"] == a] for a in only}
    for where, some in (groups or {folder: everyone}).items():
        _write(where / "accounts.csv", formats.table(names, some).encode())
        text = formats.ldif(inventory.organisation.name, some)
        _write(where / "accounts.ldif", text.encode())
    if not only:
        shares, aliases = ("mailbox", "reader", "how"), ("address", "target")
        _write(folder / "shares.csv", formats.table(shares, known["shares"]).encode())
        _write(folder / "aliases.csv", formats.table(aliases, known["aliases"]).encode())


def _said(session: ssh.Connection, words: Sequence[str], stdin: bytes = b"") -> bytes:
    done = session.run(("python3", PROGRAM, *words), stdin=stdin, check=False, timeout=900)
    if done.exit_code != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise AccountError(
            f"{session.target.name}: {said[-1].removeprefix('export.py ')}. If it has no "
            "export.py yet, deploy it first"
        )
    return done.stdout


def _account(session: ssh.Connection, address: str, home: Path) -> Exported:
    fetched = 0
    for _ in range(ROUNDS):
        there = _there(_said(session, ("names", address)))
        fetched += _fetch(session, address, home, there)
        if not (lacking := _lacking(home, there)):
            break
    rules = [path for path in there.beside if path.startswith("sieve/")]
    if rules:
        _write(home / "sieve/ACTIVE", f"{there.active}\n".encode())
    mails = 0
    for directory in there.folders:
        count, path = _mbox(home, directory)
        mails += count
        if (read := len(mailbox.mbox(path, create=False))) != count:
            lacking = (*lacking, f"{path.name}: {count} mails were written, and {read} are read")
    return Exported(address, mails, len(there.folders), len(rules), fetched, lacking)


def _fetch(session: ssh.Connection, address: str, home: Path, there: _There) -> int:
    """Fetch what is missing here; return how many mails it was."""
    for directory in there.folders:
        for part in ("cur", "new", "tmp"):
            _folder(home / directory / part)
        if directory != "Maildir/":
            _write(home / directory / "maildirfolder", b"")
    _folder(home / "Maildir")
    here = _here(home)
    missing = {}
    for path, size in there.mails.items():
        old = here.get(_mark(path))
        if old is not None and old != home / path:
            old.replace(home / path)  # read or answered since
        if old is None or (home / path).stat().st_size != size:
            missing[path] = size
    fetched = 0
    for batch in _batches(missing, there.beside):
        answer = _said(session, ("send", address), b"".join(os.fsencode(p) + b"\0" for p in batch))
        fetched += _take(answer, set(batch), home)
    return fetched


def _lacking(home: Path, there: _There) -> tuple[str, ...]:
    """The mails of the host that are not here, or have another size here."""
    here = _here(home)
    return tuple(
        path
        for path, size in there.mails.items()
        if (file := here.get(_mark(path))) is None or file.stat().st_size != size
    )


def _there(listed: bytes) -> _There:
    """Judge what a host lists: no path of it may lead out of the account's folder."""
    mails: dict[str, int] = {}
    beside, folders, active = [], [], ""
    for entry in filter(None, listed.split(b"\0")):
        size, _, raw = entry.partition(b"\t")
        path = os.fsdecode(raw)
        if path.startswith("active:"):
            active = path.removeprefix("active:").replace("\n", "")
        elif ".." in path.split("/"):
            continue
        elif _MAIL.fullmatch(path):
            mails[path] = int(size)
        elif _BESIDE.fullmatch(path):
            beside.append(path)
        elif _FOLDER.fullmatch(path):
            folders.append(path)
    return _There(mails, tuple(beside), tuple(folders), active)


def _mark(path: str) -> str:
    """What stays when a mail is read or answered: its folder, and its name without flags."""
    match = _MAIL.fullmatch(path)
    assert match is not None  # noqa: S101 (asked before)
    return match[1] + match[3].partition(":2,")[0]


def _here(home: Path) -> dict[str, Path]:
    found = {}
    for part in ("Maildir/cur", "Maildir/new", "Maildir/.*/cur", "Maildir/.*/new"):
        for file in home.glob(f"{part}/*"):
            found[_mark(str(file.relative_to(home)))] = file
    return found


def _batches(mails: dict[str, int], beside: Sequence[str]) -> Iterator[list[str]]:
    batch, size = list(beside), 0
    for path in sorted(mails):
        if batch and (size + mails[path] > BATCH_BYTES or len(batch) >= BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += mails[path]
    if batch:
        yield batch


def _take(answer: bytes, wanted: set[str], home: Path) -> int:
    """Put what came in place, each file in one step. Return how many mails it was."""
    mails = 0
    with tarfile.open(fileobj=io.BytesIO(answer)) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is None or member.name not in wanted:
                continue
            _write(home / member.name, file.read(), at=member.mtime)
            mails += bool(_MAIL.fullmatch(member.name))
    return mails


def _mbox(home: Path, directory: str) -> tuple[int, Path]:
    """One folder as an mbox file, the oldest mail first. Return how many mails it is, and where."""
    part = directory.removeprefix("Maildir/").rstrip("/")
    try:
        name = formats.folder_name(part) if part else "INBOX"
    except ValueError:
        name = part
    if "\0" in name or any(piece in ("", ".", "..") for piece in name.split("/")):
        name = part
    files = [f for where in ("cur", "new") for f in (home / directory / where).iterdir()]
    path = home / "mbox" / f"{name}.mbox"
    _folder(path.parent)
    new = path.with_name(f"{path.name}.part")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as made:
        for file in sorted(files, key=lambda f: (f.stat().st_mtime, f.name)):
            flags = file.name.partition(":2,")[2]
            made.write(formats.mbox_entry(file.read_bytes(), flags, file.stat().st_mtime))
    new.replace(path)
    return len(files), path


def _folder(path: Path) -> None:
    """For its owner alone, and those above it that are missing as well."""
    if not path.is_dir():
        _folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _write(path: Path, data: bytes, at: float | None = None) -> None:
    _folder(path.parent)
    new = path.with_name(f".{path.name[:200]}.part")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    if at is not None:
        os.utime(new, (at, at))
    new.replace(path)
