"""How a systemd unit is asked and judged. Pure."""

from __future__ import annotations

from roles.interface import Finding, InsideProbe


def judge_unit(exit_code: int, stdout: str) -> Finding:
    """Judge `systemctl show`: running, and not falling over again and again."""
    said = dict(line.split("=", 1) for line in stdout.splitlines() if "=" in line)
    name, state = said.get("Id", "the service"), said.get("ActiveState", "")
    if exit_code != 0 or not state:
        return Finding("unknown", f"systemctl ended with code {exit_code} and named no state")
    if state != "active":
        return Finding(
            "critical", f"{name} is {state}. On the host: journalctl -u {name} --since -1h"
        )
    restarts = said.get("NRestarts", "0")
    if restarts.isdigit() and int(restarts) >= 3:
        return Finding(
            "warning",
            f"{name} was started again {restarts} times since the host booted: it keeps falling "
            "over. Its journal says why.",
        )
    return Finding("ok", f"{name} runs")


def probe(unit: str, name: str = "unit") -> InsideProbe:
    """The probe of one unit, with its suffix."""
    argv = ("systemctl", "show", "--property=Id,ActiveState,NRestarts", "--", unit)
    return InsideProbe(name, argv, judge_unit)
