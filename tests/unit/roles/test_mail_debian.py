"""Mail on a Debian host: what others find of it, what it lets in, what it counts."""

from __future__ import annotations

import base64
import importlib
import io
import json
import sqlite3
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import roles
from agent.releve_agent.contents import excluded
from checks import dns as checked
from checks.dns import View
from deploy import dns, keys, signing
from inventories.model import Inventory, Service
from roles.base import firewall
from roles.interface import Record
from roles.mail import accounts, addresses, configuration, debian, places, probes, records
from roles.mail.files import limit, mailhost
from roles.registry import SERVICES

BASE = """
schema = 1
[organisation]
name = "L'Atelier <&> cie"
contact = "contact@atelier.example"
[hosts.poste]
platform = "debian"
address = "192.0.2.1"
address6 = "2001:db8::1"
provider = "one"
datacenter = "GRA"
[domains."atelier.example"]
[services.courriel]
role = "mail"
host = "poste"
url = "https://mail.atelier.example"
"""


def made(more: str = "") -> tuple[Service, Inventory]:
    values = tomllib.loads(BASE + more)
    chosen = values["services"]["courriel"].pop("settings", {})
    settings = SERVICES["mail"].settings.model_validate(chosen)
    inventory = Inventory.model_validate(values)
    service = inventory.services["courriel"]
    service = service.model_copy(update={"settings": settings})
    services = {**inventory.services, "courriel": service}
    return service, inventory.model_copy(update={"services": services})


def test_dns_says_all_that_others_need() -> None:
    service, inventory = made("[services.courriel.settings]\nmta_sts = 'enforce'\n")
    found = {(r.name, r.type): r.values for r in records.dns(service, inventory)}
    assert found["mail.atelier.example", "AAAA"] == ("2001:db8::1",)
    assert found["atelier.example", "MX"] == ("10 mail.atelier.example",)
    assert found["atelier.example", "TXT"] == ("v=spf1 mx -all",)
    assert found["_dmarc.atelier.example", "TXT"] == (
        "v=DMARC1; p=none; rua=mailto:postmaster@atelier.example",
    )
    assert ("mta-sts.atelier.example", "A") in found
    edition = found["_mta-sts.atelier.example", "TXT"]
    # Others fetch a changed policy because its edition is another.
    service, inventory = made("[services.courriel.settings]\nmta_sts = 'testing'\n")
    again = {(r.name, r.type): r.values for r in records.dns(service, inventory)}
    assert again["_mta-sts.atelier.example", "TXT"] != edition
    service, inventory = made("[services.courriel.settings]\nmta_sts = 'none'\n")
    none = {r.name for r in records.dns(service, inventory)}
    assert not any("mta-sts" in name for name in none)


def test_texts_of_others_under_our_name_stay() -> None:
    ours = Record("atelier.example", "TXT", ("v=spf1 mx -all",), prefix="v=spf1")
    there = ('"google-site-verification=x; y"', '"v=spf1 a ~all"')
    assert dns.beside(ours, there) == Record(
        "atelier.example",
        "TXT",
        ("v=spf1 mx -all", "google-site-verification=x; y"),
        prefix="v=spf1",
    )
    free = Record("_dmarc.a.example", "TXT", ("v=DMARC1; p=none",), prefix="v=DMARC1", any=True)
    theirs = "v=DMARC1; p=reject"
    assert dns.beside(free, ()) == free
    assert dns.beside(free, (f'"{theirs}"', '"x"')).values == (theirs, "x")
    seen = View("ns", frozenset({theirs, "x"}))
    assert checked.judge(free, [seen]).level == "ok"
    assert checked.judge(replace(free, any=False), [seen]).level == "critical"
    assert checked.judge(free, [View("ns", frozenset({"x"}))]).level == "critical"
    whole = Record("_dmarc.atelier.example", "TXT", ("v=DMARC1; p=none",))
    assert dns.beside(whole, there) is whole


class Kept(dict[str, str]):
    """Secrets in memory."""

    def get(self, name: str) -> str:  # type: ignore[override]
        return self[name]

    def set(self, name: str, value: str) -> None:
        self[name] = value


def test_the_key_is_made_once_and_its_public_half_stands_in_dns() -> None:
    _, inventory = made("[services.courriel.settings]\ndomains = ['a.example', 'b.example']\n")
    kept: Any = Kept()
    assert signing.records(inventory, kept) == ()
    assert "service.courriel.dkim.releve" in keys.fill(inventory, kept)
    first = kept["service.courriel.dkim.releve"]
    assert keys.fill(inventory, kept) == ()
    found = signing.records(inventory, kept)
    assert [r.name for r in found] == [
        "releve._domainkey.a.example",
        "releve._domainkey.b.example",
    ]
    private = serialization.load_pem_private_key(first.encode(), password=None)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert private.key_size == 2048
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert found[0].values == (f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}",)
    # Another selector is another key beside it: mails on their way go on being believed.
    _, later = made("[services.courriel.settings]\ndkim_selector = 'y2027'\n")
    assert keys.fill(later, kept) == ("service.courriel.dkim.y2027",)
    assert kept["service.courriel.dkim.releve"] == first


def test_mail_to_postmaster_always_arrives_somewhere() -> None:
    service, inventory = made()
    assert list(places.mailboxes(service, inventory)) == ["contact@atelier.example"]
    assert places.aliases(service, inventory)["postmaster@atelier.example"] == (
        "contact@atelier.example",
    )
    # What the inventory says goes first.
    service, inventory = made(
        '[services.courriel.settings]\nmailboxes."abuse@atelier.example" = {}\n'
        'aliases."contact@atelier.example" = ["team@other.example"]\n'
        'aliases."postmaster@atelier.example" = ["abuse@atelier.example"]\n'
    )
    assert list(places.mailboxes(service, inventory)) == ["abuse@atelier.example"]
    found = places.aliases(service, inventory)
    assert "abuse@atelier.example" not in found
    assert found["postmaster@atelier.example"] == ("abuse@atelier.example",)
    assert found["contact@atelier.example"] == ("team@other.example",)


def test_ports_are_opened_where_mail_is_and_nowhere_else() -> None:
    _, inventory = made("[services.courriel.settings]\npop3 = true\n")
    assert firewall.ports(inventory.hosts["poste"], inventory) == (
        22, 25, 80, 443, 465, 587, 993, 995, 4190,
    )  # fmt: skip
    _, inventory = made()
    assert 995 not in firewall.ports(inventory.hosts["poste"], inventory)
    none = inventory.model_copy(update={"services": {}})
    assert firewall.ports(none.hosts["poste"], none) == (22,)


def test_no_password_is_taken_without_encryption_and_no_stranger_relays() -> None:
    service, inventory = made()
    items = {getattr(i, "path", ""): i for i in configuration.postfix(service, inventory)}
    main = items["/etc/postfix/main.cf"].content.decode()
    assert "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination" in main
    assert "smtpd_sasl_auth_enable = no" in main
    assert "mynetworks = 127.0.0.0/8 [::1]/128" in main
    master = items["/etc/postfix/master.cf"].content.decode()
    for name in ("submission", "submissions"):
        part = master.split(f"\n{name} ")[1].split("\nlimit ")[0].split("\nsubmission ")[0]
        assert "smtpd_relay_restrictions=permit_sasl_authenticated,reject" in part
        assert "smtpd_tls_wrappermode=yes" in part or "smtpd_tls_security_level=encrypt" in part
    for release in ("2.3", "2.4"):
        found = {getattr(i, "path", ""): i for i in configuration.dovecot(service, inventory)}
        text = found[f"/etc/dovecot/releve-{release}.conf"].content.decode()
        assert "ssl = required" in text
        closed = {"2.3": "disable_plaintext_auth = yes", "2.4": "auth_allow_cleartext = no"}
        assert closed[release] in text


def test_mails_leave_from_where_their_name_and_spf_say() -> None:
    def main(more: str = "", **host: object) -> str:
        service, inventory = made(more)
        changed = inventory.hosts["poste"].model_copy(update=host)
        inventory = inventory.model_copy(update={"hosts": {"poste": changed}})
        items = configuration.postfix(service, inventory)
        return next(i for i in items if i.path == "/etc/postfix/main.cf").content.decode()  # type: ignore[union-attr]

    both = main()
    assert "\ninet_protocols = all\n" in both
    assert "\nsmtp_bind_address = 192.0.2.1\n" in both
    assert "\nsmtp_bind_address6 = 2001:db8::1\n" in both
    # An address that the network gave of itself has no reverse name, and stands in no SPF.
    four = main(address6=None)
    assert "\ninet_protocols = ipv4\n" in four
    assert "smtp_bind_address6" not in four


def test_an_office_may_be_spared_by_fail2ban() -> None:
    service, inventory = made(
        "[services.courriel.settings]\nnever_shut_out = ['198.51.100.7', '2001:db8:7::/48']\n"
    )
    text = next(iter(configuration.jail(service, inventory))).content.decode()  # type: ignore[union-attr]
    assert "192.0.2.1 2001:db8::1 198.51.100.7 2001:db8:7::/48\n" in text
    with pytest.raises(ValueError, match="host bits"):
        made("[services.courriel.settings]\nnever_shut_out = ['198.51.100.7/8']\n")


def test_a_relay_s_password_is_in_one_file_for_root() -> None:
    service, inventory = made(
        "[services.courriel.settings]\n"
        'relay = { host = "smtp.other.example", port = 465, user = "u", password = "secret:r" }\n'
    )
    items = configuration.postfix(service, inventory, "geheim")
    holding = [i for i in items if b"geheim" in getattr(i, "content", b"")]
    assert [(i.path, i.mode, i.secret) for i in holding] == [  # type: ignore[union-attr]
        ("/etc/postfix/releve-relay", 0o600, True)
    ]
    main = next(i for i in items if i.path == "/etc/postfix/main.cf").content.decode()  # type: ignore[union-attr]
    # It is shown only to who has a certificate of that name.
    assert main.count("\nsmtp_tls_security_level = secure") == 1
    assert "\nsmtp_tls_security_level = may" not in main
    assert "relayhost = [smtp.other.example]:465" in main
    assert records.spf(service) == "v=spf1 mx ~all"


@pytest.mark.parametrize("half", ['user = "u"', 'password = "secret:r"'])
def test_a_relay_has_a_user_and_a_password_or_neither(half: str) -> None:
    with pytest.raises(ValueError, match="both user and password"):
        made(f'[services.courriel.settings]\nrelay = {{ host = "smtp.other.example", {half} }}\n')


def test_what_the_web_shows_cannot_be_broken_by_a_name() -> None:
    service, inventory = made()
    items = configuration.published(service, inventory)
    page = next(i for i in items if i.path.endswith(".xml"))
    text = page.content.decode()  # type: ignore[union-attr]
    found = ElementTree.fromstring(text)  # noqa: S314 (our own)
    assert found.findtext("emailProvider/displayName") == "L'Atelier <&> cie"
    assert probes.judge_autoconfig(200, {}, text.encode()).level == "ok"
    policy = next(i for i in items if i.path.endswith("mta-sts.txt"))
    assert b"mx: mail.atelier.example\r\n" in policy.content  # type: ignore[union-attr]
    assert probes.judge_policy(200, {}, policy.content).level == "ok"  # type: ignore[union-attr]


DOORS = {
    "auth": False, "tls": True, "relay": False, "plain": False, "taken": False,
    "login": True, "submits": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "level", "word"),
    [
        ({}, "ok", "strangers"),
        ({"relay": True}, "critical", "block list"),
        ({"submits": True}, "critical", "block list"),
        ({"auth": True}, "critical", "without encryption"),
        ({"taken": True}, "critical", "without encryption"),
        ({"tls": False}, "warning", "STARTTLS"),
        ({"login": False}, "critical", "587"),
        ({"error": "Connection refused"}, "critical", "Connection refused"),
    ],
)
def test_doors_that_stand_open_are_told(change: dict[str, object], level: str, word: str) -> None:
    finding = probes.judge_doors(0, json.dumps(DOORS | change))
    assert finding.level == level
    assert word in finding.message


def test_records_that_are_wrong_and_those_nobody_answered_for() -> None:
    right = {"name": "a.example", "type": "MX", "wanted": ["10 mx.a.example"],
             "found": ["10 mx.a.example."]}  # fmt: skip
    key = {"name": "k.a.example", "type": "TXT", "wanted": ["v=DKIM1; k=rsa; p=AbC"],
           "found": ["v=DKIM1; k=rsa; p=AbC"]}  # fmt: skip
    assert probes.judge_zone(0, json.dumps([right, key])).level == "ok"
    other = {**key, "found": ["v=DKIM1; k=rsa; p=abc"]}
    assert probes.judge_zone(0, json.dumps([right, other])).level == "critical"
    assert probes.judge_zone(0, json.dumps([{**right, "found": []}])).level == "critical"
    # A host that is shut in for a rehearsal can ask nobody.
    assert probes.judge_zone(0, json.dumps([right, {**key, "found": None}])).level == "warning"


def test_a_login_that_fails_is_told_with_its_reason() -> None:
    assert probes.judge_login(0, '{"read": "", "send": ""}').level == "ok"
    later = '{"read": "Temporary authentication failure", "send": ""}'
    assert "systemctl restart dovecot" in probes.judge_login(0, later).message
    finding = probes.judge_login(0, '{"read": "", "send": "535 5.7.8"}')
    assert (finding.level, "535 5.7.8" in finding.message) == ("critical", True)


TRIP = {"seconds": 0.7, "signed": True, "dkim": "pass", "dmarc": "pass", "spam": False}


@pytest.mark.parametrize(
    ("change", "level", "word"),
    [
        ({}, "ok", "0.7 s"),
        ({"error": "a mail was taken and did not arrive"}, "critical", "did not arrive"),
        ({"signed": False}, "critical", "not signed"),
        ({"dkim": "fail", "dmarc": "none"}, "critical", "dkim=fail"),
        ({"dmarc": "none"}, "critical", "dmarc=none"),
        # A host that is shut in for a rehearsal can ask nobody.
        ({"dkim": "temperror", "dmarc": ""}, "warning", "could not be seen"),
        ({"spam": True}, "warning", "spam"),
        ({"seconds": 28}, "warning", "28 s"),
    ],
)
def test_what_became_of_a_mail_is_judged(change: dict[str, object], level: str, word: str) -> None:
    finding = probes.judge_trip(0, json.dumps(TRIP | change))
    assert (finding.level, word in finding.message) == (level, True)


@pytest.mark.parametrize(
    ("said", "level", "word"),
    [
        ({"waited": 60}, "ok", "on its way"),
        ({"waited": 7200, "held": True}, "ok", "wait since a restore"),
        ({"waited": 7200, "dkim": "pass", "dmarc": "pass"}, "warning", "120 min"),
        ({"waited": None, "dkim": "pass", "dmarc": "pass", "seconds": 9}, "ok", "9 s"),
        ({"waited": None, "dkim": "fail", "dmarc": "pass", "seconds": 9}, "critical", "dkim=fail"),
        ({"waited": None, "dkim": "", "dmarc": "", "seconds": 9}, "ok", "does not say"),
    ],
)
def test_an_echo_is_judged(said: dict[str, object], level: str, word: str) -> None:
    finding = probes.judge_echo(0, json.dumps(said))
    assert (finding.level, word in finding.message) == (level, True)


def test_results_are_read_from_whoever_wrote_them(monkeypatch: pytest.MonkeyPatch) -> None:
    # On the host it lies beside the program whose functions it uses.
    monkeypatch.setitem(sys.modules, "mailhost", mailhost)
    trip = importlib.import_module("roles.mail.files.trip")
    ours = b"Authentication-Results: mail.a.example; dkim=pass header.d=a.example; dmarc=pass\r\n"
    forged = b"Authentication-Results: mail.a.example; dkim=pass; dmarc=pass\r\n"
    fail = b"Authentication-Results: mail.a.example;\r\n\tdkim=fail (bad); dmarc=fail\r\n"
    other = b"Authentication-Results: mx.b.example; dkim=pass; dmarc=pass\r\n"
    end = b"Subject: x\r\n\r\nbody\r\n"
    assert trip.judged_by(other + ours + end, "mail.a.example") == {"dkim": "pass", "dmarc": "pass"}
    # The first one is the server's; what stands below came with the mail.
    assert trip.judged_by(fail + forged + end, "mail.a.example")["dkim"] == "fail"
    assert trip.judged_by(other + end, "mail.a.example") == {"dkim": "", "dmarc": ""}
    # What an echo tells stands in its text; its own headers are about its own mail.
    answer = ours + b"\r\nYou sent:\r\n" + fail
    assert trip.quoted(answer) == {"dkim": "fail", "dmarc": "fail"}


def test_what_a_copy_had_in_its_queue_waits_without_alarm() -> None:
    queue = {"waiting": 3, "oldest_s": 90_000, "why": "", "held_s": 60}
    assert probes.judge_queue(0, json.dumps(queue)).level == "ok"
    late = probes.judge_queue(0, json.dumps({**queue, "held_s": 5 * 3600}))
    assert (late.level, "let-out" in late.message) == ("warning", True)


def test_the_limit_counts_recipients_within_an_hour(tmp_path: Path) -> None:
    counts = limit.open_counts(str(tmp_path))
    now = 1_000_000.0
    said = [limit.judge(counts, "a@x", 3, now + n) for n in range(4)]
    assert said[:3] == ["DUNNO"] * 3
    assert said[3].startswith("450 4.7.1")
    assert limit.judge(counts, "b@x", 3, now) == "DUNNO"
    # The first one has left the hour; what was refused was not counted.
    assert limit.judge(counts, "a@x", 3, now + 3600.5) == "DUNNO"
    assert limit.judge(counts, "a@x", 3, now + 3600.6).startswith("450")
    # However many there are, none of this reads all of them.
    asked: list[str] = []
    counts.set_trace_callback(asked.append)
    limit.judge(counts, "a@x", 3, now + 3600.7)
    counts.set_trace_callback(None)
    slow = [
        (question, row)
        for question in asked
        if question.startswith(("DELETE", "SELECT"))
        for row in counts.execute(f"EXPLAIN QUERY PLAN {question}")
        if "SCAN" in row[-1]
    ]
    assert any(q.startswith("DELETE") for q in asked)
    assert not slow
    # Nor does one who writes to many at once make many rows.
    for _ in range(5):
        assert limit.judge(counts, "c@x", 5, now + 4000.2) == "DUNNO"
    assert limit.judge(counts, "c@x", 5, now + 4000.9).startswith("450")
    rows = counts.execute("SELECT COUNT(*) FROM sent WHERE account = 'c@x'").fetchone()
    assert rows == (1,)


def test_programs_of_the_host_count_together() -> None:
    asked = [("127.0.0.1", ""), ("::1", ""), ("127.0.0.1", "A@x"), ("192.0.2.9", ""), ("", "")]
    said = [limit.who({"client_address": at, "sasl_username": user}) for at, user in asked]
    assert said == [limit.OWN, limit.OWN, "a@x", "", ""]
    # No account can be called so.
    assert "@" not in limit.OWN


def test_each_question_of_postfix_is_read_whole() -> None:
    lines = ["protocol_state=RCPT\n", "sasl_username=a=b@x\n", "\n", "protocol_state=DATA\n", "\n"]
    assert list(limit.requests(lines)) == [
        {"protocol_state": "RCPT", "sasl_username": "a=b@x"},
        {"protocol_state": "DATA"},
    ]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program of the host on files of its own; users and groups stay out of it."""
    facts = tmp_path / "mail.json"
    facts.write_text(json.dumps({
        "domains": ["atelier.example"], "mailboxes": {"contact@atelier.example":
        {"name": "Contact", "quota": None}},
        "aliases": {"bureau@atelier.example": ["contact@atelier.example"]},
        "system": "releve-probe@atelier.example", "quota": 1000,
        "trip": "releve-trip@atelier.example", "host": "mail.atelier.example",
    }))  # fmt: skip
    for name, path in (("FACTS", facts), ("DATABASE", tmp_path / "accounts.sqlite"),
                       ("BOXES", tmp_path / "boxes"), ("PROBE", tmp_path / "probe"),
                       ("INDEXES", tmp_path / "index"), ("SHARED", tmp_path / "shared/map"),
                       ("ASIDE", tmp_path / "boxes/.removed")):  # fmt: skip
        monkeypatch.setattr(mailhost, name, path)
    monkeypatch.setattr(mailhost.shutil, "chown", lambda *_: None)
    monkeypatch.setattr(mailhost, "as_user", lambda _user, do: do())
    (tmp_path / "boxes").mkdir()
    return tmp_path


def test_accounts_survive_a_copy_with_any_name(
    server: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mailhost.settle(())
    name = 'O\'Brien -- "x"); DROP TABLE account; é'
    monkeypatch.setattr("sys.stdin", io.StringIO("un mot de passe\n"))
    mailhost.add(["ALICE@atelier.example", name, ""])
    capsys.readouterr()
    mailhost.accounts_save(())
    saved = capsys.readouterr().out
    with sqlite3.connect(mailhost.DATABASE) as found:
        before = found.execute("SELECT * FROM account ORDER BY address").fetchall()
        found.execute("UPDATE account SET name = 'lost', password = ''")
        found.execute("INSERT INTO account VALUES ('z@x', 'z', 'x', '', '', 1, 'member', 1)")
    monkeypatch.setattr("sys.stdin", io.StringIO(saved))
    mailhost.accounts_load(())
    with sqlite3.connect(mailhost.DATABASE) as found:
        assert found.execute("SELECT * FROM account ORDER BY address").fetchall() == before
    assert {row[3] for row in before} == {name, "Contact", "Releve"}
    hashes = {row[0]: row[4] for row in before}
    assert mailhost.fits("un mot de passe", hashes["alice@atelier.example"].removeprefix("{CRYPT}"))
    assert not mailhost.fits(
        "un autre mot", hashes["alice@atelier.example"].removeprefix("{CRYPT}")
    )


ALICE, BOB = "alice@atelier.example", "bob@atelier.example"
CONTACT, BUREAU = "contact@atelier.example", "bureau@atelier.example"


@pytest.fixture
def members(server: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two accounts on it. Nobody is logged in."""
    monkeypatch.setattr(mailhost, "run", lambda *_: SimpleNamespace(stdout="", returncode=0))
    mailhost.settle(())
    for address in (ALICE, BOB):
        monkeypatch.setattr("sys.stdin", io.StringIO("un mot de passe\n"))
        mailhost.add([address, "", ""])
    return server


def asked(name: str, address: str) -> set[str]:
    """What Postfix finds for an address, by the query that it makes."""
    service, inventory = made()
    items = {getattr(i, "path", ""): i for i in configuration.postfix(service, inventory)}
    text = items[f"/etc/postfix/releve-{name}.cf"].content.decode()
    query = text.partition("query = ")[2].strip().replace("'%s'", "?")
    with sqlite3.connect(mailhost.DATABASE) as found:
        return {row[0] for row in found.execute(query, (address,))}


def senders(address: str) -> set[str]:
    """Who may write in the name of `address`."""
    return asked("senders", address)


def test_aliases_lead_to_who_is_there_and_elsewhere(members: Path) -> None:
    facts = json.loads(mailhost.FACTS.read_text())
    facts["aliases"] |= {
        "equipe@atelier.example": [
            "gone@atelier.example",
            "alice+x@atelier.example",
            "x@else.example",
        ],
        "gone2@atelier.example": ["gone@atelier.example"],
        "further@atelier.example": ["gone2@atelier.example"],
        "all@atelier.example": ["equipe@atelier.example", BUREAU],
        "bob@atelier.example": ["bob@atelier.example", "y@else.example"],
        "probe@atelier.example": ["releve-probe@atelier.example"],
    }
    mailhost.FACTS.write_text(json.dumps(facts))
    mailhost.settle(())
    assert asked("aliases", BUREAU) == {CONTACT}
    team = {"alice+x@atelier.example", "x@else.example"}
    assert asked("aliases", "equipe@atelier.example") == team
    assert asked("aliases", "all@atelier.example") == team | {CONTACT}
    assert asked("aliases", BOB) == {BOB, "y@else.example"}
    # Nobody is left: refused, as an address that does not exist.
    for nobody in ("gone2", "further", "probe", "gone", "alice"):
        assert asked("aliases", f"{nobody}@atelier.example") == set()


def test_a_member_s_account_becomes_no_role_mailbox(
    members: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = json.loads(mailhost.FACTS.read_text())
    facts["mailboxes"][ALICE] = {"name": "Alice ?", "quota": None}
    mailhost.FACTS.write_text(json.dumps(facts))
    mailhost.settle(())
    mailhost.settled(())
    with pytest.raises(mailhost.ToolError, match="it stays the member's"):
        mailhost.targeted(())
    with pytest.raises(mailhost.ToolError, match="no role mailbox"):
        mailhost.share([ALICE, BOB, "write"])
    capsys.readouterr()
    mailhost.targets(())
    told = addresses.judge_targets(0, capsys.readouterr().out)
    assert (told.level, "a member's account" in told.message) == ("warning", True)
    # One that the inventory dropped is closed, and its address taken until it is removed.
    del facts["mailboxes"][CONTACT], facts["mailboxes"][ALICE]
    mailhost.FACTS.write_text(json.dumps(facts))
    mailhost.settle(())
    monkeypatch.setattr("sys.stdin", io.StringIO("un mot de passe\n"))
    with pytest.raises(mailhost.ToolError, match="it is closed, and keeps its mail"):
        mailhost.add([CONTACT, "", ""])


def test_who_reads_a_role_mailbox_may_write_as_its_aliases_and_nobody_else(members: Path) -> None:
    mailhost.share([CONTACT, ALICE, "write"])
    mailhost.share([CONTACT, BOB, "read"])
    assert senders(CONTACT) == senders(BUREAU) == {CONTACT, ALICE}
    assert senders(ALICE) == {ALICE}
    assert senders("' OR 1=1 --@atelier.example") == set()
    mailhost.unshare([CONTACT, ALICE])
    assert senders(BUREAU) == {CONTACT}


def test_dovecot_is_told_who_reads_what_and_forgets_it_whole(
    members: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = members / "boxes/atelier.example/contact/Maildir"
    mailhost.share([CONTACT, ALICE, "write"])
    mailhost.share([CONTACT, BOB, "read"])
    rights = inbox / "dovecot-acl"
    assert rights.read_text() == f"user={ALICE} lrwstipekx\nuser={BOB} lrs\n"
    assert f"user/{BOB}/{CONTACT}\n1\n" in mailhost.SHARED.read_text()
    mailhost.settled(())
    capsys.readouterr()
    mailhost.accounts_save(())
    saved = capsys.readouterr().out
    # A folder that is made later has a copy of the rights of that day, by Dovecot.
    (inbox / ".Projets").mkdir()
    (inbox / ".Projets/dovecot-acl").write_text(rights.read_text())
    mailhost.remove([BOB])
    mailhost.unshare([CONTACT, ALICE])
    assert not list(inbox.glob("**/dovecot-acl"))
    assert mailhost.SHARED.read_text() == ""
    monkeypatch.setattr("sys.stdin", io.StringIO(saved))
    mailhost.accounts_load(())
    assert rights.read_text() == f"user={ALICE} lrwstipekx\nuser={BOB} lrs\n"
    # Dovecot may write the same in another order; what is missing is put right by a deploy.
    rights.write_text("".join(sorted(rights.read_text().splitlines(True), reverse=True)))
    mailhost.settled(())
    rights.unlink()
    with pytest.raises(SystemExit):
        mailhost.settled(())
    mailhost.settle(())
    mailhost.settled(())


def test_members_own_mailboxes_are_not_shared(members: Path) -> None:
    for mailbox, reader in ((ALICE, BOB), (CONTACT, "nobody@atelier.example"), (CONTACT, CONTACT),
                            (CONTACT, "releve-probe@atelier.example")):  # fmt: skip
        with pytest.raises(mailhost.ToolError):
            mailhost.share([mailbox, reader, "write"])


def test_aliases_that_lead_nowhere_are_told(
    members: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads(mailhost.FACTS.read_text())
    passed = {
        "equipe@atelier.example": ["alice+liste@atelier.example", "x@other.example", BUREAU],
        "parti@atelier.example": [ALICE, "gone@atelier.example"],
        BUREAU: [CONTACT],
        BOB: [ALICE],
    }
    mailhost.FACTS.write_text(json.dumps({**facts, "aliases": passed}))
    capsys.readouterr()
    mailhost.targets(())
    said = capsys.readouterr().out
    assert [(one["alias"], one["problem"]) for one in json.loads(said)] == [
        (BOB, "taken"),
        ("parti@atelier.example", "nobody"),
    ]
    finding = addresses.judge_targets(0, said)
    assert finding.level == "warning"
    assert "gone@atelier.example" in finding.message
    assert addresses.judge_targets(0, "[]").level == "ok"
    with pytest.raises(mailhost.ToolError, match="Name bob@"):
        mailhost.targeted(())


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ('mailboxes."a@atelier.example" = {}\naliases."a@atelier.example" = ["b@x.example"]',
         "would not arrive in the mailbox"),
        ('aliases."a@other.example" = ["b@atelier.example"]', "none of its domains"),
        ('mailboxes."a@other.example" = {}', "none of its domains"),
        ('aliases."a@atelier.example" = ["B@atelier.example"]\n'
         'aliases."b@atelier.example" = ["a@atelier.example"]', "in a circle"),
        ('aliases."a@atelier.example" = []', "leads to nobody"),
    ],
)  # fmt: skip
def test_addresses_that_would_lose_mail_are_judged(lines: str, word: str) -> None:
    _, inventory = made(f"[services.courriel.settings]\n{lines}\n")
    found = [j for j in roles.judge(inventory) if j.rule == "mail-address"]
    assert found
    assert all(j.level == "error" for j in found)
    assert any(word in j.message for j in found)


def test_an_alias_may_keep_a_copy_in_its_own_mailbox() -> None:
    _, inventory = made(
        '[services.courriel.settings]\nmailboxes."a@atelier.example" = {}\n'
        'aliases."a@atelier.example" = ["a@atelier.example", "b@x.example"]\n'
        'aliases."c@atelier.example" = ["a@atelier.example"]\n'
    )
    assert not [j for j in roles.judge(inventory) if j.rule == "mail-address"]


def test_what_was_learned_of_spam_comes_back(
    server: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(mailhost, "FILTER", server)
    monkeypatch.setattr(mailhost, "run", lambda *_: None)
    with sqlite3.connect(server / "spam.sqlite") as learned:
        learned.execute("CREATE TABLE tokens (token INTEGER)")
        learned.execute("INSERT INTO tokens VALUES (42)")
        learned.commit()
        capfdbinary.readouterr()
        mailhost.learned_save(())
    saved = capfdbinary.readouterr().out
    (server / "spam.sqlite").write_bytes(b"")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(saved)))
    mailhost.learned_load(())
    with sqlite3.connect(server / "spam.sqlite") as learned:
        assert learned.execute("SELECT token FROM tokens").fetchall() == [(42,)]


@pytest.mark.parametrize(
    "address",
    ["../x@atelier.example", ".x@atelier.example", "a..b@atelier.example", "a/b@atelier.example",
     "a+b@atelier.example", "x@", "@atelier.example", "x@other.example", "a'b@atelier.example"],
)  # fmt: skip
def test_addresses_that_are_no_names_of_folders_are_refused(server: Path, address: str) -> None:
    with pytest.raises(mailhost.ToolError):
        mailhost.checked(address)


def test_a_role_mailbox_that_left_the_inventory_is_closed_and_kept(server: Path) -> None:
    mailhost.settle(())
    facts = json.loads(mailhost.FACTS.read_text())
    mailhost.FACTS.write_text(json.dumps({**facts, "mailboxes": {}}))
    with pytest.raises(SystemExit):
        mailhost.settled(())
    mailhost.settle(())
    mailhost.settled(())
    with sqlite3.connect(mailhost.DATABASE) as found:
        rows = dict(found.execute("SELECT address, active FROM account"))
    assert rows == {
        "contact@atelier.example": 0,
        "releve-probe@atelier.example": 1,
        "releve-trip@atelier.example": 1,
    }


def test_a_copy_holds_what_members_have_and_nothing_that_passes() -> None:
    service, inventory = made()
    state = debian.state(service, inventory)
    assert state.paths[0] == "/srv/mail/boxes"
    assert "/var/lib/dehydrated/certs/mail.atelier.example" in state.paths
    assert [d.name for d in state.dumps] == ["accounts.sql", "learned.tar", "queue.tar"]
    left_out = excluded(state.excludes)
    box = "/srv/mail/boxes/atelier.example/alice"
    assert left_out(f"{box}/Maildir/tmp/1.x")
    assert left_out(f"{box}/Maildir/.R&AOk-unions/tmp/1.x")
    assert left_out(f"{box}/.dovecot.svbin")
    # Without the list of numbers, programs would fetch everything again.
    assert not left_out(f"{box}/Maildir/dovecot-uidlist")
    assert not left_out(f"{box}/Maildir/new/1.x,S=3:2,S")
    assert not left_out(f"{box}/sieve/tri.sieve")


def test_the_service_that_holds_an_address_is_found() -> None:
    service, inventory = made()
    assert accounts.service_of(inventory, "x@Atelier.example").id == service.id
    assert accounts.service_of(inventory).id == service.id
    with pytest.raises(accounts.NoSuchService, match=r"courriel has atelier\.example"):
        accounts.service_of(inventory, "x@other.example")
    with pytest.raises(accounts.NoSuchService):
        accounts.service_of(inventory, "", "forum")
    with pytest.raises(accounts.NoSuchService, match="bob is no address: give all of it"):
        accounts.service_of(inventory, "bob")


def test_it_signs_with_another_key_once_dns_names_it(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, following = server / "signing.conf", server / "next.conf"
    monkeypatch.setattr(mailhost, "SIGNING", live)
    monkeypatch.setattr(mailhost, "SIGNING_NEXT", following)
    known = json.loads(mailhost.FACTS.read_text())
    key = {"y2027._domainkey.atelier.example": "v=DKIM1; p=new"}
    mailhost.FACTS.write_text(json.dumps({**known, "keys": key}))
    said: dict[str, list[str] | None] = {"ns1": [], "ns2": ["v=DKIM1; p=new"]}

    def ask(kind: str, name: str, at: str = "") -> list[str] | None:
        if kind == "NS":
            return ["ns1", "ns2"] if name == "atelier.example" else []
        return said[at]

    def wants() -> bool:
        try:
            mailhost.signing(())
        except SystemExit:
            return True
        return False

    monkeypatch.setattr(mailhost, "ask_dns", ask)
    # The first one is not waited for.
    following.write_text("old")
    assert wants()
    mailhost.sign(())
    assert (live.read_text(), wants()) == ("old", False)
    # One server does not have the new one yet.
    following.write_text("new")
    assert not wants()
    # Nobody answers.
    said |= {"ns1": None, "ns2": None}
    assert not wants()
    said["ns2"] = ["v=DKIM1; p=new"]
    assert wants()
    mailhost.sign(())
    assert live.read_text() == "new"


def test_block_lists_are_believed_with_care(monkeypatch: pytest.MonkeyPatch, server: Path) -> None:
    facts = json.loads(mailhost.FACTS.read_text())
    zones = ["on.example", "off.example", "all.example", "shy.example", "gone.example"]
    facts |= {"blocklists": zones, "addresses": ["192.0.2.1", "2001:db8::1"]}
    mailhost.FACTS.write_text(json.dumps(facts))
    six = "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2"
    known = {
        "1.2.0.192.on.example": ["127.0.0.2"],
        "1.0.0.127.all.example": ["127.0.0.2"],
        "1.2.0.192.all.example": ["127.0.0.2"],
        "1.2.0.192.shy.example": ["127.255.255.254"],
        f"{six}.on.example": ["127.0.0.4"],
    }
    monkeypatch.setattr(
        mailhost,
        "ask_dns",
        lambda _, name: None if name.endswith("gone.example") else known.get(name, []),
    )
    said = io.StringIO()
    monkeypatch.setattr("sys.stdout", said)
    mailhost.blocklists(())
    told = probes.judge_blocklists(0, said.getvalue())
    assert told.level == "warning"
    assert "on.example lists 192.0.2.1 (127.0.0.2); on.example lists 2001:db8::1" in told.message
    assert "all.example" not in told.message
    rest = [one for one in json.loads(said.getvalue()) if one["list"] != "on.example"]
    told = probes.judge_blocklists(0, json.dumps(rest))
    assert told.level == "unknown"
    assert "all.example, shy.example, gone.example did not answer" in told.message
    rest = [one for one in rest if one["list"] == "off.example"]
    assert probes.judge_blocklists(0, json.dumps(rest)).level == "ok"
    assert probes.judge_blocklists(1, "").level == "unknown"


def test_a_name_has_to_lead_back_to_its_address() -> None:
    said = {"name": "mail.x", "addresses": {"192.0.2.1": ["mail.x"], "2001:db8::1": ["mail.x"]}}
    judge = probes.judge_reverse
    there = ["192.0.2.1", "2001:DB8:0::1"]
    assert judge(0, json.dumps({**said, "forward": there})).level == "ok"
    assert judge(0, json.dumps({**said, "forward": None})).level == "ok"
    told = judge(0, json.dumps({**said, "forward": there[1:]}))
    assert told.level == "warning"
    assert "192.0.2.1 is called mail.x, and that name does not lead back" in told.message


def test_a_resolver_that_says_nothing_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(argv: list[str], *_: object) -> SimpleNamespace:
        asked.append(argv)
        silent = "@192.0.2.53" not in argv
        return SimpleNamespace(stdout="" if silent else ";; ->>HEADER<<- status: SERVFAIL,")

    monkeypatch.setattr(mailhost, "SILENT", set())
    monkeypatch.setattr(mailhost, "run", run)
    assert [mailhost.ask_dns("MX", name) for name in ("a.example", "b.example")] == [None, None]
    assert len(asked) == 1
    # An answer that is no use is an answer.
    for _ in range(2):
        assert mailhost.ask_dns("MX", "a.example", "192.0.2.53") is None
    assert len(asked) == 3
