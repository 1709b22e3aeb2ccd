"""The lab: real Debian hosts, as many as an inventory names, gone when you are done.

All state is in $RELEVE_LAB (default /var/lib/releve-lab):
    images/        what hosts are clones of, shared
    cache/         downloaded packages, shared
    trash/         disks that are being emptied
    labs/NAME/     one lab: state.json, key, inventory.toml, hosts/HOST/
What runs is asked of the kernel each time, so a lab is found again whatever happened to us.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import re
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from inventories import load
from inventories.model import Host, Inventory
from inventories.secrets import Secrets
from lab import disks, images, inet, keys, network, processes, settings, state
from lab.errors import Busy, Impossible, LabError, NotAllowed, Unknown
from lab.host import Machine
from lab.inventory import TSIG_SECRET, Place, inside, to_boot, zones
from lab.locks import alone
from lab.network import Network
from lab.requirements import requirements
from tools import dns, ssh
from tools.files import replace_file

_MACHINE_LOCK = Path("/run/lock/releve-lab.lock")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_INET = "inet"

Progress = Callable[[str], None]


def root_folder() -> Path:
    """Where images and labs are kept."""
    return Path(os.environ.get("RELEVE_LAB") or "/var/lib/releve-lab").absolute()


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def names() -> tuple[str, ...]:
    """The labs that exist here, running or not, sorted."""
    folder = root_folder() / "labs"
    if not folder.is_dir():
        return ()
    return tuple(sorted(f.name for f in folder.iterdir() if (f / "state.json").exists()))


class Lab:
    """One lab by name. Creating this object does nothing yet; every method needs root, waits
    for another process that works on the same lab, and raises LabError."""

    def __init__(self, name: str, *, progress: Progress | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise LabError(f"{name!r} cannot be the name of a lab: use a-z, 0-9 and -")
        self.name = name
        self.root = root_folder()
        self.folder = self.root / "labs" / name
        self.inventory_file = self.folder / "inventory.toml"
        self.key_file = self.folder / "key"
        self.ca_file = self.folder / "ca.pem"
        self._say = progress or (lambda _: None)
        self._authority = keys.Authority(self.folder)
        self._saving = threading.Lock()
        self._calling = threading.Lock()
        self._sessions: dict[str, ssh.Connection] = {}

    # --- up and down ------------------------------------------------------------------------

    def up(
        self,
        inventory: Inventory,
        hosts: Sequence[str] | None = None,
        *,
        release: str = "bookworm",
        disk: int | None = None,
    ) -> Inventory:
        """Boot `inet` and the inventory's hosts (`hosts`: only these, by id) and return the
        inventory as it is in the lab, which is also written to `inventory_file`.

        Repeatable: what runs is left alone, what is missing is booted; an inventory that somebody
        changed there is kept under another name. `release` and `disk`
        (bytes that a host can fill) are for hosts that do not exist yet.
        """
        wanted = to_boot(inventory, hosts)
        with self._alone():
            layers = self._images(release) if wanted else ()
            below = images.inet(self.root / "images", self._say)
            current = self._ensure_network()
            self._ensure_keys()
            current.zones = tuple(sorted({*current.zones, *zones(inventory)}))
            if _INET not in current.hosts:
                current.hosts[_INET] = state.HostState(network.INET, "", below)
            for host in wanted:
                self._admit(current, host.id, host.datacenter, host.provider, layers, disk)
            self._save(current)
            self._boot(current, [_INET, *(host.id for host in wanted)])
            for datacenter, milliseconds in current.delays.items():
                if not self._network(current).delayed(current.link(datacenter), milliseconds):
                    self._network(current).delay(current.link(datacenter), milliseconds)
            places = {name: self._place(current, name) for name in current.hosts}
            changed = inside(
                inventory,
                {h.id: places[h.id] for h in inventory.hosts.values() if h.id in places},
                server=self._address(current, _INET),
                public_key=self._public_key(),
                trust=self.ca_file.name,
            )
            self._publish_repositories(changed)
            self._keep_edited(current)
            load.dump(changed, self.inventory_file)
            current.written = _digest(self.inventory_file)
            self._save(current)
            secrets = Secrets.open(self.inventory_file, identity_file=self.key_file)
            secrets.set(TSIG_SECRET, self._tsig())
            secrets.save()
            return changed

    def _keep_edited(self, current: state.LabState) -> None:
        """What somebody else wrote into the lab's inventory is not lost with it."""
        file = self.inventory_file
        if current.written and file.exists() and _digest(file) != current.written:
            kept = file.with_name(f"{file.stem}.{time.strftime('%Y%m%dT%H%M%S')}.toml")
            shutil.copy2(file, kept)
            self._say(f"{file.name} had been changed since the lab wrote it: that is in {kept} now")

    def down(self) -> None:
        """Everything of this lab is gone but the images and caches. Repeatable, and right after
        a crash too."""
        self._need_root()
        with alone(self._lock_file, f"The lab {self.name}", patience=60):
            if not self.folder.exists():
                return
            current = self._found()
            hosts = self.folder / "hosts"
            for folder in sorted(hosts.iterdir()) if hosts.is_dir() else ():
                processes.kill(processes.has_argument(Machine(folder, "").mark))
                Machine(folder, "").collect_packages(self._pool)
            if current is not None:
                self._network(current).destroy()
            disks.unmount_below(self.folder)
            disks.discard(self.folder, self._trash)
            with alone(_MACHINE_LOCK, "The list of labs", patience=60):
                settings.restore(self.root)
                self._sweep_images()

    # --- single hosts -----------------------------------------------------------------------

    def blank(
        self,
        host_id: str,
        *,
        datacenter: str,
        provider: str = "lab",
        release: str = "bookworm",
        disk: int | None = None,
    ) -> Host:
        """One more, empty host; it exists only here until an inventory names it.

        `disk`: how many bytes it can fill, None for what this machine has. A host of this name
        that exists is kept as it is.
        """
        with self._alone():
            layers = self._images(release)
            current = self._state()
            self._admit(current, host_id, datacenter, provider, layers, disk)
            self._save(current)
            self._boot(current, [host_id])
            return self._host(current, host_id)

    def destroy(self, host_id: str) -> None:
        """The host is gone, and all that was on its disk. Only `reset` may bring back what a
        `freeze` had remembered."""
        with self._alone():
            current = self._state()
            host = self._known(current, host_id)
            if host_id == _INET:
                raise LabError("inet cannot be destroyed: it holds the lab's DNS and certificates")
            machine = self._machine(current, host_id)
            machine.pull_plug()
            machine.collect_packages(self._pool)
            self._network(current).destroy_host(host.octet)
            if host.frozen:
                host.gone = True
                self._save(current)
                machine.disk.reset(host.frozen, self._trash)
            else:
                machine.disk.destroy(self._trash)
                del current.hosts[host_id]
                self._save(current)

    def stop(self, host_id: str) -> None:
        """Switch a host off in an orderly way."""
        with self._alone():
            current = self._state()
            self._known(current, host_id)
            self._machine(current, host_id).power_off()

    def crash(self, host_id: str) -> None:
        """Pull a host's plug: off at once, disk as it is at that moment."""
        with self._alone():
            current = self._state()
            self._known(current, host_id)
            self._machine(current, host_id).pull_plug()

    def start(self, host_id: str) -> None:
        """Switch a host on again, with the same disk. Its cable is plugged in, losses end."""
        with self._alone():
            current = self._state()
            self._known(current, host_id)
            self._boot(current, [host_id])

    # --- remembering ------------------------------------------------------------------------

    def freeze(self) -> None:
        """Remember every host's disk and the DNS zones as they are now. Switches the hosts off
        and on: what is remembered is what an orderly poweroff leaves."""
        with self._alone():
            current = self._state()
            mine = [n for n, h in current.hosts.items() if n != _INET and not h.gone]
            on = [n for n in mine if self._machine(current, n).running()]
            _parallel(lambda n: self._machine(current, n).power_off(), on)
            for name in mine:
                self._machine(current, name).collect_packages(self._pool)
                current.hosts[name].frozen += 1
                self._save(current)  # first: a mount finishes what was cut off here
                self._machine(current, name).disk.freeze(current.hosts[name].frozen)
            self._in_inet(_FREEZE_ZONES)
            self._await_inet(current)
            self._boot(current, on)

    def reset(self, *hosts: str) -> None:
        """Boot hosts again from what was last remembered (never: from the empty image); none
        named: all of them, those destroyed meanwhile too, and the DNS zones. Cut cables are
        plugged in again, losses end."""
        with self._alone():
            current = self._state()
            names = list(hosts) or [n for n in current.hosts if n != _INET]
            for name in names:
                if name == _INET:
                    raise LabError("inet cannot be reset alone: reset() brings its zones back")
                if name not in current.hosts:
                    raise Unknown(f"The lab {self.name} has no host {name}")

            def turn_back(name: str) -> None:
                machine = self._machine(current, name)
                machine.pull_plug()
                machine.disk.reset(current.hosts[name].frozen, self._trash)

            _parallel(turn_back, names)
            for name in names:
                current.hosts[name].gone = False
            self._save(current)
            if not hosts:
                self._in_inet(_RESET_ZONES)
                self._await_inet(current)
            self._boot(current, names)

    # --- faults of the network --------------------------------------------------------------

    def cut(self, host_id: str) -> None:
        """Unplug a host's network cable."""
        self._plug(host_id, connected=False)

    def mend(self, host_id: str) -> None:
        """Plug it in again, and stop losing its packets."""
        self._plug(host_id, connected=True)

    def _plug(self, host_id: str, *, connected: bool) -> None:
        with self._alone():
            current = self._state()
            host = self._on(current, host_id)
            host.cut = not connected
            if connected:
                host.loss = 0.0
            self._save(current)
            self._network(current).plug(host.octet, connected)
            self._network(current).lose(self._losses(current))

    def loss(self, host_id: str, percent: float) -> None:
        """Lose this share of the packets to and from a host (0, or 0.01 to 100)."""
        if percent != 0 and not 0.01 <= percent <= 100:
            raise Impossible(
                f"A loss of {percent:g} per cent is not possible: give 0, or 0.01 to 100"
            )
        with self._alone():
            current = self._state()
            self._on(current, host_id).loss = percent
            self._save(current)
            self._network(current).lose(self._losses(current))

    def delay(self, datacenter: str, milliseconds: float) -> str:
        """Make each round trip between a datacenter and everything outside it, this machine
        included, last this much longer, at most a minute; 0 ends it. Return who does it: "netem",
        "forwarder" or "nobody"."""
        if not 0 <= milliseconds <= 60_000:
            raise Impossible(f"A delay of {milliseconds:g} ms is not possible: give 0 to 60000")
        with self._alone():
            current = self._state()
            if datacenter not in current.links:
                known = ", ".join(sorted(current.links)) or "none yet"
                raise Unknown(f"No host is in the datacenter {datacenter}. There are: {known}")
            if not self._network(current).claimed():
                raise LabError(f"The lab {self.name} is off. Bring it up: releve lab up")
            current.delays[datacenter] = milliseconds
            self._save(current)
            return self._network(current).delay(current.link(datacenter), milliseconds)

    # --- looking and speaking ---------------------------------------------------------------

    def status(self) -> dict[str, dict[str, object]]:
        """By host: address, datacenter, release, whether it runs, its disk's limit in bytes, what
        is wrong with its network. Empty when there is no lab."""
        current = self._found()
        if current is None:
            return {}
        return {
            name: {
                "address": self._address(current, name),
                "datacenter": host.datacenter,
                "image": host.images[-1].rpartition("-")[0],
                "running": self._machine(current, name).running(),
                "disk": host.disk,
                "cut": host.cut,
                "loss": host.loss,
                "delay": current.delays.get(host.datacenter, 0),
            }
            for name, host in current.hosts.items()
            if not host.gone
        }

    def host(self, host_id: str) -> Host:
        """A lab host as an inventory would name it."""
        current = self._state()
        self._known(current, host_id)
        return self._host(current, host_id)

    def target(self, host_id: str) -> ssh.Target:
        """Whom to speak to for a session with a host, `inet` included."""
        current = self._state()
        self._known(current, host_id)
        return ssh.Target(
            name=host_id,
            address=self._address(current, host_id),
            host_key=self._machine(current, host_id).host_key,
            key_file=self.key_file,
        )

    def run(
        self,
        host_id: str,
        argv: Sequence[str],
        stdin: bytes = b"",
        timeout: float = 60.0,
        check: bool = True,
    ) -> ssh.Result:
        """Run a program on a host as root. Raise SshError or, with `check`, CommandError.

        The session stays open for the next one: a login costs more than most programs.
        """
        session = self._session(host_id)
        try:
            return session.run(argv, stdin=stdin, timeout=timeout, check=check)
        except ssh.NotBegunError:
            session = self._session(host_id, instead_of=session)
            return session.run(argv, stdin=stdin, timeout=timeout, check=check)

    def _session(self, host_id: str, instead_of: ssh.Connection | None = None) -> ssh.Connection:
        with self._calling:
            known = self._sessions.get(host_id)
            if known is None or known is instead_of:
                known = self._sessions[host_id] = ssh.connect(self.target(host_id))
            return known

    def _hang_up(self, names: Sequence[str]) -> None:
        for name in names:
            if session := self._sessions.pop(name, None):
                session.close()

    @property
    def dns_server(self) -> dns.Server:
        """The lab's DNS server: in charge of the zones, and a resolver for all else."""
        return dns.Server(self._address(self._state(), _INET))

    @property
    def dns_key(self) -> dns.Key:
        """The TSIG key that may change the lab's zones."""
        return dns.Key(inet.KEY, self._tsig())

    # --- inside -----------------------------------------------------------------------------

    @property
    def _lock_file(self) -> Path:
        return self.root / "locks" / self.name

    @property
    def _pool(self) -> Path:
        return self.root / "cache" / "apt"

    @property
    def _trash(self) -> Path:
        return self.root / "trash"

    def _need_root(self) -> None:
        if os.geteuid() != 0:
            raise NotAllowed(
                "The lab needs root to make hosts and networks. Run it as root or with sudo"
            )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._need_root()
        if missing := requirements():
            raise LabError(f"Debian packages are missing: apt-get install {' '.join(missing)}")
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(self._lock_file, f"The lab {self.name}", patience=300):
            yield

    def _found(self) -> state.LabState | None:
        return state.load(self.folder / "state.json")

    def _state(self) -> state.LabState:
        current = self._found()
        if current is None:
            raise Unknown(f"There is no lab {self.name}. Bring it up: releve lab up")
        return current

    def _save(self, current: state.LabState) -> None:
        with self._saving:
            state.save(current, self.folder / "state.json")

    def _known(self, current: state.LabState, host_id: str) -> state.HostState:
        host = current.hosts.get(host_id)
        if host is None or host.gone:
            there = ", ".join(sorted(n for n, h in current.hosts.items() if not h.gone))
            raise Unknown(f"The lab {self.name} has no host {host_id}. There are: {there}")
        return host

    def _on(self, current: state.LabState, host_id: str) -> state.HostState:
        """The host, whose cable can be touched: one that is switched on gets a whole one."""
        host = self._known(current, host_id)
        if not self._machine(current, host_id).running():
            raise LabError(f"{host_id} is off. Bring it up first: releve lab up")
        return host

    def _network(self, current: state.LabState) -> Network:
        return Network(current.id, current.index, self.folder)

    def _machine(self, current: state.LabState, name: str) -> Machine:
        namespace = self._network(current).host_namespace(current.hosts[name].octet)
        return Machine(self.folder / "hosts" / name, namespace)

    def _address(self, current: state.LabState, name: str) -> str:
        return network.address(current.index, current.hosts[name].octet)

    def _place(self, current: state.LabState, name: str) -> Place:
        octet = current.hosts[name].octet
        six = network.address6(current.index, octet) if network.has_ipv6() else None
        return Place(self._address(current, name), six, self._machine(current, name).host_key)

    def _host(self, current: state.LabState, name: str) -> Host:
        place = self._place(current, name)
        return Host(
            id=name,
            platform="debian",
            address=IPv4Address(place.address),
            address6=IPv6Address(place.address6) if place.address6 else None,
            host_key=place.host_key,
            provider=current.hosts[name].provider,
            datacenter=current.hosts[name].datacenter or "lab",
        )

    def _images(self, release: str) -> tuple[str, ...]:
        return (images.base(self.root / "images", release, self._say),)

    def _sweep_images(self) -> None:
        """Images of old recipes go when nobody needed them for a week."""
        folder = self.root / "images"
        if not folder.is_dir():
            return
        with (
            contextlib.suppress(Busy),  # somebody builds one: another time
            alone(folder / "lock", "The folder of lab images", patience=0),
        ):
            states = [state.load(self.root / "labs" / n / "state.json") for n in names()]
            hosts = [host for each in states if each for host in each.hosts.values()]
            images.sweep(folder, {image for host in hosts for image in host.images})

    def _losses(self, current: state.LabState) -> dict[int, float]:
        return {h.octet: h.loss for h in current.hosts.values() if not h.gone}

    def _ensure_keys(self) -> None:
        keys.ensure_ssh_pair(self.key_file, "lab")
        self._authority.ensure()
        tsig = self.folder / "tsig"
        if not tsig.exists():
            replace_file(tsig, base64.b64encode(os.urandom(32)), mode=0o600)

    def _public_key(self) -> str:
        return self.key_file.with_name("key.pub").read_text().strip()

    def _tsig(self) -> str:
        return (self.folder / "tsig").read_text().strip()

    def _ensure_network(self) -> state.LabState:
        """The lab's state, made up if there is none, and its network."""
        with alone(_MACHINE_LOCK, "The list of labs", patience=60):
            current = self._found()
            if current is None or not self._network(current).claimed():
                taken = {
                    other.index
                    for name in names()
                    if name != self.name
                    and (other := state.load(self.root / "labs" / name / "state.json"))
                }
                if current is None:
                    self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                    index = network.free_index(taken)
                    current = state.LabState(id=network.new_id(), index=index)
                elif current.index in taken or not network.is_free(current.index):
                    current.index = network.free_index(taken)
                self._save(current)
            self._network(current).ensure()
            return current

    def _admit(
        self,
        current: state.LabState,
        name: str,
        datacenter: str,
        provider: str,
        layers: tuple[str, ...],
        disk: int | None,
    ) -> None:
        """Note that this host shall exist."""
        if not _NAME.fullmatch(name):
            raise LabError(f"{name!r} cannot be the name of a host")
        host = current.hosts.get(name)
        if host is not None and host.gone:
            self._machine(current, name).disk.destroy(self._trash)
            host = None
        if host is None:
            current.hosts[name] = state.HostState(
                current.free_octet(), datacenter, layers, provider, disk
            )
            current.link(datacenter)

    def _boot(self, current: state.LabState, names: Sequence[str]) -> None:
        """Switch on those of the hosts that are off, wait for all, tell DNS about them."""
        net = self._network(current)
        for name in current.hosts:
            self._machine(current, name).collect_packages(self._pool)

        off = [n for n in names if not self._machine(current, n).running()]
        self._hang_up(off)
        for name in off:
            self._machine(current, name).pull_plug()
            current.hosts[name].cut, current.hosts[name].loss = False, 0.0
        self._save(current)
        for name in names:  # in turn: hosts of one datacenter share its bridge
            host = current.hosts[name]
            if not host.cut:
                net.ensure_host(host.octet, self._link(current, host))
        net.lose(self._losses(current))

        def one(name: str) -> None:
            host, machine = current.hosts[name], self._machine(current, name)
            if name in off:
                self._say(f"booting {name}")
                machine.disk.create(host.disk)
                machine.lend_packages(self._pool)
                machine.disk.mount(
                    [self.root / "images" / image for image in host.images], host.frozen
                )
                machine.furnish(self._public_key(), self._trusted(current))
                machine.resolve_with(self._address(current, _INET))
            if name == _INET:
                self._configure_inet(current)
            if name in off:
                machine.boot(self.root / "cache")
            if not (host.cut or host.loss):
                machine.wait(self._address(current, name))
            if name == _INET:
                self._await_inet(current)

        _parallel(one, names)
        trusted = self._trusted(current)
        for name in names:
            self._machine(current, name).trust(trusted)
        self._publish_hosts(current, names)

    def _link(self, current: state.LabState, host: state.HostState) -> int | None:
        return current.link(host.datacenter) if host.octet != network.INET else None

    # --- inet -------------------------------------------------------------------------------

    def _trusted(self, current: state.LabState) -> list[tuple[str, str, bytes]]:
        """The authorities that hosts trust: the lab's own, and every root that pebble had."""
        out = []
        image = self.root / "images" / current.hosts[_INET].images[0]
        folder = self.folder / "roots"
        for file in (self._authority.certificate_file, *sorted(folder.glob("*.pem"))):
            pem = file.read_bytes()
            known = file.with_suffix(".hash")
            if not known.exists():
                replace_file(known, images.subject_hash(image, pem).encode(), mode=0o644)
            hashed = known.read_text()
            out.append((f"lab-{hashed}", hashed, pem))
        return out

    def _configure_inet(self, current: state.LabState) -> None:
        """Write what inet's programs read; when it runs already, have them read it again."""
        machine = self._machine(current, _INET)
        root = machine.disk.root
        place = self._place(current, _INET)
        own = [network.address(current.index, network.INET)]
        own += [network.address6(current.index, network.INET)] if network.has_ipv6() else []
        reverse = tuple(map(inet.reverse_zone, own))
        all_zones = (inet.DOMAIN, *reverse, *(z for z in current.zones if z != inet.DOMAIN))
        uid, gid = _ids(root, "bind")
        for zone in all_zones:
            file = root / "var/lib/bind" / f"{zone}.db"
            if not file.exists():
                text = inet.zone_file(zone, place.address, place.address6)
                replace_file(file, text.encode(), mode=0o644)
                os.chown(file, uid, gid)
        forwarders = inet.resolvers(
            _read("/etc/resolv.conf"), _read("/run/systemd/resolve/resolv.conf")
        )
        conf = root / "etc/bind/named.conf"
        text = inet.named_conf(all_zones, forwarders, self._tsig())
        if not conf.exists() or conf.read_text() != text:
            replace_file(conf, text.encode(), mode=0o640)
            os.chown(conf, 0, gid)
            if machine.running():
                self._in_inet("rndc reconfig")
        if machine.running():
            return
        pebble = root / "etc/pebble"
        pebble.mkdir(exist_ok=True)
        certificate, key = self._authority.issue(inet.ACME_NAME, [place.address])
        uid, gid = _ids(root, "daemon")
        for name, data in (
            ("cert.pem", certificate),
            ("key.pem", key),
            ("config.json", inet.pebble_json().encode()),
        ):
            replace_file(pebble / name, data, mode=0o600)
            os.chown(pebble / name, uid, gid)
        system = root / "etc/systemd/system"
        (system / "lab-pebble.service").write_text(inet.PEBBLE_UNIT)
        wants = system / "multi-user.target.wants/lab-pebble.service"
        if not wants.is_symlink():
            wants.symlink_to("/etc/systemd/system/lab-pebble.service")

    def _await_inet(self, current: state.LabState) -> None:
        """Wait for DNS and ACME to answer, and keep the root that pebble made at this start."""
        address = self._address(current, _INET)
        pem = b""

        def answers() -> bool:
            nonlocal pem
            try:
                dns.ask(dns.Server(address), inet.DOMAIN, "SOA", timeout=1.0)
                pem = _fetch_root(address, self._authority.certificate_file)
            except (dns.DnsError, OSError, http.client.HTTPException):
                return False
            return True

        if not processes.wait_for(answers, 30):
            raise LabError(
                "The lab's DNS server or ACME authority does not answer: "
                f"{self._machine(current, _INET).log}, and `journalctl` on inet"
            )
        folder = self.folder / "roots"
        folder.mkdir(exist_ok=True)
        if not any(file.read_bytes() == pem for file in folder.glob("*.pem")):
            number = len(list(folder.glob("*.pem"))) + 1
            replace_file(folder / f"{number:04}.pem", pem, mode=0o644)
        roots = [file.read_bytes() for file in sorted(folder.glob("*.pem"), reverse=True)]
        bundle = b"".join([*roots, self._authority.certificate_file.read_bytes()])
        replace_file(self.ca_file, bundle, mode=0o644)

    def _in_inet(self, script: str) -> None:
        self.run(_INET, ("sh", "-euc", script))

    def _publish_hosts(self, current: state.LabState, names: Sequence[str]) -> None:
        """Give hosts a name under lab.internal, and their addresses that name."""
        forward: list[dns.RecordSet] = []
        reverse: dict[str, list[dns.RecordSet]] = {}
        for name in names:
            place = self._place(current, name)
            full = f"{name}.{inet.DOMAIN}"
            forward.append(dns.Wanted(full, "A", (place.address,)))
            forward.append(dns.Wanted(full, "AAAA", (place.address6,) if place.address6 else ()))
            for address in filter(None, (place.address, place.address6)):
                wanted = dns.Wanted(dns.reverse_name(address), "PTR", (full,))
                reverse.setdefault(inet.reverse_zone(address), []).append(wanted)
        server = dns.Server(self._address(current, _INET))
        dns.update(server, inet.DOMAIN, self.dns_key, forward, ttl=inet.TTL)
        for zone, records in reverse.items():
            dns.update(server, zone, self.dns_key, records, ttl=inet.TTL)

    def call(self, host_id: str, name: str) -> None:
        """Give the addresses of a host this name in the reverse zones, as a provider's panel does.

        Booting the host again gives them their own names back."""
        host = self.host(host_id)
        for address in map(str, host.addresses):
            wanted = dns.Wanted(dns.reverse_name(address), "PTR", (name,))
            zone = inet.reverse_zone(address)
            dns.update(self.dns_server, zone, self.dns_key, (wanted,), ttl=inet.TTL)

    def _publish_repositories(self, inventory: Inventory) -> None:
        """A repository's address is in DNS long before anything here begins."""
        for repository in inventory.repositories.values():
            host = inventory.hosts.get(repository.host)
            zone = inventory.zone_of(repository.url.host)
            if host is None or zone is None or zone.server is None:
                continue
            server = dns.Server(str(zone.server))
            if not dns.ask(server, repository.url.host, "A").values:
                wanted = [
                    dns.Wanted(repository.url.host, "A" if a.version == 4 else "AAAA", (str(a),))
                    for a in host.addresses
                ]
                dns.update(server, zone.id, self.dns_key, wanted, ttl=inet.TTL)


# Not `rndc freeze`: it answers before the files are written.
_FREEZE_ZONES = (
    "systemctl stop named; rm -rf /var/lib/lab-zones; "
    "cp -a /var/lib/bind /var/lib/lab-zones; systemctl start named"
)
_RESET_ZONES = (
    "test -d /var/lib/lab-zones || exit 0; systemctl stop named; "
    "find /var/lib/bind -mindepth 1 -delete; cp -a /var/lib/lab-zones/. /var/lib/bind/; "
    "systemctl start named"
)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _ids(root: Path, user: str) -> tuple[int, int]:
    """The numbers of a user and its group in a host's own list."""
    for line in (root / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == user:
            return int(fields[2]), int(fields[3])
    raise LabError(f"The image of inet lacks the user {user}: remove {root} and try again")


def _fetch_root(address: str, authority: Path) -> bytes:
    context = ssl.create_default_context(cafile=str(authority))
    connection = http.client.HTTPSConnection(address, inet.ROOTS_PORT, timeout=2.0, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/roots/0")
        reply = connection.getresponse()
        if reply.status != 200:
            raise http.client.HTTPException(f"status {reply.status}")
        return reply.read()


def _parallel(work: Callable[[str], None], names: Sequence[str]) -> None:
    """Do the work for all names at once; raise what went wrong first, after all have ended."""
    if not names:
        return
    with ThreadPoolExecutor(len(names)) as pool:
        for done in [pool.submit(work, name) for name in names]:
            done.result()
