"""From the inventory to looks from outside: DNS, HTTPS with content, certificates, ports."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from checks import dns, http, tls
from checks.pool import Job
from checks.result import Kind, Result
from inventories.model import External, Inventory, Service
from roles.interface import (
    Absent,
    Finding,
    HttpProbe,
    OutsideProbe,
    Record,
    Role,
    TcpProbe,
    TlsProbe,
)
from tools import urls

SECONDS = 10.0  # what a person would wait


@dataclass(frozen=True)
class Means:
    """What looks from outside share."""

    resolver: dns.Resolver
    context: ssl.SSLContext


def judge_any(status: int, headers: object, body: bytes) -> Finding:
    """Judge an address of which nothing more is known: it must answer without an error."""
    del headers, body
    if status < 400:
        return Finding("ok", "answers")
    if status in (401, 403, 429):
        return Finding("ok", f"answers (HTTP {status}: not to everybody)")
    return Finding("critical", f"answers HTTP {status}")


def sent_away(url: str, to: str) -> Finding:
    """What to say of a page that sends people to a server which is none of this service's."""
    return Finding(
        "critical",
        f"{url} sends people to {to[:200]}, which another server answers: the service itself was "
        "not seen. Was its domain lost, its configuration changed, its login moved elsewhere?",
    )


def external_job(external: External, means: Means) -> Job | None:
    """The one look at a service that somebody else runs, or None when it has no address."""
    if external.url is None:
        return None
    probe = HttpProbe("https", f"{external.url}/", judge_any, elsewhere=None)
    return _web(external.id, "external", (probe,), None, means)


def service_jobs(
    service: Service,
    role: Role | None,
    inventory: Inventory,
    means: Means,
    wanted: Callable[[str], bool],
) -> list[Job]:
    """The looks from outside at one service; `wanted` says which check ids are asked for.

    A role that Relève does not know (yet) gets what any address gets.
    """
    probes: Sequence[OutsideProbe] = ()
    records: Sequence[Record] = ()
    if role is None:
        probes = (
            TlsProbe("tls", service.domain, service.port),
            HttpProbe("https", f"{service.url}/", judge_any),
        )
    else:
        if not isinstance(role.outside, Absent):
            probes = role.outside(service, inventory)
        if not isinstance(role.dns, Absent) and wanted(f"{service.id}.dns"):
            records = role.dns(service, inventory)
    probes = [probe for probe in probes if wanted(f"{service.id}.{probe.name}")]
    jobs: list[Job] = []
    if records:
        look = partial(_dns, service.id, tuple(records), means.resolver)
        jobs.append(Job((f"{service.id}.dns",), "service", SECONDS, look))
    # A certificate needs no connection of its own where a page is fetched anyway.
    certificates = {(p.host, p.port): p for p in probes if isinstance(p, TlsProbe)}
    for probe in probes:
        if isinstance(probe, HttpProbe):
            parts = urls.split(probe.url)
            certificate = certificates.pop((parts.name, parts.port or 443), None)
            jobs.append(_web(service.id, "service", (probe,), certificate, means))
        elif isinstance(probe, TcpProbe):
            look = partial(_tcp, service.id, probe, means)
            jobs.append(Job((f"{service.id}.{probe.name}",), "service", SECONDS, look))
    for probe in certificates.values():
        jobs.append(_web(service.id, "service", (), probe, means))
    return jobs


def _web(
    subject: str,
    kind: Kind,
    pages: tuple[HttpProbe, ...],
    certificate: TlsProbe | None,
    means: Means,
) -> Job:
    names = [page.name for page in pages] + ([certificate.name] if certificate else [])
    look = partial(_look, subject, kind, pages, certificate, means)
    return Job(tuple(f"{subject}.{name}" for name in names), kind, SECONDS, look)


def _look(
    subject: str,
    kind: Kind,
    pages: tuple[HttpProbe, ...],
    certificate: TlsProbe | None,
    means: Means,
    deadline: float,
) -> list[Result]:
    began = time.monotonic()
    results: list[Result] = []

    def add(name: str, finding: Finding) -> None:
        seconds = time.monotonic() - began
        results.append(Result(f"{subject}.{name}", kind, finding.level, finding.message, seconds))

    def resolve(name: str) -> Sequence[str]:
        return means.resolver.addresses(name, deadline)

    seen: tls.Certificate | None = None
    refused: str | None = None
    broken: str | None = None
    for page in pages:
        try:
            answer = http.fetch(page.url, resolve, means.context, deadline, page.elsewhere)
        except tls.CertificateRefused as error:
            refused = str(error)
            said = "browsers warn people off" if certificate else refused
            add(page.name, Finding("critical", f"{said}{' (see tls)' if certificate else ''}"))
        except http.Unreachable as error:
            broken = str(error)
            add(page.name, Finding("critical", f"{page.url}: {broken}"))
        else:
            seen = seen or answer.certificate
            if answer.elsewhere:
                add(page.name, sent_away(page.url, answer.elsewhere))
            else:
                add(page.name, page.judge(answer.status, answer.headers, answer.body))
    if certificate is None:
        return results
    if seen is None and refused is None:
        # No page was asked for here, or its answer broke after the certificate was shown.
        try:
            left = deadline if not pages else min(deadline, time.monotonic() + SECONDS / 2)
            seen = http.certificate(
                certificate.host,
                certificate.port,
                resolve,
                means.context,
                left,
                starttls=certificate.starttls,
            )
        except tls.CertificateRefused as error:
            refused = str(error)
        except http.Unreachable as error:
            broken = str(error)
    if seen is not None:
        add(certificate.name, tls.judge(seen, time.time()))
    elif refused is not None:
        add(certificate.name, Finding("critical", refused))
    else:
        add(certificate.name, Finding("unknown", f"no certificate was seen: {broken}"))
    return results


def _tcp(subject: str, probe: TcpProbe, means: Means, deadline: float) -> list[Result]:
    began = time.monotonic()
    try:
        said = http.greeting(
            probe.host,
            probe.port,
            lambda name: means.resolver.addresses(name, deadline),
            probe.greeting,
            deadline,
        )
        if said == probe.greeting:
            finding = Finding("ok", f"port {probe.port} answers")
        else:
            finding = Finding(
                "critical",
                f"port {probe.port} says {said[:40]!r} instead of {probe.greeting!r}: another "
                "program listens there",
            )
    except http.Unreachable as error:
        finding = Finding("critical", str(error))
    seconds = time.monotonic() - began
    return [Result(f"{subject}.{probe.name}", "service", finding.level, finding.message, seconds)]


def _dns(
    subject: str, records: tuple[Record, ...], resolver: dns.Resolver, deadline: float
) -> list[Result]:
    began = time.monotonic()
    typed = {(record.name, record.type) for record in records}
    findings: list[Finding] = []
    for record in records:
        unwanted: list[dns.View] = []
        other = {"A": "AAAA", "AAAA": "A"}.get(record.type)
        if other and (record.name, other) not in typed:
            unwanted = resolver.views(record.name, other, deadline)
        views = resolver.views(record.name, record.type, deadline)
        findings.append(dns.judge(record, views, unwanted=unwanted))
    order = ("critical", "warning", "unknown", "ok")
    worst = min(findings, key=lambda finding: order.index(finding.level))
    bad = [finding.message for finding in findings if finding.level == worst.level]
    seconds = time.monotonic() - began
    return [Result(f"{subject}.dns", "service", worst.level, "; ".join(bad), seconds)]
