"""A whole run over an inventory: DNS over its real protocol, TLS and HTTP, hosts' own words."""

from __future__ import annotations

import json
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest

from checks import report, sessions
from checks import run as checks_run
from checks.result import Result, exit_code
from inventories.model import Host, Inventory

NAME = "site.test.example"


class Zone(socketserver.ThreadingUDPServer):
    """A DNS server with a few records; None as a record means that it says SERVFAIL."""

    def __init__(self, records: Mapping[tuple[str, str], tuple[int, str] | None]) -> None:
        self.records = records
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(socketserver.BaseRequestHandler):
    server: Zone

    def handle(self) -> None:
        data, sock = self.request
        query = dns.message.from_wire(data)
        [question] = query.question
        name, kind = question.name.to_text(omit_final_dot=True), question.rdtype.name
        response = dns.message.make_response(query)
        record = self.server.records.get((name, kind), (0, ""))
        if record is None:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif record[1]:
            response.answer.append(
                dns.rrset.from_text(question.name, record[0], "IN", kind, *record[1].split())
            )
        elif not any(known == name for known, _ in self.server.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        sock.sendto(response.to_wire(), self.client_address)


@pytest.fixture
def zone() -> Iterator[Zone]:
    with Zone({}) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def inventory(zone: Zone, port: int, **host: Any) -> Inventory:
    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "Test", "contact": "contact@test.example", "locale": "en"},
            "certificates": {"trust": "root.pem"},
            "hosts": {
                "web1": {
                    "platform": "debian", "address": "127.0.0.1", "provider": "p",
                    "datacenter": "d", **host,
                }
            },
            "domains": {
                "test.example": {
                    "dns": "rfc2136", "server": "127.0.0.1", "port": zone.server_address[1],
                    "key": "k", "secret": "secret:k",
                }
            },
            "services": {
                "pads": {"role": "etherpad", "host": "web1", "url": f"https://{NAME}:{port}"}
            },
            "acknowledge": [
                {"rule": "no-repository", "by": "me", "date": "2026-01-01", "reason": "A test"}
            ],
        }
    )  # fmt: skip


def levels(results: Sequence[Result]) -> dict[str, str]:
    return {result.id: result.level for result in results}


def messages(results: Sequence[Result]) -> dict[str, str]:
    return {result.id: result.message for result in results}


PAGES = {
    b"/": (b"text/html", b"<html>New pad</html>"),
    b"/health": (b"application/health+json", b'{"status": "pass"}'),
    b"/p/PAD/export/txt": (b"text/plain", b"hello"),
}


def etherpad(sock: Any) -> None:
    # Each look asks for a pad of another name.
    path = re.sub(rb"releve-probe-[0-9a-f]{12}", b"PAD", sock.recv(65536).split(b" ")[1])
    kind, body = PAGES.get(path, (b"text/plain", b""))
    status = b"200 OK" if path in PAGES else b"404 Not Found"
    sock.sendall(b"HTTP/1.1 %s\r\nContent-Type: %s\r\n\r\n%s" % (status, kind, body))


def refuse(host: Host, argv: Sequence[str], deadline: float) -> bytes:
    raise sessions.NoKey("no key")


def test_a_well_service_is_well_and_inside_looks_are_skipped_without_a_key(
    zone: Zone, serve: Any, root: Any, trust: Path
) -> None:
    zone.records = {(NAME, "A"): (300, "127.0.0.1")}
    inv = inventory(zone, serve(etherpad, [root.issue(NAME)]))
    found = checks_run.run(inv, trust.parent, ask=refuse).results
    seen = levels(found)
    outside = {"pads.dns", "pads.tls", "pads.https", "pads.health", "pads.pad"}
    assert {i for i, level in seen.items() if level == "ok"} == outside, messages(found)
    assert {level for i, level in seen.items() if i not in outside} == {"skipped"}
    assert {"web1.ssh", "web1.disk", "pads.unit"} <= seen.keys()
    assert exit_code(found) == 0


@pytest.mark.parametrize(
    ("text", "said"), [("ssh-ed25519 AAAA me", "without .pub"), (None, "is not there")]
)
def test_a_key_that_is_none_hides_nothing_that_needs_no_key(
    zone: Zone, trust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    text: str | None, said: str,
) -> None:  # fmt: skip
    zone.records = {(NAME, "A"): (300, "127.0.0.1")}
    key = tmp_path / "key.pub"
    if text:
        key.write_text(text)
    monkeypatch.setenv("RELEVE_SSH_KEY", str(key))
    found = checks_run.run(inventory(zone, 1), trust.parent, only=["pads.dns", "web1.*"]).results
    seen = levels(found)
    assert (seen.pop("pads.dns"), seen.pop("web1.ssh")) == ("ok", "unknown")
    assert set(seen.values()) == {"skipped"}
    assert f"{key}" in messages(found)["web1.ssh"]
    assert said in messages(found)["web1.ssh"]
    assert exit_code(found) == 3


@pytest.mark.parametrize(
    ("records", "level", "said"),
    [
        ({(NAME, "A"): (300, "127.0.0.9")}, "critical", "127.0.0.9; the inventory says 127.0.0.1"),
        ({("other.test.example", "A"): (300, "127.0.0.1")}, "critical", "has no A record"),
        ({(NAME, "A"): (86400, "127.0.0.1")}, "warning", "the old host for 24 h"),
        (
            {(NAME, "A"): (300, "127.0.0.1"), (NAME, "AAAA"): (300, "::9")},
            "critical",
            "also leads site.test.example to ::9",
        ),
        ({(NAME, "A"): None}, "unknown", "gives no answer"),
        ({(NAME, "A"): (300, "127.0.0.1 127.0.0.9")}, "critical", "127.0.0.1, 127.0.0.9; the inv"),
    ],
)
def test_dns_is_compared_with_the_inventory(
    zone: Zone, trust: Path, records: Any, level: str, said: str
) -> None:
    zone.records = records
    found = checks_run.run(inventory(zone, 1), trust.parent, only=["pads.dns"]).results
    assert levels(found) == {"pads.dns": level}
    assert said in found[0].message


def test_an_address_stands_in_for_dns_and_one_cause_is_named_once(
    zone: Zone, serve: Any, root: Any, trust: Path
) -> None:
    inv = inventory(zone, serve(etherpad, [root.issue(NAME, ends=-0.5)]), address="192.0.2.1")
    found = checks_run.run(
        inv, trust.parent, only=["*.tls", "*.https"], addresses={"web1": "127.0.0.1"}
    ).results
    assert levels(found) == {"pads.tls": "critical", "pads.https": "critical"}
    assert "expired on" in messages(found)["pads.tls"]
    assert "see tls" in messages(found)["pads.https"]
    with pytest.raises(checks_run.UnknownAddress):
        checks_run.run(inv, trust.parent, addresses={"web9": "127.0.0.1"})
    with pytest.raises(checks_run.NothingChosen):
        checks_run.run(inv, trust.parent, only=["pads.nonsense"])


def test_a_host_that_nothing_saves_is_named_unless_people_decided_so(
    zone: Zone, trust: Path
) -> None:
    decided = inventory(zone, 1)
    inv = decided.model_copy(update={"acknowledge": ()})
    found = checks_run.run(inv, trust.parent, only=["web1.backup"], ask=refuse).results
    assert levels(found)["web1.backup"] == "critical"
    assert "nothing of them would survive" in messages(found)["web1.backup"]
    with pytest.raises(checks_run.NothingChosen):
        checks_run.run(decided, trust.parent, only=["web1.backup"], ask=refuse)


def test_a_page_that_sends_people_to_another_server_is_not_well(
    zone: Zone, serve: Any, talks: Any, root: Any, trust: Path
) -> None:
    parked = serve(
        talks.page(b"<html>New pad"), [root.issue("parked.test.example")], address="127.0.0.2"
    )
    sent = talks.page(b"", "302 Found", f"Location: https://parked.test.example:{parked}/")
    inv = inventory(zone, serve(sent, [root.issue(NAME)]))
    zone.records = {
        (NAME, "A"): (60, "127.0.0.1"), ("parked.test.example", "A"): (60, "127.0.0.2")
    }  # fmt: skip
    found = checks_run.run(inv, trust.parent, only=["*.tls", "*.https"]).results
    assert levels(found) == {"pads.tls": "ok", "pads.https": "critical"}
    assert "which another server answers" in messages(found)["pads.https"]


def test_an_address_stands_in_for_the_portal_of_a_yunohost_too(zone: Zone) -> None:
    inv = inventory(
        zone,
        443,
        platform="yunohost",
        yunohost={"main_domain": "test.example", "domains": {"more.test.example": {}}},
    )
    names = checks_run.overrides(inv, {"web1": "192.0.2.7"})
    assert names == dict.fromkeys((NAME, "test.example", "more.test.example"), "192.0.2.7")


def status(**changes: Any) -> bytes:
    gib = 1 << 30
    said: dict[str, Any] = {
        "agent": "0.1.0", "host": "web1", "epoch": 1, "fenced": False,
        "now": datetime.now(UTC).isoformat(), "digest": None, "uptime_s": 9,
        "disk": [{"mount": "/", "bytes_total": gib, "bytes_free": gib // 20,
                  "inodes_total": 9, "inodes_free": 9}],
        "memory": {"total": gib, "available": gib}, "load": [0, 0, 0], "cpus": 1,
        "failed_units": [], "updates": {"security": 0, "reboot": False, "checked_at": None},
        "clock": {"synchronized": True}, "receipts": [], "lock": None,
        "probes": {
            "pads": {"unit": {"exit": 0, "stdout": "ActiveState=failed\nId=etherpad@pads.service"}},
            "_host": {
                "ssh-passwords": {"exit": 124, "stdout": ""},
                "upgrades": {"exit": 0, "stdout": 5},
            },
        },
    }  # fmt: skip
    return json.dumps({**said, **changes}).encode()


def test_a_hosts_words_reach_its_judges(zone: Zone, trust: Path) -> None:
    def ask(host: Host, argv: Sequence[str], deadline: float) -> bytes:
        assert (host.id, argv[-1]) == ("web1", "status")
        return status()

    inv = inventory(zone, 1)
    run = checks_run.run(inv, trust.parent, only=["web1", "pads.unit"], ask=ask)
    seen, said = levels(run.results), messages(run.results)
    assert seen["web1.ssh"] == "ok"
    assert seen["web1.disk"] == "critical"
    assert seen["web1.memory"] == "ok"
    assert seen["pads.unit"] == "critical"
    assert "journalctl -u etherpad@pads.service" in said["pads.unit"]
    assert (seen["web1.firewall"], seen["web1.upgrades"]) == ("unknown", "unknown")
    assert "gave no answer in 20 s" in said["web1.ssh-passwords"]
    assert run.statuses["web1"]["host"] == "web1"


def test_a_host_is_not_asked_about_itself_where_only_its_services_are_meant(
    zone: Zone, trust: Path
) -> None:
    asked: list[Sequence[str]] = []

    def ask(host: Host, argv: Sequence[str], deadline: float) -> bytes:
        asked.append(argv[-2:])
        return status()

    inv = inventory(zone, 1)
    run = checks_run.run(inv, trust.parent, only=["pads.unit"], ask=ask)
    assert levels(run.results) == {"pads.unit": "critical"}
    checks_run.run(inv, trust.parent, only=["pads.unit", "web1.disk"], ask=ask)
    assert [argv[-1] for argv in asked] == ["--services", "status"]


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b"Traceback (most recent", status(host="web2"), b"\xff"]
)
def test_nonsense_from_a_host_is_unknown_and_counts_once(
    zone: Zone, trust: Path, answer: bytes
) -> None:
    run = checks_run.run(inventory(zone, 1), trust.parent, only=["web1"], ask=lambda *_: answer)
    assert [r.id for r in run.results if r.level == "unknown"] == ["web1.ssh"]
    assert {r.level for r in run.results} == {"unknown", "skipped"}


def test_the_report_puts_problems_first_and_lets_no_control_characters_through() -> None:
    results = [
        Result("pads.https", "service", "ok", "fine"),
        Result("site.tls", "service", "warning", "soon"),
        Result("site.https", "service", "critical", "bad \x1b[2J\r\nthing"),
        Result("web1.ssh", "host", "skipped", "no key"),
    ]
    text = report.text("Test", results, 1.25, colour=False)
    order = [text.index(word) for word in ("1 critical", "site", "https: bad", "tls: soon", "pads")]
    assert order == sorted(order)
    assert "\x1b" not in text
    assert "skipped: ssh (no key)" in text
    assert "\x1b[1;31m" in report.text("Test", results, 1.25, colour=True)
    document = json.loads(report.as_json(results, 1.25, datetime(2026, 1, 2, tzinfo=UTC)))
    assert (document["level"], document["exit"], document["at"]) == (
        "critical", 2, "2026-01-02T00:00:00Z",
    )  # fmt: skip
    assert document["results"][1] == {
        "id": "site.tls", "kind": "service", "subject": "site", "check": "tls",
        "level": "warning", "message": "soon", "seconds": 0.0,
    }  # fmt: skip


def test_the_command_answers_in_json_with_its_exit_code(
    serve: Any, root: Any, trust: Path, tmp_path: Path
) -> None:
    port = serve(etherpad, [root.issue(NAME)])
    file = tmp_path / "inv.toml"
    file.write_text(f"""
schema = 1
[organisation]
name = "Test"
contact = "contact@test.example"
[certificates]
trust = "root.pem"
[hosts.web1]
platform = "debian"
address = "192.0.2.1"
provider = "p"
datacenter = "d"
[services.pads]
role = "etherpad"
host = "web1"
url = "https://{NAME}:{port}"
""")
    (tmp_path / "root.pem").write_bytes(trust.read_bytes())

    def releve(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.main", "check", str(file), *words],
            capture_output=True, text=True, timeout=60, check=False,
            cwd=Path(__file__).resolve().parents[3],
        )  # fmt: skip

    well = releve("--only", "pads.pad", "--address", "web1=127.0.0.1", "--format", "json")
    assert well.returncode == 0, well.stderr
    [result] = json.loads(well.stdout)["results"]
    assert (result["id"], result["level"]) == ("pads.pad", "ok")
    down = releve("--only", "pads.https", "--address", "web1=127.0.0.2")
    assert down.returncode == 2, down.stdout + down.stderr
    assert "refuses connections" in down.stdout
    assert "\x1b" not in down.stdout
    assert releve("--only", "nothing.like.this").returncode == 64
    assert releve("--address", "web1=x").returncode == 64
    assert releve("--watch", "--only", "pads").returncode == 64


def test_a_check_loads_nothing_heavy() -> None:
    """A check runs every few minutes: start-up is most of what it costs."""
    script = (
        "import sys, cli.main, cli.check, roles, checks.run, checks.report\n"
        "from pathlib import Path; roles.load(Path('inventories/lab.toml'))\n"
        "heavy = {'pyinfra', 'paramiko', 'requests', 'apprise', 'rich', 'dns', 'cryptography', "
        "'pyrage', 'asyncio', 'http.client', 'importlib.metadata'} & set(sys.modules)\n"
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False,
        cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
