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
    )
