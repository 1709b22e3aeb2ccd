"""The evidence as a few lines for a terminal. Pure."""

from __future__ import annotations

from recovery.evidence import Evidence, span
from recovery.wording import COUNTS, PHASES, TEXTS, word


def summary(evidence: Evidence) -> str:
    """Phases with their times, what came back of each service, loss and time, the verdict."""
    lines = ["", "What happened:"]
    for phase in evidence.phases:
        wait = "members wait" if phase.counted else ""
        name = word(PHASES, phase.name, "en") + ("" if phase.ok else "  FAILED")
        lines.append(f"  {name:<36}{span(phase.seconds):>12}  {wait}".rstrip())
    lines += ["", "What came back:"]
    for service in evidence.services:
        counts = [
            f"{service.counts_after.get(name, 0)} of {before} {word(COUNTS, name, 'en')}"
            for name, before in service.counts_before.items()
        ]
        lines.append(f"  {service.id}: {', '.join(counts) or 'nothing'}")
        if service.newest:
            lines.append(f"    last writing found: {service.newest.at:%Y-%m-%d %H:%M:%S} UTC")
    rpo, rto = evidence.rpo, evidence.rto
    lines += [
        "",
        f"Work lost (RPO):            {span(rpo) if rpo is not None else 'unknown'}"
        f"   (promised: at most {span(evidence.rpo_target)})",
        f"Time without service (RTO): {span(rto) if rto is not None else 'unknown'}"
        f"   (promised: at most {span(evidence.rto_target)})",
    ]
    if evidence.names_until:
        until = f"{evidence.names_until:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(f"  {word(TEXTS, 'names-until', 'en').format(until)}")
    lines.append("")
    if evidence.passed and evidence.kind == "rehearsal":
        lines.append("It worked: every service came back on a blank host, from the real copies.")
    elif evidence.passed:
        where = f"{evidence.now.provider} ({evidence.now.datacenter})"
        lines.append(f"It worked: every service is back at {where}.")
    else:
        lines.append("It did not work:")
        for failure in evidence.failures:
            first, *rest = failure.lines()
            lines += [f"  {first}", *(f"    {line}" for line in rest)]
    return "\n".join(lines)
