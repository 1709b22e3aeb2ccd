"""What a host lets in. Pure."""

from __future__ import annotations

from inventories.model import Host, Inventory
from roles.interface import Absent

PATH = "/etc/nftables.d/releve.nft"

# What loads at boot. It owns nothing but the folder, so that an admin's own file can lie there.
MAIN = b"""#!/usr/sbin/nft -f
# Written by Releve. Rules of your own go into a file beside releve.nft.
include "/etc/nftables.d/*.nft"
"""


def ports(host: Host, inventory: Inventory) -> tuple[int, ...]:
    """The TCP ports that a host answers on, sorted."""
    # Imported here because the registry imports this role.
    from roles.registry import SERVICES

    found = {host.port, 22}
    for service in inventory.services_on(host.id):
        on = SERVICES[service.role].on.get(host.platform) if service.role in SERVICES else None
        found |= {80, 443}
        if on is not None and not isinstance(on.ports, Absent):
            found |= set(on.ports(service, inventory))
    return tuple(sorted(found))


def rules(host: Host, inventory: Inventory) -> bytes:
    """The nftables file of a host: a table of our own, replaced in one step when it is loaded.

    In: SSH, web on hosts with services, what these ask for, ICMP (without which IPv6 and path MTU
    break, RFC 4890), DHCP's answers, and what belongs to a connection that is open, our own
    included.
    """
    # ICMP and ICMPv6 by number: a small system has no /etc/protocols to look their names up in.
    listed = ", ".join(str(port) for port in ports(host, inventory))
    return f"""# Written by Releve.
table inet releve
delete table inet releve
table inet releve {{
	chain input {{
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		ct state invalid drop
		iif "lo" accept
		meta l4proto {{ 1, 58 }} accept
		udp sport 67 udp dport 68 accept
		ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept
		tcp dport {{ {listed} }} accept
	}}
}}
""".encode()
