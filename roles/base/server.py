"""Who sets a YunoHost server up, and who would be shut out by that. Pure."""

from __future__ import annotations

from ipaddress import ip_network

from inventories.model import Host, Inventory, YunohostHost
from roles.base.keys import bare

_SUDO = "security.password.passwordless_sudo"
# From where YunoHost lets root in (conf/ssh/sshd_config of 12.1.25). A host that stands in one of
# these is reached from there, too.
_NEAR = tuple(
    ip_network(text)
    for text in (
        "192.168.0.0/16",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "169.254.0.0/16",
        "fe80::/10",
        "fd00::/8",
    )
)


def first_operator(host: Host, inventory: Inventory) -> str | None:
    """The account that sets a blank server up: the first operator with an SSH key."""
    described = host.yunohost or YunohostHost()
    for name, one in described.operators.items():
        person = inventory.people.get(one.person)
        if not one.absent and person is not None and person.ssh_keys:
            return name
    return None


def shut_out(host: Host, inventory: Inventory, own: str | None) -> str:
    """Why a blank server must not be set up, or "": afterwards nobody would get in to go on.

    YunoHost then lets root in from private networks only, and an operator's sudo asks for a
    password unless told otherwise. `own`: the key of this session, "TYPE BASE64".
    """
    described = host.yunohost or YunohostHost()
    mine = [
        name
        for name, one in described.operators.items()
        if not one.absent
        and one.person in inventory.people
        and own in {bare(line) for line in inventory.people[one.person].ssh_keys}
    ]
    near = any(host.address in network for network in _NEAR)
    if described.settings.get(_SUDO) is True:
        if mine or near or own is None:
            return ""
        return (
            f"{host.id}: the key that opened this session belongs to none of the operators in "
            f"[hosts.{host.id}.yunohost.operators], and once YunoHost is set up root is let in "
            f"from private networks only: you would be shut out. Add it to one of them: {own}"
        )
    if host.user == "root" and near:
        return ""
    return (
        f"{host.id}: once YunoHost is set up, root is let in from private networks only, and "
        "operators need a password for sudo, which no deploy can type. Write "
        f'[hosts.{host.id}.yunohost] settings = {{ "{_SUDO}" = true }}.'
    )
