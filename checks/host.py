"""Judge what `agent.py status` says of a host. Pure: a document in, findings out.

Limits, and why:
- disk: warning from 80 % used, critical from 90 %, for bytes and for inodes. A share and not an
  amount: small disks would cry without end, large ones never.
- memory: warning below 10 % available, critical below 4 %: then the kernel begins to kill.
- load: warning above 2 per processor over 15 minutes, critical above 8.
- clock: warning when 5 s off or not synchronised, critical when 60 s off: certificates, one-time
  passwords and the dates of copies stop meaning anything.
- updates: the lists of available updates must be younger than three days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from roles.interface import Finding

GIB = 1 << 30
DISK_WARNING, DISK_CRITICAL = 0.80, 0.90
MEMORY_WARNING, MEMORY_CRITICAL = 0.10, 0.04
LOAD_WARNING, LOAD_CRITICAL = 2.0, 8.0
CLOCK_WARNING, CLOCK_CRITICAL = 5.0, 60.0
LISTS_OLD = 3 * 86400.0

Status = Mapping[str, Any]

# What is judged of every host, in the order of the report. "ssh" is the look itself.
CHECKS = (
    "ssh", "disk", "memory", "load", "units", "updates", "reboot", "clock", "agent", "epoch",
    "inventory",
)  # fmt: skip


def parse_time(text: str) -> datetime:
    """Given ISO 8601 with a zone ("Z" is fine), return the moment. Raise ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return moment.astimezone(UTC)


def disk(status: Status) -> Finding:
    """Every mounted file system, bytes and inodes; the fullest one is named."""
    worst: tuple[float, str] = (-1.0, "")
    for mount in status["disk"]:
        for what, unit in (("bytes", "space"), ("inodes", "inodes")):
            total, free = int(mount[f"{what}_total"]), int(mount[f"{what}_free"])
            if total <= 0:  # btrfs and overlays count no inodes
                continue
            used = 1 - free / total
            rest = f"{free / GIB:.1f} GiB" if what == "bytes" else f"{free} inodes"
            worst = max(worst, (used, f"{mount['mount']}: {used:.0%} {unit} used, {rest} left"))
    if worst[0] < 0:
        return Finding("unknown", "the host names no disk")
    remedy = "On the host: du -xh / | sort -h | tail; journalctl --vacuum-size=200M; apt clean"
    if worst[0] >= DISK_CRITICAL:
        return Finding("critical", f"{worst[1]}: databases stop when it is full. {remedy}")
    if worst[0] >= DISK_WARNING:
        return Finding("warning", f"{worst[1]}. {remedy}")
    return Finding("ok", worst[1])


def memory(status: Status) -> Finding:
    """Memory that programs can still get, caches counted as free."""
    total, available = int(status["memory"]["total"]), int(status["memory"]["available"])
    share = available / total
    said = f"{available / GIB:.1f} of {total / GIB:.1f} GiB memory available"
    if share < MEMORY_CRITICAL:
        return Finding("critical", f"{said}: programs are about to be killed. On the host: top")
    if share < MEMORY_WARNING:
        return Finding("warning", f"{said}. On the host: top")
    return Finding("ok", said)


def load(status: Status) -> Finding:
    """The load of the last 15 minutes per processor."""
    quarter, cpus = float(status["load"][2]), max(1, int(status["cpus"]))
    said = f"load {quarter:.1f} on {cpus} processor(s)"
    if quarter / cpus > LOAD_CRITICAL:
        return Finding("critical", f"{said}: the host hardly answers. On the host: top")
    if quarter / cpus > LOAD_WARNING:
        return Finding("warning", f"{said}: people wait. On the host: top")
    return Finding("ok", said)


def units(status: Status) -> Finding:
    """systemd units in the state "failed"."""
    failed = [str(unit) for unit in status["failed_units"]]
    if failed:
        return Finding(
            "warning",
            f"failed: {', '.join(failed[:5])}{' …' if len(failed) > 5 else ''}. On the host: "
            f"systemctl status {failed[0]}; then systemctl reset-failed",
        )
    return Finding("ok", "no failed unit")


def updates(status: Status) -> Finding:
    """Security updates that wait, and whether anybody looked for them lately."""
    said = status["updates"]
    if said["security"] is None:
        return Finding(
            "unknown", "the host does not know whether security updates wait: apt update"
        )
    number = int(said["security"])
    if number:
        return Finding(
            "warning",
            f"{number} security update(s) wait; they should install themselves within a day. "
            "If they do not: journalctl -u apt-daily-upgrade",
        )
    if said.get("checked_at"):
        age = (parse_time(status["now"]) - parse_time(said["checked_at"])).total_seconds()
        if age > LISTS_OLD:
            return Finding(
                "warning",
                f"nobody looked for security updates for {age / 86400:.0f} days. On the host: "
                "systemctl status apt-daily.timer",
            )
    return Finding("ok", "no security update waits")


def reboot(status: Status) -> Finding:
    """Whether updates want the host to start again."""
    if status["updates"].get("reboot"):
        return Finding("warning", "updates take effect after a restart of the host only: plan one")
    return Finding("ok", "no restart needed")


def clock(status: Status, now: datetime) -> Finding:
    """The host's clock against ours (`now`, UTC), and whether anything keeps it right."""
    off = abs((parse_time(status["now"]) - now).total_seconds())
    said = f"the clock is {off:.0f} s off"
    if off > CLOCK_CRITICAL:
        return Finding("critical", f"{said} (or ours is): systemctl status systemd-timesyncd")
    if off > CLOCK_WARNING:
        return Finding("warning", f"{said} (or ours is): systemctl status systemd-timesyncd")
    if status["clock"].get("synchronized") is False:
        return Finding(
            "warning", "nothing keeps the clock right: systemctl status systemd-timesyncd"
        )
    return Finding("ok", "the clock is right")


def agent(status: Status, expected: str | None) -> Finding:
    """The agent's version against ours (None: not known here)."""
    version = str(status["agent"])
    if expected is not None and version != expected:
        return Finding("warning", f"agent {version}, this Relève brings {expected}: releve deploy")
    return Finding("ok", f"agent {version}")


def epoch(status: Status, expected: int) -> Finding:
    """Whether this host may serve: its epoch against the inventory's."""
    has = int(status["epoch"])
    if status["fenced"]:
        return Finding(
            "critical",
            "this host is fenced: its services were restored elsewhere, and it has stopped serving "
            "so that data does not fork. Take it out of the inventory, or erase and redeploy it.",
        )
    if has < expected:
        return Finding(
            "critical",
            f"this host has epoch {has}, the inventory says {expected}: it is an old copy "
            "that came back. Shut it down before people write to it.",
        )
    if has > expected:
        return Finding(
            "warning",
            f"this host has epoch {has}, this inventory says {expected}: you hold an old inventory",
        )
    return Finding("ok", f"epoch {has}")


def inventory(status: Status, expected: str | None) -> Finding:
    """Whether the host was brought to what this inventory says (digests)."""
    applied = status.get("digest")
    if expected is None:
        return Finding("ok", "not compared")
    if not applied:
        return Finding(
            "warning", "no deploy of all of this host came to its end yet: releve deploy"
        )
    if applied != expected:
        return Finding(
            "warning", "the host was deployed from another state of the inventory: releve plan"
        )
    if unclaimed := [str(name) for name in status.get("unclaimed", ())]:
        return Finding(
            "warning",
            f"the inventory asks for these no more, and they go on: {', '.join(unclaimed)}. To "
            "switch them off, with their data left where they are: releve deploy --retire",
        )
    return Finding("ok", "deployed from this inventory")


def judge(
    status: Status, *, now: datetime, agent_version: str | None, epoch_: int, digest: str | None
) -> dict[str, Finding]:
    """All of the above but "ssh", by name. A part that is missing or malformed is "unknown":
    an older agent must not bring a whole check down."""
    looks: dict[str, Callable[[], Finding]] = {
        "disk": lambda: disk(status),
        "memory": lambda: memory(status),
        "load": lambda: load(status),
        "units": lambda: units(status),
        "updates": lambda: updates(status),
        "reboot": lambda: reboot(status),
        "clock": lambda: clock(status, now),
        "agent": lambda: agent(status, agent_version),
        "epoch": lambda: epoch(status, epoch_),
        "inventory": lambda: inventory(status, digest),
    }
    found: dict[str, Finding] = {}
    for name, look in looks.items():
        try:
            found[name] = look()
        except (
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            ArithmeticError,
            AttributeError,
        ) as error:
            found[name] = Finding(
                "unknown", f"the agent did not say ({type(error).__name__}: {error}): releve deploy"
            )
    return found
