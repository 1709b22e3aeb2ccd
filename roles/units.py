"""How systemd units are asked and judged. Pure."""

from __future__ import annotations

from roles.interface import Finding, InsideProbe

_RUNS = ("active", "reloading")


def judge_units(exit_code: int, stdout: str) -> Finding:
    """Judge `systemctl show`, a block of lines for each unit: running, and not falling over again
    and again. The worst is named."""
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in stdout.split("\n\n")
        if block.strip()
    ]
    if exit_code != 0 or not blocks or not all(said.get("ActiveState") for said in blocks):
        return Finding("unknown", f"systemctl ended with code {exit_code} and named no state")
    for said in blocks:
        name, state = said.get("Id", "the service"), said["ActiveState"]
        if state not in _RUNS:
            return Finding(
                "critical",
                f"{name} does not run ({state}). On the host: systemctl start {name}; what "
                f"happened: journalctl -u {name} --since -1h",
            )
    for said in blocks:
        restarts = said.get("NRestarts", "0")
        if restarts.isdigit() and int(restarts) >= 3:
            return Finding(
                "warning",
                f"{said.get('Id', 'the service')} was started again {restarts} times since the "
                "host booted: it keeps falling over. Its journal says why.",
            )
    names = " and ".join(said.get("Id", "the service") for said in blocks)
    return Finding("ok", f"{names} {'runs' if len(blocks) == 1 else 'run'}")


def probe(*units: str, name: str = "unit") -> InsideProbe:
    """The probe of these units, with their suffixes."""
    argv = ("systemctl", "show", "--property=Id,ActiveState,NRestarts", "--", *units)
    return InsideProbe(name, argv, judge_units)
