"""How pages and hosts' answers are judged, for each service: what must not pass does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inventories.model import Inventory
from roles import units
from roles.etherpad import probes as etherpad
from roles.interface import HttpProbe, Record, TlsProbe
from roles.wordpress import probes as wordpress

HTML = {"content-type": "text/html; charset=UTF-8"}
PAGE = b"<!DOCTYPE html><html><body>Bonjour</body></html>"


def inventory(role: str, url: str) -> Inventory:
    from roles.registry import SERVICES

    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "T", "contact": "c@test.example"},
            "hosts": {
                "web1": {
                    "platform": "debian", "address": "192.0.2.1", "address6": "2001:db8::1",
                    "provider": "p", "datacenter": "d",
                }
            },
            "services": {
                "it": {
                    "role": role, "host": "web1", "url": url,
                    "settings": SERVICES[role].settings(),
                }
            },
        }
    )  # fmt: skip


@pytest.mark.parametrize("role", ["wordpress", "etherpad"])
def test_every_service_is_asked_for_page_certificate_and_name(role: str) -> None:
    inv = inventory(role, "https://x.test.example:8443/sub")
    module = {"wordpress": wordpress, "etherpad": etherpad}[role]
    found = module.outside(inv.services["it"], inv)
    assert TlsProbe("tls", "x.test.example", 8443) in found
    urls = {p.name: p.url for p in found if isinstance(p, HttpProbe)}
    assert urls["https"] == "https://x.test.example:8443/sub/"
    assert len(urls) >= 2
    assert module.dns(inv.services["it"], inv) == (
        Record("x.test.example", "A", ("192.0.2.1",)),
        Record("x.test.example", "AAAA", ("2001:db8::1",)),
    )
    names = [p.name for p in found] + [p.name for p in module.inside(inv.services["it"], inv)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("status", "headers", "body", "level"),
    [
        (200, HTML, PAGE, "ok"),
        (500, HTML, b"<html><h1>Error establishing a database connection</h1>", "critical"),
        (200, HTML, b"<html>Error establishing a database connection</html>", "critical"),
        (503, HTML, b"<html>Briefly unavailable for scheduled maintenance.", "warning"),
        (200, HTML, b'<html><form action="/wp-admin/install.php?step=1">', "critical"),
        (200, {"content-type": "application/octet-stream"}, b"<?php", "critical"),
        (200, HTML, b"", "critical"),
        (404, HTML, PAGE, "critical"),
    ],
)
def test_wordpress_page(status: int, headers: Any, body: bytes, level: str) -> None:
    assert wordpress.judge_page(status, headers, body).level == level


@pytest.mark.parametrize(
    ("status", "index", "level"),
    [
        (200, {"namespaces": ["wp/v2"], "home": "https://x.test.example"}, "ok"),
        (200, {"namespaces": ["wp/v2"], "home": "http://x.test.example"}, "warning"),
        (200, {"namespaces": [], "home": "https://x.test.example"}, "critical"),
        (401, {"namespaces": ["wp/v2"], "home": "https://x.test.example"}, "critical"),
        (200, {"home": "x"}, "critical"),
        (200, [], "critical"),
    ],
)
def test_wordpress_api(status: int, index: Any, level: str) -> None:
    found = wordpress.judge_api("https://x.test.example", status, json.dumps(index).encode())
    assert found.level == level


WELL: dict[str, Any] = {
    "installed": True, "maintenance_age_s": None, "cron_late_s": 30, "plugins_outdated": [],
    "version": "6.1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, "ok"),
        ({"installed": False}, "critical"),
        ({"maintenance_age_s": 60}, "ok"),
        ({"maintenance_age_s": 3600}, "warning"),
        ({"cron_late_s": 25 * 3600}, "ok"),
        ({"cron_late_s": 27 * 3600}, "warning"),
        ({"plugins_outdated": ["akismet"]}, "warning"),
        ({"version": None, "installed": None}, "critical"),
        ({"cron_late_s": None}, "critical"),
    ],
)
def test_wordpress_state(change: dict[str, Any], level: str) -> None:
    assert wordpress.judge_state(0, json.dumps({**WELL, **change})).level == level


def test_wordpress_that_does_not_start_is_critical() -> None:
    assert wordpress.judge_state(255, "PHP Fatal error").level == "critical"


def test_changed_program_files_are_told_from_configuration() -> None:
    well = "??5?????? c /etc/wordpress/htaccess\nmissing     /usr/share/doc/wordpress/README\n"
    assert wordpress.judge_files(1, well).level == "ok"
    found = wordpress.judge_files(1, well + "??5??????   /usr/share/wordpress/wp-login.php\n")
    assert found.level == "critical"
    assert "/usr/share/wordpress/wp-login.php" in found.message
    assert wordpress.judge_files(2, "").level == "unknown"


@pytest.mark.parametrize(
    ("judge", "status", "headers", "body", "level"),
    [
        (etherpad.judge_page, 200, HTML, b"<html>New pad</html>", "ok"),
        (etherpad.judge_page, 200, HTML, b"<html>Welcome to nginx!</html>", "critical"),
        (etherpad.judge_page, 502, HTML, b"<html>Bad Gateway, pad</html>", "critical"),
        (etherpad.judge_health, 200, {}, b'{"status": "pass"}', "ok"),
        (etherpad.judge_health, 503, {}, b'{"status": "fail"}', "critical"),
        (etherpad.judge_health, 200, {}, b"<html>", "critical"),
        (etherpad.judge_health, 404, {}, b"Cannot GET /health", "ok"),
        (etherpad.judge_pad, 200, {"content-type": "text/plain"}, b"hello", "ok"),
        (etherpad.judge_pad, 200, HTML, b"<html>another site</html>", "critical"),
        (etherpad.judge_pad, 404, HTML, b"<pre>Cannot GET /p/x/export/txt</pre>", "ok"),
        (etherpad.judge_pad, 404, HTML, b"<center>nginx</center>", "critical"),
        (etherpad.judge_pad, 500, HTML, b"Internal Server Error", "critical"),
        (etherpad.judge_pad, 429, HTML, b"Too many", "warning"),
    ],
)
def test_etherpad(judge: Any, status: int, headers: Any, body: bytes, level: str) -> None:
    assert judge(status, headers, body).level == level


@pytest.mark.parametrize(
    ("code", "said", "level", "words"),
    [
        (0, "Id=a.service\nActiveState=active\nNRestarts=0\n", "ok", "a.service runs"),
        (0, "Id=a.service\nActiveState=active\nNRestarts=9\n", "warning", "9 times"),
        (0, "Id=a.service\nActiveState=failed\nNRestarts=0\n", "critical", "run (failed)"),
        (0, "Id=a.service\nActiveState=inactive\n", "critical", "start a.service"),
        (
            0,
            "Id=a.service\nActiveState=active\nNRestarts=9\n\nId=b.service\nActiveState=inactive\n",
            "critical",
            "b.service does not run",
        ),
        (
            0,
            "Id=a.service\nActiveState=active\n\nId=b.service\nActiveState=reloading\n",
            "ok",
            "a.service and b.service run",
        ),
        (0, "Id=a.service\nActiveState=active\n\nId=b.service\n", "unknown", "no state"),
        (1, "", "unknown", "no state"),
    ],
)
def test_units(code: int, said: str, level: str, words: str) -> None:
    finding = units.judge_units(code, said)
    assert finding.level == level
    assert words in finding.message
