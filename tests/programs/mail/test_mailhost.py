"""The program of a mail host where its users are real ones: what root does in folders that are a
user's own."""

from __future__ import annotations

import io
import os
import pwd
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from roles.mail.files import mailhost

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
OWNER = "nobody"


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Mailboxes of a user who may be anybody's puppet, and beside them files of root's."""
    top = Path(tempfile.mkdtemp(prefix="releve-test-"))
    top.chmod(0o755)
    folder = top / "boxes"
    folder.mkdir(mode=0o700)
    shutil.chown(folder, OWNER)
    (top / "root").mkdir(mode=0o755)
    (top / "root/secret").write_text("root's\n")
    for name, path in (("BOXES", folder), ("ASIDE", folder / ".removed"),
                       ("INDEXES", folder / "index"), ("SHARED", folder / "shared/map"),
                       ("FILTER", folder)):  # fmt: skip
        monkeypatch.setattr(mailhost, name, path)
    monkeypatch.setattr(mailhost, "OWNER", OWNER)
    monkeypatch.setattr(mailhost, "FILTERER", OWNER)
    yield folder
    shutil.rmtree(top)


def untouched(boxes: Path) -> bool:
    """Nothing of root's was written, given away or added to."""
    folder = boxes.parent / "root"
    secret = folder / "secret"
    owners = {folder.stat().st_uid, secret.stat().st_uid}
    return (owners, secret.read_text(), len(list(folder.iterdir()))) == ({0}, "root's\n", 1)


def laid(link: Path, to: Path) -> None:
    """A link that the mailboxes' owner made."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(to)
    for path in (link, *link.parents[: len(link.parents) - 4]):
        os.lchown(path, pwd.getpwnam(OWNER).pw_uid, -1)


def test_a_rule_is_written_by_the_owner_of_its_folder(boxes: Path) -> None:
    file = boxes / "atelier.example/alice/sieve/tri.sieve"
    mailhost.as_user(OWNER, lambda: mailhost.keep_rule(file, "keep;\n"))
    assert (file.read_text(), file.owner(), file.parent.stat().st_mode & 0o777) == (
        "keep;\n", OWNER, 0o700,
    )  # fmt: skip
    assert (file.parent.parent / ".dovecot.sieve").resolve() == file


@pytest.mark.parametrize("where", ["tri.sieve.new", "tri.sieve", "."])
def test_a_mark_writes_through_no_link(
    boxes: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = boxes / "atelier.example/releve-probe"
    monkeypatch.setattr(mailhost, "facts", lambda: {"system": "releve-probe@atelier.example"})
    monkeypatch.setattr(mailhost, "deliver", lambda *_: None)
    secret = boxes.parent / "root/secret"
    if where == ".":
        laid(home / "sieve", secret.parent)
    else:
        laid(home / "sieve" / where.replace("tri", "releve"), secret)
    # It cannot be written, or it is, in the place of the link.
    with pytest.raises(mailhost.ToolError):
        mailhost.plant(["run-1", "2026-01-01T00:00:00Z"])
    assert untouched(boxes)


def test_rights_are_written_and_mailboxes_put_aside_through_no_link(
    boxes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = boxes.parent / "root"
    (root / "Maildir").mkdir()
    laid(boxes / "atelier.example/contact", root)
    rows = [{"mailbox": "contact@atelier.example", "reader": "a@atelier.example", "how": "read"}]
    found = SimpleNamespace(execute=lambda _: rows)
    with pytest.raises(mailhost.ToolError, match="Permission denied"):
        mailhost.share_with_dovecot(found)  # type: ignore[arg-type]
    (root / "Maildir").rmdir()
    assert untouched(boxes)


def test_what_was_learned_is_read_and_written_by_the_filter_s_user(
    boxes: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(mailhost, "run", lambda *_: None)
    secret = boxes.parent / "root/secret.sqlite"
    with sqlite3.connect(secret) as kept:
        kept.execute("CREATE TABLE hashes (hash TEXT)")
    secret.chmod(0o600)
    laid(boxes / "spam.sqlite", secret)
    with pytest.raises(mailhost.ToolError):
        mailhost.learned_save(())
    assert b"hashes" not in capfdbinary.readouterr().out
    secret.unlink()
    laid(boxes / "spam.sqlite.new", boxes.parent / "root/secret")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        about = tarfile.TarInfo("spam.sqlite")
        about.size = 5
        made.addfile(about, io.BytesIO(b"words"))
    packed.seek(0)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=packed))
    mailhost.learned_load(())
    assert untouched(boxes)
    assert (boxes / "spam.sqlite").read_bytes() == b"words"
    assert (boxes / "spam.sqlite").owner() == OWNER


class Queue:
    """The queue of a machine, without its Postfix."""

    def __init__(self, top: Path, machine: str) -> None:
        self.top = top
        for name in mailhost.QUEUES:
            (top / "spool" / name).mkdir(parents=True)
        (top / "machine-id").write_text(f"{machine}\n")
        (top / "outward").touch()

    def put(self, name: str, queue: str = "deferred/A") -> Path:
        path = self.top / "spool" / queue / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"mail {name}")
        path.chmod(0o700)
        return path

    def mails(self) -> list[str]:
        return sorted(p.read_text() for p in (self.top / "spool").glob("**/*") if p.is_file())

    def held(self) -> bool:
        return (self.top / "outward").stat().st_size > 0

    def accepted(self) -> None:
        """As a restore ends that went well."""
        (self.top / "loading").unlink(missing_ok=True)


@pytest.fixture
def machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> SimpleNamespace:
    """Machines with queues: `new` makes one, `save` and `load` are what the program does there."""
    monkeypatch.setattr(mailhost, "POSTFIX", OWNER)

    def here(one: Queue) -> None:
        for name in ("CAME", "LOADING", "OUTWARD"):
            monkeypatch.setattr(mailhost, name, one.top / name.lower())
        monkeypatch.setattr(mailhost, "SPOOL", one.top / "spool")
        monkeypatch.setattr(mailhost, "MACHINE", one.top / "machine-id")

        def run(argv: Sequence[str], _timeout: float = 60, given: str = "") -> SimpleNamespace:
            files = list((one.top / "spool").glob("*/*"))
            if argv[:2] == ["postsuper", "-s"]:
                # Its names hold numbers of files.
                for file in files:
                    if file.is_file() and not file.name.endswith("s"):
                        file.rename(file.with_name(f"{file.name}s"))
            if argv[:2] == ["postsuper", "-d"]:
                for file in files:
                    if file.name in given.split():
                        file.unlink()
            return SimpleNamespace(returncode=0, stderr="", stdout="")

        monkeypatch.setattr(mailhost, "run", run)

    def new(machine: str) -> Queue:
        return Queue(tmp_path / machine, machine)

    def save(one: Queue) -> bytes:
        here(one)
        capfdbinary.readouterr()
        mailhost.queue_save(())
        return capfdbinary.readouterr().out

    def load(one: Queue, copy: bytes) -> None:
        here(one)
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(copy)))
        mailhost.queue_load(())

    return SimpleNamespace(new=new, save=save, load=load)


def test_a_mail_that_came_with_a_copy_comes_no_second_time(machines: SimpleNamespace) -> None:
    lost, second, third = map(machines.new, ("lost", "second", "third"))
    for name in ("4XaAA1", "4XaAA2"):
        lost.put(name)
    old = machines.save(lost)
    machines.load(second, old)
    assert (second.mails(), second.held()) == (["mail 4XaAA1", "mail 4XaAA2"], True)
    second.accepted()
    for file in (second.top / "spool/incoming").iterdir():
        file.unlink()  # sent
    machines.load(second, old)
    assert second.mails() == []
    # What was added to the queue there after that copy does come.
    lost.put("4XaAA3")
    machines.load(second, machines.save(lost))
    second.accepted()
    assert second.mails() == ["mail 4XaAA3"]
    # A machine after that one knows it, too.
    machines.load(third, machines.save(second))
    third.accepted()
    machines.load(third, old)
    assert third.mails() == ["mail 4XaAA3"]


def test_killed_half_way_it_loads_each_mail_once(
    machines: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, second = machines.new("lost"), machines.new("second")
    lost.put("4XaAA1")
    copy = machines.save(lost)
    with monkeypatch.context() as patch:
        patch.delattr(mailhost, "say_came")
        with pytest.raises(NameError):
            machines.load(second, copy)
    machines.load(second, copy)
    machines.load(second, copy)
    assert second.mails() == ["mail 4XaAA1"]


def test_a_restore_that_is_given_up_leaves_the_queue_as_it_was(machines: SimpleNamespace) -> None:
    lost, here = machines.new("lost"), machines.new("here")
    lost.put("4XaAA1")
    here.put("4XbBB1")
    copy, before = machines.save(lost), machines.save(here)
    machines.load(here, copy)
    machines.load(here, before)
    assert (here.mails(), here.held()) == (["mail 4XbBB1"], False)
    # And the next one brings it again.
    machines.load(here, copy)
    assert here.mails() == ["mail 4XaAA1", "mail 4XbBB1"]
    here.accepted()
    # Then it waits, whatever comes back of this machine's own.
    machines.load(here, before)
    assert (here.mails(), here.held()) == (["mail 4XaAA1", "mail 4XbBB1"], True)
    # Held before, it stays held.
    machines.load(here, copy)
    machines.load(here, before)
    assert here.held()


def test_a_queue_is_written_through_no_link(machines: SimpleNamespace) -> None:
    lost, second = machines.new("lost"), machines.new("second")
    lost.put("4XaAA1")
    secret = second.top / "secret"
    secret.write_text("root's")
    (second.top / "spool/incoming/4XaAA1").symlink_to(secret)
    machines.load(second, machines.save(lost))
    assert secret.read_text() == "root's"
    assert secret.owner() == "root"


def test_no_mail_is_missed_that_moves_while_the_queue_is_saved(
    machines: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machines.new("one")
    there = one.put("4XaAA1", "deferred/A")
    one.put("4XaAA2", "active")
    listed = mailhost.queue_listed
    at = iter(range(100))

    def meanwhile(name: str) -> list[Path]:
        """Postfix takes a mail up again just before the place where it lies is listed, and puts
        another one off just before it is read."""
        nonlocal there
        turn = next(at)
        if turn == 3:  # "deferred", the first time: "active" was listed already
            there = there.rename(one.top / "spool/active/4XaAA1")
        found: list[Path] = listed(name)
        if turn == 4:
            (one.top / "spool/active/4XaAA2").rename(one.top / "spool/deferred/A/4XaAA2")
        return found

    monkeypatch.setattr(mailhost, "queue_listed", meanwhile)
    with tarfile.open(fileobj=io.BytesIO(machines.save(one))) as saved:
        names = [name.rpartition("/")[2] for name in saved.getnames()]
    assert sorted(names) == ["4XaAA1", "4XaAA2", "machine"]


def test_behind_a_router_it_asks_at_an_address_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def address(known: str) -> str:
        monkeypatch.setattr(mailhost, "facts", lambda: {"addresses": [known]})
        return mailhost.own_address()

    assert address("127.0.0.1") == "127.0.0.1"
    # (documentation's own: no machine has it)
    assert address(address("203.0.113.9")) == address("203.0.113.9") != "203.0.113.9"
