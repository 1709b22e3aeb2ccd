"""From a host in the inventory to a session with it."""

from __future__ import annotations

import os
from pathlib import Path

from inventories.identity import ask_passphrase
from inventories.model import Host
from tools.age import AgeError
from tools.ssh import RefusedKeyError, Target, is_protected, unlocked


class KeyFileError(Exception):
    """RELEVE_SSH_KEY names no private key; every host would seem to be unreachable."""

    exit_code = 64


def ssh_key_file() -> Path | None:
    """The private key named by RELEVE_SSH_KEY, or None for the agent and the usual files. Raise
    KeyFileError when that names no private key."""
    named = os.environ.get("RELEVE_SSH_KEY")
    if not named:
        return None
    file = Path(named).expanduser()
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is not there"
        raise KeyFileError(f"{file} {what}: RELEVE_SSH_KEY names the private key for the hosts")
    with file.open("rb") as opened:
        if not opened.read(11).startswith(b"-----BEGIN "):
            raise KeyFileError(
                f"{file} holds no private key: RELEVE_SSH_KEY names the file without .pub"
            )
    return file


def ssh_target(host: Host) -> Target:
    """Given a host of the inventory, return whom to speak to, as which user, with which key."""
    return Target(
        name=host.id,
        address=str(host.address),
        host_key=host.host_key,
        port=host.port,
        user=host.user,
        key_file=ssh_key_file(),
        others=_others(host),
        passphrase=passphrase,
    )


def passphrase(key_file: str) -> str:
    """The passphrase of the key for the hosts, asked once. Raise RefusedKeyError without one."""
    try:
        return ask_passphrase(key_file)
    except AgeError as error:
        raise RefusedKeyError(f"the private key {error}") from None


def unlock() -> None:
    """Ask for the passphrase of the key that RELEVE_SSH_KEY names, if it has one, before a process
    of our own needs it. Raise KeyFileError, RefusedKeyError."""
    file = ssh_key_file()
    if file is not None and is_protected(file):
        unlocked(file, passphrase(str(file)))


def _others(host: Host) -> tuple[str, ...]:
    """Who else may open the door of a YunoHost server. Its setup closes root's to all but private
    networks, and opens that of the operators: a blank host knows root only, a rebuilt one not
    any more. All but root then work through sudo."""
    if host.yunohost is None:
        return ("root",) if host.platform == "yunohost" and host.user != "root" else ()
    operators = [name for name, one in host.yunohost.operators.items() if not one.absent]
    return tuple(name for name in (*operators, "root") if name != host.user)


def watch_user(host: Host) -> str:
    """As whom the watch's key opens a session, in which it can do nothing but ask for the agent's
    status. YunoHost lets root in from private networks only."""
    return "releve-watch" if host.platform == "yunohost" else "root"
