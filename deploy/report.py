"""What a deploy, or a plan, did on each host. Pure values; `deploy.text` makes them readable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

State = Literal["ok", "failed", "unreachable", "busy", "refused"]


@dataclass(frozen=True)
class Change:
    """An operation that changed (in a plan: would change) something. `details`: differences of
    files, packages, units, as text; never a secret."""

    operation: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A service that failed, at which operation, and why. What its host has beside it went on."""

    operation: str
    error: str


@dataclass
class HostReport:
    """One host. `state` and what follows it speak of the host itself, `services` of those of its
    services (by id) that failed while the rest of it went on. `drift`: (what, how), such as
    (path, "changed"), by hand since `drift_since`. `by_hand`: what else was, in the platform's
    words, and how to keep it."""

    host: str
    state: State = "ok"
    changes: list[Change] = field(default_factory=list)
    operation: str = ""  # the one that failed
    error: str = ""
    remedy: str = ""
    denied: bool = False  # not reached because it does not take our key
    services: dict[str, Failure] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    unremembered: bool = False  # in a plan: this inventory is not the one written down there
    drift: tuple[tuple[str, str], ...] = ()
    drift_since: str = ""
    by_hand: tuple[str, ...] = ()
    # (name, type) -> value, of DNS records that only the host itself could tell.
    records: dict[tuple[str, str], str] = field(default_factory=dict)
    receipt_key: str = ""  # what it signs receipts with, when that was just made

    @property
    def ok(self) -> bool:
        return self.reached_end and not self.services

    @property
    def reached_end(self) -> bool:
        """Whether the host itself was done, whatever became of single services."""
        return self.state == "ok"

    @property
    def changed(self) -> bool:
        return bool(self.changes)


@dataclass
class Report:
    """All hosts of one run. `dry`: nothing was changed, `changes` are predictions.

    `seconds`: how long it took. `made_secrets`: names of secrets made and saved by this run.
    """

    dry: bool
    hosts: dict[str, HostReport] = field(default_factory=dict)
    seconds: float = 0.0
    made_secrets: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return all(host.ok for host in self.hosts.values())

    @property
    def broken(self) -> tuple[str, ...]:
        """Services that failed, by id."""
        return tuple(name for host in self.hosts.values() for name in host.services)

    @property
    def changed(self) -> bool:
        return any(host.changed for host in self.hosts.values())

    @property
    def exit_code(self) -> int:
        """As in docs/architecture.md: 0; plan 2 with changes; 77 no key opens a host; 69
        unreachable; 75 busy; 1 failed.

        The worst comes first: a failure, a host that no key opens, an unreachable one, a busy one.
        """
        states = {host.state for host in self.hosts.values()}
        if states & {"failed", "refused"} or self.broken:
            return 1
        if any(host.denied for host in self.hosts.values()):
            return 77
        if "unreachable" in states:
            return 69
        if "busy" in states:
            return 75
        return 2 if self.dry and self.changed else 0
