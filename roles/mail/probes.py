"""How a mail server shows that it lives. Everything here is pure."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from roles.interface import Finding, HttpProbe, OutsideProbe, Record, TcpProbe, TlsProbe
from roles.mail import places, records
from roles.mail.settings import domains

# A mail that others refuse for now is tried again for five days; people miss it after hours.
LATE, VERY_LATE = 4 * 3600, 24 * 3600
MANY = 500
# Seconds: a mail to ourselves; an answer from elsewhere, where it may be greylisted first.
SLOW, ECHO_LATE = 20, 3600
# A rebuild ends within hours; until its end, what a copy had in its queue waits.
HELD = 4 * 3600


def judge_autoconfig(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge what mail programs ask to set themselves up (Mozilla's autoconfig)."""
    if status == 200 and b"<clientConfig" in body and b"imap" in body.lower():
        return Finding("ok", "mail programs set themselves up")
    return Finding(
        "warning", f"mail programs find no set-up (HTTP {status}): people must type it in"
    )


def judge_policy(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge the MTA-STS policy: other servers ask for it before they send."""
    if status == 200 and body.startswith(b"version: STSv1"):
        return Finding("ok", "other servers learn that they must encrypt")
    return Finding("critical", f"the MTA-STS policy is not there (HTTP {status})")


def judge_page(status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    """Judge the server's own page, which only says what this is."""
    level, what = ("ok", "answers") if status == 200 else ("warning", f"answers HTTP {status}")
    return Finding(level, what)  # type: ignore[arg-type]


def _on_debian(service: Service, inventory: Inventory) -> tuple[OutsideProbe, ...]:
    name = service.domain
    found: list[OutsideProbe] = [
        TlsProbe("tls", name, 443),
        HttpProbe("page", f"{service.url}/", judge_page),
        TlsProbe("imap", name, places.IMAPS),
        TlsProbe("submissions", name, places.SUBMISSIONS),
        TcpProbe("smtp", name, places.SMTP, b"220"),
        # With a policy that says so (MTA-STS), others send nothing when this one is not right.
        TlsProbe("smtp-tls", name, places.SMTP, starttls=True),
        TcpProbe("submission", name, places.SUBMISSION, b"220"),
        TlsProbe("submission-tls", name, places.SUBMISSION, starttls=True),
    ]
    paths = {
        "autoconfig": ("/mail/config-v1.1.xml", judge_autoconfig),
        "mta-sts": ("/.well-known/mta-sts.txt", judge_policy),
    }
    for number, site in enumerate(places.sites(service, inventory)):
        path, judge = paths[site.kind]
        kinds = len(places.sites(service, inventory)) // len(domains(service, inventory))
        mark = f"-{number // kinds + 1}" if number >= kinds else ""
        found.append(TlsProbe(f"{site.kind}{mark}-tls", site.service.domain, 443))
        found.append(HttpProbe(f"{site.kind}{mark}", f"{site.service.url}{path}", judge))
    return tuple(found)


def outside(service: Service, inventory: Inventory) -> tuple[OutsideProbe, ...]:
    """Do the three doors answer: from other servers, from members, to read?"""
    if inventory.hosts[service.host].platform == "debian":
        return _on_debian(service, inventory)
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
    """All that mail needs of DNS, but for keys that only the server knows."""
    debian = inventory.hosts[service.host].platform == "debian"
    return (records.dns if debian else records.on_yunohost)(service, inventory)


# Postfix's words for why nothing goes through the relay, and what that means. They are said of no
# other server: to others mails go without logging in, and encrypted as well as can be.
_UNRELAYED = (
    (
        "SASL authentication failed",
        "the relay does not let this server in. Set the right password (releve secrets set) or "
        "user, then releve deploy",
    ),
    (
        "Server certificate not",
        "the relay shows no valid certificate of its name, so it was not told the password. Is its "
        "name right in the settings? Then tell whoever runs it",
    ),
    (
        "TLS is required, but",
        "the relay offers no encryption, so it was not told the password. Is its port right in the "
        "settings (587 or 465)?",
    ),
)


def _unrelayed(why: str) -> Finding | None:
    """Whether mails wait for something about the relay that no waiting mends."""
    for words, meaning in _UNRELAYED:
        if words in why:
            return Finding("critical", f"no mail leaves: {meaning}. Postfix says: {why}")
    return None


def judge_queue(exit_code: int, stdout: str) -> Finding:
    """Judge `queue` of post.py or mailhost.py: do mails leave?"""
    try:
        said = json.loads(stdout)
        waiting, why = int(said["waiting"]), str(said["why"])
        oldest = None if said["oldest_s"] is None else int(said["oldest_s"])
        held = said.get("held_s")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Finding("critical", f"Postfix's queue cannot be read (exit {exit_code})")
    if held is not None:
        # Whatever its age: it came back with a copy.
        if held < HELD:
            return Finding("ok", f"{waiting} mails wait until this server has taken its place")
        return Finding(
            "warning",
            f"{waiting} mails wait since a copy of another machine came back here {held // 3600} h "
            "ago, because that one might send them, too: run the same rebuild or restore "
            "once more, to its end. If there is no other machine, on the host: "
            f"python3 {places.PROGRAM} let-out",
        )
    if (refused := _unrelayed(why)) is not None:
        return refused
    because = f" Most often the other side says: {why}" if why else ""
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
        elif not _lets_somebody_send(str(ours[0])):
            problems.append(f"the SPF record of {name}, “{ours[0]}”, says that nobody may send")
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


def _lets_somebody_send(spf: str) -> bool:
    """Whether an SPF record names anybody whose mails are genuine (RFC 7208)."""
    terms = [term.lower() for term in spf.split()[1:]]
    named = ("a", "mx", "ptr", "ip4", "ip6", "include", "exists", "redirect", "all")
    for term in terms:
        sender = term.removeprefix("+")
        if sender.partition(":")[0].partition("=")[0].partition("/")[0] in named:
            return True
    return False


def judge_reverse(exit_code: int, stdout: str) -> Finding:
    """Judge `post.py reverse`: the address's own name, which most servers look at first."""
    try:
        said = json.loads(stdout)
        name, addresses = str(said["name"]), dict(said["addresses"])
        forward = said.get("forward")
        led = None if forward is None else {ip_address(str(a)) for a in forward}
        astray = [] if led is None else [a for a in addresses if ip_address(a) not in led]
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
    if astray:
        return Finding(
            "warning",
            f"{', '.join(astray)} is called {name}, and that name does not lead back to it: many "
            "servers refuse such mails. It is an A or AAAA record.",
        )
    if silent or not addresses:
        return Finding(
            "warning",
            f"DNS did not answer: the reverse name (PTR) of {', '.join(silent)} could not be "
            "looked at",
        )
    return Finding("ok", f"the server's addresses are called {name}")


def judge_blocklists(exit_code: int, stdout: str) -> Finding:
    """Judge `mailhost.py blocklists`: do others hold us for a source of spam?"""
    try:
        said = [(str(o["list"]), str(o["address"]), o["said"]) for o in json.loads(stdout)]
    except (ValueError, KeyError, TypeError):
        return Finding("unknown", f"the block lists could not be asked (exit {exit_code})")
    on = [f"{zone} lists {address} ({', '.join(map(str, s))})" for zone, address, s in said if s]
    if on:
        return Finding(
            "warning",
            "; ".join(on[:3]) + ": many servers refuse our mails. First find who sent what (the "
            "check `queue`, journalctl -t postfix/smtp), then ask the list to look again.",
        )
    silent = list(dict.fromkeys(zone for zone, _, s in said if s is None))
    if silent:
        return Finding(
            "unknown",
            f"{', '.join(silent)} did not answer. Most lists do not speak with public resolvers: "
            "let the host ask by itself (a resolver such as unbound), or take the list out.",
        )
    return Finding("ok", f"on none of {len({zone for zone, *_ in said})} block lists")


# --- on Debian -------------------------------------------------------------------------------


def judge_postfix(exit_code: int, stdout: str) -> Finding:
    """Judge `postfix status`."""
    if exit_code == 0:
        return Finding("ok", "Postfix runs")
    return Finding(
        "critical",
        "Postfix does not run: no mail comes or goes. On the host: journalctl -t postfix",
    )


def judge_login(exit_code: int, stdout: str) -> Finding:
    """Judge `mailhost.py login`: can members read and send?"""
    try:
        said = json.loads(stdout)
        problems = {word: str(said[word]) for word in ("read", "send") if said[word]}
    except (ValueError, KeyError, TypeError):
        return Finding("critical", f"nobody could try to log in (exit {exit_code})")
    if not problems:
        return Finding("ok", "logging in works, to read and to send")
    told = "; ".join(f"to {word}: {why[:160]}" for word, why in problems.items())
    # Dovecot's programs are started anew three minutes after, and these then ask for accounts.
    clock = (
        " If its clock was just set back, that lasts some minutes; at once: systemctl restart "
        "dovecot."
        if "Temporary authentication failure" in told
        else ""
    )
    return Finding(
        "critical", f"members cannot log in {told}.{clock} On the host: doveadm log errors"
    )


def judge_doors(exit_code: int, stdout: str) -> Finding:
    """Judge `mailhost.py doors`: what strangers may do."""
    try:
        said = json.loads(stdout)
        if said.get("error"):
            return Finding("critical", f"Postfix could not be asked: {str(said['error'])[:300]}")
        found = {key: bool(said[key]) for key in ("relay", "submits", "auth", "plain", "taken")}
        encrypted = bool(said["tls"])
        login = bool(said["login"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return Finding("critical", f"nobody could ask Postfix (exit {exit_code})")
    if found["relay"] or found["submits"]:
        return Finding(
            "critical",
            "anybody can send to the world through this server: it will be on every block list "
            "within hours. On the host: systemctl stop postfix; then `releve deploy`.",
        )
    if found["auth"] or found["plain"] or found["taken"]:
        return Finding("critical", "passwords are taken without encryption. `releve deploy`.")
    if not encrypted:
        return Finding("warning", "other servers are not offered encryption (STARTTLS)")
    if not login:
        return Finding("critical", "members are not offered to log in at port 587")
    return Finding("ok", "strangers can neither send through it nor see passwords")


_FULL = (
    ". If its disk is full: what is deleted in mailboxes frees space with the next copy only "
    "(releve backup run), which lets go of it"
)


def judge_trip(exit_code: int, stdout: str) -> Finding:
    """Judge `trip.py`: does a mail arrive, and do others believe that it is ours?"""
    try:
        said = json.loads(stdout)
        if said.get("error"):
            why = str(said["error"])[:300]
            # Postfix says so of a disk that is full (Insufficient system storage).
            more = _FULL if "452" in why else ""
            return Finding(
                "critical",
                f"mails do not arrive: {why}. On the host: journalctl -t postfix/smtpd -t dovecot "
                f"--since -1h{more}",
            )
        seconds, signed, spam = float(said["seconds"]), bool(said["signed"]), bool(said["spam"])
        found = {"dkim": str(said["dkim"]), "dmarc": str(said["dmarc"])}
    except (ValueError, KeyError, TypeError, AttributeError):
        return Finding("critical", f"no mail could be sent to look (exit {exit_code})")
    if not signed:
        return Finding("critical", "mails are not signed: others take them for forged or spam")
    if (finding := _disbelieved(found)) is not None:
        return finding
    if spam:
        return Finding("warning", "the server takes its own mail for spam, and others may, too")
    if seconds > SLOW:
        return Finding("warning", f"a mail took {seconds:.0f} s to arrive")
    return Finding("ok", f"a mail arrives in {seconds:.1f} s, with dkim=pass and dmarc=pass")


def _disbelieved(found: Mapping[str, str]) -> Finding | None:
    """What is wrong when not both signature and policy passed."""
    wrong = {method: result for method, result in found.items() if result != "pass"}
    if not wrong:
        return None
    told = ", ".join(f"{method}={result or 'none'}" for method, result in wrong.items())
    if set(wrong.values()) <= {"temperror", ""} and "dkim" in wrong:
        return Finding("warning", f"whether others believe our mails could not be seen: {told}")
    return Finding(
        "critical",
        f"others do not believe that our mails are ours: {told}. The check `records` says what is "
        "wrong in DNS; the host's `clock`, whether signatures come from the future.",
    )


def judge_echo(exit_code: int, stdout: str) -> Finding:
    """Judge `trip.py ECHO`: does a mail reach somebody else, and do they believe it?"""
    try:
        said = json.loads(stdout)
        if said.get("error"):
            return Finding("warning", f"the echo could not be asked: {str(said['error'])[:300]}")
        waited = None if said["waited"] is None else int(said["waited"])
        found = {key: str(said[key]) for key in ("dkim", "dmarc") if key in said}
        seconds, held = int(said.get("seconds", 0)), bool(said.get("held"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Finding("unknown", f"the echo could not be asked (exit {exit_code})")
    if held:
        return Finding("ok", "mails to others wait since a restore: the echo is not asked")
    if waited is not None and waited > ECHO_LATE:
        return Finding(
            "warning",
            f"the echo has not answered for {waited // 60} min: do mails leave? The check `queue` "
            "says why not. Or the echo is gone: `echo` in the inventory.",
        )
    if not found:
        return Finding("ok", "a mail is on its way to the echo")
    if not any(found.values()):
        return Finding("ok", f"the echo answered in {seconds} s; it does not say what it believes")
    return _disbelieved(found) or Finding(
        "ok", f"the echo answered in {seconds} s, with dkim=pass and dmarc=pass"
    )


def judge_zone(exit_code: int, stdout: str) -> Finding:
    """Judge `mailhost.py records`: does DNS say what others need to believe our mails?"""
    try:
        said = [
            (str(one["name"]), str(one["type"]), [str(v) for v in one["wanted"]], one["found"])
            for one in json.loads(stdout)
        ]
    except (ValueError, KeyError, TypeError):
        return Finding("unknown", f"the mail records could not be asked for (exit {exit_code})")
    if not said:
        return Finding("unknown", "no record was asked for")
    wrong, silent = [], []
    for name, kind, wanted, found in said:
        if found is None:
            silent.append(f"{name} {kind}")
        elif {_plain(v) for v in map(str, found)} != {_plain(v) for v in wanted}:
            there = ", ".join(map(str, found))[:80] or "nothing"
            wrong.append(f"{name} {kind} says {there}; it should be {', '.join(wanted)[:120]}")
    if wrong:
        return Finding(
            "critical", "; ".join(wrong[:3]) + ". Others take our mails for forged or lose theirs."
        )
    if silent:
        return Finding("warning", f"DNS did not answer for {', '.join(silent[:5])}")
    return Finding("ok", f"{len(said)} records are right")


def _plain(value: str) -> str:
    return " ".join(value.rstrip(".").lower().split()) if "p=" not in value else value
