"""All checks of an inventory: choose, look, collect. `cli.check` and the drill call `run`."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks import dns, inside, outside, pool, sessions, tls
from checks.result import PROBLEMS, Result
from inventories.model import Inventory, Service
from tools import urls

# The whole run, whatever hangs. A watch that runs every few minutes must end before the next.
AT_MOST = 90.0
DRILL = "organisation.drill"


class NothingChosen(Exception):
    """No check fits what was asked for: most likely a typing mistake."""

    exit_code = 64


class UnknownAddress(Exception):
    """An address was given for something that the inventory does not know."""

    exit_code = 64


@dataclass(frozen=True)
class Run:
    """What came of a run: results in the inventory's order, how long all of it took (seconds),
    what hosts said of themselves, and whether every look was made before the time was up."""

    results: tuple[Result, ...]
    seconds: float
    statuses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    complete: bool = True


def chooser(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Given shell patterns for check ids ("site.*", "*.tls"; "site" is short for "site.*"),
    return the function that says whether an id is asked for. No pattern asks for all."""
    if not patterns:
        return lambda _: True
    import re
    from fnmatch import translate

    full = [pattern if "." in pattern else f"{pattern}.*" for pattern in patterns]
    fits = re.compile("|".join(map(translate, full))).match
    return lambda check: fits(check) is not None


def overrides(inventory: Inventory, addresses: Mapping[str, str]) -> dict[str, str]:
    """Given host ids or names -> addresses, return names -> addresses.

    A host id stands for the names of all its services, and for the domains of its YunoHost: the
    portal of one sends people back to another. Raise UnknownAddress.
    """
    names: dict[str, str] = {}
    known = {service.domain for service in inventory.services.values()}
    known |= {outside_name(e.url) for e in inventory.external.values() if e.url}
    for key, address in addresses.items():
        if key in inventory.hosts:
            if server := inventory.hosts[key].yunohost:
                there = (*server.domains, *filter(None, (server.main_domain,)))
                names |= dict.fromkeys(there, address)
            for service in inventory.services_on(key):
                names |= dict.fromkeys(names_of(service, inventory), address)
    for key, address in addresses.items():
        if key in known:
            names[key] = address
        elif key not in inventory.hosts:
            raise UnknownAddress(
                f"--address {key}: the inventory has neither a host {key} nor a service with that "
                "name in its address"
            )
    return names


def names_of(service: Service, inventory: Inventory) -> tuple[str, ...]:
    """The names of a service that lead to its host: the one in its address, and those that its
    role gives an address in DNS."""
    from roles.interface import Absent
    from roles.registry import SERVICES

    role = SERVICES.get(service.role)
    found = [service.domain]
    if role is not None and not isinstance(role.dns, Absent):
        records = role.dns(service, inventory)
        found += [record.name for record in records if record.type in ("A", "AAAA")]
    return tuple(dict.fromkeys(found))


def outside_name(url: str) -> str:
    """The host name in an address."""
    return urls.split(url).name


def run(
    inventory: Inventory,
    folder: Path,
    *,
    only: Sequence[str] = (),
    addresses: Mapping[str, str] | None = None,
    at_most: float = AT_MOST,
    ask: sessions.Ask | None = None,
    as_watch: bool = False,
    in_charge: bool = False,
    trusting: str = "",
) -> Run:
    """Look at everything the inventory names, from outside and from inside.

    `folder`: where the inventory file lies (`certificates.trust` is relative to it). `only`:
    see `chooser`. `addresses`: host id or name -> address, to look at a host that DNS does not
    name yet. `at_most`: seconds for the whole run. `ask`: how hosts are asked, SSH by
    default. `as_watch`: the key is the watch's, see `checks.sessions`. `in_charge`: only
    the servers in charge of a zone are asked about it, not what resolvers remember. `trusting`:
    more authorities to believe, as PEM.
    Raise NothingChosen, UnknownAddress, RefusedKeyError (a wrong passphrase), TrustError.
    """
    from roles.registry import HOSTS, SERVICES

    began = time.monotonic()
    addresses = addresses or {}
    wanted = chooser(only)
    names = overrides(inventory, addresses)
    trust = inventory.certificates.trust
    statuses: dict[str, Mapping[str, Any]] = {}
    jobs: list[pool.Job] = []
    # Sessions take longest: they begin first.
    asking = ask or sessions.ask_hosts(addresses, as_watch=as_watch)
    stored = sessions.ask_repositories(inventory, addresses, as_watch=as_watch)
    expected = functools.cache(lambda: _expected(inventory))
    for host in inventory.hosts.values():
        job = inside.host_job(
            host, inventory, SERVICES, HOSTS, expected, asking, stored, statuses, wanted
        )
        if any(map(wanted, job.ids)):
            jobs.append(job)
    if jobs and ask is None and not as_watch and os.environ.get("RELEVE_SSH_KEY"):
        sessions.unlock()
        began = time.monotonic()
    means = outside.Means(
        dns.Resolver(inventory, names, in_charge=in_charge),
        tls.context(folder / trust if trust else None, trusting),
    )
    for service in inventory.services.values():
        role = SERVICES.get(service.role)
        jobs += outside.service_jobs(service, role, inventory, means, wanted)
    for external in inventory.external.values():
        if wanted(f"{external.id}.https") and (one := outside.external_job(external, means)):
            jobs.append(one)
    known = _unsaved(inventory, wanted) + (_drill(inventory, folder) if wanted(DRILL) else [])
    if not jobs and only and not known:
        raise NothingChosen(
            f"no check is called {', '.join(only)}. `releve check FILE --format json` lists them."
        )
    found, complete = pool.run(jobs, at_most)
    found += known
    # A session that failed is why other results are missing: never left out.
    chosen = tuple(
        result
        for result in found
        if wanted(result.id) or (result.check == "ssh" and result.level in PROBLEMS)
    )
    # A copy: a look that was left behind may still write.
    return Run(chosen, time.monotonic() - began, dict(statuses), complete)


def _unsaved(inventory: Inventory, wanted: Callable[[str], bool]) -> list[Result]:
    """A problem for each host with services that nothing saves, unless people decided so."""
    asked = [
        host.id
        for host in inventory.hosts.values()
        if host.repository is None
        and wanted(f"{host.id}.backup")
        and inventory.services_on(host.id)
    ]
    if not asked:
        return []
    from inventories.judge import judge

    found = {j.path.partition(".")[2]: j for j in judge(inventory) if j.rule == "no-repository"}
    return [
        Result(
            f"{name}.backup",
            "host",
            "critical",
            f"{found[name].message}. {found[name].remedy}, then releve deploy",
        )
        for name in asked
        if name in found
    ]


def _drill(inventory: Inventory, folder: Path) -> list[Result]:
    """The age of the last rehearsal, where evidence lies beside the inventory."""
    evidence = folder / "evidence"
    if not evidence.is_dir():
        return []
    from datetime import UTC, datetime

    from checks import drills

    name = inventory.organisation.name
    finding = drills.judge(drills.read(evidence), name, datetime.now(UTC))
    return [Result(DRILL, "organisation", finding.level, finding.message)] if finding else []


def _expected(inventory: Inventory) -> inside.Expected:
    from inventories.load import digest

    return inside.Expected(_agent_version(), digest(inventory))


def _agent_version() -> str | None:
    """The version of the agent that this Relève would install, or None without one."""
    try:
        from agent.releve_agent.common import VERSION
    except ImportError:
        return None
    return VERSION
