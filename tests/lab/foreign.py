"""Somebody else's mail server: Debian's Postfix, OpenDKIM and OpenDMARC with little more than their
defaults, in a domain of its own. It shares nothing with our role, so that what it believes of our
mails is worth something."""

from __future__ import annotations

import time
from email import message_from_string
from email.message import Message

from lab import Lab
from tools import dns

DOMAIN = "voisin.example"
HOST = f"mx.{DOMAIN}"
PERSON = f"voisine@{DOMAIN}"

# $1 its name, $2 its domain.
_SETUP = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
echo "$1" >/etc/mailname
mkdir -p /etc/postfix
apt-get -qq -y --no-install-recommends install \
    postfix opendkim opendmarc >/dev/null
id voisine >/dev/null 2>&1 ||
    useradd --create-home --shell /usr/sbin/nologin voisine
cat >/etc/opendkim.conf <<END
Mode v
Syslog yes
PidFile /run/opendkim/opendkim.pid
UserID opendkim
Socket inet:8891@127.0.0.1
AuthservID $1
AlwaysAddARHeader yes
# It would ask the root servers itself.
Nameservers $(sed -n 's/^nameserver //p' /etc/resolv.conf | grep -v : | head -n 1)
END
cat >/etc/opendmarc.conf <<END
AuthservID $1
Syslog yes
PidFile /run/opendmarc/opendmarc.pid
UserID opendmarc
Socket inet:8893@127.0.0.1
SPFSelfValidate true
SPFIgnoreResults true
IgnoreHosts /dev/null
END
systemctl restart opendkim opendmarc
postconf -e "myhostname = $1" "mydestination = $2, localhost" "home_mailbox = Maildir/" \
    "mynetworks = 127.0.0.0/8" "inet_protocols = all" \
    "smtpd_milters = inet:127.0.0.1:8891, inet:127.0.0.1:8893" "milter_default_action = tempfail"
systemctl restart postfix
"""


class Foreign:
    """The foreign server on the blank lab host `name`. Making it takes about 20 seconds."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        lab.run(name, ("sh", "-c", _SETUP, "setup", HOST, DOMAIN), timeout=300)
        host = lab.host(name)
        six = (str(host.address6),) if host.address6 else ()
        records = (
            dns.Wanted(HOST, "A", (str(host.address),)),
            dns.Wanted(HOST, "AAAA", six),
            dns.Wanted(DOMAIN, "MX", (f"10 {HOST}",)),
            dns.Wanted(DOMAIN, "TXT", ("v=spf1 mx -all",)),
        )
        dns.update(lab.dns_server, DOMAIN, lab.dns_key, records, ttl=30)
        lab.call(name, HOST)

    def sh(self, script: str, *words: str, check: bool = True) -> str:
        """What a shell script says there."""
        done = self.lab.run(self.name, ("sh", "-c", script, "sh", *words), check=check, timeout=60)
        return (done.stdout + done.stderr).decode(errors="replace")

    def send(self, to: str, subject: str) -> None:
        """Send a mail as its person does, through its own Postfix."""
        self.sh(
            'printf "From: %s\\nTo: %s\\nSubject: %s\\n\\nBonjour.\\n" "$1" "$2" "$3" | '
            'sendmail -f "$1" -- "$2"',
            PERSON,
            to,
            subject,
        )

    def mood(self, to: str, answer: str) -> None:
        """Answer so from now on when somebody writes to `to`; "DUNNO": take it."""
        self.sh(
            'postconf -e "smtpd_recipient_restrictions = '
            'check_recipient_access inline:{ {$1 = $2} }"; postfix reload',
            to,
            answer,
        )

    def tries(self, server: str, sender: str, to: str) -> str:
        """What another server answers to the recipient `to` of a mail that comes from here."""
        script = (
            "import smtplib, sys; s = smtplib.SMTP(sys.argv[1], 25, sys.argv[4], timeout=20); "
            "s.ehlo(); print(s.mail(sys.argv[2])); print(s.rcpt(sys.argv[3])); s.quit()"
        )
        return self.sh('exec python3 -c "$@"', script, server, sender, to, HOST)

    def hands_in(self, server: str, to: str, mail: str) -> str:
        """What another server answers to a whole mail that comes from here, from its person."""
        script = (
            "import smtplib, sys; s = smtplib.SMTP(sys.argv[1], 25, sys.argv[4], timeout=20); "
            "s.ehlo(); s.mail(sys.argv[2]); s.rcpt(sys.argv[3]); "
            "print(s.data(sys.argv[5].encode())); s.quit()"
        )
        return self.sh('exec python3 -c "$@"', script, server, PERSON, to, HOST, mail)

    def received(self, subject: str, seconds: float = 30) -> Message:
        """The mail with this subject that its person got, once it is there."""
        deadline = time.monotonic() + seconds
        while True:
            said = self.sh(
                'f=$(grep -rlF -- "Subject: $1" /home/voisine/Maildir/new 2>/dev/null | head -n 1);'
                ' [ -z "$f" ] || cat -- "$f"',
                subject,
            )
            if said:
                return message_from_string(said)
            if time.monotonic() > deadline:
                queued = self.lab.run(self.name, ("postqueue", "-p"), check=False)
                raise AssertionError(f"{subject!r} never came; {queued.stdout!r}")
            time.sleep(0.3)
