"""Results for people at three in the morning, and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from checks.result import EXIT, ORDER, PROBLEMS, Level, Result, worst

_WORDS: Mapping[Level, str] = {
    "critical": "CRITICAL", "warning": "WARNING", "unknown": "UNKNOWN", "ok": "ok",
    "skipped": "skipped",
}  # fmt: skip
_COLOURS: Mapping[Level, str] = {
    "critical": "1;31", "warning": "33", "unknown": "35", "ok": "32", "skipped": "2",
}  # fmt: skip


def by_subject(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Results grouped by service or host, the worst groups and the worst results first;
    otherwise in the order they came in."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.subject, []).append(result)
    for group in groups.values():
        group.sort(key=lambda result: ORDER.index(result.level))
    ranked = sorted(groups, key=lambda name: ORDER.index(worst(r.level for r in groups[name])))
    return {name: groups[name] for name in ranked}


def printable(text: str) -> str:
    """Servers' words end up in a terminal: no control characters may come through."""
    return "".join(c if c.isprintable() else " " for c in text)


def text(
    title: str, results: Sequence[Result], seconds: float, *, colour: bool, width: int = 100
) -> str:
    """One page: a summary line, then problems with what to do, then one line for what is well."""

    def paint(level: Level, said: str) -> str:
        return f"\x1b[{_COLOURS[level]}m{said}\x1b[0m" if colour else said

    counts = {level: sum(1 for r in results if r.level == level) for level in ORDER}
    summary = ", ".join(
        paint(level, f"{number} {_WORDS[level].lower()}")
        for level, number in counts.items()
        if number
    )
    lines = [f"{printable(title)}: {summary or 'nothing to check'} ({seconds:.1f} s)"]
    for name, group in by_subject(results).items():
        overall = worst(result.level for result in group)
        problems = [r for r in group if r.level in PROBLEMS]
        if not problems:
            lines.append(f"{paint(overall, f'{_WORDS[overall]:<9}')} {name}: {_briefly(group)}")
            continue
        lines += ["", f"{paint(overall, f'{_WORDS[overall]:<9}')} {name}"]
        for result in problems:
            head = f"  {_WORDS[result.level]:<9} {result.check}: "
            wrapped = textwrap.wrap(
                printable(result.message), width, initial_indent=head, subsequent_indent=" " * 12,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
            lines.append(paint(result.level, wrapped[0]))
            lines += wrapped[1:]
        rest = [r for r in group if r not in problems]
        if rest:
            lines += [f"  {_briefly(rest)}", ""]
        else:
            lines.append("")
    return "\n".join(_without_double_blanks(lines)).rstrip() + "\n"


def _briefly(group: Sequence[Result]) -> str:
    well = [r.check for r in group if r.level == "ok"]
    skipped = [r for r in group if r.level == "skipped"]
    parts = [", ".join(well) + " well"] if well else []
    if skipped:
        # The first says why; the others follow from it.
        checks = ", ".join(r.check for r in skipped)
        parts.append(f"skipped: {checks} ({printable(skipped[0].message)})")
    return "; ".join(parts)


def _without_double_blanks(lines: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return kept


def as_json(results: Sequence[Result], seconds: float, at: datetime) -> str:
    """One JSON object. Keys are stable: "version" rises when one changes its meaning."""
    document: dict[str, Any] = {
        "version": 1,
        "at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "level": worst(result.level for result in results),
        "exit": EXIT[worst(result.level for result in results)],
        "seconds": round(seconds, 3),
        "results": [
            {
                "id": result.id,
                "kind": result.kind,
                "subject": result.subject,
                "check": result.check,
                "level": result.level,
                "message": result.message,
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=2)
