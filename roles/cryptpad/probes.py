"""How a CryptPad shows that it lives. Everything here is pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from inventories.model import Inventory, Service
from roles.cryptpad.settings import sandbox
from roles.interface import Finding, HttpProbe, OutsideProbe, Record, TlsProbe
from roles.records import address_records

DAYS = 14


def defined(body: bytes) -> dict[str, Any] | None:
    """The table in `define(function(){ return {…}; });`, which /api/config and /api/broadcast
    are; None when it is not one."""
    text = body.decode("utf-8", errors="replace")
    start = text.find("{", text.find("return"))
    end = text.rfind("}", 0, max(0, text.rfind("}")))
    if not text.lstrip().startswith("define(") or start < 0 or end < start:
        return None
    try:
        found = json.loads(text[start : end + 1])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def judge_page(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge the front page."""
    if status in (502, 503, 504):
        return Finding(
            "critical",
            f"the web server answers, CryptPad behind it does not (HTTP {status}). On the host: "
            "systemctl status 'cryptpad*' and its journal.",
        )
    if status != 200 or b"cryptpad" not in body.lower():
        return Finding("critical", f"the front page is not CryptPad's (HTTP {status})")
    return Finding("ok", "the front page is served")


def judge_config(url: str, sandbox_url: str, status: int, body: bytes) -> Finding:
    """Judge `/api/config`: with other origins than people use, nobody can log in or read."""
    said = defined(body)
    if status != 200 or said is None:
        return Finding("critical", f"/api/config is not CryptPad's configuration (HTTP {status})")
    if str(said.get("httpUnsafeOrigin", "")).rstrip("/") != url:
        return Finding(
            "critical",
            f"CryptPad believes that its address is {said.get('httpUnsafeOrigin')}, not {url}: "
            "nobody can log in. httpUnsafeOrigin in config.js is wrong.",
        )
    if str(said.get("httpSafeOrigin", "")).rstrip("/") != sandbox_url:
        return Finding(
            "critical",
            f"CryptPad shows documents in {said.get('httpSafeOrigin')}, not in {sandbox_url}: "
            "they stay empty. httpSafeOrigin in config.js is wrong.",
        )
    return Finding("ok", "CryptPad serves its configuration")


def judge_broadcast(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge `/api/broadcast`, where an announced maintenance stands."""
    said = defined(body)
    if status != 200 or said is None:
        return Finding("critical", f"/api/broadcast does not answer as CryptPad does ({status})")
    if said.get("maintenance"):
        return Finding("warning", "CryptPad announces a maintenance to its users")
    return Finding("ok", "no maintenance is announced")


def judge_sandbox_page(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge a page in the sandbox domain, with the header that makes it a sandbox."""
    policy = {k.lower(): v for k, v in headers.items()}.get("content-security-policy", "")
    if status != 200:
        return Finding(
            "critical", f"the sandbox domain answers HTTP {status}: documents stay empty"
        )
    if "default-src 'none'" not in policy:
        return Finding(
            "warning",
            "the sandbox domain sends no Content-Security-Policy: documents are not kept apart "
            "from the account. Look at the page /checkup/.",
        )
    return Finding("ok", "documents are shown in the sandbox domain")


def outside(service: Service, inventory: Inventory) -> tuple[OutsideProbe, ...]:
    """Both domains' certificates, the page, the configuration, the sandbox."""
    url, box = service.url, sandbox(service)
    port = urlsplit(url).port or 443
    box_url = f"https://{box}" + ("" if port == 443 else f":{port}")
    return (
        TlsProbe("tls", service.domain, port),
        TlsProbe("sandbox-tls", box, port),
        HttpProbe("https", f"{url}/", judge_page),
        HttpProbe("config", f"{url}/api/config", lambda s, _, b: judge_config(url, box_url, s, b)),
        HttpProbe("broadcast", f"{url}/api/broadcast", judge_broadcast),
        HttpProbe("sandbox", f"{box_url}/bounce/", judge_sandbox_page),
    )


def dns(service: Service, inventory: Inventory) -> tuple[Record, ...]:
    """Both names lead to the host. The package's own advice is a CNAME; an address does as well
    and is what can be changed in one step when the host is rebuilt."""
    host = inventory.hosts[service.host]
    return (*address_records(service.domain, host), *address_records(sandbox(service), host))


def judge_sandbox(exit_code: int, stdout: str) -> Finding:
    """Judge `drive.py sandbox`: YunoHost does not list that domain and renews nothing for it but
    with the app's own certificate."""
    try:
        said = json.loads(stdout)
        name, wrong = str(said["name"]), str(said["tls"])
        days, found = int(said["days"]), list(said["addresses"])
    except (ValueError, KeyError, TypeError):
        return Finding("unknown", f"the sandbox domain could not be asked (exit {exit_code})")
    if not found:
        return Finding("critical", f"no address for {name}: documents stay empty. Add it in DNS.")
    if wrong:
        return Finding(
            "critical",
            f"the certificate shown for {name} is refused ({wrong[:120]}): documents stay empty. "
            "Once DNS knows the name, `releve deploy` asks for a certificate that holds both.",
        )
    if days < DAYS:
        return Finding("warning", f"the certificate for {name} ends in {days} days")
    return Finding("ok", f"{name}: {days} days left")
