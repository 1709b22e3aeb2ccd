"""Opens a host's repository from the admin's machine, with the admin's own SSH access.

Nothing secret is left behind or shown: the recovery password lies in a file on a memory file
system for as long as it is needed, and only there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.plan import ALIAS, host_key, known_hosts
from backup.errors import BackupError, BusyError, ClosedError, UnreachableError, UsageError
from inventories.access import ssh_target
from inventories.model import Host, Inventory, Repository
from inventories.secrets import Secrets
from tools import restic, ssh


@dataclass(frozen=True)
class Opened:
    """A repository that `open_repository` has opened: runs restic on it."""

    host: str
    keeper: str  # "coffre (203.0.113.20)": where it lies, for messages
    url: str
    options: dict[str, str]
    password_file: Path
    host_password_file: Path | None = None

    def run(self, *verb: str, timeout: float | None = None) -> str:
        """Run a restic command, return its stdout. Raise BusyError, UnreachableError,
        BackupError."""
        argv = restic.command(self.url, self.password_file, verb, options=self.options)
        try:
            return restic.run(argv, timeout=timeout)
        except restic.ResticError as error:
            if "wrong password" not in str(error).lower() or self.host_password_file is None:
                raise explained(self.host, self.keeper, error) from None
        self._add_recovery_key()
        try:
            return restic.run(argv, timeout=timeout)
        except restic.ResticError as error:
            raise explained(self.host, self.keeper, error) from None

    def _add_recovery_key(self) -> None:
        """The operators' key is not there yet: add it, with the host's own, which is in the
        secrets as well."""
        verb = ("key", "add", f"--new-password-file={self.password_file}")
        if self.host_password_file is None:
            return
        argv = restic.command(self.url, self.host_password_file, verb, options=self.options)
        try:
            restic.run(argv, timeout=600)
        except restic.ResticError as error:
            raise explained(self.host, self.keeper, error) from None

    def snapshots(self) -> tuple[restic.Snapshot, ...]:
        """Every snapshot, oldest first."""
        return restic.parse_snapshots(self.run("snapshots", "--json", "--no-lock"))


def explained(host: str, keeper: str, error: restic.ResticError) -> BackupError:
    """What restic complained about the copies of `host`, which `keeper` keeps, so that a person
    knows what to do: a BusyError, an UnreachableError, a ClosedError or a plain BackupError."""
    text = f"the repository of {host}: {error}"
    low = text.lower()
    if "already locked" in low:
        return BusyError(f"{text}. A backup or a prune is at work on it: wait until it has ended.")
    if "verification failed" in low and "host key" in low:
        return UnreachableError(
            f"{text}. The repository host showed another key than the inventory says; nothing "
            "was sent."
        )
    if "permission denied (" in low:
        return ClosedError(
            f"{keeper}, which keeps the copies of {host}, does not let your key in: "
            f"{str(error).rstrip('.')}. Use that of one of the inventory's people (RELEVE_SSH_KEY)."
        )
    signs = (
        "ssh:",
        "connection closed",
        "unexpected eof",
        "broken pipe",
        # "unexpected EOF" or "context canceled" follows: restic's own threads race here.
        "error talking http to rclone",
    )
    if any(sign in low for sign in signs):
        return UnreachableError(
            f"{keeper}, which keeps the copies of {host}, cannot be reached, or hung "
            f"up: {error}. The copies stay as they are. Is it switched on, and does your key "
            "open it? Then run this again."
        )
    if "wrong password" in low:
        return BackupError(
            f"{text}. The recovery password in the secrets does not open it: was the "
            "repository made with other secrets?"
        )
    return BackupError(text)


def folder(repository: Repository) -> str:
    """Where the repositories of an organisation lie on the repository host."""
    return f"/srv/releve/{repository.url.user}/{repository.url.path}"


def of_host(inventory: Inventory, host_id: str) -> tuple[Host, Repository]:
    """The host and its repository. Raise UsageError when there is no such host, or no copies."""
    host = inventory.hosts.get(host_id)
    if host is None:
        raise UsageError(f"{host_id} is no host of the inventory: {', '.join(inventory.hosts)}")
    if host.repository is None:
        raise UsageError(f"{host_id} has no repository in the inventory: there are no copies")
    return host, inventory.repositories[host.repository]


def protected(inventory: Inventory, limit: Sequence[str] = ()) -> tuple[str, ...]:
    """The hosts that are saved, or those of them that were named. Raise UsageError."""
    for name in limit:
        of_host(inventory, name)
    return tuple(limit) or tuple(h.id for h in inventory.hosts.values() if h.repository)


def target(inventory: Inventory, repository: Repository) -> ssh.Target:
    """Whom to speak to for a repository: the host that keeps it."""
    return ssh_target(inventory.hosts[repository.host])


def demand_writable(connection: ssh.Connection, repository: Repository, host_id: str) -> None:
    """Ask the host that keeps a repository whether anything there can be changed: restic tries
    again for minutes before it gives up. Raise BackupError, SshError."""
    place = f"{folder(repository)}/{host_id}"
    if connection.run(("test", "-w", place), check=False, timeout=60).exit_code != 0:
        raise BackupError(
            f"{host_id}: nothing was changed: {place} on {repository.host} cannot be written "
            "to. It may be on a read-only file system, which is what Linux makes of a disk that "
            f"fails: `dmesg` on {repository.host} says why."
        )


def memory_folder() -> str | None:
    """A folder that lies in memory and never on a disk, or None to take the usual one."""
    for name in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):  # noqa: S108 (a folder of its own)
        if name and Path(name).is_dir() and os.access(name, os.W_OK):
            return name
    return None


def ssh_words(to: ssh.Target, place: Path) -> tuple[str, ...]:
    """The argv of ssh(1) to `to`, with files that lie in `place`."""
    return (
        "ssh",
        "-F/dev/null",
        *((f"-i{place}/key", "-oIdentitiesOnly=yes") if to.key_file else ()),
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=yes",
        f"-oUserKnownHostsFile={place}/known_hosts",
        "-oGlobalKnownHostsFile=/dev/null",
        f"-oHostKeyAlias={ALIAS}",
        "-oConnectTimeout=15",
        "-oServerAliveInterval=15",
        "-oServerAliveCountMax=3",
        "-oLogLevel=ERROR",
        f"-p{to.port}",
        f"-l{to.user}",
        "--",
        to.address,
    )


def server_words(repository: Repository, user: str) -> tuple[str, ...]:
    """What serves the repository at the other end, as the user who owns it. Without append-only:
    this is the way of those who may prune."""
    rclone = ("rclone", "serve", "restic", "--stdio", "--config=/dev/null")
    if user == repository.url.user:
        return rclone
    sudo = () if user == "root" else ("sudo", "-n")
    return (*sudo, "runuser", "-u", repository.url.user, "--", *rclone)


@contextlib.contextmanager
def open_repository(inventory: Inventory, host_id: str, secrets: Secrets) -> Iterator[Opened]:
    """Open the repository of a host with the operators' recovery password.

    Raise BackupError when the repository's host key is not known, and before the host's first
    deploy. Nothing is sent before the first restic command.
    """
    _, repository = of_host(inventory, host_id)
    to = target(inventory, repository)
    key = host_key(inventory, repository)
    if key is None:
        raise BackupError(
            f"{repository.host} has no host_key in the inventory: whoever answers at {to.address} "
            "could pass for it. Write its key there."
        )
    if to.key_file and ssh.is_protected(to.key_file):
        raise BackupError(
            f"{to.key_file} is protected by a passphrase, and restic's ssh can ask nobody. Give it "
            "to an SSH agent (ssh-add) and unset RELEVE_SSH_KEY, then run this again."
        )
    if shutil.which("restic") is None:
        raise BackupError("restic is not installed on this machine: apt install restic")
    if f"host.{host_id}.recovery" not in secrets:
        raise BackupError(
            f"{host_id} has no copies yet: run `releve deploy` for it first. If it was deployed "
            f"before, {secrets.file} is not the file that was there then."
        )
    password = secrets.get(f"host.{host_id}.recovery")
    with tempfile.TemporaryDirectory(prefix="releve-", dir=memory_folder()) as name:
        place = Path(name)
        (place / "password").touch(mode=0o600)
        (place / "password").write_text(password)
        own = None
        if f"host.{host_id}.restic" in secrets:
            own = place / "host-password"
            own.touch(mode=0o600)
            own.write_text(secrets.get(f"host.{host_id}.restic"))
        (place / "known_hosts").write_bytes(known_hosts(key))
        if to.key_file:
            (place / "key").symlink_to(to.key_file.resolve())
        yield Opened(
            host_id,
            f"{repository.host} ({to.address})",
            f"rclone:{folder(repository)}/{host_id}",
            {
                "rclone.program": restic.rclone_program(ssh_words(to, place)),
                "rclone.args": restic.rclone_program(server_words(repository, to.user)),
            },
            place / "password",
            own,
        )
