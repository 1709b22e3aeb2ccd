"""Every file that a host's agent needs, ready to be placed by a deploy. Pure but for reading
the files of this very program."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from agent.plan import ETC, host_key, known_hosts, render
from inventories.model import Inventory
from inventories.secrets import Secrets
from roles.registry import HOSTS

PROGRAMS = "/usr/local/lib/releve"
AGENT = f"{PROGRAMS}/agent.py"
UNITS = "/etc/systemd/system"
# Units that a deploy enables once they are placed.
ENABLED = ("releve-undo.service", "releve-guard.service")

_HERE = Path(__file__).resolve().parent
_ROLES = _HERE.parent / "roles"
_PLATFORMS = _HERE.parent / "platforms"


@dataclass(frozen=True)
class HostFile:
    """A file as it must be on a host. `secret`: its content is never shown."""

    path: str
    mode: int
    content: bytes
    secret: bool = False
    owner: str = "root"


def _minute(host_id: str, what: str, span: int) -> int:
    """A number below `span`, always the same for a host: its turn in the night."""
    return int.from_bytes(hashlib.sha256(f"{what}:{host_id}".encode()).digest()[:4], "big") % span


_BACKUP_UNIT = f"""\
[Unit]
Description=Releve: save this host off site
After=network-online.target
Wants=network-online.target
ConditionPathExists=!/var/lib/releve/fenced

[Service]
Type=oneshot
ExecStart={AGENT} backup
ExecStopPost={AGENT} undo
# 75: somebody else holds this host's lock. The journal says so; nothing is broken.
SuccessExitStatus=75
TimeoutStartSec=infinity
Nice=10
"""

_UNDO_UNIT = f"""\
[Unit]
Description=Releve: undo what a broken-off backup held still
After=local-fs.target mariadb.service postgresql.service nginx.service

[Service]
Type=oneshot
ExecStart={AGENT} undo

[Install]
WantedBy=multi-user.target
"""

_GUARD_UNIT = f"""\
[Unit]
Description=Releve: stop serving if this host has been replaced
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
ExecStart={AGENT} guard

[Install]
WantedBy=multi-user.target
"""


def _agent() -> tuple[HostFile, ...]:
    """The agent's modules, and last the file that starts it."""
    modules = sorted((_HERE / "releve_agent").glob("*.py"))
    return (
        *(HostFile(f"{PROGRAMS}/releve_agent/{m.name}", 0o644, m.read_bytes()) for m in modules),
        HostFile(AGENT, 0o755, (_HERE / "agent.py").read_bytes()),
    )


def _programs(inventory: Inventory, host_id: str) -> tuple[HostFile, ...]:
    """The programs of this host's platform and roles, as they lie in platforms/PLATFORM/files and
    roles/ROLE/files."""
    host = inventory.hosts[host_id]
    roles = [name for name in HOSTS if name == "base" or name in host.roles]
    roles += sorted({service.role for service in inventory.services_on(host_id)})
    folders: dict[str, Path] = {host.platform: _PLATFORMS / host.platform / "files"}
    folders |= {role: _ROLES / role / "files" for role in roles}
    found = []
    for role, folder in folders.items():
        for file in sorted(folder.glob("*")) if folder.is_dir() else ():
            if file.is_file() and not file.name.startswith("."):
                found.append(HostFile(f"{PROGRAMS}/{role}/{file.name}", 0o755, file.read_bytes()))
    return tuple(found)


def files(inventory: Inventory, host_id: str, secrets: Secrets) -> tuple[HostFile, ...]:
    """Every file the agent of this host needs, in the order in which to place them.

    Raise MissingSecret when a secret named in docs/architecture.md is not there yet, ValueError
    when the repository's host key is not known: copies go to nobody we have not met.
    """
    host = inventory.hosts[host_id]
    plan = json.dumps(render(inventory, host_id), indent=1, sort_keys=True, ensure_ascii=False)
    found = [
        *_agent(),
        *_programs(inventory, host_id),
        HostFile(f"{ETC}/plan.json", 0o600, f"{plan}\n".encode()),
        HostFile(f"{UNITS}/releve-undo.service", 0o644, _UNDO_UNIT.encode()),
        HostFile(f"{UNITS}/releve-guard.service", 0o644, _GUARD_UNIT.encode()),
    ]
    if host.repository is None:
        return tuple(found)
    repository = inventory.repositories[host.repository]
    key = host_key(inventory, repository)
    if key is None:
        raise ValueError(
            f"{repository.host} has no host_key in the inventory: without it {host_id} would send "
            "its copies to whoever answers. Read it on that host "
            "(/etc/ssh/ssh_host_ed25519_key.pub) and write it there."
        )
    append = secrets.get(f"host.{host_id}.append").strip() + "\n"
    guard = f"{_minute(host_id, 'guard', 10)}-59/10 * * * *"
    return (
        *found,
        HostFile(f"{ETC}/known_hosts", 0o600, known_hosts(key)),
        HostFile(
            f"{ETC}/restic-password", 0o600, secrets.get(f"host.{host_id}.restic").encode(), True
        ),
        HostFile(f"{ETC}/append-key", 0o600, append.encode(), True),
        HostFile(f"{ETC}/fence-key", 0o600, secrets.get(f"host.{host_id}.fence").encode(), True),
        HostFile(f"{UNITS}/releve-backup.service", 0o644, _BACKUP_UNIT.encode()),
        HostFile(
            "/etc/cron.d/releve-guard",
            0o644,
            f"# Has this host been replaced? See releve-guard.service.\n"
            f"{guard} root systemctl start --no-block releve-guard.service\n".encode(),
        ),
    )


def cron(inventory: Inventory, host_id: str) -> HostFile | None:
    """The file that starts the nightly run, at this host's own minute between 01:00 and 04:59
    of its clock; None for a host that has no repository."""
    if inventory.hosts[host_id].repository is None:
        return None
    turn = _minute(host_id, "backup", 240)
    return HostFile(
        "/etc/cron.d/releve-backup",
        0o644,
        f"# What it says goes to the journal: journalctl -u releve-backup\n"
        f"{turn % 60} {1 + turn // 60} * * * root systemctl start --no-block "
        "releve-backup.service\n".encode(),
    )
