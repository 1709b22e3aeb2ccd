"""How an Etherpad shows that it lives: its own health page where it has one, a pad read back
from the database, and its service on the host. Everything here is pure, but for a random name."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import json
import os
from collections.abc import Mapping

from inventories.model import Inventory, Service
from roles import units
from roles.etherpad.settings import unit
from roles.interface import Finding, HttpProbe, InsideProbe, OutsideProbe, Record, TlsProbe
from roles.records import address_records

# Reading a pad asks the database, whether it exists or not; these do not, and reading one makes
# none. Each look takes another name: what Etherpad has read once, it remembers.
PROBE_PADS = "releve-probe-"


def judge_page(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge the front page: it must be Etherpad's, not the web server's own."""
    if status in (502, 503, 504):
        return Finding(
            "critical",
            f"the web server answers, Etherpad behind it does not (HTTP {status}). On the host: "
            "systemctl status 'etherpad*' and its journal.",
        )
    if status != 200:
        return Finding("critical", f"the front page answers HTTP {status} instead of 200")
    if b"<html" not in body.lower() or b"pad" not in body.lower():
        return Finding("critical", "the front page is not Etherpad's")
    return Finding("ok", "the front page is served")


def judge_health(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge `/health` (application/health+json, `status: pass`). Releases before 1.8.15 lack it."""
    if status == 404:
        return Finding("ok", "this release has no /health page; the pad probe tells more anyway")
    try:
        said = json.loads(body)["status"]
    except (ValueError, KeyError, TypeError):
        return Finding("critical", f"/health answers HTTP {status} without a status")
    if status != 200 or said != "pass":
        return Finding("critical", f"Etherpad says of itself: {str(said)[:40]} (HTTP {status})")
    return Finding("ok", "Etherpad says it is well")


def judge_pad(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge a pad's text export, which asks the database.

    404 is Etherpad's own answer for a pad that nobody wrote: it asked the database to know.
    A 404 by another server, or a 500, or an HTML page, is not.
    """
    if status == 200 and "text/plain" in headers.get("content-type", ""):
        return Finding("ok", "a pad was read from the database")
    if status == 404 and (b"Cannot GET /p/" in body or b"/export/txt" in body):
        return Finding("ok", "the database answers")
    if status == 429:
        return Finding("warning", "Etherpad refuses exports for now: too many in a short time")
    return Finding(
        "critical",
        f"a pad cannot be read (HTTP {status}): the database does not answer, or Etherpad is not "
        "behind this address. On the host: systemctl status postgresql, then Etherpad's journal.",
    )


def outside(service: Service, inventory: Inventory) -> tuple[OutsideProbe, ...]:
    """The probes anybody could run: certificate, front page, health page, a pad."""
    url = service.url
    return (
        TlsProbe("tls", service.domain, service.port),
        HttpProbe("https", f"{url}/", judge_page),
        HttpProbe("health", f"{url}/health", judge_health),
        HttpProbe("pad", f"{url}/p/{PROBE_PADS}{os.urandom(6).hex()}/export/txt", judge_pad),
    )


def dns(service: Service, inventory: Inventory) -> tuple[Record, ...]:
    """The records the pads need: their name leads to their host."""
    return address_records(service.domain, inventory.hosts[service.host])


def inside(service: Service, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What only the host can know about Etherpad."""
    return (units.probe(unit(service), "postgresql.service", "nginx.service"),)
