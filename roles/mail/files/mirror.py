#!/usr/bin/env python3
"""mirror.py LIVE COPY: what lies in Maildirs at this moment, as a second tree for a backup to read.

A mail is a file that is written once; but its name says whether it was read, so that a program
which reads LIVE while members work finds names gone, and misses what moves from a folder it has
not reached to one it has left. COPY holds the same files (hard links: no space, no reading) under
the names of one moment. It stays from run to run, and what did not change is not touched: a link
that is made or removed changes the ctime of its file, and restic would read that file again.
What members deleted since goes with the next run.

Nothing that was there when this began, and still is, is missed. LIVE is read until two readings
are alike, and what a reading saw is dropped only for a later one that saw the same file elsewhere.
Small files (numbers of mails, keywords, filters) are copied, after the mails they speak of.

COPY lies below LIVE, so that it is always on the same disk; its parent is for root alone.
"""

# File descriptors of folders go with the functions of os, not with pathlib.
# ruff: noqa: PTH118, PTH119, PTH120, PTH206
from __future__ import annotations

import contextlib
import os
import stat
import sys

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Iterator

# Where Maildir keeps mails, in the order in which they move: one that is read is missed in neither.
MAILS = ("new", "cur")
# Mails that are still being written, which nobody was told to have arrived.
UNFINISHED = "tmp"
# What Dovecot makes again.
MADE_AGAIN = ("dovecot.index", "dovecot.list.index")
MADE_AGAIN_ENDS = (".lock", ".svbin", "dovecot-uidlist.tmp")
# A server that is never quiet is no reason to read it forever: what was seen, stays.
READINGS = 6

Folder = dict[str, int]  # name -> inode
Tree = dict[str, Folder]  # path of a folder of mails -> what is in it


@contextlib.contextmanager
def opened(name: str, at: int | None = None) -> Iterator[int]:
    """A folder, never through a link: LIVE belongs to the programs that members speak with."""
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    try:
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def inside(name: str, copy: int) -> Iterator[int]:
    """A folder of the copy, made when it is not there."""
    try:
        os.mkdir(name, 0o700, dir_fd=copy)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=copy, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=copy)
            os.mkdir(name, 0o700, dir_fd=copy)
    with opened(name, copy) as handle:
        yield handle


def alike(live: int, copy: int) -> None:
    """Give a folder of the copy the owner and the mode of the one it stands for."""
    wanted, there = os.fstat(live), os.fstat(copy)
    if (wanted.st_uid, wanted.st_gid) != (there.st_uid, there.st_gid):
        os.fchown(copy, wanted.st_uid, wanted.st_gid)
    if stat.S_IMODE(wanted.st_mode) != stat.S_IMODE(there.st_mode):
        os.fchmod(copy, stat.S_IMODE(wanted.st_mode))


def below(live: int) -> list[str]:
    """The folders in a folder; new comes before cur."""
    with os.scandir(live) as entries:
        found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(found, key=lambda name: (name == "cur", name))


class Mirror:
    """One run of it."""

    def __init__(self, live: str, copy: str) -> None:
        self.live, self.copy = live, copy
        self.skip = os.path.relpath(copy, live).split(os.sep)[0]
        self.have: Tree = {}  # what the copy holds now
        self.lost = False  # something went while it was linked

    def run(self) -> None:
        """Bring the copy to what LIVE holds. Raise OSError."""
        with opened(self.live) as live, self.top(live) as copy:
            wanted = before = self.reading(live, copy)
            for _ in range(READINGS - 1):
                again = self.reading(live, copy)
                wanted = merged(wanted, again)
                if again == before and not self.lost:
                    break
                before = again
            self.finish(live, copy, "", once(wanted))

    @contextlib.contextmanager
    def top(self, live: int) -> Iterator[int]:
        """The copy's own folder, below one that nobody but root may enter."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.skip, 0o700, dir_fd=live)
        with opened(self.skip, live) as parent:
            if os.fstat(parent).st_uid != os.geteuid():
                raise PermissionError(1, "somebody else made it", os.path.dirname(self.copy))
            os.fchmod(parent, 0o700)
            with inside(os.path.basename(self.copy), parent) as copy:
                yield copy

    def reading(self, live: int, copy: int) -> Tree:
        """Read LIVE once; link what the copy does not have yet."""
        self.lost = False
        found: Tree = {}
        self.read(live, copy, "", found)
        return found

    def read(self, live: int, copy: int, path: str, found: Tree) -> None:
        alike(live, copy)
        if os.path.basename(path) in MAILS:
            found[path] = self.link(live, copy, path)
        for name in below(live):
            if not path and name == self.skip:
                continue
            try:
                with opened(name, live) as inner, inside(name, copy) as other:
                    self.read(inner, other, os.path.join(path, name), found)
            except FileNotFoundError:
                self.lost = True  # the folder was renamed or deleted

    def link(self, live: int, copy: int, path: str) -> Folder:
        """What a folder of mails holds, after the copy got what it lacked of it."""
        if path not in self.have:
            self.have[path] = mails(copy)
        have, found = self.have[path], mails(live)
        for name, inode in list(found.items()):
            if have.get(name) == inode:
                continue
            try:
                if name in have:
                    os.unlink(name, dir_fd=copy)
                os.link(name, name, src_dir_fd=live, dst_dir_fd=copy, follow_symlinks=False)
                have[name] = inode
            except FileNotFoundError:
                self.lost = True  # it has another name by now, or was deleted
                have.pop(name, None)
                del found[name]
        return found

    def finish(self, live: int, copy: int, path: str, wanted: Tree) -> None:
        """Copy what is no mail, and take away what is not there any more."""
        mails_here = os.path.basename(path) in MAILS
        if mails_here:
            for name in self.have.get(path, {}).keys() - wanted.get(path, {}).keys():
                os.unlink(name, dir_fd=copy)
        folders = [name for name in below(live) if path or name != self.skip]
        unfinished = os.path.basename(path) == UNFINISHED
        files = [] if mails_here or unfinished else small_files(live)
        with os.scandir(copy) as entries:
            there = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        for name, is_folder in there.items():
            if is_folder and name not in folders:
                import shutil

                shutil.rmtree(name, dir_fd=copy)
            elif not is_folder and not mails_here and name not in files:
                os.unlink(name, dir_fd=copy)
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                keep(name, live, copy)
        for name in folders:
            if name not in there:
                continue  # it came a moment ago
            with (
                contextlib.suppress(FileNotFoundError),
                opened(name, live) as inner,
                opened(name, copy) as other,
            ):
                self.finish(inner, other, os.path.join(path, name), wanted)


def mails(folder: int) -> Folder:
    """Every mail of a folder. One that is renamed while the folder is read may show twice."""
    found: Folder = {}
    names: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                continue
            name, inode = entry.name, entry.inode()
            base = name.partition(":")[0]
            other = names.get(base)
            if other is not None and found[other] == inode:
                if not os.path.lexists(f"/proc/self/fd/{folder}/{name}"):
                    continue
                del found[other]
            found[name], names[base] = inode, name
    return found


def merged(old: Tree, new: Tree) -> Tree:
    """What two readings saw, each file where it was seen last."""
    seen = {inode for folder in new.values() for inode in folder.values()}
    result = {path: dict(folder) for path, folder in new.items()}
    for path, folder in old.items():
        for name, inode in folder.items():
            if inode not in seen:
                result.setdefault(path, {})[name] = inode
    return result


def once(tree: Tree) -> Tree:
    """The tree without mails of `new` that are in `cur` as well: they went there meanwhile."""
    for path, folder in tree.items():
        if os.path.basename(path) != "new":
            continue
        moved = tree.get(os.path.join(os.path.dirname(path), "cur"), {})
        there = {(name.partition(":")[0], inode) for name, inode in moved.items()}
        for name, inode in list(folder.items()):
            if (name.partition(":")[0], inode) in there:
                del folder[name]
    return tree


def small_files(folder: int) -> list[str]:
    """What lies beside the mails and is worth keeping: files and links."""
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if (entry.is_symlink() or entry.is_file(follow_symlinks=False))
            and not entry.name.startswith(MADE_AGAIN)
            and not entry.name.endswith(MADE_AGAIN_ENDS)
        ]


def keep(name: str, live: int, copy: int) -> None:
    """Copy one small file or link, if it changed. Raise OSError."""
    about = os.stat(name, dir_fd=live, follow_symlinks=False)
    with contextlib.suppress(FileNotFoundError):
        there = os.stat(name, dir_fd=copy, follow_symlinks=False)
        if what(there) == what(about):
            return
    new = ".releve-new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=copy)
    if stat.S_ISLNK(about.st_mode):
        os.symlink(os.readlink(name, dir_fd=live), new, dir_fd=copy)
    else:
        about = copy_whole(name, new, live, copy)
        os.chmod(new, stat.S_IMODE(about.st_mode), dir_fd=copy)
    os.chown(new, about.st_uid, about.st_gid, dir_fd=copy, follow_symlinks=False)
    times = (about.st_atime_ns, about.st_mtime_ns)
    os.utime(new, ns=times, dir_fd=copy, follow_symlinks=False)
    os.rename(new, name, src_dir_fd=copy, dst_dir_fd=copy)


def what(about: os.stat_result) -> tuple[int, ...]:
    return (about.st_mode, about.st_uid, about.st_gid, about.st_size, about.st_mtime_ns)


def copy_whole(name: str, new: str, live: int, copy: int) -> os.stat_result:
    """Copy a file to which Dovecot may be adding a line; read again while it does."""
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=live)
    with os.fdopen(source, "rb") as file:
        for _ in range(READINGS):
            about = os.fstat(source)
            file.seek(0)
            made = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=copy)
            with os.fdopen(made, "wb") as target:
                target.write(file.read())
            if what(os.fstat(source)) == what(about):
                break
    return about


def main(words: list[str]) -> int:
    if len(words) != 2 or os.path.dirname(os.path.dirname(words[1])) != words[0]:
        print((__doc__ or "").partition(":")[0], "where COPY is LIVE/…/…", file=sys.stderr)
        return 64
    os.umask(0o077)
    try:
        Mirror(*words).run()
    except OSError as error:
        print(f"mirror.py: {error.filename or words[0]}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
