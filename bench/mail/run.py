"""Mailboxes saved and restored, against plain restic; mails sent, against Debian's defaults.

    .venv/bin/python bench/mail/run.py        (root; boots throwaway hosts, takes long)

Ten thousand mails (RELEVE_BENCH_MAILS) in three accounts: folders with accents, marks, files, ten
attachments of 30 MB. Both sides take turns in one run, on one host:

- backup with 1 % new: `agent.py backup`, against `restic backup` of the same folder, through the
  same gate into a repository of its own;
- restore: `agent.py restore`, services stopped and started, against `restic restore`;
- 500 mails given to the submission port over ten connections, until the last one lies in its
  mailbox: our configuration, against the packages of Postfix and Dovecot on a second host with
  what they bring. rspamd is off.

Beside the time each row says how many times the processor time of the other side ours took, in the
hosts of that side: it means something on a busy machine, too.

Ends with code 1 when a copy or a restore takes more than 1.2 times the time of restic, or mails
less than 0.8 times the rate of Debian's defaults.
"""

from __future__ import annotations

import json
import os
import smtplib
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

import roles  # noqa: E402
from lab import Lab  # noqa: E402
from tests.lab import mailbox  # noqa: E402
from tests.lab.post import Door  # noqa: E402
from tools import ssh  # noqa: E402

MAILS = int(os.environ.get("RELEVE_BENCH_MAILS", "10000"))
HEAVY = (mailbox.HEAVY,) * (MAILS // 1000)
SENT, LANES = 500, 10
AT_MOST, AT_LEAST = 1.2, 0.8
ROUNDS = 5

DOMAIN = "bench.test"
NAME = f"mail.{DOMAIN}"
PLAIN = f"plain.{DOMAIN}"
PASSWORD = "un mot de passe de banc"  # noqa: S105 (of a throwaway host)
PEOPLE = {f"{name}@{DOMAIN}": PASSWORD for name in ("alice", "bob", "contact")}
BOXES = "/srv/mail/boxes"

INVENTORY = f"""
schema = 1
[organisation]
name = "Bench"
contact = "hostmaster@{DOMAIN}"
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
url = "ssh-append://releve@coffre.{DOMAIN}/bench"
host = "coffre"
provider = "two"
datacenter = "NTE"
[domains."{DOMAIN}"]
[services.courriel]
role = "mail"
host = "poste"
url = "https://{NAME}"
[services.courriel.settings]
per_hour = 100000
"""

# Debian's Postfix and Dovecot with what they bring, and no more than makes them take mails from
# people who log in and put them into Maildirs. $1: the name, $2: the password; then the people.
DEFAULTS = r"""set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -y --no-install-recommends install \
    postfix dovecot-core dovecot-imapd dovecot-lmtpd ssl-cert >/dev/null
name=$1 password=$2; shift 2
for who; do
    id "$who" >/dev/null 2>&1 || useradd --create-home "$who"
    printf '%s:%s\n' "$who" "$password" | chpasswd
done
cat >/etc/dovecot/conf.d/99-bench.conf <<END
mail_location = maildir:~/Maildir
auth_username_format = %Ln
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
    user = postfix
    group = postfix
  }
}
END
postconf -e "myhostname = $name" "mydestination = $name, localhost" "smtpd_sasl_type = dovecot" \
    "smtpd_sasl_path = private/auth" "mailbox_transport = lmtp:unix:private/dovecot-lmtp"
postconf -M "submission/inet=submission inet n - y - - smtpd"
postconf -P "submission/inet/smtpd_tls_security_level=encrypt" \
    "submission/inet/smtpd_sasl_auth_enable=yes" "submission/inet/smtpd_tls_auth_only=yes" \
    "submission/inet/smtpd_recipient_restrictions=" \
    "submission/inet/smtpd_relay_restrictions=permit_sasl_authenticated,reject"
systemctl restart dovecot postfix
"""

# A second repository, behind the same gate. $1: the public key; $2: the repository's user.
SECOND = r"""set -eu
file=/srv/releve/$2/.ssh/authorized_keys2
printf 'restrict,command="/usr/local/lib/releve/repository/gate bench/plain" %s\n' "$1" >"$file"
chown --reference="${file%2}" "$file"; chmod --reference="${file%2}" "$file"
"""
RESTIC = r"""set -eu
export HOME=/root; cd /; exec "$@"
"""
# Until $1 mails lie in the rest.
ARRIVED = r"""n=$1; shift
until [ "$(find "$@" -type f 2>/dev/null | wc -l)" -ge "$n" ]; do sleep 0.05; done
"""


@dataclass
class Took:
    """Seconds: on the clock, and of processors."""

    seconds: float = 0.0
    processor: float = 0.0


def used(host: ssh.Connection) -> float:
    """Seconds of processors that all programs of a host have taken so far (its control group)."""
    files = ("/sys/fs/cgroup/unified/cpu.stat", "/sys/fs/cgroup/cpu.stat")
    said = host.run(("cat", *files), check=False).stdout.decode()
    return int(dict(line.split() for line in said.splitlines())["usage_usec"]) / 1e6


@contextmanager
def taking(*hosts: ssh.Connection) -> Iterator[Took]:
    """What is taken meanwhile, known at the end."""
    took = Took()
    before, began = sum(map(used, hosts)), time.monotonic()
    yield took
    took.seconds = time.monotonic() - began
    took.processor = sum(map(used, hosts)) - before


class Bench:
    """The hosts, and a connection to each that stays open."""

    def __init__(self, lab: Lab, folder: Path, stack: ExitStack) -> None:
        self.lab, self.file, self.new = lab, lab.inventory_file, 0
        given = folder / "bench.toml"
        given.write_text(INVENTORY)
        lab.up(roles.load(given))
        lab.blank("plain", datacenter="GRA", provider="one")
        os.environ["RELEVE_SSH_KEY"] = os.environ["RELEVE_IDENTITY"] = str(lab.key_file)
        lab.call("poste", NAME)
        self.releve("deploy", self.file, "--yes")
        for address in PEOPLE:
            self.releve("mail", "account", "add", self.file, address)
        self.door = Door(str(lab.host("poste").address), NAME, lab.ca_file)
        self.poste = stack.enter_context(ssh.session(lab.target("poste")))
        self.plain = stack.enter_context(ssh.session(lab.target("plain")))
        self.coffre = stack.enter_context(ssh.session(lab.target("coffre")))

    def releve(self, *words: object) -> None:
        """A `releve` command."""
        argv = [sys.executable, "-m", "cli.main", *map(str, words)]
        done = subprocess.run(argv, input=f"{PASSWORD}\n", text=True, cwd=REPO, capture_output=True)
        if done.returncode != 0:
            raise SystemExit(f"releve {words} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")

    def sh(self, script: str, *words: str) -> str:
        """What a script says on the mail server."""
        return self.poste.run(("sh", "-c", script, "sh", *words), timeout=600).stdout.decode()

    def timed(self, *argv: str) -> Took:
        """What a command takes on the mail server, and of the processor on the repository host."""
        with taking(self.poste, self.coffre) as took:
            self.poste.run(argv, timeout=1800)
        return took

    def arrive(self, count: int, heavy: tuple[int, ...] = ()) -> None:
        """New mails in the members' folders."""
        mailbox.fill(self.lab, "poste", tuple(PEOPLE), count, heavy, first=self.new)
        self.new += count

    def restic(self) -> tuple[str, ...]:
        """The plain restic: as our plan says it, into a repository of its own."""
        public = self.sh(
            'test -e "$1" || ssh-keygen -q -t ed25519 -N "" -f "$1"; cat "$1.pub"', "/root/plain"
        )
        self.lab.run("coffre", ("sh", "-c", SECOND, "sh", public.strip(), "releve"))
        plan = json.loads(self.sh("cat /etc/releve/plan.json"))
        words = [
            word.replace("/etc/releve/append-key", "/root/plain")
            .replace("/var/cache/releve/restic", "/var/cache/plain")
            .replace("rclone:poste", "rclone:plain")
            for word in plan["repository"]["restic"]
        ]
        self.excludes = [
            f"--exclude={pattern}" for pattern in plan["services"]["courriel"]["excludes"]
        ]
        plain = ("sh", "-c", RESTIC, "restic", *words, "--option=rclone.args=restic 1")
        self.poste.run((*plain, "init"), timeout=120)
        return plain


class Row(NamedTuple):
    """Medians of seconds, and of the ratios of the pairs, in seconds and processor time."""

    name: str
    ours: float
    theirs: float
    ratio: float
    processor: float


def turns(
    name: str,
    ours: Callable[[], Took],
    theirs: Callable[[], Took],
    rounds: int,
    between: Callable[[], object] = lambda: None,
) -> Row:
    """The medians of both, measured in turn, and the median of the ratios of the pairs."""
    pairs = []
    for _ in range(rounds):
        between()
        pairs.append((ours(), theirs()))
        told = (f"{t.seconds:.2f} s (processor {t.processor:.2f} s)" for t in pairs[-1])
        print(f"    {name}: {', '.join(told)}", flush=True)
    return Row(
        name,
        statistics.median(a.seconds for a, _ in pairs),
        statistics.median(b.seconds for _, b in pairs),
        statistics.median(a.seconds / b.seconds for a, b in pairs),
        statistics.median(a.processor / b.processor for a, b in pairs),
    )


def copies(bench: Bench) -> list[Row]:
    """Saved and restored. Our side goes first: its mirror gives new mails one more link, which a
    restic that had read them before would take for a change."""
    plain = bench.restic()
    agent = "/usr/local/lib/releve/agent.py"
    save = (agent, "backup")
    save_plain = (*plain, "backup", "--host=plain", *bench.excludes, "--", BOXES)

    def ours() -> Took:
        return bench.timed(*save)

    def theirs() -> Took:
        return bench.timed(*save_plain)

    rows = [turns("first copy", ours, theirs, 1)]
    rows.append(turns("1 % new", ours, theirs, ROUNDS, between=lambda: bench.arrive(MAILS // 100)))
    # Looked at, each new mail gets its number; then everything is saved once more.
    before = {who: mailbox.content(bench.door, who, PASSWORD) for who in PEOPLE}
    ours(), theirs()

    def ours_back() -> Took:
        bench.sh('find "$1" -mindepth 1 -delete', BOXES)
        back = (agent, "restore", "--service=courriel", "--replace", "--no-snapshot")
        return bench.timed(*back)

    def theirs_back() -> Took:
        bench.sh("rm -rf /srv/out")
        return bench.timed(*plain, "restore", "latest", "--host=plain", "--target=/srv/out")

    rows.append(turns("restore", ours_back, theirs_back, ROUNDS))
    bench.sh("rm -rf /srv/out")
    for who, was in before.items():
        if mailbox.content(bench.door, who, PASSWORD) != was:
            raise SystemExit(f"the mailbox of {who} did not come back as it was")
    return rows


def submit(host: str, user: str, to: Sequence[str], count: int) -> None:
    """Give mails to a server's submission port over one connection."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP(host, 587, "member.bench.test", timeout=120) as smtp:
        smtp.starttls(context=context)
        smtp.ehlo()
        smtp.login(user, PASSWORD)
        for number in range(count):
            text = f"From: {user}\r\nTo: {to[0]}\r\nSubject: n {number}\r\n\r\n" + "ligne\r\n" * 300
            smtp.sendmail(user, [to[number % len(to)]], text.encode())


def mails(bench: Bench) -> Row:
    """Sent and delivered."""
    bench.sh(
        "postconf -e smtpd_milters= non_smtpd_milters=; "
        "systemctl stop rspamd; systemctl reload postfix"
    )
    names = [address.partition("@")[0] for address in PEOPLE]
    argv = ("sh", "-c", DEFAULTS, "sh", PLAIN, PASSWORD, *names)
    bench.plain.run(argv, timeout=600)

    def side(name: str, session: ssh.Connection, domain: str, folder: str) -> Took:
        host = str(bench.lab.host(name).address)
        people = [f"{who}@{domain}" for who in names]
        inboxes = [folder.format(who) for who in names]
        session.run(("find", *inboxes, "-type", "f", "-delete"), timeout=120, check=False)
        with taking(session) as took:
            with ThreadPoolExecutor(LANES) as pool:
                lanes = [
                    pool.submit(submit, host, people[lane % len(people)], people, SENT // LANES)
                    for lane in range(LANES)
                ]
            for lane in lanes:
                lane.result()
            session.run(("sh", "-c", ARRIVED, "sh", str(SENT), *inboxes), timeout=300)
        return took

    def ours() -> Took:
        return side("poste", bench.poste, DOMAIN, f"{BOXES}/{DOMAIN}/{{}}/Maildir/new")

    def theirs() -> Took:
        return side("plain", bench.plain, PLAIN, "/home/{}/Maildir/new")

    ours(), theirs()  # what is started at the first mail
    return turns(f"{SENT} mails", ours, theirs, ROUNDS)


def main() -> None:
    """Boot, measure, print, and say whether the limits hold (exit 1 if not)."""
    lab = Lab("bench-mail", progress=lambda text: print(f"  {text}", file=sys.stderr))
    with tempfile.TemporaryDirectory(prefix="releve-bench-") as scratch, ExitStack() as stack:
        stack.callback(lab.down)
        bench = Bench(lab, Path(scratch), stack)
        sent = mails(bench) if "copies" not in sys.argv[1:] else None
        bench.sh("systemctl start rspamd; sleep 2")
        rows = []
        if "mails" not in sys.argv[1:]:
            bench.arrive(MAILS, HEAVY)
            rows = copies(bench)
    for name, ours, theirs, ratio, processor in rows:
        print(
            f"  {name:12} releve {ours:7.2f} s   restic {theirs:7.2f} s   {ratio:5.2f}"
            f"   (processor {processor:.2f})"
        )
    late = [row for row in rows[1:] if row.ratio > AT_MOST]
    if rows:
        print(f"  the last two at most {AT_MOST}")
    if sent:
        rate = 1 / sent.ratio
        print(
            f"  {sent.name:12} releve {sent.ours:7.2f} s   debian {sent.theirs:7.2f} s"
            f"   rate {rate:5.2f}   (by processor {1 / sent.processor:.2f})"
        )
        print(f"  the rate at least {AT_LEAST}")
    sys.exit(1 if late or (sent and 1 / sent.ratio < AT_LEAST) else 0)


if __name__ == "__main__":
    main()
