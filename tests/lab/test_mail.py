"""Mail on real hosts, with a server that is not ours to talk to: from Debian 12 to its loss, and
back on Debian 13."""

from __future__ import annotations

import contextlib
import csv
import json
import mailbox
import os
import re
import shutil
import smtplib
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import roles
from deploy import everything
from inventories.secrets import Secrets
from lab import Lab
from recovery.drill import lab_name
from recovery.wording import COUNTS
from roles.mail import debian
from tests.cheap_keys import cheapen_on
from tests.lab import foreign
from tests.lab import mailbox as mailboxes
from tests.lab.conftest import MakeLab
from tests.lab.foreign import ECHO, PERSON, Foreign
from tests.lab.house import REPO, evidence
from tests.lab.post import Door, letter

pytestmark = pytest.mark.lab

PER_HOUR = 230
INVENTORY = f"""
schema = 1
[organisation]
name = "L'Atelier & cie"
contact = "contact@atelier.example"
[hosts.poste]
platform = "debian"
address = "192.0.2.1"
provider = "one"
datacenter = "GRA"
repository = "coffre"
[hosts.coffre]
platform = "debian"
address = "192.0.2.2"
provider = "two"
datacenter = "NTE"
roles = ["repository"]
[repositories.coffre]
url = "ssh-append://releve@coffre.atelier.example/atelier"
host = "coffre"
provider = "two"
datacenter = "NTE"
[domains."atelier.example"]
[domains."{foreign.DOMAIN}"]
[services.courriel]
role = "mail"
host = "poste"
url = "https://mail.atelier.example"
[services.courriel.settings]
per_hour = {PER_HOUR}
pop3 = true
mailboxes."contact@atelier.example" = {{ name = "Contact" }}
aliases."bureau@atelier.example" = ["contact@atelier.example"]
aliases."equipe@atelier.example" = ["alice@atelier.example", "{PERSON}"]
"""
DOMAIN = "atelier.example"
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
CONTACT, BUREAU = "contact@atelier.example", "bureau@atelier.example"
EQUIPE = "equipe@atelier.example"
SHARED = f'"Shared/{CONTACT}"'
# How many mails of a member are compared one by one, beside heavy ones.
MANY = int(os.environ.get("RELEVE_TEST_MAILS", "600"))
# Of their own (bytes), so that they can be filled without hurting anybody.
DISK = 4_000_000_000 if MANY < 5000 else 16_000_000_000
MAILHOST = "python3 /usr/local/lib/releve/mail/mailhost.py"
PASSWORDS = {ALICE: "correct horse battery", BOB: "motdepasse de bob", CONTACT: "pour le bureau"}


class Post:
    """A mail server with two members and a role mailbox; `voisin` is somebody else's."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.file = lab, lab.inventory_file
        began = time.monotonic()
        given = folder / "post.toml"
        given.write_text(INVENTORY)
        lab.up(roles.load(given), disk=DISK)
        lab.blank("dehors", datacenter="PAR", provider="three")
        lab.call("poste", "mail.atelier.example")
        with ThreadPoolExecutor() as pool:
            other = pool.submit(Foreign, lab, "dehors")
            done = everything.deploy(self.file)
            self.voisin = other.result()
        assert done.report.ok, done.report
        assert done.zones == ()
        # Members are no business of a deploy, and mail to them is not lost without a word.
        warnings = [line for host in done.report.hosts.values() for line in host.warnings]
        assert len(warnings) == 1, done.report
        assert f"{EQUIPE} passes mail on to {ALICE}" in warnings[0]
        self.releve("backup", "list", self.file)  # adds the operators' key to the repository
        cheapen_on(lab, roles.load(self.file), "poste")
        print(f"post: deployed at {time.monotonic() - began:.0f} s")
        self.host, self.echo = "poste", False
        for address in (ALICE, BOB):
            self.releve("mail", "account", "add", self.file, address, given=PASSWORDS[address])
        words = ("mail", "account", "password", self.file, CONTACT)
        self.releve(*words, given=PASSWORDS[CONTACT])

    @property
    def door(self) -> Door:
        address = str(self.lab.host(self.host).address)
        return Door(address, "mail.atelier.example", self.lab.ca_file)

    def named(self, subject: str) -> str:
        """A subject of a test that runs on one host after the other."""
        return f"{subject} ({self.host})"

    def releve(self, *words: object, given: str = "", code: int | None = 0) -> str:
        """What a `releve` command says, after it ended with this exit code (None: any)."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *map(str, words)],
            input=f"{given}\n",
            capture_output=True,
            text=True,
            cwd=REPO,
            timeout=900,
        )
        said = done.stdout + done.stderr
        assert code in (None, done.returncode), f"releve {words}: {done.returncode}\n{said}"
        return said

    def sh(self, script: str, *words: str) -> str:
        """What a shell script says on the host, after it ended well."""
        done = self.lab.run(self.host, ("sh", "-c", script, "sh", *words), timeout=120)
        return (done.stdout + done.stderr).decode(errors="replace")

    def send(self, sender: str, to: str, subject: str, *, port: int = 465, text: str = "") -> None:
        """Send as a member's program does."""
        with self.door.submit(sender, PASSWORDS[sender], port=port) as smtp:
            mail = letter(sender, to, subject, text or "Bonjour à toutes.")
            smtp.sendmail(sender, [to], mail.as_bytes())

    def box(self, address: str) -> list[tuple[str, str]]:
        """What a member's program knows of the inbox: the number and the name of each mail."""
        with self.door.imap(address, PASSWORDS[address]) as box:
            box.select("INBOX", readonly=True)
            _, found = box.fetch("1:*", "(UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        text = b"".join(b" ".join(p) for p in found if isinstance(p, tuple)).decode()
        return re.findall(r"UID (\d+) .*?(<[^>]+>)", text, re.DOTALL)


@pytest.fixture(scope="module")
def post(make_lab: MakeLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    lab = make_lab()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEVE_SSH_KEY", str(lab.key_file))
        patch.setenv("RELEVE_IDENTITY", str(lab.key_file))
        yield Post(lab, tmp_path_factory.mktemp("post"))


def believed(results: list[str] | None) -> set[str]:
    """What a server found out about a mail: "dkim=pass" …"""
    return set(re.findall(r"\b(?:dkim|spf|dmarc)=\w+", " ".join(results or [])))


def test_a_second_deploy_changes_nothing_and_every_check_is_well(post: Post) -> None:
    assert post.releve("plan", post.file) == "Nothing to change.\n"
    said = post.releve("check", post.file, "--only", "courriel")
    for name in ("login", "doors", "records", "queue", "round-trip", "dns", "mta-sts"):
        assert name in said
    # A provider's panel is not ours: told each time, and never a change.
    post.lab.call("poste", "old.example.org")
    said = post.releve("plan", post.file)
    assert "old.example.org, and should be mail.atelier.example" in said
    assert "Nothing to change." in said
    post.lab.call("poste", "mail.atelier.example")


def fetched(post: Post, name: str, path: str) -> str:
    """A page of the server, by one of its names."""
    door = Door(post.door.address, name, post.lab.ca_file)
    with door.tls(443) as tls:
        tls.sendall(f"GET {path} HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        with tls.makefile("rb") as file:
            head, _, body = file.read().partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head
    return body.decode()


def test_a_new_member_finds_out_how(post: Post) -> None:
    with post.door.imap(ALICE, PASSWORDS[ALICE]) as box:
        texts = [m.get_payload(decode=True) for m in box.messages()]
    assert any(
        b"    https://mail.atelier.example/" in text.replace(b"\r", b"")
        for text in texts
        if isinstance(text, bytes)
    )
    guide = fetched(post, "mail.atelier.example", "/")
    assert guide.count("mail.atelier.example") > 4
    assert {"993", "465", "L&#39;Atelier &amp; cie"} <= set(
        re.findall(r"993|465|L&#39;[^<]*cie", guide)
    )
    config = ElementTree.fromstring(  # noqa: S314 (ours)
        fetched(post, f"autoconfig.{DOMAIN}", f"/mail/config-v1.1.xml?emailaddress={ALICE}")
    )
    said = {
        (e.get("type"), e.findtext("hostname"), e.findtext("port"), e.findtext("socketType"))
        for e in config.iter()
        if e.tag in ("incomingServer", "outgoingServer")
    }
    server = "mail.atelier.example"
    assert {("imap", server, "993", "SSL"), ("smtp", server, "465", "SSL")} <= said
    assert {e.findtext("username") for e in config.iter("incomingServer")} == {"%EMAILADDRESS%"}


def test_members_write_to_each_other_and_to_a_role(post: Post) -> None:
    post.send(ALICE, BOB, "à deux")
    post.send(BOB, BUREAU, post.named("au bureau"), port=587)
    assert post.door.wait_for(CONTACT, PASSWORDS[CONTACT], post.named("au bureau"))["To"] == BUREAU
    # Whoever reads a role's mail may answer in its name, and nobody else.
    with post.door.submit(CONTACT, PASSWORDS[CONTACT]) as smtp:
        smtp.sendmail(BUREAU, [BOB], letter(BUREAU, BOB, post.named("du bureau")).as_bytes())
    assert post.door.wait_for(BOB, PASSWORDS[BOB], post.named("du bureau"))["From"] == BUREAU
    for false in (ALICE, BUREAU, PERSON):
        with (
            post.door.submit(BOB, PASSWORDS[BOB]) as smtp,
            pytest.raises(smtplib.SMTPRecipientsRefused, match="not owned"),
        ):
            smtp.sendmail(false, [ALICE], b"Subject: faux\n\n")
    # Nor in the header, which is what people see.
    for false in (BOB, f"{ALICE}, {BOB}"):
        with (
            post.door.submit(ALICE, PASSWORDS[ALICE], port=587) as smtp,
            pytest.raises(smtplib.SMTPDataError, match="another than the one"),
        ):
            smtp.sendmail(ALICE, [BOB], letter(false, BOB, "faux").as_bytes())
    with post.door.submit(ALICE, PASSWORDS[ALICE]) as smtp:
        liste = f"alice+liste@{DOMAIN}"
        smtp.sendmail(liste, [BOB], letter(ALICE, BOB, "d'une liste").as_bytes())
        smtp.mail("")
        assert smtp.rcpt(BOB)[0] == 554


def test_others_believe_our_mails_and_we_look_at_theirs(post: Post) -> None:
    post.send(ALICE, PERSON, post.named("vers dehors"))
    came = post.voisin.received(post.named("vers dehors"))
    assert {"dkim=pass", "spf=pass", "dmarc=pass"} <= believed(
        came.get_all("Authentication-Results")
    )
    assert "with ESMTPS" in str(came["Received"])
    post.voisin.send(ALICE, post.named("de dehors"))
    mail = post.door.wait_for(ALICE, PASSWORDS[ALICE], post.named("de dehors"))
    assert {"dkim=pass", "spf=pass", "dmarc=pass"} <= believed(
        mail.get_all("Authentication-Results")
    )


# What every filter takes for spam.
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


def test_whoever_pretends_to_be_one_of_us_and_spam_are_no_mail_for_the_inbox(post: Post) -> None:
    server = "mail.atelier.example"
    forged = letter(CONTACT, ALICE, post.named("votre mot de passe")).as_string()
    assert "250" in post.voisin.hands_in(server, ALICE, forged)
    post.door.wait_for(ALICE, PASSWORDS[ALICE], post.named("votre mot de passe"), folder="Junk")
    spam = letter(PERSON, ALICE, post.named("offre"), GTUBE).as_string()
    assert "554" in post.voisin.hands_in(server, ALICE, spam)


def test_strangers_are_let_in_nowhere(post: Post) -> None:
    server = "mail.atelier.example"
    for to, answer in (
        ("x@example.com", "Relay access denied"),
        ("nobody@atelier.example", "User unknown"),
        ("releve-probe@atelier.example", "User unknown"),
        ("releve-trip@atelier.example", "250" if post.echo else "Access denied"),
        (ALICE, "250"),
    ):
        assert answer in post.voisin.tries(server, PERSON, to).splitlines()[-1]
    for port in (25, 587):
        with post.door.plain(port) as smtp:
            assert not smtp.has_extn("auth")
            code, _ = smtp.docmd("AUTH", "PLAIN AGEAYg==")
            assert code >= 500
            if port == 587:
                assert smtp.mail(ALICE)[0] == 530  # STARTTLS first
    # Nothing listens where reading would begin without encryption.
    assert not re.search(r":(?:143|110)\s", post.sh("ss -ltn"))


def told(post: Post, check: str) -> list[dict[str, str]]:
    """What a check says, whatever it found."""
    done = post.releve("check", post.file, "--only", check, "--format", "json", code=None)
    results: list[dict[str, str]] = json.loads(done)["results"]
    return results


def ill(post: Post, check: str) -> str:
    """What is said of the check that is not well."""
    return " ".join(f"{r['id']}: {r['message']}" for r in told(post, check) if r["level"] != "ok")


def test_an_open_relay_is_told_and_stopped_until_it_is_put_right(post: Post) -> None:
    post.sh("postconf -e mynetworks=0.0.0.0/0; postfix reload")
    assert "anybody can send to the world" in ill(post, "courriel.doors")
    said = post.sh("python3 /usr/local/lib/releve/mail/mailhost.py closed || echo ended with $?")
    assert "anybody can send to the world" in said
    assert "Postfix was stopped" in said
    assert "ended with 1\n" in said
    assert "Connection refused" in ill(post, "courriel.doors")
    text = post.file.read_text()
    limited = f"per_hour = {PER_HOUR}"
    assert limited in text
    # (and one asks, from now on, what somebody else believes)
    post.file.write_text(text.replace(limited, f'{limited}, echo = "{ECHO}"'))
    post.echo = True
    post.releve("deploy", post.file, "--yes", "--limit", "poste")
    assert ill(post, "courriel.doors") == ""
    assert re.search("on its way|answered in", told(post, "courriel.echo")[0]["message"])


def test_an_echo_tells_what_others_believe(post: Post) -> None:
    deadline = time.monotonic() + 30
    while "answered in" not in (said := told(post, "courriel.echo")[0]["message"]):
        assert time.monotonic() < deadline, said
    assert "with dkim=pass and dmarc=pass" in said


SET_BACK = r"""
apt-get -qq -y install faketime >/dev/null
mkdir -p /etc/systemd/system/opendkim.service.d
so=$(dpkg -L libfaketime | grep libfaketimeMT.so)
printf '[Service]\nEnvironment=LD_PRELOAD=%s FAKETIME=-2h\n' "$so" \
    >/etc/systemd/system/opendkim.service.d/clock.conf
systemctl daemon-reload
systemctl restart opendkim
"""


def test_signatures_from_the_future_are_not_believed(post: Post) -> None:
    """What a clock that is wrong does: the others' is two hours behind ours here."""
    post.voisin.sh(SET_BACK)
    post.send(ALICE, PERSON, "de demain")
    came = believed(post.voisin.received("de demain").get_all("Authentication-Results"))
    post.voisin.sh(
        "rm /etc/systemd/system/opendkim.service.d/clock.conf; systemctl daemon-reload; "
        "systemctl restart opendkim"
    )
    # It arrives all the same; where it is passed on, only the signature would have spoken for it.
    assert {"dkim=permerror", "spf=pass", "dmarc=pass"} <= came


# Shifts what Dovecot and whoever logs in from then on take for the time by what /run/clock says.
OTHER_CLOCK = r"""
set -eu
apt-get -qq -y install faketime >/dev/null 2>&1
so=$(dpkg -L libfaketime | grep libfaketimeMT.so)
echo +0 >/run/clock
variables="LD_PRELOAD=$so FAKETIME_TIMESTAMP_FILE=/run/clock"
variables="$variables FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1"
cp -a /etc/environment /root/environment
printf '%s\n' $variables >>/etc/environment
mkdir -p /etc/systemd/system/dovecot.service.d
printf '[Service]\nEnvironment=%s\n' "$variables" >/etc/systemd/system/dovecot.service.d/clock.conf
cp -a /etc/dovecot/dovecot.conf /root/dovecot.conf
names=$(printf '%s\n' $variables | sed 's/=.*//')
echo "import_environment = $(doveconf -h import_environment)" $names >>/etc/dovecot/dovecot.conf
systemctl daemon-reload
systemctl restart dovecot
"""
OWN_CLOCK = """
mv /root/environment /etc/environment
mv /root/dovecot.conf /etc/dovecot/dovecot.conf
rm /etc/systemd/system/dovecot.service.d/clock.conf /run/clock
systemctl daemon-reload
"""


@pytest.mark.long
def test_a_clock_that_was_ahead_and_is_put_right_is_told_each_time(post: Post) -> None:
    post.sh(OTHER_CLOCK)
    post.sh("echo +2h >/run/clock")
    assert "poste.clock: the clock is 7" in ill(post, "poste.clock")
    post.send(ALICE, BOB, "de tout a l'heure")
    post.door.wait_for(BOB, PASSWORDS[BOB], "de tout a l'heure")
    # Nobody's session goes on, and Dovecot lets nobody in for three minutes.
    post.sh("echo +0 >/run/clock")
    with pytest.raises(Exception, match="UNAVAILABLE"):
        post.door.imap(BOB, PASSWORDS[BOB])
    post.sh(OWN_CLOCK)
    assert "at once: systemctl restart dovecot" in ill(post, "courriel.login")
    post.sh("systemctl restart dovecot")
    assert ill(post, "courriel.login") == ""
    assert ill(post, "poste.clock") == ""
    assert post.releve("plan", post.file) == "Nothing to change.\n"


def test_passwords_are_kept_as_hashes_and_wrong_ones_are_counted(post: Post) -> None:
    kept = post.sh("cat /srv/mail/accounts/accounts.sqlite; journalctl -b --no-pager")
    assert kept.count("{CRYPT}$y$") >= 4
    assert not any(password in kept for password in PASSWORDS.values())
    assert (
        post.sh("stat -c %a:%U:%G /srv/mail/accounts/accounts.sqlite") == "640:root:mailaccounts\n"
    )
    before = post.sh("fail2ban-client status releve-dovecot")
    assert "Total failed:\t0" in before
    for user in (ALICE, "nobody@atelier.example"):
        with pytest.raises(Exception, match="AUTHENTICATIONFAILED"):
            post.door.imap(user, "correct horse")
    deadline = time.monotonic() + 20
    while "Total failed:\t2" not in post.sh("fail2ban-client status releve-dovecot"):
        assert time.monotonic() < deadline
        time.sleep(0.3)


# Somebody who guesses, six times at once.
GUESS = """
import imaplib, smtplib, ssl, sys, threading
context = ssl._create_unverified_context()
server, port, user = sys.argv[1:]
def guess():
    try:
        if port == "993":
            door = imaplib.IMAP4_SSL(server, 993, ssl_context=context, timeout=20)
        else:
            door = smtplib.SMTP_SSL(server, 465, context=context, timeout=20)
        door.login(user, "x")
    except (OSError, imaplib.IMAP4.error, smtplib.SMTPException):
        pass
guesses = [threading.Thread(target=guess) for _ in range(6)]
for one in guesses: one.start()
for one in guesses: one.join()
"""


@pytest.mark.parametrize("port", ["993", "465"])
def test_whoever_guesses_is_shut_out_until_the_admin_lets_in_again(post: Post, port: str) -> None:
    guesser, server = str(post.lab.host("dehors").address), post.door.address
    post.voisin.sh('exec python3 -c "$@"', GUESS, server, port, ALICE)
    reach = 'timeout 3 bash -c "exec 3<>/dev/tcp/$1/$2" && echo in || echo out'
    deadline = time.monotonic() + 20
    while "in" in post.voisin.sh(reach, server, port).split():
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert guesser in post.sh("fail2ban-client banned")
    post.send(ALICE, BOB, "d'ailleurs")  # (nobody else is)
    post.sh('exec fail2ban-client unban "$1"', guesser)
    assert "in" in post.voisin.sh(reach, server, port).split()


# What aliases lead to: ALIAS TARGET …, "": nowhere.
ALIASES = """
import sqlite3, sys
with sqlite3.connect("/srv/mail/accounts/accounts.sqlite", timeout=20) as found:
    for address, target in zip(sys.argv[1::2], sys.argv[2::2]):
        found.execute("DELETE FROM alias WHERE address = ?", (address,))
        if target:
            found.execute("INSERT INTO alias VALUES (?, ?)", (address, target))
"""


def test_accounts_come_change_and_go_by_commands(post: Post) -> None:
    account = ("mail", "account")
    new = "essai@atelier.example"
    for address, password, code, why in (
        (ALICE, "encore un autre", 1, "exists already"),
        (BUREAU, "encore un autre", 1, "alias"),
        ("x@voisin.example", "encore un autre", 64, "no single mail service"),
        (new, "court", 1, "10 to 200 characters"),
    ):
        assert why in post.releve(*account, "add", post.file, address, given=password, code=code)
    post.releve(*account, "add", post.file, new, "--quota", "100k", given="premier mot de passe")
    with post.door.imap(new, "premier mot de passe"), post.door.submit(new, "premier mot de passe"):
        pass  # (what a server remembers of it)
    post.releve(*account, "password", post.file, new, given="second mot de passe")
    with pytest.raises(Exception, match="AUTHENTICATIONFAILED"):
        post.door.imap(new, "premier mot de passe")
    with post.door.plain(587) as smtp:
        smtp.starttls(context=post.door.context)
        smtp.ehlo()
        smtp.user, smtp.password = new, "premier mot de passe"
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.auth("PLAIN", smtp.auth_plain)
        smtp.password = "second mot de passe"
        smtp.auth("PLAIN", smtp.auth_plain)
    # A mailbox that is full says so before the mail is taken.
    with post.door.submit(ALICE, PASSWORDS[ALICE]) as smtp:
        heavy = letter(ALICE, new, "lourd", "x" * 70 + "\n" + ("y" * 70 + "\n") * 1500)
        smtp.sendmail(ALICE, [new], heavy.as_bytes())
    post.door.wait_for(new, "second mot de passe", "lourd")
    answer = post.voisin.tries("mail.atelier.example", PERSON, new)
    assert "552" in answer
    assert "The mailbox is full" in answer
    # An alias passes on what was taken already: that waits, and comes back to nobody. Where it
    # leads to nobody, nothing is taken. (No deploy gave it: that would warn.)
    nobody, many = f"personne@{DOMAIN}", f"essais@{DOMAIN}"
    post.sh('exec python3 -c "$@"', ALIASES, many, new, nobody, f"parti@{DOMAIN}")
    assert "User unknown" in post.voisin.tries("mail.atelier.example", PERSON, nobody)
    assert "250" in post.voisin.tries("mail.atelier.example", PERSON, many)
    post.voisin.send(many, "trop tard")
    post.sh('until postqueue -p | grep -q "$1"; do sleep 0.2; done', "Quota exceeded")
    assert post.voisin.count("Undelivered Mail") == 0
    post.sh("postsuper -d ALL")
    post.sh('exec python3 -c "$@"', ALIASES, many, "", nobody, "")
    listed = post.releve(*account, "list", post.file)
    assert re.search(rf"(?m)^{new}  1\d\d\.\d kB of 102\.4 kB$", listed), listed
    said = post.releve(*account, "remove", post.file, new)
    folder = re.search(r"poste:(\S+)", said)
    assert folder is not None
    assert "lourd" in post.sh('cat "$1"/Maildir/*/*', folder[1])
    with pytest.raises(Exception, match="AUTHENTICATIONFAILED"):
        post.door.imap(new, "second mot de passe")
    assert "User unknown" in post.voisin.tries("mail.atelier.example", PERSON, new)
    refused = post.releve(*account, "remove", post.file, CONTACT, code=1)
    assert "role mailbox of the inventory" in refused


def test_rules_sort_mail_into_folders_with_accents(post: Post) -> None:
    rule = (
        'require ["fileinto", "mailbox"];\n'
        'if header :contains "Subject" "range" { fileinto :create "Réunions"; }\n'
    )
    post.door.keep_rule(BOB, PASSWORDS[BOB], "tri", rule)
    post.send(ALICE, BOB, post.named("a range ici"))
    post.door.wait_for(BOB, PASSWORDS[BOB], post.named("a range ici"), folder='"R&AOk-unions"')


def test_several_read_a_role_mailbox_and_an_alias_reaches_all(post: Post) -> None:
    share = ("mail", "share")
    assert BOB in post.releve(*share, "add", post.file, CONTACT, BOB, "--read-only")
    post.releve(*share, "add", post.file, CONTACT, ALICE)
    post.send(BOB, EQUIPE, post.named("pour toutes"))
    post.door.wait_for(ALICE, PASSWORDS[ALICE], post.named("pour toutes"))
    post.voisin.received(post.named("pour toutes"))
    post.send(BOB, BUREAU, post.named("pour qui veut"))
    post.door.wait_for(ALICE, PASSWORDS[ALICE], post.named("pour qui veut"), folder=SHARED)
    with post.door.submit(ALICE, PASSWORDS[ALICE]) as smtp:
        smtp.sendmail(BUREAU, [BOB], letter(BUREAU, BOB, "reponse").as_bytes())
    with post.door.imap(BOB, PASSWORDS[BOB]) as box:
        assert SHARED.strip('"') in str(box.lsub()[1])
        assert box.select(SHARED)[0] == "OK"
        assert box.append(SHARED, "", "", b"Subject: x\r\n\r\n")[0] == "NO"
    post.releve(*share, "remove", post.file, CONTACT, BOB)
    with post.door.imap(BOB, PASSWORDS[BOB]) as box:
        assert box.select(SHARED)[0] == "NO"
    assert "no role mailbox" in post.releve(*share, "add", post.file, ALICE, BOB, code=1)


def learned(post: Post) -> list[int]:
    """How many mails the filter was told to be spam, and how many to be none."""
    said = post.sh("rspamc --connect=/run/rspamd/releve.sock stat")
    return [int(re.findall(rf"BAYES_{kind} .*learned: (\d+)", said)[0]) for kind in ("SPAM", "HAM")]


def test_moves_into_junk_and_out_of_it_teach_the_filter(post: Post) -> None:
    text = " ".join(f"pilules{n} casino{n}" for n in range(40)) + str(time.time_ns())
    subject = post.named("offre")
    post.send(BOB, ALICE, subject, text=text)
    post.door.wait_for(ALICE, PASSWORDS[ALICE], subject)
    with post.door.imap(ALICE, PASSWORDS[ALICE]) as box:
        for kind, folder, to in ((0, "INBOX", "Junk"), (1, "Junk", "INBOX")):
            before = learned(post)
            box.select(folder)
            number = box.search(None, "SUBJECT", f'"{subject}"')[1][0].split()[-1].decode()
            assert box.copy(number, to)[0] == "OK"
            box.store(number, "+FLAGS", "\\Deleted")
            box.expunge()
            assert learned(post)[kind] == before[kind] + 1


def test_mail_is_fetched_by_pop3_where_it_is_asked_for(post: Post) -> None:
    with post.door.tls(995) as tls, tls.makefile("rwb") as file:
        assert file.readline().startswith(b"+OK")
        for line in (f"USER {ALICE}", f"PASS {PASSWORDS[ALICE]}", "STAT"):
            file.write(f"{line}\r\n".encode())
            file.flush()
            answer = file.readline()
            assert answer.startswith(b"+OK"), answer
        assert int(answer.split()[1]) > 0


def test_mail_leaves_in_formats_that_anybody_reads(post: Post, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    said = post.releve("mail", "export", post.file, "--to", folder)
    assert re.search(rf"(?m)^{ALICE}  \d+ mails in ", said)
    for address in PASSWORDS:
        home = folder / address
        with post.door.imap(address, PASSWORDS[address]) as box:
            there = sorted(bytes(m) for m in box.messages())
        ours = sorted(bytes(m) for m in mailbox.Maildir(home / "Maildir", create=False))
        # (lines end otherwise on the way of IMAP)
        assert [m.replace(b"\r\n", b"\n") for m in there] == ours
        assert len(mailbox.mbox(home / "mbox/INBOX.mbox", create=False)) == len(ours)
    with (folder / "accounts.csv").open(encoding="utf-8", newline="") as file:
        assert {*PASSWORDS} <= {row["address"] for row in csv.DictReader(file)}
    ldif = (folder / "accounts.ldif").read_text()
    assert "CRYPT" not in ldif
    assert f"\ndn: mail={ALICE},ou=people,dc=atelier,dc=example\n" in ldif
    # Folders with accents are called so, and rules are there as their owner wrote them.
    (sorted_,) = mailbox.mbox(folder / BOB / "mbox/Réunions.mbox", create=False)
    assert "range ici" in str(sorted_["Subject"])
    assert len(list((folder / BOB / "Maildir/.R&AOk-unions").glob("[cn][ue][rw]/*"))) == 1
    assert 'fileinto :create "Réunions"' in (folder / BOB / "sieve/tri.sieve").read_text()
    assert (folder / BOB / "sieve/ACTIVE").read_text() == "tri.sieve\n"
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*")} == {0o600, 0o700}
    # Typed again: what was read meanwhile is renamed, and only what is missing is fetched.
    with post.door.imap(BOB, PASSWORDS[BOB]) as box:
        box.select("INBOX")
        box.store("1", "+FLAGS", "\\Flagged")
    lost = next((folder / BOB / "Maildir").glob("*/*,S=*"))
    lost.unlink()
    again = post.releve("mail", "export", post.file, "--to", folder, "--account", BOB, "--hashes")
    assert "(1 mails fetched now)" in again
    assert any("F" in m.get_flags() for m in mailbox.Maildir(folder / BOB / "Maildir"))
    assert "{CRYPT}$y$" in (folder / BOB / "accounts.csv").read_text()
    words = ("mail", "export", post.file, "--to", folder, "--account", BOB)
    assert "has the hashes of passwords" in post.releve(*words, code=1)


def test_a_stolen_password_sends_no_thousands_of_mails(post: Post) -> None:
    with post.door.submit(CONTACT, PASSWORDS[CONTACT]) as smtp:
        smtp.mail(CONTACT)
        codes = [smtp.rcpt(f"x{number}@{foreign.DOMAIN}")[0] for number in range(PER_HOUR + 6)]
    assert codes.count(450) >= 6
    assert codes == sorted(codes)  # first those that are let through
    post.send(ALICE, BOB, "les autres écrivent")


# Asks a host's own port 25 for more recipients than may be written to within an hour.
ASK = """
import smtplib, sys
with smtplib.SMTP("127.0.0.1", 25, timeout=20) as smtp:
    smtp.ehlo(); smtp.mail(sys.argv[1])
    said = [smtp.rcpt(f"x{number}@" + sys.argv[2]) for number in range(int(sys.argv[3]))]
print(sum(code == 450 for code, _ in said), said[-1])
"""
# Forgets what was counted (something was, before).
FORGET = """
import sqlite3
with sqlite3.connect("/var/lib/releve-mail/limit/recipients.sqlite", timeout=20) as found:
    found.execute("DELETE FROM sent")
"""


def test_a_website_that_was_broken_into_sends_no_thousands_of_mails(post: Post) -> None:
    subject = post.named("du site")
    post.sh('exec python3 -c "$@"', FORGET)
    said = post.sh('exec python3 -c "$@"', ASK, ALICE, foreign.DOMAIN, str(PER_HOUR + 6))
    assert re.match(r"6 \(450, .*The programs of this host together wrote", said), said
    # What it leaves with sendmail(1) waits, and is told; then it leaves, signed.
    leave = (
        'printf "From: %s\nTo: %s\nSubject: %s\n\nx\n" "$1" "$2" "$3" | sendmail -f "$1" -- "$2"'
    )
    post.sh(leave, ALICE, PERSON, subject)
    post.sh('until postqueue -p | grep -q "$1"; do sleep 0.2; done', "programs of this host")
    queue = json.loads(post.sh(f"{MAILHOST} queue"))
    assert f"programs of this host together wrote to {PER_HOUR} recipients" in queue["why"]
    post.sh('python3 -c "$1"; postqueue -f', FORGET)
    came = post.voisin.received(subject)
    assert "dkim=pass" in believed(came.get_all("Authentication-Results"))


def expired(name: str) -> tuple[str, str]:
    """A key, and a certificate for `name` that was valid in January 2026 (PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 1, 31, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), made.public_bytes(pem).decode()


def test_programs_show_a_renewed_certificate(post: Post) -> None:
    def serial(port: int) -> object:
        with post.door.tls(port) as tls:
            shown = tls.getpeercert()
            assert shown is not None
            return shown["serialNumber"]

    before = {port: serial(port) for port in (465, 993)}
    certs = "/var/lib/dehydrated/certs/mail.atelier.example"
    # One that nobody renewed is told at each door that shows it.
    key, old = expired("mail.atelier.example")
    post.sh(
        'cd "$1"; echo "$2" >privkey.pem; echo "$3" >fullchain.pem; postfix reload; doveadm reload',
        *(certs, key, old),
    )
    known = post.lab.ca_file.read_text()
    post.lab.ca_file.write_text(known + old)  # (signed by somebody who is believed)
    said = ill(post, "courriel")
    post.lab.ca_file.write_text(known)
    for check in ("imap", "submissions", "smtp-tls", "submission-tls"):
        assert f"courriel.{check}: the certificate expired on 2026-01-31" in said
    post.sh(
        f"rm {certs}/cert.pem; exec /usr/local/lib/releve/debian/certificate mail.atelier.example"
    )
    deadline = time.monotonic() + 20
    while True:  # a reload is not over when it was asked for
        with contextlib.suppress(ssl.SSLError):
            assert all(serial(port) != number for port, number in before.items())
            break
        assert time.monotonic() < deadline


def test_a_full_disk_makes_senders_wait_and_loses_nothing(post: Post) -> None:
    assert int(post.sh("df -B1 --output=size /srv | tail -1")) < DISK  # (not this machine's)
    post.sh('fallocate -l "$(($(df -B1 --output=avail /srv | tail -1) - 20000000))" /srv/full')
    with pytest.raises(smtplib.SMTPResponseException, match="452"):
        post.send(ALICE, BOB, "disque plein")
    post.voisin.send(BOB, post.named("pour un disque plein"))
    said = ill(post, "courriel.round-trip")
    assert "452" in said
    assert "frees space with the next copy" in said
    assert "full" in ill(post, "poste.disk")
    post.sh("rm /srv/full")
    post.voisin.sh("postqueue -f")
    post.door.wait_for(BOB, PASSWORDS[BOB], post.named("pour un disque plein"))


def test_what_a_restore_stops_has_ended(post: Post) -> None:
    inventory = roles.load(post.file)
    for argv in debian.restore(inventory.services["courriel"], inventory).stop:
        post.lab.run(post.host, argv)
    assert post.sh("ss -Hltn '( sport = :25 or sport = :993 )'") == ""
    post.sh("systemctl start rspamd dovecot postfix; until postfix status; do sleep 0.1; done")


def test_postfix_killed_starts_again(post: Post) -> None:
    post.sh('kill -9 "$(cat /var/spool/postfix/pid/master.pid)"')
    post.sh("until ! postfix status; do sleep 0.1; done; until postfix status; do sleep 0.5; done")


def test_dovecot_killed_starts_again_and_mails_have_waited(post: Post) -> None:
    post.sh("systemctl kill -s KILL dovecot; sleep 0.2; postfix flush")
    post.voisin.send(BOB, post.named("sans Dovecot"))
    assert "Dovecot" in ill(post, "courriel.dovecot").title()
    # Whoever sends meanwhile gets no answer, and never hears that a password is wrong. (Postfix
    # by itself would let nobody in for a minute.)
    deadline = time.monotonic() + 40
    while True:
        try:
            post.send(ALICE, BOB, post.named("dans un instant"))
            break
        except (smtplib.SMTPException, OSError) as error:
            if getattr(error, "smtp_code", 0) == 535 or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    post.sh("until systemctl is-active -q dovecot; do sleep 0.2; done; sleep 0.5; postqueue -f")
    post.voisin.sh("postqueue -f")
    for subject in ("sans Dovecot", "dans un instant"):
        post.door.wait_for(BOB, PASSWORDS[BOB], post.named(subject), seconds=40)


# A server that answers a byte a second, and never to the end: one guest in two at once, the others
# when they have handed in a mail.
DRIP = """
import itertools, socket, threading, time
door = socket.create_server(("::", 25), family=socket.AF_INET6, dualstack_ipv6=True)
def drip(guest, code):
    for byte in code + b"-" + b"x" * 600:
        guest.send(bytes([byte]))
        time.sleep(1)
def take(guest):
    lines = guest.makefile("rb")
    guest.send(b"220 mx ESMTP\\r\\n")
    while not (line := lines.readline()).upper().startswith(b"DATA"):
        guest.send(b"250 go on\\r\\n")
    guest.send(b"354 go on\\r\\n")
    while lines.readline().strip() != b".":
        pass
    open("/run/taken", "w").close()
    drip(guest, b"250")
for number in itertools.count():
    guest = door.accept()[0]
    how = (drip, (guest, b"220")) if number % 2 else (take, (guest,))
    threading.Thread(target=how[0], args=how[1], daemon=True).start()
"""
# Forty guests who hand in a mail a byte a second, and never to the end.
DRIPPED = """
import smtplib, sys, time
guests = []
for _ in range(40):
    smtp = smtplib.SMTP(sys.argv[1], 25, sys.argv[4], timeout=60)
    smtp.ehlo(); smtp.mail(sys.argv[2]); smtp.rcpt(sys.argv[3]); smtp.docmd("DATA")
    guests.append(smtp)
open("/run/dripping", "w").close()
while True:
    for smtp in guests:
        smtp.sock.send(b"x")
    time.sleep(1)
"""


def test_others_may_delay_refuse_and_drip(post: Post) -> None:
    other = post.voisin
    other.mood(PERSON, "451 4.7.1 Greylisted, come back later")
    post.send(ALICE, PERSON, "plus tard")
    post.sh('until postqueue -p | grep -q "$1"; do sleep 0.2; done', "Greylisted")
    queue = json.loads(post.sh("python3 /usr/local/lib/releve/mail/mailhost.py queue"))
    assert queue["waiting"] == 1
    assert "Greylisted" in queue["why"]
    assert PERSON not in queue["why"]
    other.mood(PERSON, "DUNNO")
    post.sh("postqueue -f")
    other.received("plus tard")
    # Whoever wrote learns that it was refused, and the words.
    other.mood(PERSON, "554 5.7.1 We do not take your mails")
    post.send(ALICE, PERSON, "refusé")
    back = post.door.wait_for(ALICE, PASSWORDS[ALICE], "Undelivered Mail Returned to Sender")
    assert "We do not take your mails" in back.as_string()
    # One who drips holds up nobody else.
    other.mood(PERSON, "DUNNO")
    other.sh(
        'systemctl stop postfix; while ss -ltn | grep -q ":25 "; do sleep 0.1; done; '
        'systemd-run -q --unit=drip python3 -c "$1"; '
        'until ss -ltn | grep -q ":25 "; do sleep 0.1; done',
        DRIP,
    )
    post.send(ALICE, PERSON, "goutte a goutte")
    post.send(ALICE, PERSON, "goutte apres goutte")
    other.sh("until [ -e /run/taken ]; do sleep 0.2; done")
    # Nor do those who drip into us.
    other.sh(
        'systemd-run -q --unit=dripped python3 -c "$@"; '
        "until [ -e /run/dripping ]; do sleep 0.2; done",
        *(DRIPPED, "mail.atelier.example", PERSON, ALICE, foreign.HOST),
    )
    post.send(ALICE, BOB, "pendant ce temps")
    post.door.wait_for(BOB, PASSWORDS[BOB], "pendant ce temps")
    assert "round-trip well" in post.releve("check", post.file, "--only", "courriel.round-trip")
    other.sh("systemctl stop drip dripped; systemctl start postfix")
    # Tried until then, they are in somebody's hands still.
    post.sh("until postqueue -p | grep -q empty; do postqueue -f; sleep 1; done")
    for subject in ("goutte a goutte", "goutte apres goutte"):
        other.received(subject)
        assert other.count(subject) == 1


def certified(post: Post, name: str) -> tuple[str, str]:
    """A certificate of the lab's own authority, which hosts trust, and its key (PEM)."""
    authority = x509.load_pem_x509_certificate((post.lab.folder / "authority.pem").read_bytes())
    signs = serialization.load_pem_private_key(
        (post.lab.folder / "authority.key").read_bytes(), None
    )
    assert isinstance(signs, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(
            authority.subject, who, key.public_key(), x509.random_serial_number()
        )
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(signs, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.mark.long
def test_a_relay_is_told_the_password_when_it_shows_its_name_and_what_it_refuses_is_said(
    post: Post,
) -> None:
    other, text = post.voisin, post.file.read_text()
    wrong, right = "Mot2passe-faux", "Mot:de=passe$(id)`id`#juste"
    limited = f"per_hour = {PER_HOUR}"

    def told_of(password: str, port: int) -> str:
        """Deploy with such a relay; return what the plan before it said."""
        secrets = Secrets.open(post.file)
        secrets.set("relay", password)
        secrets.save()
        relay = (
            f'relay = {{ host = "{foreign.HOST}", port = {port}, user = "relais", '
            'password = "secret:relay" }, spf = "v=spf1 mx -all"'
        )
        post.file.write_text(text.replace(limited, f"{limited}, {relay}"))
        planned = post.releve("plan", post.file, "--full", code=2)
        said = planned + post.releve("deploy", post.file, "--yes", "--limit", "poste")
        assert password not in said
        assert "/etc/postfix/releve-relay: secret, not shown" in planned
        return planned

    def sent(subject: str, waits: str = "") -> None:
        post.send(ALICE, PERSON, subject)
        if waits:
            post.sh('until postqueue -p | grep -q "$1"; do sleep 0.2; done', waits)

    other.relays("relais", right, *certified(post, foreign.HOST))
    told_of(wrong, 587)
    assert post.sh("stat -c %a:%U:%G /etc/postfix/releve-relay") == "600:root:root\n"
    sent("par un relais", "SASL authentication failed")
    assert "the relay does not let this server in. Set the right" in ill(post, "courriel.queue")
    # The right one, and what waited leaves at once.
    assert "main.cf" not in told_of(right, 587)
    came = other.received("par un relais")
    assert "with ESMTPSA" in str(came["Received"])
    assert {"dkim=pass", "dmarc=pass"} <= believed(came.get_all("Authentication-Results"))
    assert post.releve("plan", post.file) == "Nothing to change.\n"
    assert ill(post, "courriel.queue") == ""
    # Whoever does not show that name is told nothing.
    other.relays("relais", right, *certified(post, "autre.example"))
    sent("par personne", "Server certificate not")
    assert "so it was not told the password" in ill(post, "courriel.queue")
    other.relays("relais", right, *certified(post, foreign.HOST))
    told_of(right, 465)
    post.sh("postqueue -f")
    assert "with ESMTPSA" in str(other.received("par personne")["Received"])
    # It is in that file and nowhere else.
    found = post.sh('grep -rlF -e "$1" -e "$2" /etc /var/lib/releve /var/log || :', right, wrong)
    assert found == "/etc/postfix/releve-relay\n"
    told = post.sh("journalctl -b --no-pager") + other.sh("journalctl -b --no-pager")
    assert right not in told
    assert wrong not in told
    # Without a relay nothing is left of it, and mails leave by themselves.
    post.file.write_text(text)
    post.releve("deploy", post.file, "--yes", "--older", "--limit", "poste")
    assert "No such file" in post.sh("stat /etc/postfix/releve-relay 2>&1 || :")
    sent("sans relais")
    assert "with ESMTPS " in str(other.received("sans relais")["Received"])
    assert post.releve("plan", post.file) == "Nothing to change.\n"


# --- the loss of it ----------------------------------------------------------------------------

ZOE, ZOE_S = f"zoe@{DOMAIN}", "un mot de passe"
HEAVY = (mailboxes.HEAVY,) * max(2, MANY // 500)
QUEUED, ON_HOLD = 200, 20


def poured(post: Post) -> list[int]:
    """The numbers of the mails that `voisin` poured into Bob's inbox, in order."""
    with post.door.imap(BOB, PASSWORDS[BOB]) as box:
        box.select("INBOX", readonly=True)
        _, found = box.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    text = b"".join(part[1] for part in found if isinstance(part, tuple)).decode()
    return sorted(map(int, re.findall(r"<flot-(\d+)@", text)))


def waiting(lab: Lab, host: str) -> list[dict[str, Any]]:
    """The queue of a mail server, mail by mail."""
    said = lab.run(host, ("postqueue", "-j")).stdout.decode()
    return [json.loads(line) for line in said.splitlines()]


@pytest.fixture(scope="module")
def saved(post: Post) -> dict[str, Any]:
    """A copy of a server that has much to do: its queue full, mails arriving, a member at work.
    Then it takes in nothing more: what it was given after its last copy would be lost."""
    post.releve("mail", "account", "add", post.file, ZOE, given=ZOE_S)
    mailboxes.fill(post.lab, "poste", [ZOE], MANY, HEAVY)
    # Others put off what we send them; a part is held, and one mail is heavy.
    post.voisin.mood(PERSON, "451 4.7.1 Not now")
    post.send(ALICE, PERSON, "dans la file")
    with post.door.submit(ALICE, PASSWORDS[ALICE]) as smtp:
        assert smtp.sock is not None
        smtp.sock.settimeout(120)
        heavy = letter(ALICE, PERSON, "lourd")
        data = os.urandom(22_000_000)
        heavy.add_attachment(data, "application", "octet-stream", filename="été.bin")
        smtp.sendmail(ALICE, [PERSON], heavy.as_bytes())
    # Held are some of the many, and no other; what is under way cannot be held.
    post.sh(
        'new() { postqueue -j | grep "\\"queue_name\\": \\"deferred\\"" | '
        'sed "s/.*\\"queue_id\\": \\"\\([^\\"]*\\).*/\\1/" | sort | comm -13 /run/before -; }; '
        'wait_for() { until [ "$(new | wc -l)" -ge "$1" ]; do sleep 0.2; done; }; '
        ": >/run/before; wait_for 2; new >/run/first; mv /run/first /run/before; "
        'smtp-source -m "$1" -s 4 -f "$2" -t "$3" -S "en nombre" -l 2000 127.0.0.1:25; '
        'wait_for "$4"; new | tail -n "$4" | postsuper -h -; '
        '[ "$(postqueue -j | grep -c "\\"queue_name\\": \\"hold\\"")" = "$4" ]',
        *(str(QUEUED), ALICE, PERSON, str(ON_HOLD)),
    )
    post.voisin.pour(BOB)
    with mailboxes.working(post.door, ZOE, ZOE_S) as done:
        before, began = done[0], time.monotonic()
        post.releve("backup", "run", post.file, "--host", "poste")
        assert done[0] > before
    print(f"post: {MANY} mails saved in {time.monotonic() - began:.0f} s")
    # On Debian 12 the first is what runs, and the second does not wait for it.
    post.sh("systemctl stop postfix@- postfix")
    # Something that a program of the host left, and nobody has looked at yet.
    post.sh(
        'printf "From: %s\nTo: %s\nSubject: de la machine\n\nx\n" "$1" "$2" | '
        'sendmail -f "$1" -- "$2"; [ -n "$(ls /var/spool/postfix/maildrop)" ]',
        *(ALICE, PERSON),
    )
    post.releve("backup", "run", post.file, "--host", "poste")
    listed = post.releve("backup", "list", post.file, "--host", "poste", "--format", "json")
    return {
        "snapshot": max(json.loads(listed), key=lambda row: row["time"])["snapshot"],
        "boxes": {address: post.box(address) for address in (ALICE, CONTACT)},
        "zoe": mailboxes.content(post.door, ZOE, ZOE_S),
        "counts": json.loads(post.sh(f"{MAILHOST} counts")),
        "learned": learned(post),
        "key": post.sh("cat /etc/rspamd/releve-dkim-*.key"),
        "poured": poured(post),
    }


@pytest.mark.long
def test_a_rehearsal_with_the_copy_sends_nothing(
    post: Post, saved: dict[str, Any], new_file: Path, tmp_path: Path
) -> None:
    # With a relay, whose password a rehearsal is not given.
    relay = 'relay = { host = "smtp.example.com", user = "us", password = "secret:relay" }'
    text = post.file.read_text()
    limited = f"per_hour = {PER_HOUR}"
    new_file.write_text(text.replace(limited, f"{limited}, {relay}"))
    secrets = ".secrets.age"
    shutil.copy(post.file.with_suffix(secrets), new_file.with_suffix(secrets))
    shutil.copy(post.lab.ca_file, new_file.parent)
    folder = tmp_path / "evidence"
    post.releve("drill", new_file, "--lab", "--lost", "poste", "--keep", "--evidence", folder)
    proved, _ = evidence(folder)
    assert proved["passed"] is True
    assert proved["counts"]["courriel"]["before"] == proved["counts"]["courriel"]["after"]
    assert proved["checks"]["courriel"]["round-trip"] in ("ok", "warning")
    # All of it is in the queue there; what is not held tries a door where nobody answers.
    trial = Lab(lab_name(new_file))
    trial.run("poste", ("postqueue", "-f"))
    deadline = time.monotonic() + 60
    while True:
        queue = waiting(trial, "poste")
        tried = [q for q in queue if q["queue_name"] == "deferred"]
        why = {person["delay_reason"] for q in tried for person in q["recipients"]}
        # (until then, what was said of it at home)
        if len(tried) >= QUEUED - ON_HOLD + 3 and all("[127.0.0.1]:9:" in one for one in why):
            break
        assert time.monotonic() < deadline, (len(queue), len(tried), why)
        time.sleep(0.5)
    assert len(queue) == QUEUED + 3
    assert len([q for q in queue if q["queue_name"] == "hold"]) == ON_HOLD
    trial.down()


def test_a_lost_host_comes_back_on_the_next_debian(
    post: Post, saved: dict[str, Any], tmp_path: Path
) -> None:
    lab, other = post.lab, post.voisin
    lab.destroy("poste")
    blank = lab.blank(
        "poste-new",
        datacenter="PAR",
        provider="three",
        release="trixie",
        disk=DISK,
    )
    lab.call("poste-new", "mail.atelier.example")
    six = ("--address6", str(blank.address6)) if blank.address6 else ()
    began = time.monotonic()
    said = post.releve(
        *("rebuild", post.file, "--host", blank.address, *six, "--host-key", blank.host_key),
        *("--provider", "three", "--datacenter", "PAR", "--lost", "poste", "--yes"),
        *("--evidence", tmp_path),
    )
    assert "It worked" in said
    print(f"post: rebuilt in {time.monotonic() - began:.0f} s, with {saved['counts']}")
    for name, count in saved["counts"].items():
        assert f"{count} of {count} {COUNTS[name][0]}" in said
    post.host = "poste-new"
    assert post.sh("dovecot --version").startswith("2.4")
    # The same passwords, the same mails under the same numbers, the same key.
    assert {address: post.box(address) for address in (ALICE, CONTACT)} == saved["boxes"]
    came = mailboxes.content(post.door, ZOE, ZOE_S)
    assert came == saved["zoe"]
    print(f"post: {sum(map(len, came.values()))} mails compared one by one")
    assert post.sh("cat /etc/rspamd/releve-dkim-*.key") == saved["key"]
    assert learned(post) == saved["learned"]
    # What was on its way arrives, each mail once, and is believed; what was held stays so.
    other.mood(PERSON, "DUNNO")
    emptied(post, "poste-new", ON_HOLD)
    for subject in ("dans la file", "lourd", "de la machine"):
        found = believed(other.received(subject).get_all("Authentication-Results"))
        assert {"dkim=pass", "spf=pass", "dmarc=pass"} <= found
        assert other.count(subject) == 1
    post.sh("postsuper -H ALL; postqueue -f")
    emptied(post, "poste-new", 0)
    # Whoever wrote to us meanwhile tried until we were there: nothing is lost, nothing is double.
    count = other.dry()
    # What left our queue lies in theirs for a moment before their person has it.
    emptied(post, "dehors", 0)
    assert other.count("en nombre") == QUEUED
    assert count > len(saved["poured"])
    deadline = time.monotonic() + 20
    while (there := poured(post)) != list(range(1, count + 1)):
        assert time.monotonic() < deadline, (count, there)
        time.sleep(0.5)
    # Rules, shares: all of it works there as it did.
    post.send(ALICE, BOB, "a range ici aussi")
    post.door.wait_for(BOB, PASSWORDS[BOB], "a range ici aussi", folder='"R&AOk-unions"')
    post.send(BOB, BUREAU, "qui lit encore")
    post.door.wait_for(ALICE, PASSWORDS[ALICE], "qui lit encore", folder=SHARED)
    assert post.releve("plan", post.file) == "Nothing to change.\n"


def emptied(post: Post, host: str, held: int) -> None:
    """Wait until the queue of a host is empty but for what is held."""
    deadline = time.monotonic() + 180
    while len(left := waiting(post.lab, host)) > held:
        assert time.monotonic() < deadline, left[-3:]
        post.lab.run(host, ("postqueue", "-f"))
        time.sleep(1)
    assert len(left) == held


@pytest.mark.parametrize(
    "again",
    [
        test_members_write_to_each_other_and_to_a_role,
        test_others_believe_our_mails_and_we_look_at_theirs,
        test_whoever_pretends_to_be_one_of_us_and_spam_are_no_mail_for_the_inbox,
        test_strangers_are_let_in_nowhere,
        test_passwords_are_kept_as_hashes_and_wrong_ones_are_counted,
        test_accounts_come_change_and_go_by_commands,
        test_rules_sort_mail_into_folders_with_accents,
        test_several_read_a_role_mailbox_and_an_alias_reaches_all,
        test_moves_into_junk_and_out_of_it_teach_the_filter,
        test_mail_is_fetched_by_pop3_where_it_is_asked_for,
        test_a_website_that_was_broken_into_sends_no_thousands_of_mails,
        test_a_full_disk_makes_senders_wait_and_loses_nothing,
        test_postfix_killed_starts_again,
        test_dovecot_killed_starts_again_and_mails_have_waited,
    ],
    ids=lambda test: test.__name__.removeprefix("test_"),
)
def test_the_next_debian_does_as_the_one_before(post: Post, again: Callable[[Post], None]) -> None:
    assert post.host == "poste-new"
    again(post)


@pytest.mark.long
def test_an_older_copy_sends_nothing_again(post: Post, saved: dict[str, Any]) -> None:
    """On the host that has sent what that copy had in its queue; its own queue stays."""
    other = post.voisin
    other.mood(PERSON, "451 4.7.1 Not now")
    post.send(ALICE, PERSON, "depuis la copie")
    # Whoever writes while the mailboxes move tries again.
    other.sh(
        'exec systemd-run -q --unit=meanwhile sh -c "$@"', _MEANWHILE, "meanwhile", PERSON, BOB
    )
    words = ("courriel", "--to", "poste", "--replace", "--snapshot", saved["snapshot"])
    post.releve("restore", post.file, *words)
    assert "wait" not in ill(post, "courriel.queue")
    other.mood(PERSON, "DUNNO")
    emptied(post, "poste-new", 0)
    other.received("depuis la copie")
    # All that was taken, from when the restore began to stop things until after its end.
    other.sh("touch /run/enough; while systemctl is-active -q meanwhile; do sleep 0.2; done")
    count = int(other.sh("cat /run/meanwhile"))
    assert count > 5
    emptied(post, "dehors", 0)
    counts = {subject: other.count(subject) for subject in ("en nombre", "dans la file", "lourd")}
    assert counts == {"en nombre": QUEUED, "dans la file": 1, "lourd": 1}
    deadline = time.monotonic() + 20
    while True:
        with post.door.imap(BOB, PASSWORDS[BOB]) as box:
            subjects = [str(m["Subject"]) for m in box.messages()]
        there = sorted(s for s in subjects if s.startswith("pendant ce temps "))
        if there == [f"pendant ce temps {number:03}" for number in range(1, count + 1)]:
            break
        assert time.monotonic() < deadline, (count, there)
        time.sleep(0.5)


# $1 who, $2 to whom: from the moment on when nobody answers, until it is enough.
_MEANWHILE = r"""
while timeout 2 bash -c "exec 3<>/dev/tcp/mail.atelier.example/25" 2>/dev/null; do sleep 0.1; done
n=0
until [ -e /run/enough ]; do
    n=$((n + 1))
    printf 'From: %s\nTo: %s\nSubject: pendant ce temps %03d\n\nBonjour.\n' "$1" "$2" "$n" |
        sendmail -f "$1" -- "$2" && echo "$n" >/run/meanwhile
    sleep 0.5
done
"""


@pytest.mark.long
def test_debian_13_gets_the_folders_of_the_queue_that_it_makes_at_its_first_start_only(
    post: Post,
) -> None:
    """As on a host where Postfix was installed and has never run: Dovecot begins before it."""
    assert post.host == "poste-new"
    post.sh("systemctl stop dovecot postfix; find /var/spool/postfix -mindepth 1 -delete")
    post.releve("deploy", post.file, "--yes", "--limit", post.host)
    post.send(ALICE, BOB, "une file toute neuve")
    post.door.wait_for(BOB, PASSWORDS[BOB], "une file toute neuve")
