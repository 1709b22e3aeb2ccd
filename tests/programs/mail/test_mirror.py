"""The mirror of Maildirs: whole while members work, and untouched where nothing changed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/mail/files/mirror.py"
FOLDERS = ("", ".Sent", ".R&AOk-unions", ".Trash.2025")


class Box:
    """A Maildir with four folders, and its mirror."""

    def __init__(self, base: Path) -> None:
        self.live = base / "boxes"
        self.copy = self.live / ".releve" / "tree"
        self.box = "d.example/alice/Maildir"
        for folder in FOLDERS:
            for part in ("cur", "new", "tmp"):
                (self.live / self.box / folder / part).mkdir(parents=True)

    def put(self, number: int, folder: str = "", part: str = "cur", flags: str = ":2,S") -> Path:
        path = self.live / self.box / folder / part / f"1700{number:06d}.M1P1.poste,S=9{flags}"
        path.write_text(f"mail {number}\n")
        return path

    def mirror(self, code: int = 0) -> str:
        argv = [sys.executable, "-IS", str(PROGRAM), str(self.live), str(self.copy)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        return done.stderr

    def mails(self, tree: Path) -> dict[str, list[str]]:
        """What each mail says, and under which names it lies there."""
        found: dict[str, list[str]] = {}
        for path in (tree / self.box).rglob("1700*"):
            found.setdefault(path.read_text(), []).append(str(path.relative_to(tree)))
        return found


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_a_mirror_is_the_folder_and_follows_it(box: Box) -> None:
    read, unread = box.put(1), box.put(2, ".Sent", "new", "")
    (box.live / box.box / "tmp" / "half").write_text("half a mail")
    numbers = box.live / box.box / "dovecot-uidlist"
    numbers.write_text("3 V1 N3\n")
    filters = box.live / "d.example/alice/.dovecot.sieve"
    filters.symlink_to("sieve/tri.sieve")
    box.mirror()
    assert sorted(box.mails(box.copy)) == ["mail 1\n", "mail 2\n"]
    copied = box.copy / read.relative_to(box.live)
    assert copied.samefile(read)
    assert not (box.copy / box.box / "tmp/half").exists()
    assert (box.copy / "d.example/alice/.dovecot.sieve").readlink() == Path("sieve/tri.sieve")
    # A file that is written again in place must not change in a copy that is under way.
    assert not (box.copy / box.box / "dovecot-uidlist").samefile(numbers)
    assert box.copy.parent.stat().st_mode & 0o777 == 0o700
    before = {p: p.lstat().st_ctime_ns for p in box.copy.rglob("*")}
    box.mirror()
    # Whatever did not change was not touched: nobody reads it again.
    assert {p: p.lstat().st_ctime_ns for p in box.copy.rglob("*")} == before
    # Read, moved, deleted, delivered, and a number more.
    unread.rename(box.live / box.box / "cur" / f"{unread.name}:2,RS")
    read.unlink()
    box.put(3, ".R&AOk-unions", "new", "")
    with numbers.open("a") as file:
        file.write("3 :x\n")
    for part in ("cur", "new", "tmp"):
        (box.live / box.box / ".Trash.2025" / part).rmdir()
    (box.live / box.box / ".Trash.2025").rmdir()
    box.mirror()
    assert box.mails(box.copy) == {
        "mail 2\n": [f"{box.box}/cur/{unread.name}:2,RS"],
        "mail 3\n": [f"{box.box}/.R&AOk-unions/new/1700000003.M1P1.poste,S=9"],
    }
    assert (box.copy / box.box / "dovecot-uidlist").read_text() == "3 V1 N3\n3 :x\n"
    assert not (box.copy / box.box / ".Trash.2025").exists()


def test_accounts_may_be_called_as_the_parts_of_a_maildir(box: Box) -> None:
    for name in ("cur", "new", "tmp", ".hidden"):
        place = box.live / "d.example" / name / "Maildir" / "cur"
        place.mkdir(parents=True)
        (place / "1700.M1").write_text(name)
        (place.parent / "subscriptions").write_text("Sent\n")
    box.mirror()
    found = {p.parts[-4]: p.read_text() for p in box.copy.glob("*/*/Maildir/cur/1700.M1")}
    assert found == {name: name for name in ("cur", "new", "tmp", ".hidden")}
    assert len(list(box.copy.glob("*/*/Maildir/subscriptions"))) == 4


def test_nothing_is_missed_while_members_work(box: Box) -> None:
    chance = random.Random(1)  # noqa: S311 (names, no secrets)
    at = [box.put(n, chance.choice(FOLDERS), "new", "") for n in range(400)]
    stop = threading.Event()

    def work() -> None:
        """Read, mark and move mails, and let new ones arrive and old ones go."""
        more = 400
        # Hundreds of mails a second: still more, and some would move under every reading.
        while not stop.wait(0.002):
            n = chance.randrange(400)
            folder, base = chance.choice(FOLDERS), at[n].name.partition(":")[0]
            flags = "".join(sorted(chance.sample("FRSTab", chance.randrange(4))))
            target = box.live / box.box / folder / "cur" / f"{base}:2,{flags}"
            if target != at[n]:
                # As Dovecot moves it to another folder: there first, then gone from here.
                if chance.random() < 0.5:
                    os.link(at[n], target)
                    at[n].unlink()
                else:
                    at[n].rename(target)
                at[n] = target
            more += 1
            box.put(more, part="new", flags="")
            if more > 450:
                box.live.joinpath(box.box, "new", f"1700{more - 50:06d}.M1P1.poste,S=9").unlink()

    member = threading.Thread(target=work)
    member.start()
    try:
        for _ in range(5):
            box.mirror()
            found = box.mails(box.copy)
            assert {n for n in range(400) if f"mail {n}\n" not in found} == set()
            twice = {text: names for text, names in found.items() if len(names) > 1}
            assert len(twice) <= 2, twice
    finally:
        stop.set()
        member.join()
    box.mirror()
    assert box.mails(box.copy) == box.mails(box.live)


def test_a_mirror_that_cannot_be_made_says_why(box: Box) -> None:
    elsewhere = box.live.parent / "elsewhere"
    elsewhere.mkdir()
    (box.live / ".releve").symlink_to(elsewhere)
    assert ".releve: Not a directory" in box.mirror(code=1)
    assert list(elsewhere.iterdir()) == []
