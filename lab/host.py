"""One booted host: systemd-nspawn over its disk, in its own network namespace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from lab import cgroups, images, processes
from lab.disks import Disk
from lab.errors import LabError
from lab.network import NAMESPACES

# What systemd-nspawn passes on to the host's systemd when it gets SIGTERM itself: power off.
_POWER_OFF = "SIGRTMIN+4"
_GONE_S = 2.0
_CAPABILITIES = "CAP_NET_ADMIN,CAP_NET_RAW"  # nftables and ping fail without


class Machine:
    """The host `name` of a lab, with all its files in `folder`."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self.folder = folder
        self.disk = Disk(folder)
        self.namespace = namespace
        self.log = folder / "console.log"
        self.archives = folder / "archives"
        self.key_file = folder / "ssh_host_ed25519_key"
        self.mark = f"--directory={self.disk.root}"  # an argument that no other process has
        self._ours = processes.has_argument(self.mark)

    @property
    def host_key(self) -> str:
        """Its public SSH host key, one line."""
        return self.key_file.with_name(self.key_file.name + ".pub").read_text().strip()

    def running(self) -> bool:
        """Whether it is on."""
        return bool(processes.find(self._ours))

    def boot(self, caches: Path) -> None:
        """Switch it on; its disk is mounted. Returns at once, see `wait`."""
        binds = [f"--bind={self.archives}:/var/cache/apt/archives"]
        for name in ("npm", "pip"):
            (caches / name).mkdir(parents=True, exist_ok=True)
            binds.append(f"--bind={caches / name}:{images.CACHES}/{name}")
        argv = [
            "systemd-nspawn", "--quiet", "--boot", self.mark,
            f"--network-namespace-path={NAMESPACES / self.namespace}",
            f"--machine={self.namespace}", f"--hostname={self.folder.name}",
            "--register=no", "--keep-unit", "--settings=no", "--console=pipe",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no",
            f"--capability={_CAPABILITIES}", f"--kill-signal={_POWER_OFF}", *binds,
        ]  # fmt: skip
        cgroups.remove(self.namespace)
        processes.spawn(cgroups.inside(self.namespace, argv), self.log)
        # For a moment after its start a process shows no arguments: wait until we can see it.
        processes.wait_for(self.running, 5)

    def wait(self, address: str, seconds: float = 60.0) -> None:
        """Wait until it accepts SSH sessions. Raise LabError with its last words."""
        deadline = time.monotonic() + seconds
        seen = looked = time.monotonic()
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((address, 22), 1.0) as s:
                s.settimeout(2.0)
                if s.recv(4) == b"SSH-":
                    return
            # A process has no arguments for a moment while it becomes another program. To look
            # through all processes takes a while: not at each turn.
            now = time.monotonic()
            if now - looked > _GONE_S / 8:
                looked = now
                if self.running():
                    seen = now
                elif now - seen > _GONE_S:
                    break
            time.sleep(0.05)
        state = "ended while booting"
        if self.running():
            state = f"did not answer on port 22 within {seconds:.0f} s"
        said = self.log.read_text(errors="replace").strip().splitlines()[-5:]
        raise LabError(f"The lab host {self.folder.name} {state}: {' / '.join(said)} ({self.log})")

    def power_off(self, seconds: float = 30.0) -> None:
        """Switch it off in an orderly way, or pull the plug after `seconds`."""
        if processes.send(self._ours, signal.SIGTERM):
            processes.wait_gone(self._ours, seconds)
        self.pull_plug()

    def pull_plug(self) -> None:
        """Off, now. What it had not written is lost."""
        processes.kill(self._ours)
        if (NAMESPACES / self.namespace).exists():
            processes.kill(processes.in_network(NAMESPACES / self.namespace))
            cgroups.remove(self.namespace)

    # --- what is set up before a boot -------------------------------------------------------

    def furnish(self, authorized_key: str, trusted: Sequence[tuple[str, str, bytes]]) -> None:
        """Write what makes a clone a host of its own. Its disk is mounted.

        Once for each disk: machine-id, host key, the lab's access. At each boot: `trusted`.
        """
        from lab.keys import ensure_ssh_pair

        root = self.disk.root
        ensure_ssh_pair(self.key_file, f"root@{self.folder.name}")
        if not (root / "etc/machine-id").exists():
            for file in (self.key_file, self.key_file.with_name(self.key_file.name + ".pub")):
                shutil.copy(file, root / "etc/ssh" / file.name)
            (root / "etc/hostname").write_text(f"{self.folder.name}\n")
            (root / "etc/hosts").write_text(
                f"127.0.0.1 localhost\n127.0.1.1 {self.folder.name}\n::1 localhost\n"
            )
            (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
            keys = root / "root/.ssh/authorized_keys"
            keys.write_text(f"{authorized_key}\n")
            keys.chmod(0o600)
            # Last: it tells that all of this is done.
            (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
        self.trust(trusted)

    def resolve_with(self, address: str) -> None:
        """Tell it its DNS resolver."""
        file = self.disk.root / "etc/resolv.conf"
        file.unlink(missing_ok=True)
        file.write_text(f"nameserver {address}\n")

    def trust(self, trusted: Sequence[tuple[str, str, bytes]]) -> None:
        """Make it trust authorities: (name, OpenSSL's subject hash, PEM). Works while it runs.

        Does what `update-ca-certificates` does, and in a way that it keeps when it runs.
        """
        root = self.disk.root
        bundle = root / images.BUNDLE.lstrip("/")
        text = bundle.read_bytes()
        for name, hashed, pem in trusted:
            file = root / f"usr/local/share/ca-certificates/{name}.crt"
            if not file.exists() or file.read_bytes() != pem:
                file.write_bytes(pem)
            link = root / f"etc/ssl/certs/{hashed}.0"
            if not link.is_symlink():
                link.symlink_to(f"/usr/local/share/ca-certificates/{name}.crt")
            if pem not in text:
                text += pem
                bundle.write_bytes(text)

    # --- downloaded packages ----------------------------------------------------------------
    # Hosts that share one folder for apt's downloads would wait for each other's lock. So each
    # has its own, made of hard links to what is known, and what is new is linked back. Apt
    # compares digests before it uses a file, and never changes one in place.

    def lend_packages(self, pool: Path) -> None:
        """Give it every Debian package that was ever downloaded in a lab here."""
        (self.archives / "partial").mkdir(parents=True, exist_ok=True)
        _link_all(pool, self.archives)

    def collect_packages(self, pool: Path) -> None:
        """Remember what it has downloaded."""
        if self.archives.is_dir():
            pool.mkdir(parents=True, exist_ok=True)
            _link_all(self.archives, pool)


def _link_all(source: Path, target: Path) -> None:
    there = {entry.name for entry in os.scandir(target)}
    for entry in os.scandir(source) if source.is_dir() else ():
        if (
            entry.name.endswith(".deb")
            and entry.name not in there
            and entry.is_file(follow_symlinks=False)
        ):
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(entry.path, target / entry.name)
