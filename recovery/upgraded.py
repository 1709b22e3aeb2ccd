"""What became of each thing that was to be upgraded, and how that is told. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from platforms.debian.packages import Package
from recovery.available import PACKAGES, Available
from recovery.evidence import span

# upgraded: the new version is there, and all is well. unchanged: it is as before, whole and well,
# and not upgraded. rolled_back: what was saved before is back in place, and well. broken: it is
# not well, and somebody must act.
State = Literal["upgraded", "unchanged", "rolled_back", "broken"]


@dataclass(frozen=True)
class Outcome:
    """One service's upgrade, or that of a host's packages (`subject`: PACKAGES).

    `after`: the version that was to come. `snapshot`: the copy from before. `why`: what went
    wrong; `remedy`: what to do. `notes`: what is well and should be known. `changed`: packages
    that have another version now.
    """

    host: str
    subject: str
    state: State
    before: str = ""
    after: str = ""
    seconds: float = 0.0
    snapshot: str = ""
    why: str = ""
    remedy: str = ""
    notes: tuple[str, ...] = ()
    changed: tuple[Package, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it is upgraded and well."""
        return self.state == "upgraded"


# An outcome's subject: nothing of this host was begun.
ALL = "*"


def named(subject: str) -> str:
    """How a subject is called."""
    return {PACKAGES: "system packages", ALL: "everything"}.get(subject, subject)


_SAID = {
    "upgraded": "upgraded",
    "unchanged": "NOT UPGRADED, it is as before",
    "rolled_back": "ROLLED BACK to the copy from before",
    "broken": "NOT WELL",
}


def plan(found: Sequence[Available]) -> str:
    """What would be done, for a terminal."""
    lines = []
    for one in found:
        lines.append(f"{one.host}:")
        if one.problem:
            lines.append(f"  NOT POSSIBLE: {one.problem}")
            continue
        for mark in one.unfinished:
            begun = f" ({mark.before} -> {mark.after})" if mark.after else ""
            lines.append(f"  {named(mark.service)}: an upgrade was cut off{begun}: finish it")
        for app in one.apps:
            where = f", from {app.source}" if app.source else ""
            if app.exchanged and not app.source:
                where = ", from the catalog again"
            lines.append(f"  {app.service}: {app.before} -> {app.after}{where}")
        if one.packages and one.system:
            lines.append(f"  system packages: {len(one.packages)}, after the apps")
            lines += [_package(package) for package in one.packages]
        if one.pending:
            lines.append("  along with that, as the inventory says:")
            lines += [f"    {line.strip()}" for line in one.pending]
        if not one.anything:
            lines.append("  nothing to upgrade")
        lines += [f"  held back: {held.subject}: {held.why}" for held in one.held]
        if one.packages and not one.system:
            lines.append(f"  {len(one.packages)} system packages wait too: add --system")
        if one.others:
            lines.append(f"  not in the inventory, left alone: {', '.join(one.others)}")
        if one.migrations:
            lines.append(f"  migrations of YunoHost wait for you: {', '.join(one.migrations)}")
    return "\n".join(lines) + "\n"


def _package(package: Package) -> str:
    if not package.current:
        return f"    {package.name}: new, {package.new}"
    return f"    {package.name}: {package.current} -> {package.new or 'removed'}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """What was done, for a terminal."""
    lines = []
    for one in outcomes:
        versions = f"{one.before} -> {one.after}, " if one.after else ""
        lines.append(
            f"{one.host}: {named(one.subject)}: {_SAID[one.state]} ({versions}{span(one.seconds)})"
        )
        if one.why:
            lines.append(f"  why: {one.why}")
        if one.changed:
            lines.append(f"  changed: {len(one.changed)} packages")
            lines += [_package(package) for package in one.changed]
        if one.snapshot and not one.ok:
            lines.append(f"  the copy from before: {one.snapshot[:8]}")
        lines += [f"  note: {note}" for note in one.notes]
        if one.remedy:
            lines.append(f"  what to do: {one.remedy}")
    return "\n".join(lines) + "\n" if lines else ""
