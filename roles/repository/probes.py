"""What the host that keeps the copies must be: able to store, unable to let anybody delete."""

from __future__ import annotations

from collections.abc import Callable

from inventories.model import Host, Inventory
from roles.interface import Finding, InsideProbe

GATE = "/usr/local/lib/releve/repository/gate"


def judge_keys(exit_code: int, stdout: str) -> Finding:
    """Judge `authorized_keys`: every key must end at the gate, or a thief could delete copies."""
    if exit_code != 0:
        return Finding(
            "critical", "the repository's authorized_keys cannot be read: no host can save"
        )
    lines = [
        line for line in stdout.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    # Options are one comma-separated word before the key's type (sshd(8)).
    loose = [
        line for line in lines if not (line.startswith("restrict,") and f'command="{GATE} ' in line)
    ]
    if loose:
        return Finding(
            "critical",
            f"{len(loose)} key(s) open the repository without the gate (ends in "
            f"{loose[0].strip()[-30:]!r}): whoever holds one can delete every copy. Remove them, "
            "or run `releve deploy`.",
        )
    if not lines:
        return Finding("warning", "no host may save here yet: run `releve deploy`")
    return Finding("ok", f"{len(lines)} key(s), each confined by the gate")


def judge_server(exit_code: int, stdout: str) -> Finding:
    """Judge `rclone version`: without it, no host can save."""
    first = stdout.splitlines()[0] if stdout else ""
    if exit_code != 0 or not first.startswith("rclone v"):
        return Finding("critical", "rclone does not start: no host can save. apt install rclone")
    return Finding("ok", f"{first} is ready")


def _judge_mode(path: str) -> Callable[[int, str], Finding]:
    def judge(exit_code: int, stdout: str) -> Finding:
        """Judge `stat --format=%a`: others must neither read nor write."""
        mode = stdout.strip()
        if exit_code != 0 or not mode.isdecimal():
            return Finding("critical", f"{path} is not there: no copies are kept here")
        if int(mode, 8) & 0o007:
            return Finding(
                "warning", f"{path} is open to every user of the host (mode {mode}): chmod o= it"
            )
        return Finding("ok", f"{path} is closed to others")

    return judge


def inside(host: Host, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What is asked of a host that keeps repositories, for each Unix user it keeps them under."""
    users = dict.fromkeys(r.url.user for r in inventory.repositories.values() if r.host == host.id)
    probes = [InsideProbe("rclone", ("rclone", "version"), judge_server)]
    for user in users:
        home = f"/srv/releve/{user}"
        probes.append(
            InsideProbe(
                f"keys-{user}", ("cat", f"{home}/.ssh/authorized_keys"), judge_keys, timeout=5
            )
        )
        probes.append(
            InsideProbe(
                f"mode-{user}", ("stat", "--format=%a", "--", home), _judge_mode(home), timeout=5
            )
        )
    return tuple(probes)
