"""Who watches the watch: its last look must be recent. Pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from inventories.model import Host, Inventory
from roles.interface import Finding, InsideProbe

STATE = "/var/lib/releve/checks/state.json"


def judge_recent(exit_code: int, stdout: str) -> Finding:
    """Judge `find STATE -mmin -N`: it prints the file's name when the last look is recent."""
    if exit_code == 0 and stdout.strip():
        return Finding("ok", "the watch has looked lately")
    if exit_code == 0:
        return Finding(
            "critical",
            "the watch has stopped looking: nobody would be told of a failure. On that host: "
            "systemctl status cron, then the journal of releve-checks.",
        )
    return Finding("warning", "the watch has not looked once yet: wait, then look again")


def inside(host: Host, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What is asked of a watch host: three missed rounds are too many."""
    minutes = 3 * int(inventory.watch.every.total_seconds()) // 60 + 2
    return (InsideProbe("looks", ("find", STATE, "-mmin", f"-{minutes}"), judge_recent, timeout=5),)
