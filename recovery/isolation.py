"""Shutting a rehearsal in: what a restored host may still reach.

A restored server believes that it is the real one. It would send queued mail, ping webhooks and
federate. So before any data arrives its outgoing traffic is cut to an allow-list, kept over a
reboot, and taken away only by destroying the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tools.ssh import Connection

_RULES = "/etc/releve/rehearsal.nft"
_UNIT = "/etc/systemd/system/releve-rehearsal.service"
# A firewall that is loaded anew throws every table away, ours as well: it brings ours back in the
# same breath where it reads this folder (YunoHost's does), and right after anywhere else.
_INCLUDED = "/etc/nftables.d/releve-rehearsal.conf"
_AFTER = "/etc/systemd/system/nftables.service.d/releve-rehearsal.conf"

# Whoever installs packages while the data of a platform comes back that needs some. Services have
# accounts of their own; so have mail servers.
INSTALLERS = ("root", "_apt", "dnsmasq")

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

_AFTER_TEXT = f"""[Service]
ExecStartPost=/usr/sbin/nft -f {_RULES}
ExecReload=/usr/sbin/nft -f {_RULES}
ExecStopPost=/usr/sbin/nft -f {_RULES}
"""


@dataclass(frozen=True)
class Way:
    """One way out that stays open: a TCP port."""

    address: IPv4Address | IPv6Address
    port: int


def ruleset(ways: Sequence[Way], installers: Sequence[str] = ()) -> str:
    """The nftables rules that let nothing out but answers and `ways`. Loading it twice is harmless.

    `installers`: accounts that may ask for names and fetch from web servers besides.
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
        "    meta l4proto 58 accept",  # ICMPv6: a bare Debian has no list of protocols' names
    ]
    for way in ways:
        family = "ip6" if way.address.version == 6 else "ip"
        lines.append(f"    {family} daddr {way.address} tcp dport {way.port} accept")
    if installers:
        who = ", ".join(f'"{name}"' for name in installers)
        lines += [
            f"    meta skuid {{ {who} }} tcp dport {{ 53, 80, 443 }} accept",
            f"    meta skuid {{ {who} }} udp dport 53 accept",
        ]
    lines += [
        "    counter",
        "  }",
        "  chain forward {",
        "    type filter hook forward priority -10; policy drop;",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def shut_in(connection: Connection, ways: Sequence[Way], installers: Sequence[str] = ()) -> None:
    """Cut the host's outgoing traffic to `ways`, now and after a reboot; called again with less,
    to less. `installers`: see `ruleset`.

    Raise CommandError when the rules are not in force afterwards: no data may arrive then.
    """
    connection.run(("mkdir", "-p", "-m", "700", "/etc/releve"))
    rules = ruleset(ways, installers).encode()
    connection.write(_RULES, rules)
    connection.run(("mkdir", "-p", _INCLUDED.rpartition("/")[0], _AFTER.rpartition("/")[0]))
    connection.write(_INCLUDED, rules)
    connection.write(_AFTER, _AFTER_TEXT.encode(), mode=0o644)
    connection.write(_UNIT, _UNIT_TEXT.encode(), mode=0o644)
    connection.run(("systemctl", "daemon-reload"))
    connection.run(("systemctl", "enable", "--quiet", "releve-rehearsal.service"))
    connection.run(("nft", "-f", _RULES))
    connection.run(("nft", "list", "chain", "inet", "releve_rehearsal", "output"))
