"""The evidence page: pure, evidence in, one self-contained HTML document out.

Both languages are in the one file, the organisation's first: no script, no font, no request to
anybody, so that it can be mailed, printed and archived.
"""

from __future__ import annotations

from dataclasses import dataclass

from recovery.evidence import Evidence, span
from recovery.phases import Phase
from recovery.wording import CHECKS, COUNTS, LEVELS, PHASES, TEXTS, word
from tools.html import render


@dataclass(frozen=True)
class Bar:
    """One phase of the picture; positions in the picture's own units."""

    label: str
    time: str
    y: int
    x: float
    width: float
    counted: bool
    ok: bool


_LEFT, _WIDTH, _ROW = 250, 520, 28


def bars(phases: tuple[Phase, ...], locale: str) -> tuple[Bar, ...]:
    """Where each phase stands in the picture: one row each, to scale, never thinner than seen."""
    if not phases:
        return ()
    begin = min(p.started for p in phases)
    ends = [(p.started - begin).total_seconds() + p.seconds for p in phases]
    scale = _WIDTH / max(max(ends), 1.0)
    return tuple(
        Bar(
            label=word(PHASES, p.name, locale),
            time=span(p.seconds, locale),
            y=row * _ROW,
            x=round(_LEFT + (p.started - begin).total_seconds() * scale, 1),
            width=round(max(p.seconds * scale, 2.0), 1),
            counted=p.counted,
            ok=p.ok,
        )
        for row, p in enumerate(phases)
    )


def page(evidence: Evidence) -> str:
    """Return the whole page for `evidence`."""
    first = evidence.locale if evidence.locale in ("fr", "en") else "en"
    return render(
        "recovery",
        "evidence.html.j2",
        evidence=evidence,
        languages=(first, "en" if first == "fr" else "fr"),
        bars={locale: bars(evidence.phases, locale) for locale in ("fr", "en")},
        height=max(len(evidence.phases), 1) * _ROW + 6,
        width=_LEFT + _WIDTH + 90,
        text=lambda key, locale: word(TEXTS, key, locale),
        count=lambda key, locale: word(COUNTS, key, locale),
        check=lambda key, locale: word(CHECKS, key, locale),
        level=lambda key, locale: word(LEVELS, key, locale),
        span=span,
    )
