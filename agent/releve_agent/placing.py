"""Where restored data waits, how it takes its place, and to whom it then belongs."""

from __future__ import annotations

import os

from .common import Failed, Root, remove_tree
from .processes import run

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Mapping


class Way:
    """Where one path of a service is on its way: fetched to `new`, the old data in `old`."""

    def __init__(self, at: Root, service: str, number: int, path: str) -> None:
        self.path = path
        home = at.v("restore", service)
        parent = os.path.dirname(path)
        while not os.path.isdir(parent):
            parent = os.path.dirname(parent)
        # A rename is one step, but only within a file system: elsewhere the data waits beside
        # its place.
        near = os.stat(parent).st_dev == os.stat(at.var).st_dev
        base = home if near else f"{parent.rstrip('/')}/.releve-{service}"
        # restic lays the whole path below the folder that it restores to.
        self.tree = f"{base}/new"
        self.new = f"{self.tree}{path}"
        self.old = f"{base}/{number}.old"
        self.base = base


def move(source: str, target: str) -> None:
    """Move a file or folder to a place where nothing lies. What cannot be renamed (a mount point,
    a lower layer of an overlay) is copied, and the source removed only when that is complete."""
    try:
        os.rename(source, target)
        return
    except OSError as error:
        import errno

        if error.errno not in (errno.EXDEV, errno.EBUSY):
            raise
    part = f"{target}.part"
    remove_tree(part)
    done = run(["cp", "-a", "--", source, part], timeout=24 * 3600)
    if done.code != 0:
        remove_tree(part)
        raise Failed(f"{source} could not be moved to {target}: {done.said()}")
    os.rename(part, target)
    discard(source)


def discard(path: str) -> None:
    """Remove a tree; of a mount point only what is in it."""
    if os.path.ismount(path):
        for name in os.listdir(path):
            remove_tree(f"{path}/{name}")
    else:
        remove_tree(path)


def own_by_name(path: str, owners: Mapping[str, str]) -> None:
    """Give a restored tree to the users and groups of the same *names* as where it was saved.

    `owners`: "UID:GID" there -> "USER:GROUP"; restic restores the numbers, which may be somebody
    else's here. A number that had no name there stays. Nobody but root sees the tree meanwhile.
    """
    import grp
    import pwd

    change: dict[tuple[int, int], tuple[int, int]] = {}
    for ids, names in owners.items():
        uid, gid = (int(n) for n in ids.split(":"))
        user, _, group = names.partition(":")
        here = (
            pwd.getpwnam(user).pw_uid if user else uid,
            grp.getgrnam(group).gr_gid if group else gid,
        )
        if here != (uid, gid):
            change[uid, gid] = here
    if not change:
        return

    def give(one: str, about: os.stat_result) -> None:
        here = change.get((about.st_uid, about.st_gid))
        if here is None:
            return
        link = os.path.islink(one)
        # A change of owner takes these away (chown(2), capabilities(7)).
        kept = {} if link else {n: os.getxattr(one, n) for n in os.listxattr(one)}
        os.lchown(one, *here)
        if not link and about.st_mode & 0o6000:
            os.chmod(one, about.st_mode & 0o7777)
        for name, value in kept.items():
            if name == "security.capability":
                os.setxattr(one, name, value)

    give(path, os.lstat(path))
    todo = [path] if os.path.isdir(path) and not os.path.islink(path) else []
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                give(entry.path, entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
