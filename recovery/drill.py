"""The drill: prove that what is saved can be brought back, how long it takes, what is lost.

`play_disaster` plays the whole story on throwaway hosts: deploy, write as members do, save, lose
the host with its disk, rebuild it in another datacenter by the very code of a real rebuild.
`recovery.rehearsal` takes the real off-site copies of any inventory to a blank host.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets as random
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

import roles
from inventories.access import ssh_target
from inventories.load import dump
from inventories.model import Host, Inventory
from lab import Lab
from lab.errors import Busy
from lab.locks import alone
from recovery import steps
from recovery.errors import InUse, UsageError
from recovery.evidence import Evidence
from recovery.phases import Stopwatch, now
from recovery.rebuild import NewPlace, lost_host, rebuild
from recovery.rehearsal import borrow, rehearse, variant
from roles.interface import Absent
from roles.registry import SERVICES
from tools import ssh

# What a drill that was killed has left running ends by itself, or is waited for (seconds).
_PATIENCE = 5.0


def play_disaster(
    file: Path, lab: Lab, watch: Stopwatch, *, lost: str | None = None, release: str = "bookworm"
) -> Evidence:
    """Play the loss of a datacenter with the inventory `file` in `lab`, on hosts with this release
    of Debian; return the evidence.

    Raise LabError, UsageError, RecoveryError when it cannot even be set up; from the disaster on,
    what fails is in the evidence.
    """
    inventory = roles.load(file)
    host = lost_host(inventory, lost)
    elsewhere = _other_datacenter(inventory, host)
    with watch.phase("boot", counted=False):
        inventory = lab.up(inventory, release=release)
        host = inventory.hosts[host.id]
    _call(lab, inventory, host.id, host.id)
    mine = lab.inventory_file
    services = [service.id for service in inventory.services_on(host.id)]
    with watch.phase("deploy", counted=False):
        steps.deploy_everything(mine, watch.progress)
    with watch.phase("check-before", counted=False):
        steps.insist(steps.check(mine, services))
    with watch.phase("write", counted=False):
        write_as_members(roles.load(mine), host, services, "kept", sample=True)
    with watch.phase("backup", counted=False):
        steps.backup(mine, host.id, watch.progress)
    # What is written now is in no copy. The drill has to notice that it is gone.
    write_as_members(roles.load(mine), host, services, "lost")
    with watch.phase("destroy", counted=False):
        lost_at = now()
        lab.destroy(host.id)
    with watch.phase("blank", counted=True):
        blank = lab.blank(
            f"{host.id}-new",
            datacenter=elsewhere.datacenter,
            provider=elsewhere.provider,
            release=release,
        )
    _call(lab, inventory, host.id, blank.id)
    place = NewPlace(
        address=ip_address(str(blank.address)),
        address6=blank.address6,
        host_key=blank.host_key or "",
        provider=elsewhere.provider,
        datacenter=elsewhere.datacenter,
    )
    return rebuild(
        mine,
        place,
        lost=host.id,
        kind="disaster",
        lost_at=lost_at,
        watch=watch,
        progress=watch.progress,
    )


def _call(lab: Lab, inventory: Inventory, lost: str, machine: str) -> None:
    """Have the provider call a machine's addresses as the mail server of `lost`, if it is one."""
    for service in inventory.services_on(lost):
        dns = SERVICES[service.role].dns
        records = () if isinstance(dns, Absent) else dns(service, inventory)
        for name in {r.values[0].split()[-1] for r in records if r.type == "MX"}:
            lab.call(machine, name)


def _other_datacenter(inventory: Inventory, host: Host) -> Host:
    """A host in another datacenter than `host`, whose provider takes over in the rehearsal: if
    there is one, not where the copies are. One fire would take both from then on, and the next
    deploy would refuse that."""
    others = [o for o in inventory.hosts.values() if o.datacenter != host.datacenter]
    repository = inventory.repositories.get(host.repository or "")
    for other in others:
        if repository is None or other.datacenter != repository.datacenter:
            return other
    if others:
        return others[0]
    raise UsageError(f"every host is in {host.datacenter}: there is nowhere else to rehearse")


def write_as_members(
    inventory: Inventory, host: Host, services: Sequence[str], mark: str, *, sample: bool = False
) -> datetime:
    """Write a mark into each service, the way its role says a member would; with `sample` other
    content before. Return when.

    Raise CommandError when a service does not take it: what cannot be written cannot be lost.
    """
    at = now()
    run = f"{mark}-{random.token_hex(4)}"
    with ssh.session(ssh_target(host)) as session:
        for name in services:
            service = inventory.services[name]
            canary = SERVICES[service.role].on[host.platform].canary
            if isinstance(canary, Absent):
                continue
            said = canary(service, inventory)
            if sample:
                session.run(said.sample)
            session.run((*said.plant, run, at.strftime("%Y-%m-%dT%H:%M:%SZ")))
    return at


def in_lab(
    file: Path,
    watch: Stopwatch,
    *,
    lost: str | None,
    disaster: bool,
    keep: bool,
    release: str = "bookworm",
) -> Evidence:
    """Rehearse in a lab of its own, which is gone afterwards unless `keep`, on hosts with this
    release of Debian. See `play_disaster` and `rehearsal.rehearse`. Raise LabError (not root,
    packages missing) and InUse before anything is done.
    """
    lab = Lab(lab_name(file), progress=lambda text: watch.progress(f"  {text}"))
    with _alone(lab, file):
        return _in_lab(file, watch, lab, lost=lost, disaster=disaster, keep=keep, release=release)


def lab_name(file: Path) -> str:
    """The name of the lab in which the inventory `file` is rehearsed: the same each time, and
    another one for a file of the same name in another folder. Pure but for the current folder."""
    ascii_only = unicodedata.normalize("NFKD", file.stem.casefold()).encode("ascii", "ignore")
    stem = re.sub("[^a-z0-9]+", "-", ascii_only.decode())[:16].strip("-")
    where = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:8]
    return "-".join(filter(None, ("drill", stem, where)))


@contextlib.contextmanager
def _alone(lab: Lab, file: Path) -> Iterator[None]:
    """Nobody else may rehearse this file meanwhile: each begins by taking down what one that was
    killed left. Raise InUse."""
    lock = lab.root / "locks" / f"{lab.name}.drill"
    with contextlib.ExitStack() as stack:
        try:
            if os.geteuid() == 0:  # whoever is not is told so by the lab
                stack.enter_context(alone(lock, lab.name, patience=_PATIENCE))
        except Busy:
            raise InUse(
                f"another drill of {file} is under way on this machine, on the throwaway hosts of "
                f"the lab {lab.name}. Nothing was begun: wait until it has ended."
            ) from None
        yield


def _in_lab(
    file: Path,
    watch: Stopwatch,
    lab: Lab,
    *,
    lost: str | None,
    disaster: bool,
    keep: bool,
    release: str,
) -> Evidence:
    loan = None if disaster else borrow(file, lost)
    if any(host.platform == "yunohost" for host in roles.load(file).hosts.values()):
        raise UsageError(
            "throwaway hosts of this machine cannot become YunoHost servers, which needs the "
            "internet: rehearse on a blank host of yours, with --on ADDRESS"
        )
    lab.down()  # what a drill that was killed left
    try:
        with access(lab.key_file):
            if loan is None:
                return play_disaster(file, lab, watch, lost=lost, release=release)
            with watch.phase("boot", counted=False):
                there = lab.up(variant(loan.inventory, loan.host), release=release)
            if trust := loan.inventory.certificates.trust:
                # What comes back brings its certificates along, from its own authority.
                with lab.ca_file.open("a") as known:
                    known.write((file.parent / trust).read_text())
            return rehearse(lab.inventory_file, loan, there.hosts[loan.host.id], watch)
    finally:
        if not keep:
            lab.down()


def on_host(
    file: Path, watch: Stopwatch, *, address: str, host_key: str | None, lost: str | None
) -> Evidence:
    """Rehearse on a blank host that somebody else provides. What is on it is overwritten.

    Raise UsageError for an address that is one of the inventory's own hosts, and when the host key
    is not given (the message shows the one to compare); HostKeyError, SshError.
    """
    loan = borrow(file, lost)
    try:
        place = ip_address(address)
    except ValueError:
        raise UsageError(f"{address} is not an IP address") from None
    steps.insist_not_ours(loan.inventory, place, host_key)
    blank = loan.host.model_copy(
        update={
            "address": place,
            "address6": None,
            "port": 22,
            "host_key": host_key,
            "provider": str(place),
            "datacenter": "rehearsal",
        }
    )
    if host_key is None:
        raise UsageError(
            f"{address} shows the host key {ssh.scan(address)}. Compare it with what its console "
            "or its provider shows; if it is the same, give it with --host-key"
        )
    steps.insist_key(host_key)
    ssh.connect(replace(ssh_target(blank), told_by="--host-key")).close()
    with tempfile.TemporaryDirectory(prefix="releve-drill-") as folder:
        mine = Path(folder) / file.name
        dump(variant(loan.inventory, loan.host, blank), mine)
        if trust := loan.inventory.certificates.trust:
            shutil.copy(file.parent / trust, mine.with_name(trust))
        return rehearse(mine, loan, blank, watch)


@contextlib.contextmanager
def access(key: Path) -> Iterator[None]:
    """Use `key` for hosts and for the secrets meanwhile: the lab's operator, not the real one."""
    before = {name: os.environ.get(name) for name in ("RELEVE_SSH_KEY", "RELEVE_IDENTITY")}
    os.environ.update(dict.fromkeys(before, str(key)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
