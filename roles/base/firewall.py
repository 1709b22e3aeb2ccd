"""What a host lets in. Pure."""

from __future__ import annotations

from inventories.model import Host, Inventory

PATH = "/etc/nftables.d/releve.nft"

# What loads at boot. It owns nothing but the folder, so that an admin's own file can lie there.
MAIN = b"""#!/usr/sbin/nft -f
# Written by Releve. Rules of your own go into a file beside releve.nft.
include "/etc/nftables.d/*.nft"
"""


def rules(host: Host, inventory: Inventory) -> bytes:
    """The nftables file of a host: a table of our own, replaced in one step when it is loaded.

    In: SSH, web on hosts with services, ICMP (without which IPv6 and path MTU break, RFC 4890),
    DHCP's answers, and what belongs to a connection that is open, our own included.
    """
    ports = sorted({host.port, 22} | ({80, 443} if inventory.services_on(host.id) else set()))
    # ICMP and ICMPv6 by number: a small system has no /etc/protocols to look their names up in.
    listed = ", ".join(str(port) for port in ports)
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
