"""What every host must be: closed, patched, and not open to guessed passwords. Pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from inventories.model import Host, Inventory
from roles import units
from roles.interface import Finding, InsideProbe


def judge_ssh(exit_code: int, stdout: str) -> Finding:
    """Judge `sshd -T`: nobody may log in with a password."""
    if exit_code != 0:
        return Finding("unknown", f"sshd -T ended with code {exit_code}")
    said = {}
    for line in stdout.splitlines():
        key, _, value = line.partition(" ")
        said[key.lower()] = value.strip().lower()
    if said.get("passwordauthentication") != "no":
        return Finding(
            "critical",
            "SSH accepts passwords: they are being guessed day and night. `releve deploy` sets "
            "PasswordAuthentication no; somebody or something changed it.",
        )
    if said.get("permitrootlogin") == "yes":
        return Finding("warning", "SSH lets root in by any method; prohibit-password is enough")
    return Finding("ok", "SSH accepts keys only")


def judge_firewall(exit_code: int, stdout: str) -> Finding:
    """Judge `nft list ruleset`: an input chain whose policy is drop."""
    if exit_code != 0:
        return Finding("unknown", f"nft ended with code {exit_code}")
    if not any("hook input" in line and "policy drop" in line for line in stdout.splitlines()):
        return Finding(
            "critical",
            "the firewall lets everything in. On the host: systemctl restart nftables, then "
            "`releve deploy`.",
        )
    return Finding("ok", "the firewall is closed but for what is served")


def judge_upgrades(exit_code: int, stdout: str) -> Finding:
    """Judge `apt-config dump APT::Periodic::Unattended-Upgrade`: on means any number but 0."""
    value = stdout.partition('"')[2].partition('"')[0]
    if exit_code != 0 or value in ("", "0"):
        return Finding(
            "warning",
            "security upgrades are not installed by themselves; `releve deploy` switches them on",
        )
    return Finding("ok", "security upgrades install themselves")


def inside(host: Host, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What is asked of every host."""
    return (
        units.probe("cron.service", "apt-daily-upgrade.timer", name="schedule"),
        InsideProbe("ssh-passwords", ("/usr/sbin/sshd", "-T"), judge_ssh),
        InsideProbe("firewall", ("/usr/sbin/nft", "list", "ruleset"), judge_firewall),
        InsideProbe(
            "upgrades",
            ("apt-config", "dump", "APT::Periodic::Unattended-Upgrade"),
            judge_upgrades,
        ),
    )
