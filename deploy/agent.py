"""Places the agent on a host: its files, its units, its repository, its cron entry."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, state

import agent
from agent.plan import host_key, repository_address
from inventories.model import Host, Inventory
from platforms import ops
from tools import words

AGENT = "/usr/local/lib/releve/agent.py"
_UNITS = "/etc/systemd/system/"
# What the repository was made with, so that `init` runs again when that changes.
MARK = "/var/lib/releve/initialised"
RECEIPT_KEY = "/etc/releve/receipt-key.pub"


def _item(file: Any) -> ops.File:
    return ops.File(
        file.path, file.content, mode=file.mode, owner=file.owner, group="root", secret=file.secret
    )


def _folders(files: list[ops.File]) -> list[ops.Folder]:
    """Folders of the agent's files that no package brings, parents first."""
    ours = ("/usr/local/lib/releve", "/etc/releve", "/var/lib/releve")
    found = set()
    for file in files:
        parts = file.path.split("/")
        found |= {"/".join(parts[:n]) for n in range(2, len(parts))}
    return [
        ops.Folder(path)
        for path in sorted(found)
        if path.startswith(tuple(f"{root}/" for root in ours))
    ]


def install(wanted: Host, inventory: Inventory) -> None:
    """Queue the tools that the agent starts, and the agent: a restore precedes `configure`."""
    ops.packages(
        names=("python3", "restic", "openssh-client", "cron"), name="Packages of the agent"
    )
    files = [_item(file) for file in agent.files(inventory, wanted.id, ops.secrets())]
    ops.place(items=[*_folders(files), *files], name="The agent and its plan")
    names = [Path(file.path).name for file in files if file.path.startswith(_UNITS)]
    _reload(units=names, name="Tell systemd")


def configure(wanted: Host, inventory: Inventory) -> None:
    """Queue the repository that the plan names, which knows this host's key by now."""
    # Copies and much else begin from cron.
    ops.units(enabled=agent.ENABLED, running=("cron.service",), name="Units of the agent")
    if wanted.repository:
        repository = inventory.repositories[wanted.repository]
        key = ops.secrets().get(f"host.{wanted.id}.restic")
        # With the machine: one that was reinstalled has no repository yet.
        known = f"{repository.url} {repository_address(inventory, repository)} "
        known += f"{host_key(inventory, repository)} {wanted.id} {key}"
        mark = hashlib.sha256(known.encode()).hexdigest()
        _initialise(mark=mark, name="The repository of this host")


def activate(wanted: Host, inventory: Inventory) -> None:
    """Queue the nightly run. It comes last: a host saves itself once it serves."""
    if wanted.repository:
        cron = _item(agent.cron(inventory, wanted.id))
        ops.place(items=[cron], name="The nightly run")


@operation()
def _reload(units: list[str]) -> Generator[StringCommand, None, None]:
    """Have systemd read its units again, if it says that one of these has changed on disk. It is
    asked, rather than taken from what this very run did: an earlier one may have been cut off."""
    stale = "systemctl show --property=NeedDaemonReload --value -- {} | grep -qx yes"
    if host.get_fact(ops.Holds, check=stale.format(words.line(units))):
        yield StringCommand("systemctl daemon-reload")


@operation()
def _initialise(mark: str) -> Generator[Any, None, None]:
    """Run `agent.py init` unless it ran for this very repository and key."""
    if host.get_fact(ops.Text, path=MARK).strip() == mark:
        return
    ops.note("diff", path="", text="agent.py init: make the repository if there is none")
    yield StringCommand(AGENT, "init", _timeout=300)
    # From here on it has run: pyinfra takes one command after the other.
    public = host.get_fact(ops.Text, path=RECEIPT_KEY).strip() if state.is_executing else ""
    if public:
        ops.note("receipt key", key=public)
    yield ops.Placed(ops.File(MARK, f"{mark}\n".encode(), mode=0o600))
