"""What every YunoHost server must be: set up, with its own services running, and with nothing
that its own diagnosis complains of. Pure. No probe starts `yunohost`: a status is asked for every
few minutes."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import json

from inventories.model import Host, Inventory
from platforms.yunohost import commands
from roles.base import probes
from roles.interface import Finding, InsideProbe

# Without these nobody can log in, see a page, or get mail.
SERVICES = (
    "nginx",
    "slapd",
    "dovecot",
    "postfix",
    "dnsmasq",
    "fail2ban",
    "yunohost-api",
    "yunohost-portal-api",
)

# Prints {category: [summary, …]} of what the last diagnosis found wrong and nobody has chosen to
# ignore. YunoHost runs it twice a day and keeps what it found in these files.
_DIAGNOSIS = """
import glob, json, os
found = {}
for path in sorted(glob.glob("/var/cache/yunohost/diagnosis/*.json")):
    with open(path) as file:
        told = json.load(file)
    wrong = [i for i in told.get("items", []) if i.get("status") == "ERROR"]
    if wrong:
        found[os.path.basename(path)[:-5]] = [str(i.get("summary", "")) for i in wrong]
print(json.dumps(found))
"""


def judge_set_up(exit_code: int, stdout: str) -> Finding:
    """Judge `test -e` of YunoHost's own mark."""
    if exit_code != 0:
        return Finding(
            "critical", "YunoHost is not set up on this host. `releve deploy` sets it up."
        )
    return Finding("ok", "YunoHost is set up")


def judge_services(exit_code: int, stdout: str) -> Finding:
    """Judge `systemctl is-active`: a line for each of SERVICES."""
    states = stdout.split()
    if len(states) != len(SERVICES):
        return Finding("unknown", f"systemctl ended with code {exit_code}")
    down = [
        f"{name} ({state})"
        for name, state in zip(SERVICES, states, strict=True)
        if state not in ("active", "activating", "reloading")
    ]
    if down:
        return Finding(
            "critical",
            f"not running: {', '.join(down)}. On the host: yunohost service log NAME, then "
            "yunohost service restart NAME.",
        )
    return Finding("ok", f"{len(SERVICES)} services of YunoHost run")


def judge_portal(exit_code: int, stdout: str) -> Finding:
    """Judge what members' page says to anybody: JSON."""
    if exit_code != 0:
        return Finding(
            "critical",
            "the portal does not answer, so nobody can log in. On the host: yunohost service "
            "restart yunohost-portal-api.",
        )
    try:
        json.loads(stdout)
    except ValueError:
        return Finding("critical", "the portal answers something that is not its own")
    return Finding("ok", "the portal answers")


def judge_diagnosis(exit_code: int, stdout: str) -> Finding:
    """Judge what YunoHost's last diagnosis found."""
    try:
        found = json.loads(stdout) if exit_code == 0 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return Finding("unknown", "what YunoHost's diagnosis found cannot be read")
    if found:
        told = ", ".join(f"{name} ({len(wrong)})" for name, wrong in found.items())
        return Finding(
            "warning",
            f"YunoHost's own diagnosis found errors: {told}. On the host: yunohost diagnosis show "
            "--issues --human-readable.",
        )
    return Finding("ok", "YunoHost's own diagnosis found no error")


def judge_ssh(exit_code: int, stdout: str) -> Finding:
    """As on any host; but passwords are YunoHost's default, hence a warning."""
    found = probes.judge_ssh(exit_code, stdout)
    if found.level == "critical":
        return Finding(
            "warning",
            "SSH accepts passwords: they are being guessed day and night. Write "
            '"security.ssh.ssh_password_authentication" = false below settings of this host.',
        )
    return found


def inside(host: Host, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What is asked of every YunoHost server."""
    portal = ("curl", "-fsS", "--max-time", "10", "http://127.0.0.1:6788/public")
    return (
        InsideProbe("set-up", ("test", "-e", commands.INSTALLED_MARKER), judge_set_up),
        InsideProbe("services", ("systemctl", "is-active", "--", *SERVICES), judge_services),
        InsideProbe("portal", portal, judge_portal),
        InsideProbe("diagnosis", ("python3", "-I", "-S", "-c", _DIAGNOSIS), judge_diagnosis),
        InsideProbe("ssh-passwords", ("/usr/sbin/sshd", "-T"), judge_ssh),
        InsideProbe("firewall", ("/usr/sbin/nft", "list", "ruleset"), probes.judge_firewall),
    )
