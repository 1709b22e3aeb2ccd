"""What a rehearsal or a rebuild proved, as one JSON file and one page that anybody can read.

The judgement is pure: measured facts in, a verdict out. A drill passes only if every service came
back, every check held, nothing that was in the copy is missing, and the loss and the time stay
within what the inventory promises.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from recovery.phases import Phase
from recovery.wording import COUNTS, FAILURES, word
from tools.files import replace_file

Kind = Literal["disaster", "rehearsal", "rebuild"]


@dataclass(frozen=True)
class Mark:
    """A canary: which run planted it, and when (UTC)."""

    run: str
    at: datetime


@dataclass(frozen=True)
class ServiceEvidence:
    """One service before and after. `before` is None when only the copy's manifest is known."""

    id: str
    role: str
    url: str
    found: tuple[Mark, ...]
    counts_before: Mapping[str, int]
    counts_after: Mapping[str, int]
    versions_before: Mapping[str, str]
    versions_after: Mapping[str, str]
    checks: Mapping[str, str]  # check -> level, after the restore
    bytes_restored: int = 0

    @property
    def newest(self) -> Mark | None:
        """The newest mark that came back, or None: then the loss is not known."""
        return max(self.found, key=lambda mark: mark.at, default=None)

    @property
    def missing(self) -> dict[str, tuple[int, int]]:
        """Counts that are lower than in the copy: name -> (before, after)."""
        return {
            name: (before, self.counts_after.get(name, 0))
            for name, before in self.counts_before.items()
            if self.counts_after.get(name, 0) < before
        }


@dataclass(frozen=True)
class Failure:
    """One reason why a run did not pass: a key of `wording.FAILURES`, and what to fill in."""

    key: str
    values: Mapping[str, object]

    def text(self, locale: str) -> str:
        """The reason in words, in "fr" or else in English."""
        filled = {
            name: span(value, locale)
            if name in ("span", "target") and isinstance(value, (int, float))
            else word(COUNTS, str(value), locale)
            if name == "count"
            else value
            for name, value in self.values.items()
        }
        return word(FAILURES, self.key, locale).format(**filled)


@dataclass(frozen=True)
class Place:
    """Where a host stands, in words a board member knows."""

    host: str
    provider: str
    datacenter: str


@dataclass(frozen=True)
class Evidence:
    """Everything one run proved. `lost_at` is the moment of the disaster, real or pretended."""

    kind: Kind
    organisation: str
    locale: str
    who: str
    started: datetime
    finished: datetime
    lost_at: datetime
    was: Place
    now: Place
    snapshot: str
    phases: tuple[Phase, ...]
    services: tuple[ServiceEvidence, ...]
    rpo_target: float
    rto_target: float
    rto: float | None  # seconds until every service was back; None: it never was
    inventory: str
    version: str
    problems: tuple[str, ...] = field(default=())

    @property
    def rpo(self) -> float | None:
        """Seconds of work lost: from the oldest of the services' newest marks to the disaster.

        None when some service came back without any mark: then nobody can say.
        """
        if not self.services:
            return None
        newest = [service.newest for service in self.services]
        losses = [(self.lost_at - mark.at).total_seconds() for mark in newest if mark]
        if len(losses) < len(newest):
            return None
        return max(0.0, max(losses))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why this run does not count as passed; empty when it passed."""
        said = [Failure("problem", {"text": text}) for text in self.problems]
        if not self.services:
            said.append(Failure("nothing", {}))
        for service in self.services:
            said += self._failures_of(service)
        rpo = self.rpo
        if rpo is not None and rpo > self.rpo_target:
            said.append(Failure("rpo", {"span": rpo, "target": self.rpo_target}))
        if self.rto is None:
            said.append(Failure("never", {}))
        elif self.rto > self.rto_target:
            said.append(Failure("rto", {"span": self.rto, "target": self.rto_target}))
        return tuple(said)

    @staticmethod
    def _failures_of(service: ServiceEvidence) -> list[Failure]:
        said = []
        if service.newest is None:
            said.append(Failure("no-mark", {"service": service.id}))
        for name, (before, after) in sorted(service.missing.items()):
            values = {"service": service.id, "count": name, "before": before, "after": after}
            said.append(Failure("missing", values))
        bad = sorted(c for c, level in service.checks.items() if level in ("critical", "unknown"))
        if bad:
            said.append(Failure("not-well", {"service": service.id, "checks": ", ".join(bad)}))
        if not service.checks:
            said.append(Failure("not-checked", {"service": service.id}))
        return said

    @property
    def passed(self) -> bool:
        return not self.failures


def span(seconds: float, locale: str = "en") -> str:
    """Given seconds, return them as people say them: "3 min 20 s", "2 h 05 min", "4 days"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 172800:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} {'jours' if locale == 'fr' else 'days'}"


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def to_json(evidence: Evidence) -> dict[str, Any]:
    """The evidence as plain JSON values. Times are ISO 8601 UTC, spans are seconds."""
    rpo = evidence.rpo
    return {
        "schema": 1,
        "kind": evidence.kind,
        "passed": evidence.passed,
        "failures": [failure.text("en") for failure in evidence.failures],
        "organisation": evidence.organisation,
        "locale": evidence.locale,
        "who": evidence.who,
        "releve": evidence.version,
        "inventory": evidence.inventory,
        "started": _iso(evidence.started),
        "finished": _iso(evidence.finished),
        "lost_at": _iso(evidence.lost_at),
        "was": asdict(evidence.was),
        "now": asdict(evidence.now),
        "snapshot": evidence.snapshot,
        "rpo": {"seconds": rpo, "target_seconds": evidence.rpo_target},
        "rto": {"seconds": evidence.rto, "target_seconds": evidence.rto_target},
        "phases": [
            {
                "name": p.name,
                "started": _iso(p.started),
                "seconds": p.seconds,
                "ok": p.ok,
                "counted": p.counted,
                "note": p.note,
            }
            for p in evidence.phases
        ],
        "canaries": {
            s.id: {
                "found": [{"run": m.run, "at": _iso(m.at)} for m in s.found],
                "newest": _iso(s.newest.at) if s.newest else None,
            }
            for s in evidence.services
        },
        "counts": {
            s.id: {"before": dict(s.counts_before), "after": dict(s.counts_after)}
            for s in evidence.services
        },
        "versions": {
            s.id: {"before": dict(s.versions_before), "after": dict(s.versions_after)}
            for s in evidence.services
        },
        "checks": {s.id: dict(s.checks) for s in evidence.services},
        "bytes": {s.id: s.bytes_restored for s in evidence.services},
    }


def write(evidence: Evidence, folder: Path, page: str) -> tuple[Path, Path]:
    """Write `evidence` and its page into `folder`; return both paths (JSON, HTML).

    The names hold the moment and the host, so that nothing is ever written over. A page that is
    always the newest lies beside them as `index.html`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{evidence.started:%Y-%m-%dT%H%M%SZ}-{evidence.kind}-{evidence.was.host}"
    data, html = folder / f"{stem}.json", folder / f"{stem}.html"
    text = json.dumps(to_json(evidence), indent=2, ensure_ascii=False) + "\n"
    replace_file(data, text.encode(), mode=0o644)
    replace_file(html, page.encode(), mode=0o644)
    replace_file(folder / "index.html", page.encode(), mode=0o644)
    return data, html


def operator() -> str:
    """Who runs this: the login name behind sudo, if any."""
    named = os.environ.get("SUDO_USER") or os.environ.get("USER")
    if named:
        return named
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def newest_passed(folder: Path, host: str) -> datetime | None:
    """The moment of the last passed drill of `host` that `folder` holds evidence of, or None."""
    newest: datetime | None = None
    for path in _json_files(folder):
        try:
            data = json.loads(path.read_text())
            if data["passed"] and data["was"]["host"] == host:
                at = datetime.strptime(data["finished"], "%Y-%m-%dT%H:%M:%S%z")
                newest = max(newest, at) if newest else at
        except (OSError, ValueError, KeyError, TypeError):
            continue  # somebody else's file, or half of one
    return newest


def _json_files(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("*.json")) if folder.is_dir() else ()
