#!/usr/bin/env python3
"""export.py VERB: what leaves a mail host in open formats. Read-only; the root that starts it is
given up before any mailbox is looked into.

accounts [hashes]   one JSON object: accounts (with the hashes of passwords when asked), shares,
                    aliases
names ADDRESS       what there is of an account: SIZE TAB PATH NUL, paths as below its home; a
                    folder of mails ends in / and has the size 0
send ADDRESS        the files whose paths stand on standard input, each ended by NUL, as a tar
                    archive; what is not there any more is left out
"""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BOXES = Path("/srv/mail/boxes")
DATABASE = Path("/srv/mail/accounts/accounts.sqlite")
OWNER = "vmail"
ACCOUNT = ("address", "name", "kind", "active", "quota")
# Which mail carries which of a member's own labels (dovecot-keywords), what a program shows.
BESIDE = ("dovecot-keywords", "subscriptions")


def rows(table: str, names: tuple[str, ...], rest: str = "") -> list[dict[str, Any]]:
    """Lines of a table, in the order of their names."""
    found = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=20)
    try:
        listed = ", ".join(names)
        query = f"SELECT {listed} FROM {table} {rest} ORDER BY {listed}"
        return [dict(zip(names, row, strict=True)) for row in found.execute(query)]
    finally:
        found.close()


def accounts(hashes: bool) -> None:
    names = (*ACCOUNT, "password") if hashes else ACCOUNT
    known = {
        "accounts": rows("account", names, "WHERE kind <> 'system'"),
        "shares": rows("share", ("mailbox", "reader", "how")),
        "aliases": rows("alias", ("address", "target")),
    }
    print(json.dumps(known, ensure_ascii=False))


def home_of(address: str) -> Path:
    """Raise LookupError when there is no such account."""
    if not any(one["address"] == address for one in rows("account", ("address", "kind"),
                                                         "WHERE kind <> 'system'")):  # fmt: skip
        raise LookupError(f"there is no account {address}")
    local, _, domain = address.partition("@")
    return BOXES / domain / local


def found_in(home: Path) -> Iterator[tuple[int, str]]:
    """Size and path of every file that is a member's."""
    box = home / "Maildir"
    folders = [box, *sorted(f for f in box.glob(".*") if f.is_dir() and not f.is_symlink())]
    for folder in folders if box.is_dir() else ():
        yield 0, f"{folder.relative_to(home)}/"
        for part in (folder / "cur", folder / "new"):
            for entry in os.scandir(part) if part.is_dir() else ():
                try:
                    if entry.is_file(follow_symlinks=False):
                        size = entry.stat(follow_symlinks=False).st_size
                        yield size, str(Path(entry.path).relative_to(home))
                except FileNotFoundError:
                    continue  # moved by a program of its owner meanwhile
        for name in BESIDE:
            if (folder / name).is_file():
                yield (folder / name).stat().st_size, str((folder / name).relative_to(home))
    for rule in sorted((home / "sieve").glob("*.sieve")):
        yield rule.stat().st_size, str(rule.relative_to(home))
    active = home / ".dovecot.sieve"
    if active.is_symlink():
        yield 0, f"active:{active.readlink().name}"


def names(home: Path) -> None:
    for size, path in found_in(home):
        sys.stdout.buffer.write(b"%d\t%s\0" % (size, os.fsencode(path)))


def opened(path: Path) -> int | None:
    """A file, under the name that its flags give it now; None when it is gone."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        mark = path.name.partition(":2,")[0]
        for part in ("cur", "new") if path.parent.name in ("cur", "new") else ():
            for other in (path.parent.parent / part).glob(f"{mark}*"):
                try:
                    return os.open(other, os.O_RDONLY | os.O_NOFOLLOW)
                except OSError:
                    continue
    return None


def send(home: Path) -> None:
    wanted = [os.fsdecode(name) for name in sys.stdin.buffer.read().split(b"\0") if name]
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as made:
        for name in wanted:
            if ".." in Path(name).parts or name.startswith("/"):
                raise LookupError(f"{name!r} is no path of an account")
            handle = opened(home / name)
            if handle is None:
                continue
            with os.fdopen(handle, "rb") as file:
                about = tarfile.TarInfo(name)
                there = os.fstat(handle)
                about.size, about.mtime, about.mode = there.st_size, int(there.st_mtime), 0o600
                made.addfile(about, file)


def main(words: list[str]) -> int:
    try:
        if words in (["accounts"], ["accounts", "hashes"]):
            accounts(len(words) == 2)
        elif len(words) == 2 and words[0] in ("names", "send"):
            home = home_of(words[1])
            owner = pwd.getpwnam(OWNER)
            # A link that somebody laid into a mailbox leads nowhere that its owner may not go.
            os.setgroups([])
            os.setgid(owner.pw_gid)
            os.setuid(owner.pw_uid)
            (names if words[0] == "names" else send)(home)
        else:
            print(__doc__, file=sys.stderr)
            return 64
    except (LookupError, OSError, sqlite3.Error) as error:
        print(f"export.py {words[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
