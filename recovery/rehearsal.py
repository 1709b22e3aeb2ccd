"""A rehearsal with the real copies of any inventory, on a blank host that is shut in.

The real host goes on serving and saving meanwhile. The rehearsal's own inventory has no
repository, so nothing is ever saved over the real copies; they are lent for a day, to read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

import roles
from agent.plan import archived_duties, repository_address
from backup.lend import lent
from backup.restore import Restored
from backup.trust import noted
from inventories.access import ssh_target
from inventories.model import Host, Inventory
from inventories.secrets import Secrets
from platforms.yunohost import passwords
from platforms.yunohost.wanted import password_of
from recovery import isolation, room, steps
from recovery.errors import UsageError
from recovery.evidence import Evidence, Place
from recovery.phases import Stopwatch, now
from recovery.rebuild import lost_host
from tools import ssh


@dataclass(frozen=True)
class Loan:
    """What a rehearsal takes from the real world: whose copies, and the way to them."""

    inventory: Inventory
    host: Host
    secrets: Secrets
    keeper: ssh.Target


def borrow(file: Path, lost: str | None) -> Loan:
    """Read the real inventory and its secrets, with the operator's own keys.

    Raise UsageError when the copies lie where we have no access to lend them.
    """
    inventory = roles.load(file)
    host = lost_host(inventory, lost)
    keeper = steps.repository_host(inventory, host)
    if keeper is None:
        raise UsageError(
            f"the repository {host.repository} is on no host of the inventory, so its copies "
            "cannot be lent to a rehearsal: add its host, with the role repository"
        )
    return Loan(inventory, host, Secrets.open(file), ssh_target(keeper))


def variant(inventory: Inventory, host: Host, blank: Host | None = None) -> Inventory:
    """The inventory of a rehearsal: this one host (at `blank`), its services, and nothing that
    reaches outside."""
    alone = (blank or host).model_copy(update={"repository": None, "roles": ()})
    return inventory.model_copy(
        update={
            "hosts": {host.id: alone},
            "repositories": {},
            "services": {s.id: s for s in inventory.services_on(host.id)},
            "external": {},
            "alerts": {},
            "acknowledge": (),
        }
    )


def make_up(file: Path, real: Collection[str]) -> None:
    """Give the rehearsal `file` a password of its own wherever its services name one that people
    keep in the secrets, such as that of a relay: it reaches nobody who could ask for it, and the
    real ones stay where they are.

    The same for accounts that deploys made, whose passwords are among the names in the `real`
    secrets: the accounts come with the data, and without one would be taken for a member's.
    """
    inventory = roles.load(file)
    parts = (*inventory.services.values(), *inventory.hosts.values())
    kept = Secrets.open(file)
    asked = {name for part in parts for name in _named(part.model_dump())}
    made = {name for host in inventory.hosts.values() for name in _accounts(host)} & set(real)
    for name in (asked | made) - set(kept.names()):
        kept.set(name, passwords.new())
    kept.save()


def _accounts(host: Host) -> Iterator[str]:
    """The secrets of the accounts that deploys make on a YunoHost server. Pure."""
    if host.yunohost:
        for account in (*host.yunohost.operators, *host.yunohost.mailboxes):
            yield password_of(host.id, account)


def _named(value: object) -> Iterator[str]:
    """The secrets that stand in settings, as "secret:NAME". Pure."""
    if isinstance(value, str) and value.startswith("secret:"):
        yield value.removeprefix("secret:")
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _named(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _named(one)


def rehearse(file: Path, loan: Loan, blank: Host, watch: Stopwatch) -> Evidence:
    """Bring the newest copies of the loan's host back on `blank`, shut in; return what was proved.

    `file` is the `variant` for it. Nothing is activated: no name moves, no certificate is asked
    for, no cron job is installed. What fails is in the evidence. Raise RecoveryError when that
    machine cannot take the copies, SshError.
    """
    inventory, host = loan.inventory, loan.host
    decided = now()
    trust = noted(host.id, loan.secrets)
    room.insist(inventory, host, loan.keeper, ssh_target(blank), trust)
    services = [service.id for service in inventory.services_on(host.id)]
    back = steps.BroughtBack()
    problems: list[str] = []
    finished: datetime | None = None
    try:
        make_up(file, loan.secrets.names())
        with watch.phase("install", counted=True):
            steps.deploy(file, ("install",), [host.id], watch.progress, "Installing the software")
        duties = archived_duties(inventory, host.id)
        with watch.phase("isolate", counted=True), ssh.session(ssh_target(blank)) as session:
            installers = isolation.INSTALLERS if duties else ()
            isolation.shut_in(session, ways_out(inventory, host), installers)
        with watch.phase("restore", counted=True):
            _restore(loan, blank, (*duties, *services), watch, back.restored)
        if duties:
            with ssh.session(ssh_target(blank)) as session:
                isolation.shut_in(session, ways_out(inventory, host))
        with watch.phase("configure", counted=True):
            steps.deploy(file, ("configure",), [host.id], watch.progress, "Setting up")
        with watch.phase("check-after", counted=True):
            here = roles.load(file).hosts[host.id]
            results = steps.check_at(file, here, services, {host.id: str(blank.address)})
            back.checks.update({name: steps.levels(results, name) for name in services})
            steps.insist(results)
        finished = now()
    except Exception as error:  # evidence of a failure is evidence too; the message is its content
        problems.append(str(error) or type(error).__name__)
    return steps.evidence(
        inventory,
        host,
        back,
        kind="rehearsal",
        was=Place(host.id, host.provider, host.datacenter),
        place=Place(host.id, blank.provider, blank.datacenter),
        watch=watch,
        lost_at=decided,
        finished=finished,
        problems=problems,
    )


def _restore(
    loan: Loan,
    blank: Host,
    services: Sequence[str],
    watch: Stopwatch,
    found: dict[str, Restored],
) -> None:
    with (
        ssh.session(ssh_target(blank)) as to_host,
        ssh.session(loan.keeper) as to_repository,
        lent(loan.inventory, loan.host.id, loan.secrets, to_host, to_repository) as source,
    ):
        steps.restore(blank, services, watch.progress, steps.Choice(source=source), found)


def ways_out(inventory: Inventory, host: Host) -> tuple[isolation.Way, ...]:
    """What a restored host may still reach: the repository it is restored from."""
    repository = inventory.repositories[host.repository or ""]
    address, port = repository_address(inventory, repository)
    return (isolation.Way(ip_address(address), port),)
