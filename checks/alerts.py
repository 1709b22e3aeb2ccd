"""Whom to tell what: changes only, grouped, in the organisation's language. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from checks.history import Channel, Memory, State
from checks.report import printable
from checks.result import ORDER, PROBLEMS, Level
from checks.wording import Locale

# Patience of its own (seconds): these mend themselves within a night and a day.
PATIENCE: Mapping[str, float] = {"updates": 36 * 3600.0, "reboot": 36 * 3600.0}
MAX_LINES = 40


@dataclass(frozen=True)
class Bad:
    """A problem to tell of."""

    check: str
    level: Level
    message: str
    since: float


@dataclass(frozen=True)
class Well:
    """A recovery to tell of; `lasted` in seconds."""

    check: str
    lasted: float


@dataclass(frozen=True)
class News:
    """What one channel does not know yet."""

    bad: tuple[Bad, ...]
    well: tuple[Well, ...]

    def __bool__(self) -> bool:
        return bool(self.bad or self.well)


def news(state: State, channel: Channel, after: int, now: float) -> News:
    """What `channel` must be told: problems that are new to it, or grew worse, and were there
    `after` times in a row, that bad or worse; recoveries that held as long. Nothing twice."""
    bad: list[Bad] = []
    well: list[Well] = []
    for check, memory in state.checks.items():
        told = channel.told.get(check)
        if memory.level in PROBLEMS:
            held = next((level for level in PROBLEMS if memory.bad.get(level, 0) >= after), None)
            worse = held and (told is None or ORDER.index(held) < ORDER.index(told))
            if held and worse and _patient_enough(check, memory, now):
                bad.append(Bad(check, held, memory.message, memory.since))
        elif told is not None and memory.well >= after:
            well.append(Well(check, now - channel.began.get(check, now)))
    bad.sort(key=lambda item: ORDER.index(item.level))
    return News(tuple(bad), tuple(well))


def _patient_enough(check: str, memory: Memory, now: float) -> bool:
    return now - memory.since >= PATIENCE.get(check.partition(".")[2], 0.0)


def told(channel: Channel, what: News, state: State) -> None:
    """Note that `channel` knows `what` now, and forget checks that no longer exist."""
    for item in what.bad:
        channel.told[item.check] = item.level
        channel.began.setdefault(item.check, item.since)
    for gone in [item.check for item in what.well] + [
        check for check in channel.told if check not in state.checks
    ]:
        channel.told.pop(gone, None)
        channel.began.pop(gone, None)


_TEXT: Mapping[Locale, Mapping[str, str]] = {
    "en": {
        "critical": "CRITICAL", "warning": "warning", "unknown": "unknown",
        "problem": "{n} problem", "problems": "{n} problems",
        "recovered": "{n} recovered", "recovereds": "{n} recovered",
        "bad": "Problems:", "well": "Well again:", "for": "for {time}", "was": "was bad for {time}",
        "line": "- {check} ({what}): {about}", "detail": "  {message}",
        "more": "… and {n} more: releve check",
        "late": "Earlier messages could not be sent for {time}.",
        "now": "less than a minute", "minutes": "{n} min", "hours": "{n} h", "days": "{n} days",
    },
    "fr": {
        "critical": "CRITIQUE", "warning": "avertissement", "unknown": "inconnu",
        "problem": "{n} problème", "problems": "{n} problèmes",
        "recovered": "{n} rétabli", "recovereds": "{n} rétablis",
        "bad": "Problèmes :", "well": "Rétabli :", "for": "depuis {time}",
        "was": "en panne pendant {time}",
        "line": "- {check} ({what}) : {about}",
        "detail": "  Détail et remède (en anglais) : {message}",
        "more": "… et {n} de plus : releve check",
        "late": "Les messages précédents n’ont pas pu être envoyés pendant {time}.",
        "now": "moins d’une minute", "minutes": "{n} min", "hours": "{n} h", "days": "{n} jours",
    },
}  # fmt: skip


def _span(seconds: float, words: Mapping[str, str]) -> str:
    minutes = max(0, int(seconds // 60))
    if minutes < 1:
        return words["now"]
    if minutes < 120:
        return words["minutes"].format(n=minutes)
    if minutes < 48 * 60:
        return words["hours"].format(n=minutes // 60)
    return words["days"].format(n=minutes // 1440)


def compose(
    organisation: str,
    locale: Locale,
    what: News,
    now: float,
    *,
    about: Callable[[str], str],
    silent_since: float = 0.0,
) -> tuple[str, str]:
    """Title and body of one message that holds all of `what`.

    `about` says in the same language what a check looks at. `silent_since`: when messages began
    to fail (0: they did not).
    """
    words = _TEXT[locale]
    counts = []
    for number, one in ((len(what.bad), "problem"), (len(what.well), "recovered")):
        if number:
            counts.append(words[one if number == 1 else f"{one}s"].format(n=number))
    title = f"[{organisation}] {', '.join(counts)}"
    lines: list[str] = []
    if silent_since:
        lines += [words["late"].format(time=_span(now - silent_since, words)), ""]
    if what.bad:
        lines.append(words["bad"])
        for bad in what.bad[:MAX_LINES]:
            time = words["for"].format(time=_span(now - bad.since, words))
            said = f"{words[bad.level]}, {time}"
            lines.append(words["line"].format(check=bad.check, what=said, about=about(bad.check)))
            lines.append(words["detail"].format(message=bad.message))
        if len(what.bad) > MAX_LINES:
            lines.append(words["more"].format(n=len(what.bad) - MAX_LINES))
    if what.well:
        lines += [""] if what.bad else []
        lines.append(words["well"])
        for well in what.well[:MAX_LINES]:
            time = words["was"].format(time=_span(well.lasted, words))
            about_it = about(well.check)
            lines.append(words["line"].format(check=well.check, what=time, about=about_it))
        if len(what.well) > MAX_LINES:
            lines.append(words["more"].format(n=len(what.well) - MAX_LINES))
    return printable(title), "\n".join(printable(line) for line in lines)
