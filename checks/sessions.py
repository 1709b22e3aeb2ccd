"""Sessions of a check with hosts: ask an agent for its status, a repository for its snapshots.

Two kinds of keys ask. An operator's key opens a session in which argv is run. The watch's key is
bound on every host to one answer: the agent's status, or the gate of a repository.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from checks.result import Level
from inventories.model import Host, Inventory, Repository

if TYPE_CHECKING:
    from checks.backups import Stored
    from tools.ssh import Target

STATUS = ("/usr/local/lib/releve/agent.py", "status")
SERVICES = (*STATUS, "--services")
MAX_STATUS = 4 << 20
CONNECT = 10.0
STORED_SECONDS = 20.0

# Runs the command on the host, by the deadline (monotonic), and returns what it printed. Raises
# NoKey or NotReached.
Ask = Callable[[Host, Sequence[str], float], bytes]
# What a repository lists for a host, or None when it cannot be asked. Raises nothing.
AskStored = Callable[[Repository, str, float], "list[Stored] | None"]


class NoKey(Exception):
    """This machine holds no key that could open a session: the look is skipped, not failed."""


class NotReached(Exception):
    """The host was not asked. `level` tells whether the host or the asking is to blame."""

    def __init__(self, message: str, level: Level) -> None:
        super().__init__(message)
        self.level = level


def has_key() -> bool:
    """Whether this machine could open a session at all: RELEVE_SSH_KEY, an SSH agent, or one of
    the usual files. Whoever names a key wants it used: that it is none is found out, and told."""
    if os.environ.get("RELEVE_SSH_KEY") or os.environ.get("SSH_AUTH_SOCK"):
        return True
    folder = Path("~/.ssh").expanduser()
    return any((folder / name).is_file() for name in ("id_ed25519", "id_rsa", "id_ecdsa"))


def unlock() -> None:
    """Ask for the passphrase of the key for the hosts, if it has one, before the time of a run
    begins. Raise RefusedKeyError when it is wrong. That nobody is there to ask, or that there is no
    such key, is told where the key is used: other looks need none."""
    from inventories import access
    from tools import ssh

    try:
        file = access.ssh_key_file()
        given = access.passphrase(str(file)) if file and ssh.is_protected(file) else None
    except (access.KeyFileError, ssh.RefusedKeyError):
        return
    if file and given is not None:
        ssh.unlocked(file, given)


def ask_hosts(addresses: Mapping[str, str], *, as_watch: bool) -> Ask:
    """Ask hosts over SSH. `addresses`: host id -> address, instead of the inventory's.

    The watch's key is bound to one command everywhere, and the words it sends do not matter.
    """

    def ask(host: Host, argv: Sequence[str], deadline: float) -> bytes:
        if not has_key():
            raise NoKey("this machine has no SSH key; name one in RELEVE_SSH_KEY")
        from inventories.access import KeyFileError, ssh_target, watch_user
        from tools import ssh

        try:
            target = ssh_target(host)
        except KeyFileError as error:
            raise NotReached(str(error), "unknown") from None
        target = replace(
            target,
            address=addresses.get(host.id, target.address),
            user=watch_user(host) if as_watch else target.user,
            others=() if as_watch else target.others,
        )
        if target.host_key is None:
            raise NotReached(
                "has no host_key in the inventory: read it from the provider's console, then "
                "write it there",
                "unknown",
            )
        try:
            with ssh.session(target, timeout=_left(deadline, CONNECT)) as session:
                # `run` itself waits ten seconds longer than the command may take.
                result = session.run(argv, timeout=_left(deadline - 10, 3600), check=False)
        except ssh.HostKeyError as error:
            raise NotReached(str(error), "critical") from None
        except ssh.SshError as error:
            # A key that does not open, or that is not let in, says nothing of the host.
            ours = isinstance(error, ssh.RefusedKeyError) or "private key" in str(error)
            raise NotReached(str(error), "unknown" if ours else "critical") from None
        if result.exit_code != 0:
            said = result.stderr.decode(errors="replace").strip().splitlines()
            raise NotReached(
                f"its agent ended with code {result.exit_code}"
                + (f" ({said[-1][:200]})" if said else "")
                + ": releve deploy",
                "unknown",
            )
        return result.stdout[:MAX_STATUS]

    return ask


def ask_repositories(
    inventory: Inventory, addresses: Mapping[str, str], *, as_watch: bool
) -> AskStored:
    """Ask repository hosts for the names and dates of snapshots.

    The watch goes through the gate; an operator's session lists the folder.
    """

    def ask(repository: Repository, host: str, deadline: float) -> list[Stored] | None:
        from checks.backups import parse_stored
        from inventories.access import KeyFileError
        from tools import ssh

        try:
            target = _repository_target(inventory, repository, addresses, as_watch)
        except KeyFileError:
            return None
        if target.host_key is None or not has_key():
            return None
        deadline = min(deadline, time.monotonic() + STORED_SECONDS)
        try:
            with ssh.session(target, timeout=_left(deadline, CONNECT)) as session:
                if as_watch:
                    result = session.request(("snapshots", host), timeout=_left(deadline, 60))
                else:
                    home = f"/srv/releve/{repository.url.user}/{repository.url.path}/{host}"
                    # Without a single copy the folder is not there yet: that is an empty list.
                    script = (
                        '[ -d "$1/snapshots" ] || exit 0; exec find "$1/snapshots" -type f '
                        """-printf '{"id":"%f","time":%Ts}\\n'"""
                    )
                    argv = ("sh", "-c", script, "snapshots", home)
                    result = session.run(argv, timeout=_left(deadline - 10, 60), check=False)
            return parse_stored(result.stdout.decode()) if result.exit_code == 0 else None
        except (ssh.SshError, ValueError):
            return None

    return ask


def _repository_target(
    inventory: Inventory, repository: Repository, addresses: Mapping[str, str], as_watch: bool
) -> Target:
    from agent.plan import host_key, repository_address
    from inventories.access import passphrase, ssh_key_file, ssh_target
    from tools.ssh import Target

    host = inventory.hosts[repository.host]
    if not as_watch:
        target = ssh_target(host)
        return replace(target, address=addresses.get(host.id, target.address))
    address, port = repository_address(inventory, repository)
    return Target(
        name=repository.id,
        address=addresses.get(host.id, address),
        host_key=host_key(inventory, repository),
        port=port,
        user=repository.url.user,
        key_file=ssh_key_file(),
        passphrase=passphrase,
    )


def _left(deadline: float, at_most: float) -> float:
    return max(1.0, min(at_most, deadline - time.monotonic()))
