"""How a WordPress site shows that it lives: its pages, its API, and what only its host knows.

Everything here is pure. The inside probe runs `files/probe.php`, which loads WordPress as a
visitor's request would (wp-cli is not in Debian).
"""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import json
from collections.abc import Mapping

from inventories.model import Inventory, Service
from roles import units
from roles.interface import Finding, HttpProbe, InsideProbe, OutsideProbe, Record, TlsProbe
from roles.records import address_records
from roles.wordpress import settings

PROGRAM = "/usr/local/lib/releve/wordpress/probe.php"

# WordPress itself ignores a `.maintenance` file after ten minutes (wp-includes/load.php).
STALE_MAINTENANCE = 600
# Some installations run wp-cron once a day only: an event may be a day late and all is well.
CRON_LATE = 26 * 3600


def judge_page(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge the front page: complete HTML, no database error, no maintenance."""
    text = body.decode("utf-8", errors="replace")
    low = text.lower()
    if "error establishing a database connection" in low or "wp-die-message" in low:
        return Finding(
            "critical",
            f"WordPress shows an error page (HTTP {status}): its database does not answer or a "
            "plugin broke. Look at `systemctl status mariadb` and the PHP log on the host.",
        )
    if status == 503:
        return Finding(
            "warning",
            "the site says that it is in maintenance. If nobody is updating it, remove "
            "the file .maintenance in the site's folder.",
        )
    if status != 200:
        return Finding("critical", f"the front page answers HTTP {status} instead of 200")
    if "wp-admin/install.php" in low or "setup-config.php" in low:
        return Finding(
            "critical",
            "the site offers its installation form to everybody: its database is empty or not the "
            "right one. Close it now (stop nginx), then restore the database.",
        )
    if "html" not in headers.get("content-type", "") or "<html" not in low:
        return Finding("critical", "the front page is not an HTML page")
    return Finding("ok", "the front page is served")


def judge_api(url: str, status: int, body: bytes) -> Finding:
    """Judge the REST API's index: JSON that only WordPress and its database can give.

    `url` is the address in the inventory; the site must believe it has the same one, or its
    links lead elsewhere.
    """
    try:
        index = json.loads(body)
        spaces, home = index["namespaces"], str(index["home"])
    except (ValueError, KeyError, TypeError):
        return Finding(
            "critical",
            f"the site's API answers HTTP {status} without WordPress's index: PHP, the database "
            "or a security plugin is in the way",
        )
    if status != 200 or "wp/v2" not in spaces:
        return Finding("critical", f"the site's API answers HTTP {status} and lacks wp/v2")
    if home.rstrip("/") != url.rstrip("/"):
        return Finding(
            "warning",
            f"the site believes that its address is {home}, the inventory says {url}: links and "
            "logins go to the former. Correct one of the two.",
        )
    return Finding("ok", "WordPress and its database answer")


def outside(service: Service, inventory: Inventory) -> tuple[OutsideProbe, ...]:
    """The probes anybody could run: certificate, front page, API index."""
    url = service.url
    return (
        TlsProbe("tls", service.domain, service.port),
        HttpProbe("https", f"{url}/", judge_page),
        # `/wp-json/` needs rewritten links to be switched on; this address always works.
        HttpProbe("api", f"{url}/?rest_route=/", lambda s, _, b: judge_api(url, s, b)),
    )


def dns(service: Service, inventory: Inventory) -> tuple[Record, ...]:
    """The records the site needs: its name leads to its host."""
    return address_records(service.domain, inventory.hosts[service.host])


def judge_state(exit_code: int, stdout: str) -> Finding:
    """Judge what `probe.php` printed: installed, maintenance, late events, plugin updates."""
    try:
        said = json.loads(stdout)
        installed = said["installed"]
        maintenance = said["maintenance_age_s"]
        late = int(said["cron_late_s"])
        outdated = [str(name) for name in said["plugins_outdated"]]
        version = str(said["version"])
    except (ValueError, KeyError, TypeError):
        return Finding(
            "critical",
            f"WordPress does not start on its host (PHP ended with code {exit_code}). Does its "
            "database run? On the host: systemctl status mariadb; journalctl --since -1h",
        )
    if not installed:
        return Finding(
            "critical", "WordPress is not installed: its database is empty or the wrong one"
        )
    if maintenance is not None and int(maintenance) > STALE_MAINTENANCE:
        return Finding(
            "warning",
            f"an update was broken off {int(maintenance) // 60} min ago and left a .maintenance "
            "file behind: finish the update, then remove the file",
        )
    if late > CRON_LATE:
        return Finding(
            "warning",
            f"WordPress's scheduled tasks are {late // 3600} h late: published dates, mails and "
            "updates wait. Does anything call wp-cron.php?",
        )
    if outdated:
        return Finding(
            "warning",
            f"updates wait for {len(outdated)} plugin(s) or theme(s): {', '.join(outdated[:5])}"
            + (" …" if len(outdated) > 5 else "")
            + ". Save first, then update them in the site's administration.",
        )
    return Finding("ok", f"WordPress {version}, tasks on time, nothing to update")


# What Debian machines often leave out on purpose (dpkg's path-exclude in images).
_LEFT_OUT = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/lintian/")


def judge_files(exit_code: int, stdout: str) -> Finding:
    """Judge `dpkg --verify wordpress`: program files that differ from Debian's package.

    Each line is nine signs, maybe " c" for a configuration file, and a path (dpkg(1)).
    Configuration files may differ; code may not: that is how most intruders stay.
    """
    changed: list[str] = []
    for line in stdout.splitlines():
        path = line[line.find("/") :] if "/" in line else ""
        is_configuration = line[9:12].strip() == "c"
        if path and not is_configuration and not path.startswith(_LEFT_OUT):
            changed.append(path)
    if changed:
        return Finding(
            "critical",
            f"{len(changed)} program file(s) differ from Debian's package, first {changed[0]}: "
            "somebody changed WordPress's code. Compare, then `apt install --reinstall wordpress`.",
        )
    if exit_code not in (0, 1):
        return Finding("unknown", f"dpkg --verify ended with code {exit_code}")
    return Finding("ok", "the program files are Debian's")


def inside(service: Service, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What only the host can know about the site."""
    return (
        # As the site's own user: MariaDB knows it by its socket, and root must run no plugin.
        InsideProbe(
            "state",
            ("runuser", "-u", settings.user(service), "--", "php", PROGRAM, service.id),
            judge_state,
        ),
        InsideProbe("files", ("dpkg", "--verify", "wordpress"), judge_files, timeout=30),
        units.probe(settings.unit(service), "mariadb.service", "nginx.service"),
    )
