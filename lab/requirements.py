"""Which Debian packages the lab needs and this machine lacks.

Standard library only: `python3 -m lab.requirements` runs before anything is installed and prints
the names of the missing packages, one a line; nothing at all when none is missing.
"""

from __future__ import annotations

import shutil
from pathlib import Path

# package -> programs or files of it that the lab uses, and what for
PROGRAMS: dict[str, tuple[str, ...]] = {
    "systemd-container": ("systemd-nspawn",),  # boots the hosts
    "mmdebstrap": ("mmdebstrap",),  # builds their image
    "debian-archive-keyring": ("/usr/share/keyrings/debian-archive-keyring.gpg",),  # verifies it
    "nftables": ("nft",),  # lets the hosts reach the mirrors, loses packets on demand
    "iproute2": ("ip", "tc"),  # networks
    "util-linux": ("nsenter", "losetup"),  # commands inside a network; disks with a limit
    "mount": ("mount", "umount"),
    "e2fsprogs": ("mkfs.ext4",),
    "openssh-client": ("ssh",),  # `releve lab ssh`
}
_DIRECTORIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _there(wanted: str) -> bool:
    if wanted.startswith("/"):
        return Path(wanted).exists()
    return shutil.which(wanted, path=_DIRECTORIES) is not None


def requirements() -> tuple[str, ...]:
    """The names of the Debian packages that are missing here, in a fixed order."""
    return tuple(
        package
        for package, programs in PROGRAMS.items()
        if not all(_there(program) for program in programs)
    )


def main() -> None:
    """Print what is missing, one package a line."""
    for package in requirements():
        print(package)


if __name__ == "__main__":
    main()
