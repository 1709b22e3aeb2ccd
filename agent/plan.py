"""The plan of a host: what its agent has to know, rendered from the roles. Pure.

The plan is data for `json.dumps`; whatever is to be run is an argv array. Nothing in it is
secret: secrets are named by the files that hold them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inventories.model import Host, Inventory, Repository, Service
from roles.interface import Absent, Around, Canary, InsideProbe, Restore, State
from roles.registry import HOSTS, SERVICES
from tools.restic import rclone_program

ETC = "/etc/releve"
CACHE = "/var/cache/releve/restic"
# The name under which known_hosts knows a repository's host, whatever its address.
ALIAS = "releve-repository"


def ssh_argv(
    inventory: Inventory, repository: Repository, *, key_file: str, known_hosts: str
) -> tuple[str, ...]:
    """The argv, on a service host, that reaches the gate of a repository; the verb comes after.

    The host key is pinned, nothing is asked, no configuration file is read, and a connection
    that died is noticed within a minute.
    """
    address, port = repository_address(inventory, repository)
    return (
        "ssh",
        "-F/dev/null",
        f"-i{key_file}",
        "-oBatchMode=yes",
        "-oIdentitiesOnly=yes",
        "-oIdentityAgent=none",
        "-oStrictHostKeyChecking=yes",
        f"-oUserKnownHostsFile={known_hosts}",
        "-oGlobalKnownHostsFile=/dev/null",
        f"-oHostKeyAlias={ALIAS}",
        "-oConnectTimeout=20",
        "-oServerAliveInterval=15",
        "-oServerAliveCountMax=3",
        "-oLogLevel=ERROR",
        f"-p{port}",
        f"-l{repository.url.user}",
        "--",
        address,
    )


def repository_address(inventory: Inventory, repository: Repository) -> tuple[str, int]:
    """Where a repository is reached: at its own address, or else its host's."""
    host = inventory.hosts[repository.host]
    port = repository.url.port if repository.url.port != 22 else host.port
    return str(repository.address or host.address), port


def host_key(inventory: Inventory, repository: Repository) -> str | None:
    """The public host key ("TYPE BASE64") a repository is known by, or None."""
    return inventory.hosts[repository.host].host_key


def known_hosts(key: str) -> bytes:
    """The content of a known_hosts file that knows this one key under our alias."""
    return f"{ALIAS} {' '.join(key.split()[:2])}\n".encode()


def source(
    inventory: Inventory,
    host_id: str,
    *,
    folder: str = ETC,
    key: str = "append-key",
    password: str = "restic-password",  # noqa: S107 (the name of a file)
) -> dict[str, Any] | None:
    """How to reach the repository of `host_id`, with files that lie in `folder`.

    Return {"name", "host", "restic": argv, "gate": argv}, or None when the host has none. The
    agent adds what depends on the moment (its epoch, the command).
    """
    host = inventory.hosts[host_id]
    if host.repository is None:
        return None
    repository = inventory.repositories[host.repository]
    gate = ssh_argv(
        inventory,
        repository,
        key_file=f"{folder}/{key}",
        known_hosts=f"{folder}/known_hosts",
    )
    return {
        "name": repository.id,
        "host": host_id,
        "restic": [
            "restic",
            f"--repo=rclone:{host_id}",
            f"--password-file={folder}/{password}",
            f"--cache-dir={CACHE}",
            f"--option=rclone.program={rclone_program(gate)}",
        ],
        "gate": list(gate),
    }


def _state(state: State) -> dict[str, Any]:
    return {
        "paths": list(state.paths),
        "excludes": list(state.excludes),
        "dumps": [
            {"name": d.name, "save": list(d.save), "load": list(d.load)} for d in state.dumps
        ],
        "quiesce": [
            {"do": list(q.do), "undo": list(q.undo), "at_most": q.at_most, "answers": q.answers}
            for q in state.quiesce
        ],
        "mirrors": [{"path": m.path, "copy": m.copy, "make": list(m.make)} for m in state.mirrors],
        "archives": [
            {
                **{k: list(getattr(a, k)) for k in ("parts", "lists", "claims", "room")},
                **{k: list(getattr(a, k)) for k in ("load", "holds", "together")},
                "called": a.called,
            }
            for a in state.archive
        ],
        "counts": list(state.counts),
        "versions": list(state.versions),
    }


def _around(around: Around) -> dict[str, Any]:
    return {
        "argv": list(around.argv),
        "root": around.root,
        "results": around.results,
        "before": list(around.before),
        "after": list(around.after),
    }


def _restore(restore: Restore) -> dict[str, Any]:
    return {
        "stop": [list(argv) for argv in restore.stop],
        "prepare": [list(argv) for argv in restore.prepare],
        "accept": [list(argv) for argv in restore.accept],
    }


def _service(service: Service, inventory: Inventory, platform: str) -> dict[str, Any] | None:
    on = SERVICES[service.role].on.get(platform)
    if on is None or isinstance(on.state, Absent):
        return None
    rendered: dict[str, Any] = {"role": service.role, **_state(on.state(service, inventory))}
    restore = Restore() if isinstance(on.restore, Absent) else on.restore(service, inventory)
    rendered["restore"] = _restore(restore)
    canary: Canary | None = None if isinstance(on.canary, Absent) else on.canary(service, inventory)
    rendered["canary"] = (
        {"plant": list(canary.plant), "find": list(canary.find)} if canary else None
    )
    rendered["units"] = [] if isinstance(on.units, Absent) else list(on.units(service, inventory))
    return rendered


def _probes(probes: tuple[InsideProbe, ...]) -> dict[str, Any]:
    return {p.name: {"argv": list(p.argv), "timeout": p.timeout} for p in probes}


def _host_roles(host: Host) -> tuple[str, ...]:
    """`base`, which every host has, and those written in the inventory, in registry order."""
    return tuple(name for name in HOSTS if name == "base" or name in host.roles)


def archived_duties(inventory: Inventory, host_id: str) -> tuple[str, ...]:
    """What of a host itself comes back from its copy, before any service does: the names that
    the agent's `restore` knows."""
    host = inventory.hosts[host_id]
    found = []
    for name in _host_roles(host):
        duty = HOSTS[name].on.get(host.platform)
        if duty and not isinstance(duty.state, Absent) and duty.state(host, inventory).archive:
            found.append(f"_{name}")
    return tuple(found)


def render(inventory: Inventory, host_id: str) -> dict[str, Any]:
    """Given a host of the inventory, return its plan. Raise KeyError for an unknown name."""
    host = inventory.hosts[host_id]
    services: dict[str, Any] = {}
    probes: dict[str, Any] = {"_host": {}}
    for service in inventory.services_on(host_id):
        on = SERVICES[service.role].on.get(host.platform)
        if on is None:
            continue
        rendered = _service(service, inventory, host.platform)
        if rendered is not None:
            services[service.id] = rendered
        if not isinstance(on.inside, Absent):
            probes[service.id] = _probes(on.inside(service, inventory))
    extra: dict[str, Mapping[str, Any]] = {}
    around: Around | None = None
    for name in _host_roles(host):
        duty = HOSTS[name].on.get(host.platform)
        if duty is None:
            continue
        if not isinstance(duty.inside, Absent):
            probes["_host"].update(_probes(duty.inside(host, inventory)))
        if not isinstance(duty.state, Absent):
            state = duty.state(host, inventory)
            # A duty comes back like a service, under its name with a "_" before it.
            extra[name] = {**_state(state), "restore": _restore(Restore())}
            around = state.around or around
    return {
        "format": 1,
        "host": host_id,
        "epoch": host.epoch,
        "repository": source(inventory, host_id),
        "services": services,
        "duties": extra,
        "around": _around(around) if around else None,
        "probes": probes,
    }
