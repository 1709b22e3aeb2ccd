"""From a host in the inventory to a session with it."""

from __future__ import annotations

import os
from pathlib import Path

from inventories.model import Host
from tools.ssh import Target


def ssh_key_file() -> Path | None:
    """The private key named by RELEVE_SSH_KEY, or None for the agent and the usual files."""
    named = os.environ.get("RELEVE_SSH_KEY")
    return Path(named).expanduser() if named else None


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
    )


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
