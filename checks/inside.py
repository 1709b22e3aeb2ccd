"""Looks through SSH: one `agent.py status` per host tells of the host and of its services."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from checks import host as host_state
from checks import sessions
from checks.pool import Job
from checks.result import Kind, Level, Result
from inventories.model import Host, Inventory, Service
from roles.interface import Absent, Finding, HostRole, InsideProbe, Role

SECONDS = 45.0


@dataclass(frozen=True)
class Expected:
    """What hosts are compared with."""

    agent_version: str | None
    digest: str | None


def probes_of(
    host: Host,
    inventory: Inventory,
    services: Mapping[str, Role],
    duties: Mapping[str, HostRole],
) -> tuple[dict[str, InsideProbe], dict[str, dict[str, InsideProbe]], dict[str, str]]:
    """The inside probes of a host's duties, those of each of its services, and for each service
    that has none the reason."""
    own: dict[str, InsideProbe] = {}
    for name, duty in duties.items():
        on = duty.on.get(host.platform)
        if (name == "base" or name in host.roles) and on and not isinstance(on.inside, Absent):
            own |= {probe.name: probe for probe in on.inside(host, inventory)}
    theirs: dict[str, dict[str, InsideProbe]] = {}
    without: dict[str, str] = {}
    for service in inventory.services_on(host.id):
        reason = _absent(service, host, services)
        if reason is not None:
            without[service.id] = reason
            continue
        inside = services[service.role].on[host.platform].inside
        if not isinstance(inside, Absent):
            theirs[service.id] = {p.name: p for p in inside(service, inventory)}
    return own, theirs, without


def _absent(service: Service, host: Host, services: Mapping[str, Role]) -> str | None:
    role = services.get(service.role)
    if role is None:
        return f"Relève does not know the role {service.role} from inside yet"
    on = role.on.get(host.platform)
    if on is None:
        return f"Relève does not know {service.role} on {host.platform} from inside yet"
    return on.inside.reason if isinstance(on.inside, Absent) else None


# What a look says that waited for its host in vain: whoever asks whether a service is well does not
# know it then.
NOT_LOOKED_AT = "not looked at: see ssh of its host"


def host_job(
    host: Host,
    inventory: Inventory,
    services: Mapping[str, Role],
    duties: Mapping[str, HostRole],
    expected: Callable[[], Expected],
    ask: sessions.Ask,
    stored: sessions.AskStored,
    statuses: dict[str, Mapping[str, Any]],
    wanted: Callable[[str], bool],
) -> Job:
    """The look at one host and at all its services from inside.

    `wanted` says of a check's id whether it is asked for. Where none of the host's own is, it tells
    of its services alone: that takes it a second less. `expected` is called when a host answered
    (it costs something); what hosts said is left in `statuses`, for whoever keeps a history.
    """
    own, theirs, without = probes_of(host, inventory, services, duties)
    ids = [f"{host.id}.{name}" for name in host_state.CHECKS]
    ids += [f"{host.id}.{name}" for name in own]
    if host.repository is not None:
        ids.append(f"{host.id}.backup")
    ids += [f"{service}.{name}" for service, probes in theirs.items() for name in probes]

    def kind(check: str) -> Kind:
        return "host" if check.startswith(f"{host.id}.") else "service"

    def everything(level: Level, message: str, seconds: float) -> list[Result]:
        """One finding, and the rest skipped: one cause is one line in an alert."""
        first, *rest = ids
        return [Result(first, "host", level, message, seconds)] + [
            Result(check, kind(check), "skipped", NOT_LOOKED_AT) for check in rest
        ]

    def of_itself(status: Mapping[str, Any], deadline: float) -> dict[str, Finding]:
        """What it says of the host, and its copies."""
        now = datetime.now(UTC)
        compared = expected()
        found = host_state.judge(
            status,
            now=now,
            agent_version=compared.agent_version,
            epoch_=host.epoch,
            digest=compared.digest,
        )
        if host.repository is not None:
            from checks import backups

            repository = inventory.repositories[host.repository]
            found["backup"] = backups.look(
                status, host, repository, now, stored(repository, host.id, deadline)
            )
        return found

    def look(deadline: float) -> list[Result]:
        began = time.monotonic()
        reasons = [Result(f"{s}.inside", "service", "skipped", why) for s, why in without.items()]
        if not any(host.platform in duty.on for duty in duties.values()):
            message = f"Relève cannot look into a {host.platform} host yet"
            return everything("skipped", message, 0.0) + reasons
        whole = any(wanted(check) for check in ids if kind(check) == "host")
        try:
            said = ask(host, sessions.STATUS if whole else sessions.SERVICES, deadline)
        except sessions.NoKey as error:
            return everything("skipped", str(error), 0.0) + reasons
        except sessions.NotReached as error:
            return everything(error.level, str(error), time.monotonic() - began) + reasons
        seconds = time.monotonic() - began
        try:
            status = json.loads(said)
            if not isinstance(status, dict) or status.get("host") != host.id:
                raise ValueError("it is not this host's status")
        except ValueError as error:
            message = f"answers, but not with its agent's status ({error}): releve deploy"
            return everything("unknown", message, seconds) + reasons
        results = [Result(f"{host.id}.ssh", "host", "ok", "answers", seconds)]
        statuses[host.id] = status
        raw = status.get("probes")
        answers: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
        if whole:
            found = of_itself(status, deadline) | judge_probes(own, answers.get("_host"))
            results += [
                Result(f"{host.id}.{name}", "host", finding.level, finding.message)
                for name, finding in found.items()
            ]
        for service, probes in theirs.items():
            results += [
                Result(f"{service}.{name}", "service", finding.level, finding.message)
                for name, finding in judge_probes(probes, answers.get(service)).items()
            ]
        return results + reasons

    return Job(tuple(ids), "host", SECONDS, look)


def judge_probes(probes: Mapping[str, InsideProbe], answers: Any) -> dict[str, Finding]:
    """Let each probe judge its raw answer ({"exit": n, "stdout": text}); a missing one is
    unknown: the host's plan is older than ours. 124 is how the agent says "out of time"."""
    found: dict[str, Finding] = {}
    for name, probe in probes.items():
        answer = answers.get(name) if isinstance(answers, dict) else None
        if not isinstance(answer, dict):
            found[name] = Finding("unknown", "the host did not run this probe: releve deploy")
            continue
        code, said = answer.get("exit"), answer.get("stdout")
        if code == 124:
            found[name] = Finding(
                "critical", f"{probe.argv[0]} gave no answer in {probe.timeout} s on the host"
            )
        elif isinstance(code, int) and isinstance(said, str):
            try:
                found[name] = probe.judge(code, said)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                found[name] = Finding(
                    "unknown", f"the host's answer makes no sense ({type(error).__name__}: {error})"
                )
        else:
            found[name] = Finding("unknown", "the host could not run this probe: releve deploy")
    return found
