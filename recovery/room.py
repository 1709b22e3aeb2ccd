"""Whether a blank machine has room for what is to come back, asked before anything is changed.

It refuses only what is certain not to fit; the agent counts exactly, disk by disk, before it
fetches anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from backup import receipts
from backup.receipts import Receipt
from backup.remote import human
from inventories.access import ssh_target
from inventories.model import Host, Inventory
from recovery.errors import RecoveryError
from tools import ssh

# What the software of a host takes at least, bytes: Debian's packages for one site.
SOFTWARE = 500_000_000
# Among so many receipts, the newest by name, is one of a complete copy.
LOOKED_AT = 30
DISKS = ("df", "-B1", "--output=target,avail")
# What the agent leaves free on each disk, bytes.
MARGIN = 64 * 2**20
_DF = ("df", "-B1", "--output=source,avail", "/", "/srv", "/var", "/home")


def needed(found: Mapping[str, Receipt]) -> int:
    """How many bytes the newest complete copy holds, 0 when that is not known. Pure."""
    whole = [receipt.body for run, receipt in sorted(found.items()) if receipt.ok]
    return int(whole[-1].get("bytes") or 0) if whole else 0


def free(said: str) -> int:
    """Given what `df` printed, return the free bytes of all its disks, each counted once. Pure."""
    rows = (line.rsplit(None, 1) for line in said.splitlines()[1:])
    return sum({source: int(avail) for source, avail in rows if avail.isdigit()}.values())


def disks(said: str) -> dict[str, int]:
    """Given what `DISKS` printed, return each disk's free bytes by where it is mounted. Pure."""
    rows = (line.rsplit(None, 1) for line in said.splitlines()[1:])
    return {target: int(avail) for target, avail in rows if avail.isdigit()}


def fits(
    needs: Mapping[str, Mapping[str, int]], free: Mapping[str, int], host: str
) -> dict[str, dict[str, dict[str, int]]]:
    """Whether what services need (service -> path -> bytes) fits on the disks of a host.

    Return by service and disk the bytes needed and free. Raise RecoveryError when all together do
    not fit. Pure."""
    sizes: dict[str, dict[str, dict[str, int]]] = {}
    total: dict[str, int] = {}
    for service, paths in needs.items():
        sizes[service] = {}
        for path, size in paths.items():
            disk = max((d for d in free if f"{path}/".startswith(f"{d.rstrip('/')}/")), key=len)
            about = sizes[service].setdefault(disk, {"needed": 0, "free": free[disk]})
            about["needed"] += size
            total[disk] = total.get(disk, 0) + size
    for disk, size in total.items():
        if size + MARGIN > free[disk]:
            raise RecoveryError(
                f"{host}: {', '.join(needs)} would need {human(size)} and a margin of "
                f"{human(MARGIN)} on the disk that holds {disk}, and {human(free[disk])} are free. "
                "Make room, or take a host with a larger disk."
            )
    return sizes


def insist(inventory: Inventory, host: Host, keeper: Host | None, blank: ssh.Target) -> None:
    """Raise RecoveryError, with the sizes, when the copies of `host`, which lie on `keeper`,
    cannot fit on the machine at `blank`. Raise SshError when one of them cannot be reached."""
    if keeper is None:
        return  # then only the agent can know
    repository = inventory.repositories[host.repository or ""]
    with ssh.session(ssh_target(keeper)) as session:
        newest = receipts.runs(session, repository, host.id)[-LOOKED_AT:]
        size = needed(receipts.fetch(session, repository, host.id, newest))
    with ssh.session(blank) as session:
        there = free(session.run(_DF, check=False).stdout.decode(errors="replace"))
    if size and there and size + SOFTWARE > there:
        raise RecoveryError(
            f"the machine at {blank.address} is too small: the newest copy of {host.id} holds "
            f"{human(size)}, the software takes about {human(SOFTWARE)}, and {human(there)} are "
            "free. Nothing was changed. Take a machine with a larger disk."
        )
