"""Somebody else's mail server: Debian's Postfix, Dovecot, OpenDKIM and OpenDMARC with little more
than their defaults, in a domain of its own. It shares nothing with our role, so that what it
believes of our mails, and what ours believes of its, is worth something."""

from __future__ import annotations

import re
import time
from email import message_from_string
from email.message import Message

from lab import Lab
from tools import dns

DOMAIN = "voisin.example"
HOST = f"mx.{DOMAIN}"
PERSON = f"voisine@{DOMAIN}"
# Answers each mail with what it received.
ECHO = f"echo@{DOMAIN}"
SELECTOR = "voisin"

# $1 its name, $2 its domain, $3 its selector. Prints the public half of the key it signs with.
_SETUP = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
echo "$1" >/etc/mailname
mkdir -p /etc/postfix
apt-get -qq -y --no-install-recommends install \
    postfix opendkim opendkim-tools opendmarc dovecot-core dovecot-imapd >/dev/null
id voisine >/dev/null 2>&1 ||
    useradd --create-home --shell /usr/sbin/nologin voisine
[ -e "/etc/dkimkeys/$3.private" ] ||
    opendkim-genkey -b 2048 -D /etc/dkimkeys -d "$2" -s "$3"
chown opendkim: "/etc/dkimkeys/$3.private"
cat >/etc/opendkim.conf <<END
Mode sv
Domain $2
Selector $3
KeyFile /etc/dkimkeys/$3.private
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
cat >/usr/local/bin/echo-mail <<END
#!/bin/sh
{
    printf 'From: echo@$2\nTo: %s\nSubject: Re: echo\nAuto-Submitted: auto-replied\n\n' "\$SENDER"
    cat
} | /usr/sbin/sendmail -f echo@$2 -- "\$SENDER"
END
chmod 755 /usr/local/bin/echo-mail
printf 'postmaster: root\necho: "|/usr/local/bin/echo-mail"\n' >/etc/aliases
newaliases
# It does not stand aside for long: what is put off is tried again soon.
postconf -e "myhostname = $1" "mydestination = $2, localhost" \
    "mailbox_command = /usr/lib/dovecot/dovecot-lda -f \"\$SENDER\" -a \"\$RECIPIENT\"" \
    "mynetworks = 127.0.0.0/8" "inet_protocols = all" "message_size_limit = 60000000" \
    "minimal_backoff_time = 5s" "maximal_backoff_time = 10s" "queue_run_delay = 5s" \
    "smtpd_milters = inet:127.0.0.1:8891, inet:127.0.0.1:8893" "milter_default_action = tempfail" \
    "non_smtpd_milters = inet:127.0.0.1:8891"
echo "mail_location = maildir:~/Maildir" >/etc/dovecot/conf.d/99-maildir.conf
systemctl restart dovecot postfix
cat "/etc/dkimkeys/$3.txt"
"""


# It sends for whoever logs in. $1 who, $2 the password, $3 a certificate, $4 its key.
_RELAY = r"""
set -eu
id "$1" >/dev/null 2>&1 || useradd --shell /usr/sbin/nologin "$1"
printf '%s:%s\n' "$1" "$2" | chpasswd
printf %s "$3" >/etc/postfix/relay.pem
(umask 077; printf %s "$4" >/etc/postfix/relay.key)
cat >/etc/dovecot/conf.d/99-relay.conf <<END
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
END
for port in submission submissions; do
    postconf -M "$port/inet=$port inet n - y - - smtpd"
    postconf -P "$port/inet/smtpd_sasl_auth_enable=yes" "$port/inet/smtpd_sasl_type=dovecot" \
        "$port/inet/smtpd_sasl_path=private/auth" "$port/inet/smtpd_tls_auth_only=yes" \
        "$port/inet/smtpd_tls_chain_files=/etc/postfix/relay.key,/etc/postfix/relay.pem" \
        "$port/inet/smtpd_relay_restrictions=permit_sasl_authenticated,reject"
done
postconf -P "submission/inet/smtpd_tls_security_level=encrypt" \
    "submissions/inet/smtpd_tls_wrappermode=yes"
systemctl restart dovecot postfix
"""

# $1 who, $2 to whom.
_POUR = r"""
n=0
while :; do
    n=$((n + 1))
    printf 'From: %s\nTo: %s\nSubject: flot\nMessage-ID: <flot-%d@voisin.example>\n\nBonjour.\n' \
        "$1" "$2" "$n" | sendmail -f "$1" -- "$2" && echo "$n" >/run/poured
    sleep 3
done
"""


class Foreign:
    """The foreign server on the blank lab host `name`. Making it takes about 30 seconds."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        made = lab.run(name, ("sh", "-c", _SETUP, "setup", HOST, DOMAIN, SELECTOR), timeout=300)
        key = "".join(re.findall(r'"([^"]*)"', made.stdout.decode()))
        host = lab.host(name)
        six = (str(host.address6),) if host.address6 else ()
        records = (
            dns.Wanted(HOST, "A", (str(host.address),)),
            dns.Wanted(HOST, "AAAA", six),
            dns.Wanted(DOMAIN, "MX", (f"10 {HOST}",)),
            dns.Wanted(DOMAIN, "TXT", ("v=spf1 mx -all",)),
            dns.Wanted(f"_dmarc.{DOMAIN}", "TXT", ("v=DMARC1; p=reject",)),
            dns.Wanted(f"{SELECTOR}._domainkey.{DOMAIN}", "TXT", (key,)),
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

    def relays(self, user: str, password: str, certificate: str, key: str) -> None:
        """From now on send mails of others for whoever logs in so, at ports 587 and 465; another
        call changes password and certificate (both PEM)."""
        self.sh(_RELAY, user, password, certificate, key)

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
                'exec doveadm -f pager fetch -u voisine text mailbox INBOX HEADER Subject "$1"',
                subject,
            )
            if said:
                return message_from_string(said.partition("text:\n")[2].partition("\f")[0])
            if time.monotonic() > deadline:
                queued = self.lab.run(self.name, ("postqueue", "-p"), check=False)
                raise AssertionError(f"{subject!r} never came; {queued.stdout!r}")
            time.sleep(0.3)

    def count(self, subject: str) -> int:
        """How many mails with this subject its person has."""
        search = 'exec doveadm search -u voisine mailbox INBOX HEADER Subject "$1"'
        return len(self.sh(search, subject).splitlines())

    def pour(self, to: str) -> None:
        """From now on write to `to` every three seconds, a numbered mail each time."""
        self.sh('exec systemd-run -q --unit=pour sh -c "$@"', _POUR, "pour", PERSON, to)

    def dry(self) -> int:
        """Stop that; return how many mails it were."""
        self.sh("systemctl stop pour")
        return int(self.sh("cat /run/poured"))
