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


@dataclass
class HostReport:
    """One host. `drift`: (path, "changed" or "removed") by hand since `drift_since`. `by_hand`:
    what else was, in the platform's words, and how to keep it."""

    host: str
    state: State = "ok"
    changes: list[Change] = field(default_factory=list)
    operation: str = ""  # the one that failed
    error: str = ""
    remedy: str = ""
    warnings: list[str] = field(default_factory=list)
    unremembered: bool = False  # in a plan: this inventory is not the one written down there
    drift: tuple[tuple[str, str], ...] = ()
    drift_since: str = ""
    by_hand: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
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
    def changed(self) -> bool:
        return any(host.changed for host in self.hosts.values())

    @property
    def exit_code(self) -> int:
        """As in docs/architecture.md: 0; plan 2 with changes; 69 unreachable; 75 busy; 1 failed.

        The worst comes first: a failure, then an unreachable host, then a busy one.
        """
        states = {host.state for host in self.hosts.values()}
        if states & {"failed", "refused"}:
            return 1
        if "unreachable" in states:
            return 69
        if "busy" in states:
            return 75
        return 2 if self.dry and self.changed else 0
