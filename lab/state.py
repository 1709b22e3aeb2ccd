"""What a lab remembers on disk. Everything else is asked of the kernel each time.

Written before the thing is made, so that after a crash nothing exists that nobody remembers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.errors import LabError
from tools.files import replace_file

FIRST_HOST, LAST_HOST = 10, 250


@dataclass
class HostState:
    """One host. `octet`: the last part of its address; `disk`: limit in bytes or None;
    `images`: the layers it is a clone of, lowest first; `frozen`: how many layers on top were
    remembered; `loss`: per cent of packets lost;
    `gone`: destroyed, only what was remembered is kept for a reset."""

    octet: int
    datacenter: str
    images: tuple[str, ...]
    provider: str = "lab"
    disk: int | None = None
    frozen: int = 0
    cut: bool = False
    loss: float = 0.0
    gone: bool = False


@dataclass
class LabState:
    """One lab. `id`: in the names of its interfaces; `index`: which /24 is its own;
    `delays`: milliseconds by datacenter; `links`: each datacenter's number, from 1; `written`:
    the digest of its inventory, as the lab wrote it last."""

    id: str
    index: int
    hosts: dict[str, HostState] = field(default_factory=dict)
    links: dict[str, int] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    next_octet: int = FIRST_HOST
    zones: tuple[str, ...] = ()
    written: str = ""

    def free_octet(self) -> int:
        """An octet no host has, preferring one that no host ever had. Raise LabError."""
        used = {host.octet for host in self.hosts.values()}
        span = LAST_HOST - FIRST_HOST + 1
        for step in range(span):
            octet = FIRST_HOST + (self.next_octet - FIRST_HOST + step) % span
            if octet not in used:
                self.next_octet = octet + 1
                return octet
        raise LabError(f"A lab has room for {span} hosts")

    def link(self, datacenter: str) -> int:
        """The number of a datacenter's link, made up when it is new."""
        return self.links.setdefault(datacenter, len(self.links) + 1)


def load(file: Path) -> LabState | None:
    """Read a lab's state; None when there is none. Raise LabError when it is damaged."""
    try:
        values = json.loads(file.read_text())
        hosts = {
            name: HostState(**{**host, "images": tuple(host["images"])})
            for name, host in values.pop("hosts").items()
        }
        return LabState(**{**values, "hosts": hosts, "zones": tuple(values["zones"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise LabError(f"{file} is damaged ({error}). Remove the lab: releve lab down") from None


def save(state: LabState, file: Path) -> None:
    """Write a lab's state in one step."""
    replace_file(file, json.dumps(asdict(state), indent=1).encode(), mode=0o600)
