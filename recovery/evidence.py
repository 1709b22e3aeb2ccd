"""What a rehearsal or a rebuild proved, as one JSON file and one page that anybody can read.

The judgement is pure: measured facts in, a verdict out. A drill passes only if every service came
back, every check held, nothing that was in the copy is missing, and the loss and the time stay
within what the inventory promises.
"""

from __future__ import annotations

import json
import os
import pwd
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from recovery.errors import NoEvidence
from recovery.phases import Phase
from recovery.wording import CHECKS, COUNTS, FAILURES, LEVELS, PHASES, word
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
    """One reason why a run did not pass: a key of `wording.FAILURES`, and what to fill in.

    `details`: what came of it, each a failure too. `raw`: what the program said, in English.
    """

    key: str
    values: Mapping[str, object] = field(default_factory=dict)
    details: tuple[Failure, ...] = ()
    raw: str = ""

    def text(self, locale: str) -> str:
        """The reason in words, in "fr" or else in English."""
        filled = {name: _filled(name, value, locale) for name, value in self.values.items()}
        return word(FAILURES, self.key, locale).format(**filled)

    def lines(self) -> tuple[str, ...]:
        """All of it in English: the reason, what came of it, what the program said."""
        return (self.text("en"), *(d.text("en") for d in self.details), *filter(None, [self.raw]))


def _filled(name: str, value: object, locale: str) -> object:
    """A value in words: which words, its name in `wording.FAILURES` says."""
    if name in ("span", "target", "reach") and isinstance(value, (int, float)):
        return span(value, locale)
    if name == "count":
        return word(COUNTS, str(value), locale)
    if name == "phase":
        return word(PHASES, str(value), locale)
    if name == "checks" and isinstance(value, Mapping):
        return ", ".join(
            f"{word(CHECKS, check, locale)} ({word(LEVELS, level, locale)})"
            for check, level in value.items()
        )
    return value


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
    # Until when resolvers may lead people to the lost machine; None: no name was moved.
    names_until: datetime | None = None

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
    def reach(self) -> float | None:
        """Seconds until everybody reached every service again: resolvers that remember the lost
        machine count too. None: it never was."""
        if self.rto is None or self.names_until is None:
            return self.rto
        return max(self.rto, (self.names_until - self.lost_at).total_seconds())

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why this run does not count as passed, one for each cause; empty when it passed."""
        # A run that was stopped has one cause, and what was not reached comes of it.
        stopped = bool(self.problems) and self.rto is None
        of_services = self._of_services(stopped)
        said = [
            self._problem(text, of_services if number == 0 and stopped else ())
            for number, text in enumerate(self.problems)
        ]
        if not stopped:
            said += of_services
        if not self.services:
            said.append(Failure("nothing"))
        rpo = self.rpo
        if rpo is not None and rpo > self.rpo_target:
            said.append(Failure("rpo", {"span": rpo, "target": self.rpo_target}))
        if self.rto is None:
            said += [] if stopped else [Failure("never")]
        elif self.rto > self.rto_target:
            said.append(Failure("rto", {"span": self.rto, "target": self.rto_target}))
        elif (reach := self.reach or 0) > self.rto_target:
            values = {"span": self.rto, "reach": reach, "target": self.rto_target}
            said.append(Failure("rto-names", values))
        return tuple(said)

    def _problem(self, text: str, details: tuple[Failure, ...]) -> Failure:
        """What went wrong, under the step in which it did."""
        for phase in self.phases:
            if not phase.ok and phase.note and phase.note in text:
                return Failure("phase", {"phase": phase.name}, details, raw=text)
        return Failure("problem", {}, details, raw=text)

    def _of_services(self, stopped: bool) -> tuple[Failure, ...]:
        """What is wrong with services, those of which the same is true together."""
        not_back = [s for s in self.services if stopped and not (s.found or s.counts_before)]
        rest = [s for s in self.services if s not in not_back]
        said = []
        for key, found in (
            ("not-back", not_back),
            ("no-mark", [s for s in rest if s.newest is None]),
            ("not-checked", [s for s in rest if not s.checks and not stopped]),
        ):
            if found:
                said.append(Failure(key, {"service": ", ".join(s.id for s in found)}))
        for service in rest:
            for name, (before, after) in sorted(service.missing.items()):
                values = {"service": service.id, "count": name, "before": before, "after": after}
                said.append(Failure("missing", values))
            bad = {c: v for c, v in service.checks.items() if v in ("critical", "unknown")}
            if bad:
                said.append(Failure("not-well", {"service": service.id, "checks": bad}))
        return tuple(said)

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
        "failures": [" ".join(failure.lines()) for failure in evidence.failures],
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
        "rto": {
            "seconds": evidence.rto,
            "everybody_seconds": evidence.reach,
            "target_seconds": evidence.rto_target,
        },
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


def insist_writable(folder: Path) -> None:
    """Try the folder for evidence, before hours of work. What is not there is made when there is
    something to write. Raise NoEvidence."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for place in missing:
            place.rmdir()
    except OSError as error:
        whose = " Was it made with sudo?" if isinstance(error, PermissionError) else ""
        raise NoEvidence(
            f"what is proved could not be written into {folder.absolute()}: {error.strerror}."
            f"{whose} Nothing was begun. Give another folder with --evidence."
        ) from None


def write(evidence: Evidence, folder: Path, page: str) -> tuple[Path, Path]:
    """Write `evidence` and its page into `folder`; return both paths (JSON, HTML).

    The names hold the moment and the host, so that nothing is ever written over. A page that is
    always the newest lies beside them as `index.html`. Raise OSError.
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
