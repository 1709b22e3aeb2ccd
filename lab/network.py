"""A lab's network. On this machine it is one interface and one nftables table, both named after
the lab; all the rest lives in network namespaces of the lab's own.

    this machine  rl-ID ─ uplink ┐
                              core (bridge, in the namespace rl-ID) ── h2: the host `inet`
    datacenter 1  dc1 (bridge) ── l1a ══ l1b ┘      delay sits on this link
                   ├ h10: a host
                   └ h11: a host, in its own namespace rl-ID-11 as host0

Addresses: 10.213.INDEX.OCTET and fd5e:1e7e:INDEX::OCTET; .1 is this machine, .2 is `inet`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import sys
from pathlib import Path

from lab import cgroups, forwarder, processes, settings
from lab.errors import LabError
from lab.processes import run

GATEWAY, INET = 1, 2
NAMESPACES = Path("/run/netns")
_POOL = ipaddress.ip_network("10.213.0.0/16")


def subnet(index: int) -> ipaddress.IPv4Network:
    """The /24 of the lab with this index (0 to 255)."""
    return ipaddress.IPv4Network((int(_POOL.network_address) + (index << 8), 24))


def address(index: int, octet: int) -> str:
    """A host's IPv4 address."""
    return str(subnet(index)[octet])


def address6(index: int, octet: int) -> str:
    """A host's IPv6 address, of the range for private use (RFC 4193)."""
    return str(ipaddress.IPv6Address(f"fd5e:1e7e:{index:x}::{octet:x}"))


def has_ipv6() -> bool:
    """Whether this machine's kernel does IPv6 at all."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").read_text().strip() == "0"
    return False


def new_id() -> str:
    """Six letters that no interface or namespace of this machine carries yet."""
    while True:
        name = os.urandom(3).hex()
        if not _interface_exists(f"rl-{name}") and not (NAMESPACES / f"rl-{name}").exists():
            return name


def _routed() -> list[ipaddress.IPv4Network]:
    routes = json.loads(run(("ip", "-4", "-json", "route", "show", "table", "all")).stdout)
    routed = []
    for route in routes:
        with contextlib.suppress(ValueError):
            net = ipaddress.IPv4Network(route.get("dst", ""), strict=False)
            if net.prefixlen:
                routed.append(net)
    return routed


def is_free(index: int) -> bool:
    """Whether no route of this machine touches the /24 of this index."""
    return not any(subnet(index).overlaps(net) for net in _routed())


def free_index(taken: set[int]) -> int:
    """The first /24 of the pool that no lab has and that no route of this machine touches."""
    routed = _routed()
    for index in range(1, 255):
        if index not in taken and not any(subnet(index).overlaps(net) for net in routed):
            return index
    raise LabError(f"No free network is left in {_POOL}. See `releve lab status`; take labs down")


def uplink_mtu() -> int:
    """The largest packet that leaves this machine: hosts must not send larger ones."""
    routes = json.loads(run(("ip", "-4", "-json", "route", "show", "default")).stdout or b"[]")
    for route in routes:
        link = json.loads(run(("ip", "-json", "link", "show", "dev", route["dev"])).stdout)
        return min(1500, int(link[0]["mtu"]))
    return 1500


def _interface_exists(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


class Network:
    """The network of the lab `id` with the /24 of `index`."""

    def __init__(self, id: str, index: int, folder: Path) -> None:
        self.id, self.index, self.folder = id, index, folder
        self.name = f"rl-{id}"
        self.table = f"releve_lab_{id}"
        self.namespace = NAMESPACES / self.name

    def host_namespace(self, octet: int) -> str:
        """The name of a host's own network namespace."""
        return f"{self.name}-{octet}"

    def claimed(self) -> bool:
        """Whether this machine's end of the network exists."""
        return _interface_exists(self.name)

    # --- made and unmade --------------------------------------------------------------------

    def ensure(self) -> None:
        """Make the lab's network, or what is missing of it. Raise LabError."""
        settings.apply(self.folder.parent.parent)
        if not self.namespace.exists():
            run(("ip", "netns", "add", self.name))
            self._quiet()
        if not _interface_exists(self.name):
            mtu = uplink_mtu()
            lines = [
                f"link add {self.name} mtu {mtu} type veth peer name uplink mtu {mtu} "
                f"netns {self.name}",
                f"addr add {address(self.index, GATEWAY)}/24 dev {self.name}",
                f"link set {self.name} up",
            ]
            if has_ipv6():
                lines.insert(
                    2, f"addr add {address6(self.index, GATEWAY)}/64 dev {self.name} nodad"
                )
            _batch(lines)
        links = self._links()
        lines = []
        if "core" not in links:
            lines.append(f"link add core type bridge {_BRIDGE}")
        lines += ["link set lo up", "link set core up", "link set uplink master core up"]
        _batch(lines, self.name)
        self._masquerade()

    def _quiet(self) -> None:
        # The machine's own firewall rules for bridges must not see the lab's frames, and bridges
        # need no addresses.
        script = (
            "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 >$f; done; "
            "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do [ ! -e $f ] || echo 1 >$f; done"
        )
        self.inside("sh", "-c", script)

    def _masquerade(self) -> None:
        net = subnet(self.index)
        rules = f"""
table ip {self.table} {{
}}
delete table ip {self.table}
table ip {self.table} {{
  chain postrouting {{
    type nat hook postrouting priority 100
    ip saddr {net} ip daddr != {net} masquerade
  }}
}}
"""
        run(("nft", "-f", "-"), stdin=rules.encode())

    def destroy(self) -> None:
        """Everything of the lab's network is gone, with every process inside it."""
        names = [p.name for p in NAMESPACES.glob(f"{self.name}-*")] + [self.name]
        for name in names:
            if (NAMESPACES / name).exists():
                processes.kill(processes.in_network(NAMESPACES / name))
                run(("ip", "netns", "del", name))
        cgroups.remove_all(f"{self.name}-")
        if _interface_exists(self.name):
            run(("ip", "link", "del", self.name), check=False)
        if run(("nft", "list", "table", "ip", self.table), check=False).returncode == 0:
            run(("nft", "delete", "table", "ip", self.table))

    # --- hosts ------------------------------------------------------------------------------

    def ensure_host(self, octet: int, link: int | None) -> None:
        """Make a host's own network with its address set; `link`: the number of its datacenter,
        None: directly at the core."""
        own, port = self.host_namespace(octet), f"h{octet}"
        bridge = "core" if link is None else self._ensure_datacenter(link)
        if not (NAMESPACES / own).exists():
            run(("ip", "netns", "add", own))
        if port not in self._links():
            # The same hardware address each time, or neighbours would remember the old one.
            mac = f"02:5e:1e:{self.index:02x}:00:{octet:02x}"
            mtu = uplink_mtu()
            _batch(
                [
                    f"link add {port} mtu {mtu} type veth peer name host0 mtu {mtu} "
                    f"address {mac} netns {own}"
                ],
                self.name,
            )
        lines = [
            "link set lo up",
            f"addr replace {address(self.index, octet)}/24 dev host0",
            "link set host0 up",
            f"route replace default via {address(self.index, GATEWAY)}",
        ]
        if has_ipv6():
            lines.insert(2, f"addr replace {address6(self.index, octet)}/64 dev host0 nodad")
        _batch(lines, own)
        _batch([f"link set {port} master {bridge} up"], self.name)

    def destroy_host(self, octet: int) -> None:
        """Gone, with every process inside it."""
        own = self.host_namespace(octet)
        if (NAMESPACES / own).exists():
            processes.kill(processes.in_network(NAMESPACES / own))
            run(("ip", "netns", "del", own))
        if f"h{octet}" in self._links():
            run(("ip", "-n", self.name, "link", "del", f"h{octet}"), check=False)

    def plug(self, octet: int, connected: bool) -> None:
        """Connect or disconnect a host's cable."""
        run(("ip", "-n", self.name, "link", "set", f"h{octet}", "up" if connected else "down"))

    def lose(self, percents: dict[int, float]) -> None:
        """Lose this share of the packets from and to each host, by octet; all others lose none.

        Not between two hosts of one datacenter when neither is named.
        """
        rules = [
            f'    {side} "h{octet}" numgen random mod 10000 <= {round(percent * 100) - 1} drop'
            for octet, percent in sorted(percents.items())
            if percent >= 0.01
            for side in ("iifname", "oifname")
        ]
        text = "table bridge loss {\n}\ndelete table bridge loss\n"
        if rules:
            text += (
                "table bridge loss {\n  chain forward {\n"
                "    type filter hook forward priority 0\n"
                # Neighbours find each other: on a long way, that part is not lost either.
                "    meta protocol arp accept\n"
                "    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n"
                + "\n".join(rules)
                + "\n  }\n}\n"
            )
        self.inside("nft", "-f", "-", stdin=text.encode())

    # --- datacenters ------------------------------------------------------------------------

    def _ensure_datacenter(self, link: int) -> str:
        links = self._links()
        lines = []
        if f"dc{link}" not in links:
            lines.append(f"link add dc{link} type bridge {_BRIDGE}")
        if f"l{link}a" not in links:
            mtu = uplink_mtu()
            lines.append(f"link add l{link}a mtu {mtu} type veth peer name l{link}b mtu {mtu}")
        lines += [f"link set dc{link} up", f"link set l{link}a master dc{link}"]
        lines += [f"link set l{link}b master core up"]
        if f"t{link}a" not in links:  # else the delaying forwarder is in its place
            lines += [f"link set l{link}a up"]
        _batch(lines, self.name)
        return f"dc{link}"

    def delay(self, link: int, milliseconds: float) -> str:
        """Make each round trip between a datacenter and the rest last this much longer.

        Return who does it: "netem" (the kernel), "forwarder" (ours), or "nobody".
        """
        self._ensure_datacenter(link)
        self._end_forwarder(link)
        half = milliseconds / 2
        for end in ("a", "b"):
            self.inside("tc", "qdisc", "del", "dev", f"l{link}{end}", "root", check=False)
        if milliseconds <= 0:
            return "nobody"
        for end in ("a", "b"):
            done = run(
                ("tc", "-n", self.name, "qdisc", "replace", "dev", f"l{link}{end}", "root",
                 "netem", "delay", f"{round(half * 1000)}us", "limit", "100000"),
                check=False,
            )  # fmt: skip
            if done.returncode != 0:
                self._start_forwarder(link, half)
                return "forwarder"
        return "netem"

    def _forwarder_mark(self, link: int) -> str:
        return f"{self.folder}/link-{link}"

    def _end_forwarder(self, link: int) -> None:
        processes.kill(processes.has_argument(self._forwarder_mark(link)))
        links = self._links()
        lines = [f"link del t{link}{end}" for end in "ab" if f"t{link}{end}" in links]
        _batch([*lines, f"link set l{link}a up"], self.name)

    def _start_forwarder(self, link: int, half: float) -> None:
        mtu = uplink_mtu()
        lines = [f"link set l{link}a down"]  # first, or there would be a loop
        for end, bridge in (("a", f"dc{link}"), ("b", "core")):
            lines.append(f"tuntap add dev t{link}{end} mode tap")
            lines.append(f"link set t{link}{end} mtu {mtu} txqueuelen 10000 master {bridge} up")
        _batch(lines, self.name)
        ready = Path(f"{self._forwarder_mark(link)}.ready")
        ready.unlink(missing_ok=True)
        processes.spawn(
            ("nsenter", f"--net={self.namespace}", sys.executable, "-I", "-S",
             forwarder.__file__, f"t{link}a", f"t{link}b", f"{half:g}", self._forwarder_mark(link)),
            self.folder / f"link-{link}.log",
        )  # fmt: skip
        if not processes.wait_for(ready.exists, 10):
            raise LabError(f"The delaying forwarder did not start: see {self.folder}/link-*.log")

    def delayed(self, link: int, milliseconds: float) -> bool:
        """Whether the delay that was asked for is still there (a forwarder may have died)."""
        if milliseconds <= 0:
            return True
        if processes.find(processes.has_argument(self._forwarder_mark(link))):
            return True
        shown = self.inside("tc", "qdisc", "show", "dev", f"l{link}a", check=False).stdout
        return b"netem" in shown

    # --- helpers ----------------------------------------------------------------------------

    def _links(self) -> set[str]:
        done = run(("ip", "-n", self.name, "-json", "link", "show"), check=False)
        return {link["ifname"] for link in json.loads(done.stdout or b"[]") if link}

    def inside(self, *argv: str, stdin: bytes = b"", check: bool = True) -> processes.Done:
        """Run a program of this machine in the lab's network namespace."""
        return run(("nsenter", f"--net={self.namespace}", *argv), stdin=stdin, check=check)


_BRIDGE = "forward_delay 0 stp_state 0 mcast_snooping 0"


def _batch(lines: list[str], namespace: str | None = None) -> None:
    where = ("-n", namespace) if namespace else ()
    run(("ip", *where, "-batch", "-"), stdin=("\n".join(lines) + "\n").encode())
