"""How a Discourse shows that it lives. Everything here is pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from inventories.model import Inventory, Service
from roles.interface import Finding, HttpProbe, OutsideProbe, Record, TlsProbe
from roles.records import address_records

# Discourse's own limits (app/services/problem_check/sidekiq_check.rb).
JOBS_LATE = 120
JOBS_MANY = 100_000


def judge_status(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge `/srv/status`, which says "ok" as long as the program runs."""
    if status == 200 and body.strip() == b"ok":
        return Finding("ok", "Discourse runs")
    if status in (502, 503, 504):
        return Finding(
            "critical",
            f"nginx answers, Discourse behind it does not (HTTP {status}). On the host: systemctl "
            "status 'discourse*'; it may still be starting, or lack memory.",
        )
    return Finding("critical", f"/srv/status answers HTTP {status} and not “ok”")


def judge_page(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge the front page, which needs the database; 403 and the login page are a forum's way
    of being closed."""
    low = body[:400_000].lower()
    if status in (200, 403) and b"discourse" in low:
        return Finding("ok", "the front page is served")
    if b"maintenance" in low and status in (200, 503):
        return Finding("warning", "the forum says that it is under maintenance")
    return Finding("critical", f"the front page is not Discourse's (HTTP {status})")


def judge_site(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge `/site/basic-info.json`, which comes from the database and needs no login."""
    try:
        title = str(json.loads(body)["title"])
    except (ValueError, KeyError, TypeError):
        return Finding(
            "critical",
            f"the forum's interface answers HTTP {status} without its title: the database or "
            "Redis does not answer",
        )
    return Finding("ok", f"{title[:60]} answers from its database")


def outside(service: Service, inventory: Inventory) -> tuple[OutsideProbe, ...]:
    """Certificate, front page, status, an answer from the database."""
    url = service.url
    return (
        TlsProbe("tls", service.domain, urlsplit(url).port or 443),
        HttpProbe("https", f"{url}/", judge_page),
        HttpProbe("status", f"{url}/srv/status", judge_status),
        HttpProbe("site", f"{url}/site/basic-info.json", judge_site),
    )


def dns(service: Service, inventory: Inventory) -> tuple[Record, ...]:
    """Its name leads to its host."""
    return address_records(service.domain, inventory.hosts[service.host])


def judge_state(instance: str, exit_code: int, stdout: str) -> Finding:
    """Judge `forum.py state` of an app's instance: background jobs, the mailbox, read-only mode."""
    try:
        said = json.loads(stdout)
        queued, errors = int(said["queued"]), int(said["mailbox_errors"])
        age = None if said["job_age_s"] is None else int(said["job_age_s"])
        readonly, held = bool(said["readonly"]), bool(said["held"])
    except (ValueError, KeyError, TypeError):
        return Finding(
            "critical",
            f"Redis or the database does not answer on its host (exit {exit_code}). There: "
            f"systemctl status {instance} redis-server postgresql",
        )
    if readonly and not held:
        return Finding(
            "warning",
            "the forum is read-only: nobody can write. An administrator of the forum can end it "
            "under Admin, Backups.",
        )
    if queued and not held and (age is None or age > JOBS_LATE):
        since = "never" if age is None else f"{age // 60} min ago"
        return Finding(
            "critical",
            f"{queued} background jobs wait, the last one ran {since}: no mail leaves, none comes "
            f"in. On the host: systemctl restart {instance}. Why: journalctl -u {instance}, and "
            f"/var/www/{instance}/discourse/log/production.log",
        )
    if queued >= JOBS_MANY:
        return Finding("warning", f"{queued} background jobs wait: more come in than are done")
    if errors:
        return Finding(
            "warning",
            f"the forum could not read its mailbox ({errors} failures in a day): replies by mail "
            "are lost to it. Is the mailbox's password right, does POP3 answer on port 995?",
        )
    return Finding("ok", "background jobs on time" + (", held for a copy" if held else ""))
