"""Whether a machine can take what is to come back, asked before anything is changed: is it large
enough, and is its Debian not older than that of the copy?

It refuses only what is certain not to work; the agent looks exactly, at the copy itself and disk
by disk, before it fetches anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from agent.releve_agent import release
from backup import receipts
from backup.receipts import Receipt
from backup.remote import human
from backup.trust import Trust
from inventories.model import Host, Inventory
from recovery.errors import RecoveryError
from recovery.steps import NEWEST, Choice
from tools import ssh

# What the software of a host takes at least, bytes: Debian's packages for one site.
SOFTWARE = 500_000_000
# Among so many receipts, the newest by name, is one of a complete copy. Whoever stole a host's key
# can add as many; then nothing is known here, and nothing refused.
LOOKED_AT = 30
DISKS = ("df", "-B1", "--output=target,avail")
# What the agent leaves free on each disk, bytes.
MARGIN = 64 * 2**20
_DF = ("df", "-B1", "--output=source,avail", "/", "/srv", "/var", "/home")


OS_RELEASE = ("cat", "/etc/os-release")


def candidates(runs: Sequence[str], choice: Choice) -> Sequence[str]:
    """Of a host's runs, oldest first, those whose receipts are worth reading: a run's id begins
    with its time. Pure."""
    if choice.at is not None:
        until = choice.at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        runs = [run for run in runs if run[: len(until)] <= until]
    return runs[-LOOKED_AT:]


def coming(found: Mapping[str, Receipt], trust: Trust, choice: Choice) -> Mapping[str, Any]:
    """What the host itself said of the complete copy that would come back; empty when that is not
    known. What it did not sign counts for nothing: whoever stole its key to the repository could
    otherwise say that no machine is large enough."""
    for _, receipt in sorted(found.items(), reverse=True):
        snapshot = str(receipt.body.get("snapshot") or "")
        right = choice.snapshot is None or (snapshot and snapshot.startswith(choice.snapshot))
        if right and receipt.ok and trust.accepts(receipt):
            return receipt.body
    return {}


def size(said: Mapping[str, Any]) -> int:
    """How many bytes that copy holds, 0 when that is not known. Pure."""
    told = said.get("bytes")
    return told if isinstance(told, int) else 0


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


def insist_release(saved: object, os_release: str, what: str) -> None:
    """Raise RecoveryError when a copy from the release `saved` (as the agent wrote it down) cannot
    come back on a machine that says this of itself. `what`: what was to come back, and where."""
    if why := release.too_new(saved, release.parse(os_release)):
        raise RecoveryError(f"{what}: {why}. Nothing was changed.")


def insist(
    inventory: Inventory,
    host: Host,
    keeper: ssh.Target | None,
    blank: ssh.Target,
    trust: Trust,
    choice: Choice = NEWEST,
    *,
    whole: bool = True,
) -> None:
    """Raise RecoveryError, saying why, when the copies of `host`, which lie with `keeper`, cannot
    come back on the machine at `blank`: it is too small for all of them (if the `whole` host
    comes), or its Debian too old. Raise SshError when one of them cannot be reached."""
    if keeper is None:
        return  # then only the agent can know
    repository = inventory.repositories[host.repository or ""]
    with ssh.session(keeper) as session:
        runs = candidates(receipts.runs(session, repository, host.id), choice)
        said = coming(receipts.fetch(session, repository, host.id, runs), trust, choice)
    if not said:
        return
    with ssh.session(blank) as session:
        os_release = session.run(OS_RELEASE, check=False).stdout.decode(errors="replace")
        there = free(session.run(_DF, check=False).stdout.decode(errors="replace"))
    insist_release(said.get("system"), os_release, f"{host.id} cannot come back on {blank.address}")
    if whole and there and size(said) + SOFTWARE > there:
        raise RecoveryError(
            f"the machine at {blank.address} is too small: the copy of {host.id} holds "
            f"{human(size(said))}, the software takes about {human(SOFTWARE)}, and {human(there)} "
            "are free. Nothing was changed. Take a machine with a larger disk."
        )
