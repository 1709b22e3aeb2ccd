"""Shutting a rehearsal in: what a restored host may still reach.

A restored server believes that it is the real one. It would send queued mail, ping webhooks and
federate. So before any data arrives its outgoing traffic is cut to an allow-list, kept over a
reboot, and taken away only by destroying the host or by `release`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tools.ssh import Connection

_RULES = "/etc/releve/rehearsal.nft"
_UNIT = "/etc/systemd/system/releve-rehearsal.service"

_UNIT_TEXT = f"""[Unit]
Description=Keep a rehearsal from reaching the outside
DefaultDependencies=no
Before=network-pre.target
Wants=network-pre.target
After=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {_RULES}

[Install]
WantedBy=sysinit.target
"""


@dataclass(frozen=True)
class Way:
    """One way out that stays open: a TCP port, and a UDP one for DNS."""

    address: IPv4Address | IPv6Address
    port: int
    udp: bool = False


def ruleset(ways: Sequence[Way]) -> str:
    """The nftables rules that let nothing out but answers and `ways`. Loading it twice is harmless.

    The table is ours alone and stands before any other: a drop is final whoever says it.
    """
    lines = [
        "table inet releve_rehearsal",
        "delete table inet releve_rehearsal",
        "table inet releve_rehearsal {",
        "  chain output {",
        "    type filter hook output priority -10; policy drop;",
        '    oifname "lo" accept',
        "    ct state established,related accept",
        "    meta l4proto ipv6-icmp accept",
    ]
    for way in ways:
        family = "ip6" if way.address.version == 6 else "ip"
        lines.append(f"    {family} daddr {way.address} tcp dport {way.port} accept")
        if way.udp:
            lines.append(f"    {family} daddr {way.address} udp dport {way.port} accept")
    lines += [
        "    counter",
        "  }",
        "  chain forward {",
        "    type filter hook forward priority -10; policy drop;",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def shut_in(connection: Connection, ways: Sequence[Way]) -> None:
    """Cut the host's outgoing traffic to `ways`, now and after a reboot.

    Raise CommandError when the rules are not in force afterwards: no data may arrive then.
    """
    connection.run(("mkdir", "-p", "-m", "700", "/etc/releve"))
    connection.write(_RULES, ruleset(ways).encode())
    connection.write(_UNIT, _UNIT_TEXT.encode(), mode=0o644)
    connection.run(("systemctl", "daemon-reload"))
    connection.run(("systemctl", "enable", "--quiet", "releve-rehearsal.service"))
    connection.run(("nft", "-f", _RULES))
    connection.run(("nft", "list", "chain", "inet", "releve_rehearsal", "output"))


def release(connection: Connection) -> None:
    """Let the host out again. Only for a host that becomes the real one."""
    connection.run(("systemctl", "disable", "--quiet", "releve-rehearsal.service"), check=False)
    connection.run(("rm", "-f", _UNIT, _RULES))
    connection.run(("nft", "delete", "table", "inet", "releve_rehearsal"), check=False)
