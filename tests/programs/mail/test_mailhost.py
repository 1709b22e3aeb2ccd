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
from collections.abc import Iterator
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
