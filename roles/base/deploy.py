"""What every host gets, by pyinfra: operators' keys, security upgrades, time, firewall."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from pyinfra.context import host as target

from inventories.model import Host, Inventory
from platforms import ops
from roles.base import firewall, keys

_PACKAGES = ("ca-certificates", "cron", "nftables", "openssh-server", "python3")
_UPGRADES = ("unattended-upgrades",)
_CLOCKS = {"chrony", "ntpsec", "openntpd", "systemd-timesyncd"}

# The first word on a subject is the one sshd follows, and it reads these files in order.
_SSHD = b"""# Written by Releve.
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
X11Forwarding no
"""

_PERIODIC = b"""// Written by Releve.
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
"""


class LockedOutError(Exception):
    """The new list of keys lacks the one that this session was opened with."""


def install(host: Host, inventory: Inventory) -> None:
    """Queue packages and folders."""
    # A host has one clock daemon: an admin's own choice stays.
    clock = () if _CLOCKS & ops.installed() else ("systemd-timesyncd",)
    ops.packages(names=(*_PACKAGES, *_UPGRADES, *clock), name="Packages of every host")
    ops.place(
        items=(
            ops.Folder("/etc/releve"),
            ops.Folder("/usr/local/lib/releve"),
            ops.Folder("/var/lib/releve", mode=0o700),
        ),
        name="Folders of Relève",
    )


def configure(host: Host, inventory: Inventory) -> None:
    """Queue who may log in, what comes in, and that security fixes install themselves."""
    ops.place(items=access(host, inventory), name="Who may log in")
    ops.place(
        items=(
            ops.Folder("/etc/nftables.d"),
            ops.File("/etc/nftables.conf", firewall.MAIN, mode=0o755),
        ),
        name="Folder of the firewall",
    )
    ops.tested(
        file=ops.File(firewall.PATH, firewall.rules(host, inventory)),
        test=f"nft -c -f {firewall.PATH}",
        load=f"nft -f {firewall.PATH}",
        holds="nft list table inet releve",
        name="Firewall",
    )
    ops.tested(
        file=ops.File("/etc/ssh/sshd_config.d/00-releve.conf", _SSHD),
        test="/usr/sbin/sshd -t",
        load="systemctl try-reload-or-restart ssh",
        holds=":",
        name="SSH with keys only",
    )
    ops.place(
        items=[ops.File("/etc/apt/apt.conf.d/60releve-periodic", _PERIODIC)],
        name="Security upgrades install themselves",
    )
    ops.units(
        enabled=("nftables.service",),
        running=("apt-daily.timer", "apt-daily-upgrade.timer"),
        name="Firewall and upgrades at boot",
    )


def activate(host: Host, inventory: Inventory) -> None:
    """Nothing: none of it waits for DNS."""


def access(host: Host, inventory: Inventory) -> tuple[ops.Item, ...]:
    """The lists of keys on a host. Raise LockedOutError rather than lock us out."""
    secrets = ops.secrets()
    watch = keys.watchers(
        (name, keys.public_half(secrets.get(f"host.{name}.watch")))
        for name, other in inventory.hosts.items()
        if "watch" in other.roles
    )
    people = keys.operators(inventory)
    connection = getattr(target.connector, "connection", None)
    own = connection.own_key if connection is not None else None
    if own is not None and own not in {keys.bare(line) for line in people}:
        raise LockedOutError(
            f"{host.id}: the key that opened this session is not among the operators' keys in the "
            "inventory, so this deploy would lock you out. Add it to a person with the duty "
            f'"deploy" or "restore", or use one that is there (RELEVE_SSH_KEY). The key: {own}'
        )
    if not people:
        raise LockedOutError(
            f'{host.id}: nobody in the inventory has an SSH key and the duty "deploy" or '
            '"restore"; this deploy would lock everybody out'
        )
    lines = {"root": [*people, *watch]}
    if host.user != "root":
        lines = {host.user: list(people), "root": list(watch)}
    items: list[ops.Item] = []
    for user, listed in lines.items():
        home = "/root" if user == "root" else f"/home/{user}"
        items += [
            ops.Folder(f"{home}/.ssh", mode=0o700, owner=user, group=user),
            ops.File(
                f"{home}/.ssh/authorized_keys",
                keys.authorized_keys(listed),
                mode=0o600,
                owner=user,
                group=user,
            ),
        ]
    return tuple(items)
