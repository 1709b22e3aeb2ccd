"""The host `inet`: what the rest of the world is to a lab. Its configuration, as texts.

BIND is in charge of the organisation's domains and takes updates signed with the lab's key; it
passes all other questions on to this machine's resolvers. Pebble is a real ACME authority that
looks where the DNS says, on ports 80 and 443.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Sequence

DOMAIN = "lab.internal"  # ICANN keeps .internal for private use
ACME_NAME = f"acme.{DOMAIN}"
ACME_PORT, ROOTS_PORT = 14000, 15000
DIRECTORY = f"https://{ACME_NAME}:{ACME_PORT}/dir"
KEY = "releve-lab"
TTL = 30  # seconds: a drill must not wait long for the world to notice a move


def zones_of(declared: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Given the declared domains and all names in use, return the zones that are needed.

    A name that no declared domain holds brings the two last labels of itself: enough for the
    example domains of a lab.
    """
    zones = set(declared)
    for name in names:
        labels = name.split(".")
        if len(labels) < 2 or re.fullmatch(r"[0-9]+", labels[-1]):
            continue
        if not any(name == zone or name.endswith(f".{zone}") for zone in zones):
            zones.add(".".join(labels[-2:]))
    return tuple(sorted(zones))


def reverse_zone(address: str) -> str:
    """The zone in which the name of one of our addresses stands: of its /24, or of its /48."""
    labels = ipaddress.ip_address(address).reverse_pointer.split(".")
    return ".".join(labels[1:] if len(labels) == 6 else labels[20:])


def zone_file(zone: str, address: str, address6: str | None) -> str:
    """The first content of a zone: who is in charge of it."""
    inside = not zone.endswith(".arpa")
    server = f"ns.{zone}." if inside else f"ns.{DOMAIN}."
    lines = [
        f"$TTL {TTL}",
        f"{zone}. IN SOA {server} hostmaster.{DOMAIN}. 1 3600 600 86400 5",
        f"{zone}. IN NS {server}",
    ]
    if inside:
        lines.append(f"{server} IN A {address}")
        lines += [f"{server} IN AAAA {address6}"] if address6 else []
    if zone == DOMAIN:
        lines.append(f"{ACME_NAME}. IN A {address}")
    return "\n".join(lines) + "\n"


def named_conf(zones: Sequence[str], forwarders: Sequence[str], secret: str) -> str:
    """BIND's configuration. `secret`: the TSIG key, base64."""
    passed_on = f"forwarders {{ {' '.join(f'{a};' for a in forwarders)} }}; forward only;"
    text = f"""key "{KEY}" {{ algorithm hmac-sha256; secret "{secret}"; }};
options {{
    directory "/var/cache/bind";
    listen-on {{ any; }};
    listen-on-v6 {{ any; }};
    allow-query {{ any; }};
    recursion yes;
    allow-recursion {{ any; }};
    {passed_on if forwarders else ""}
    dnssec-validation no;
    minimal-responses yes;
    notify no;
}};
"""
    for zone in zones:
        text += (
            f'zone "{zone}" {{ type primary; file "/var/lib/bind/{zone}.db"; '
            f'allow-update {{ key "{KEY}"; }}; allow-transfer {{ key "{KEY}"; }}; }};\n'
        )
    return text


def resolvers(text: str, systemd: str = "") -> tuple[str, ...]:
    """Given /etc/resolv.conf, return the resolvers that a lab host can reach too.

    `systemd`: the real list of systemd-resolved, whose stub listens on loopback only. Empty:
    the lab asks the root servers itself.
    """
    for source in (text, systemd):
        found = []
        for word in re.findall(r"^\s*nameserver\s+(\S+)", source, re.MULTILINE):
            try:
                address = ipaddress.ip_address(word)
            except ValueError:
                continue  # an address with an interface's name: ours alone
            if not (address.is_loopback or address.is_link_local or address.version == 6):
                found.append(word)
        if found:
            return tuple(found)
    return ()


def pebble_json() -> str:
    """Pebble's configuration; certificates live 90 days as in production."""
    return json.dumps(
        {
            "pebble": {
                "listenAddress": f"0.0.0.0:{ACME_PORT}",
                "managementListenAddress": f"0.0.0.0:{ROOTS_PORT}",
                "certificate": "/etc/pebble/cert.pem",
                "privateKey": "/etc/pebble/key.pem",
                "httpPort": 80,
                "tlsPort": 443,
                "ocspResponderURL": "",
                "externalAccountBindingRequired": False,
                "certificateValidityPeriod": 90 * 86400,
            }
        }
    )


PEBBLE_UNIT = """[Unit]
Description=ACME authority of the lab
After=named.service

[Service]
User=daemon
ExecStart=/usr/bin/pebble -config /etc/pebble/config.json -dnsserver 127.0.0.1:53
# Without these it sleeps up to 15 s before it looks, and refuses one request in twenty to see
# whether clients try again.
Environment=PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""
