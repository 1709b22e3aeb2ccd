"""How a mail server shows that it lives. Everything here is pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import json
from collections.abc import Mapping

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from roles.interface import Finding, HttpProbe, OutsideProbe, Record, TcpProbe, TlsProbe
from roles.mail.settings import domains, settings
from roles.records import address_records

# A mail that others refuse for now is tried again for five days; people miss it after hours.
LATE, VERY_LATE = 4 * 3600, 24 * 3600
MANY = 500


def judge_autoconfig(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge what mail programs ask to set themselves up (Mozilla's autoconfig)."""
    if status == 200 and b"<clientConfig" in body and b"imap" in body.lower():
        return Finding("ok", "mail programs set themselves up")
    return Finding(
        "warning", f"mail programs find no set-up (HTTP {status}): people must type it in"
    )


def outside(service: Service, inventory: Inventory) -> tuple[OutsideProbe, ...]:
    """Do the three doors answer: from other servers, from members, to read?"""
    name = ynh.main_domain(service, inventory)
    first = domains(service, inventory)[0]
    return (
        TlsProbe("tls", name, 443),
        TlsProbe("imap", name, 993),
        TcpProbe("smtp", name, 25, b"220"),
        TcpProbe("submission", name, 587, b"220"),
        HttpProbe(
            "autoconfig",
            f"https://{first}/.well-known/autoconfig/mail/config-v1.1.xml",
            judge_autoconfig,
        ),
    )


def dns(service: Service, inventory: Inventory) -> tuple[Record, ...]:
    """Addresses and MX; DMARC when the inventory says which.

    SPF shares its name with others' TXT records, and only the server knows its DKIM key: both are
    asked for on the host (`post.py records`) instead of being laid down here.
    """
    host = inventory.hosts[service.host]
    name = ynh.main_domain(service, inventory)
    every = dict.fromkeys((name, service.domain, *domains(service, inventory)))
    found = [record for one in every for record in address_records(one, host)]
    found += [Record(one, "MX", (f"10 {name}",)) for one in domains(service, inventory)]
    dmarc = settings(service).dmarc
    if dmarc:
        value = f"v=DMARC1; p={dmarc.policy}"
        value += f"; rua=mailto:{dmarc.reports}" if dmarc.reports else ""
        found += [Record(f"_dmarc.{one}", "TXT", (value,)) for one in domains(service, inventory)]
    return tuple(found)


def judge_queue(exit_code: int, stdout: str) -> Finding:
    """Judge `post.py queue`: do mails leave?"""
    try:
        said = json.loads(stdout)
        waiting, why = int(said["waiting"]), str(said["why"])
        oldest = None if said["oldest_s"] is None else int(said["oldest_s"])
    except (ValueError, KeyError, TypeError):
        return Finding("critical", f"Postfix's queue cannot be read (exit {exit_code})")
    because = f" Most are told: {why}" if why else ""
    if oldest is not None and oldest > VERY_LATE:
        return Finding(
            "critical",
            f"{waiting} mails wait, the oldest for {oldest // 3600} h.{because} On the host: "
            "postqueue -p",
        )
    if oldest is not None and oldest > LATE:
        return Finding(
            "warning", f"{waiting} mails wait, the oldest for {oldest // 3600} h.{because}"
        )
    if waiting > MANY:
        return Finding(
            "warning",
            f"{waiting} mails wait: does somebody send through a stolen password?{because}",
        )
    return Finding("ok", f"{waiting} mails wait" if waiting else "no mail waits")


def judge_records(exit_code: int, stdout: str) -> Finding:
    """Judge `post.py records`: do others believe our mails?"""
    try:
        said = json.loads(stdout)
        found = [(str(name), dict(one)) for name, one in said.items()]
    except (ValueError, TypeError, AttributeError):
        return Finding("unknown", f"the mail records could not be asked for (exit {exit_code})")
    if not found:
        return Finding("unknown", "no domain was asked for")
    problems: list[str] = []
    silent: list[str] = []
    for name, one in found:
        spf, dkim, dmarc = (one.get(key) for key in ("spf", "dkim", "dmarc"))
        if spf is None or dkim is None or dmarc is None:
            silent.append(name)
            continue
        ours = [text for text in spf if str(text).lower().startswith("v=spf1")]
        if len(ours) != 1:
            problems.append(
                f"{name} has {len(ours)} SPF records, one is right: TXT “v=spf1 a mx -all”"
            )
        key = str(one.get("key", ""))
        there = "".join(str(text) for text in dkim).replace(" ", "")
        if not key:
            problems.append(f"the server has no DKIM key for {name}")
        elif f"p={key}" not in there:
            problems.append(
                f"mail._domainkey.{name} TXT is not this server's key (yunohost domain dns "
                f"suggest {name} shows it): others take its mails for forged"
            )
        if not any(str(text).lower().startswith("v=dmarc1") for text in dmarc):
            problems.append(f"_dmarc.{name} TXT is missing: “v=DMARC1; p=none” to begin with")
    if problems:
        return Finding("critical", "; ".join(problems[:3]))
    if silent:
        return Finding("warning", f"DNS did not answer for {', '.join(silent)}")
    return Finding("ok", f"SPF, DKIM and DMARC are right for {', '.join(n for n, _ in found)}")


def judge_reverse(exit_code: int, stdout: str) -> Finding:
    """Judge `post.py reverse`: the address's own name, which most servers look at first."""
    try:
        said = json.loads(stdout)
        name, addresses = str(said["name"]), dict(said["addresses"])
    except (ValueError, KeyError, TypeError):
        return Finding("unknown", f"the reverse names could not be asked for (exit {exit_code})")
    silent = [address for address, names in addresses.items() if names is None]
    wrong = [a for a, names in addresses.items() if names is not None and name not in names]
    if wrong:
        return Finding(
            "warning",
            f"the reverse name of {', '.join(wrong)} is not {name}: many servers refuse such "
            "mails. It is set in the provider's panel, not in DNS.",
        )
    if silent or not addresses:
        return Finding("warning", f"nobody answers what {', '.join(silent)} is called")
    return Finding("ok", f"the server's addresses are called {name}")
