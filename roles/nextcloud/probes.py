"""How a Nextcloud shows that it lives. Everything here is pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from urllib.parse import urlsplit

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from roles.interface import Finding, HttpProbe, OutsideProbe, Record, TlsProbe
from roles.records import address_records

# Nextcloud's own limit (apps/settings/lib/SetupChecks/CronInfo.php).
JOBS_LATE = 3600


def by_hand(instance: str, *words: str) -> str:
    """The whole line that root types on the host to run an occ command: as root it refuses."""
    return f"{ynh.AS_APP} {instance} {{php}} {{install_dir}}/occ {' '.join(words)}"


def judge_status(instance: str, status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge `/status.php`: installed, serving, tables as the code wants them."""
    try:
        said = json.loads(body)
        installed, maintenance = said["installed"], said["maintenance"]
        upgrade, version = said["needsDbUpgrade"], str(said["versionstring"])
    except (ValueError, KeyError, TypeError):
        return Finding(
            "critical",
            f"status.php answers HTTP {status} without Nextcloud's status: PHP or its database "
            "does not answer, or something else is at this address",
        )
    if installed is not True:
        return Finding("critical", "Nextcloud says that it is not installed: its config is lost")
    if maintenance is not False:
        return Finding(
            "critical",
            "Nextcloud is in maintenance mode: nobody can work. If no copy and no update runs, on "
            f"the host: {by_hand(instance, 'maintenance:mode', '--off')}",
        )
    if upgrade is not False:
        return Finding(
            "critical",
            "Nextcloud's code is newer than its tables: an update was broken off. On the host: "
            f"{by_hand(instance, 'upgrade')}",
        )
    if status != 200:
        return Finding("critical", f"status.php answers HTTP {status} instead of 200")
    return Finding("ok", f"Nextcloud {version} serves")


def judge_login(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge the login page, which needs PHP, the database and the session store."""
    low = body[:200_000].lower()
    if status == 200 and (b"nextcloud" in low or b"data-requesttoken" in low):
        return Finding("ok", "the login page is served")
    if status == 503:
        return Finding("critical", "the login page says that Nextcloud is not available")
    return Finding("critical", f"there is no login page (HTTP {status})")


def judge_dav(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge WebDAV without a password: it must ask for one, as Nextcloud and nobody else."""
    said = {k.lower(): v for k, v in headers.items()}.get("www-authenticate", "")
    if status == 401 and ("basic" in said.lower() or b"sabre" in body.lower()):
        return Finding("ok", "WebDAV asks for a login")
    if status in (302, 301, 200):
        return Finding(
            "critical",
            f"WebDAV does not ask for a login (HTTP {status}): YunoHost's portal stands before it, "
            "so that phones and computers cannot synchronise. Give the app to visitors.",
        )
    return Finding("critical", f"WebDAV answers HTTP {status}: files and calendars do not sync")


def outside(service: Service, inventory: Inventory) -> tuple[OutsideProbe, ...]:
    """Certificate, status, login page, WebDAV as a phone would ask."""
    url = service.url
    return (
        TlsProbe("tls", service.domain, urlsplit(url).port or 443),
        HttpProbe("https", f"{url}/login", judge_login),
        HttpProbe("status", f"{url}/status.php", partial(judge_status, ynh.instance_of(service))),
        HttpProbe("dav", f"{url}/remote.php/dav/", judge_dav),
    )


def dns(service: Service, inventory: Inventory) -> tuple[Record, ...]:
    """Its name leads to its host."""
    return address_records(service.domain, inventory.hosts[service.host])


def judge_state(instance: str, exit_code: int, stdout: str) -> Finding:
    """Judge `cloud.py state`: as status.php, and the age of the last background job."""
    try:
        said = json.loads(stdout)
        installed, maintenance = said["installed"], said["maintenance"]
        upgrade, age, version = said["needsDbUpgrade"], said["jobs_age_s"], said["version"]
        age = None if age is None else int(age)
    except (ValueError, KeyError, TypeError):
        return Finding(
            "critical", f"occ does not answer on its host (exit {exit_code}): Nextcloud is broken"
        )
    if not installed:
        return Finding("critical", "occ says that Nextcloud is not installed")
    if upgrade:
        return Finding("critical", f"its tables wait. On the host: {by_hand(instance, 'upgrade')}")
    if maintenance:
        return Finding("warning", "maintenance mode is on; while a copy is made, that is right")
    if age is None:
        return Finding(
            "warning", f"its background jobs never ran: is /etc/cron.d/{instance} there?"
        )
    if age > JOBS_LATE:
        return Finding(
            "warning",
            f"its background jobs last ran {age // 60} min ago, every 5 min would be right: mail, "
            "previews and cleaning wait. On the host: journalctl -t CRON, /etc/cron.d",
        )
    return Finding("ok", f"Nextcloud {version}, background jobs on time")


def judge_checks(exit_code: int, stdout: str) -> Finding:
    """Judge `cloud.py checks`: Nextcloud's own opinion of its set-up."""
    try:
        said = json.loads(stdout)
        errors, warnings = list(said.get("error", [])), list(said.get("warning", []))
    except (ValueError, AttributeError, TypeError):
        return Finding("warning", f"Nextcloud's setup checks do not answer (exit {exit_code})")
    if errors:
        return Finding(
            "warning",
            f"Nextcloud complains about its set-up: {', '.join(map(str, errors[:4]))}. On its page "
            "Administration, Overview, it says what to do.",
        )
    return Finding("ok", f"Nextcloud's setup checks: {len(warnings)} remarks, no error")
