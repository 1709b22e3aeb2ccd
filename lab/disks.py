"""The disks of hosts: overlays over an image, with or without a limit of their size."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from lab import processes
from lab.errors import LabError


def mounts_below(folder: Path) -> tuple[Path, ...]:
    """Every mount point at or below `folder`, deepest and newest first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # Blanks and the like are written as \040 there (proc(5)).
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4]))
        if point == folder or folder in point.parents:
            found.append(point)
    return tuple(reversed(found))


def is_mounted(folder: Path) -> bool:
    """Whether something is mounted exactly there."""
    return folder in mounts_below(folder)


def unmount_below(folder: Path) -> None:
    """Unmount everything at and below `folder`. Raise LabError when something still uses it."""
    for point in mounts_below(folder):
        if processes.run(("umount", str(point)), check=False).returncode != 0:
            # Detached at once, gone when the last open file is closed: a dying process may
            # still have one.
            processes.run(("umount", "--lazy", str(point)))


def mount_overlay(lower: Sequence[Path], upper: Path, work: Path, at: Path) -> None:
    """Mount at `at` the layers `lower` (lowest first), changes going to `upper`.

    `redirect_dir`: renaming a folder of the image works as on a plain disk. `volatile`: nothing
    in a host waits for this machine's disk (fsync), only its memory; what a host wrote survives
    the host's crash, and not that of this machine.
    """
    # The mark of an earlier such mount, for those whose machine may have crashed in between.
    shutil.rmtree(work / "work" / "incompat", ignore_errors=True)
    options = [
        "lowerdir=" + ":".join(str(layer) for layer in reversed(lower)),
        f"upperdir={upper}", f"workdir={work}", "redirect_dir=on", "index=off", "metacopy=off",
        "volatile",
    ]  # fmt: skip
    if any("," in option or "\\" in option for option in options):
        raise LabError(f"The path {at} holds a comma: choose another folder with RELEVE_LAB")
    argv = ("mount", "-t", "overlay", "releve-lab", "-o", ",".join(options), str(at))
    try:
        processes.run(argv)
    except LabError as error:
        raise LabError(
            f"{error}. An overlay needs a plain file system such as ext4 or xfs below: choose one "
            "with RELEVE_LAB"
        ) from None


def discard(folder: Path, trash: Path) -> None:
    """`folder` is gone at once; its files, perhaps a hundred thousand, go in the background.

    `trash` is on the same file system. What an earlier process left there goes along.
    """
    if folder.exists():
        trash.mkdir(exist_ok=True, mode=0o700)
        folder.rename(trash / uuid.uuid4().hex)
    if left := [str(child) for child in trash.iterdir()] if trash.is_dir() else []:
        argv = ("nice", "-n", "19", "rm", "-rf", "--one-file-system", "--", *left)
        processes.spawn(argv, Path("/dev/null"))


class Disk:
    """The disk of one host, in `folder`: `store/upper` holds what differs from the image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = folder / "disk.img"
        self.store = folder / "store"
        self.root = folder / "root"  # what the host sees as /

    def create(self, limit: int | None) -> None:
        """Make an empty disk. `limit`: bytes it can hold beyond the image; None: no limit."""
        self.store.mkdir(parents=True, exist_ok=True)
        self.root.mkdir(exist_ok=True)
        if limit is not None and not self.image.exists():
            new = self.image.with_suffix(".new")
            with new.open("wb") as file:
                file.truncate(limit)
            processes.run(("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", str(new)))
            new.rename(self.image)

    def mount(self, images: Sequence[Path], frozen: int) -> None:
        """Show the disk at `root`: the image's layers, `frozen` remembered ones, the changes."""
        if is_mounted(self.root):
            return
        if self.image.exists() and not is_mounted(self.store):
            processes.run(("mount", "-o", "loop", str(self.image), str(self.store)))
        if frozen:
            self._freeze(frozen)  # if it was cut off just before
        upper, work = self.store / "upper", self.store / "work"
        for folder in (upper, work):
            folder.mkdir(exist_ok=True)
        upper.chmod(0o755)
        layers = [self.store / f"frozen-{n}" for n in range(1, frozen + 1)]
        mount_overlay((*images, *layers), upper, work, self.root)

    def unmount(self) -> None:
        """Hide it again, content kept."""
        unmount_below(self.root)
        unmount_below(self.store)

    def freeze(self, number: int) -> None:
        """Make the changes so far the remembered layer `number` (from 1). Not mounted then."""
        with self._opened():
            self._freeze(number)

    def _freeze(self, number: int) -> None:
        layer = self.store / f"frozen-{number}"
        if not layer.exists():
            (self.store / "upper").rename(layer)

    def reset(self, frozen: int, trash: Path) -> None:
        """Forget what changed since the last freeze. Not mounted then. `trash` as for `discard`."""
        with self._opened():
            keep = {f"frozen-{n}" for n in range(1, frozen + 1)} | {"lost+found"}
            for child in self.store.iterdir():
                if child.name in keep:
                    continue
                if self.image.exists():  # a file system of its own, which needs the space
                    shutil.rmtree(child)
                else:
                    discard(child, trash)

    def _opened(self) -> _Opened:
        return _Opened(self)

    def destroy(self, trash: Path) -> None:
        """Gone, with all that was on it. `trash` as for `discard`."""
        self.unmount()
        discard(self.folder, trash)


class _Opened:
    """A disk's store, reachable while no host uses it."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def __enter__(self) -> None:
        self.disk.unmount()
        if self.disk.image.exists():
            processes.run(("mount", "-o", "loop", str(self.disk.image), str(self.disk.store)))

    def __exit__(self, *_: object) -> None:
        unmount_below(self.disk.store)
