"""The files that make a mail server on a Debian host, as text. No remote commands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inventories.model import Inventory, Service
from platforms.debian import names, web
from platforms.debian.steps import Step
from platforms.ops import File, Folder, Gone, Item
from roles.mail import guide, places, records
from roles.mail import settings as mail
from roles.records import dkim_record

# dnsutils: what the records are is looked at from the host itself.
PACKAGES = (
    "postfix",
    "postfix-sqlite",
    # How Postfix logs in at a relay.
    "libsasl2-modules",
    "dovecot-core",
    "dovecot-imapd",
    "dovecot-lmtpd",
    "dovecot-managesieved",
    "dovecot-sieve",
    "dovecot-sqlite",
    "rspamd",
    "fail2ban",
    "python3-systemd",
    "bind9-dnsutils",
)
POP3 = "dovecot-pop3d"
RSPAMD_OVERRIDE = "/etc/rspamd/override.d/options.inc"
RSPAMD_RULES = "/etc/rspamd/rspamd.local.lua"
_HERE = Path(__file__).parent
_FOLDERS = (("Drafts", "Drafts"), ("Sent", "Sent"), ("Junk", "Junk"), ("Trash", "Trash"),
            ("Archive", "Archive"))  # fmt: skip
# Whoever logged in and nobody else, under an address of the account's own.
_SUBMISSION = (
    "smtpd_sasl_auth_enable=yes",
    "smtpd_client_restrictions=",
    "smtpd_helo_restrictions=",
    "{ smtpd_sender_restrictions = reject_sender_login_mismatch, "
    "check_sender_access inline:{ {<> = 554 5.7.1 Mails of members have a sender} } }",
    "smtpd_relay_restrictions=permit_sasl_authenticated,reject",
    "{ smtpd_recipient_restrictions = reject_non_fqdn_recipient, "
    "check_policy_service unix:private/limit, permit_sasl_authenticated, reject }",
    "milter_macro_daemon_name=ORIGINATING",
    # A whole office writes from one address: what counts here is the account (limit.py).
    "smtpd_client_message_rate_limit=0",
    "smtpd_client_recipient_rate_limit=0",
    # And who guesses passwords, fail2ban.
    "smtpd_client_auth_rate_limit=0",
)
_SOCKETS = "/var/spool/postfix/private"
CONDITION = (
    "[Unit]\n# Written by Relève. Not with what the package brings.\n"
    f"ConditionPathExists={places.FACTS}\n"
)
_RESTART = "[Service]\nRestart=on-failure\nRestartSec=5\n"


def _text(template: str, service: Service, inventory: Inventory, **more: Any) -> str:
    chain, key = names.certificate_paths(service.domain)
    addresses = inventory.hosts[service.host].addresses
    return web.render_file(
        _HERE / "templates" / template,
        service=service,
        settings=mail.settings(service),
        domains=mail.domains(service, inventory),
        chain=chain,
        key=key,
        database=places.DATABASE,
        owner=places.OWNER,
        readers=places.READERS,
        indexes=places.INDEXES,
        shared=places.SHARED,
        programs=str(Path(places.PROGRAM).parent),
        outward=places.OUTWARD,
        trip=places.trip_address(service, inventory),
        addresses=addresses,
        four=next((a for a in addresses if a.version == 4), None),
        six=next((a for a in addresses if a.version == 6), None),
        **more,
    )


def _file(path: str, text: str, mode: int = 0o644, group: str = "root") -> File:
    return File(path, text.encode(), mode, group=group)


# --- before the packages -----------------------------------------------------------------------


def conditions() -> tuple[Item, ...]:
    """Postfix and Dovecot start with our configuration or not at all: a queue that came back must
    never meet the one that the package brings. rspamd may: its first start takes long, and passes
    beside the packages."""
    items: list[Item] = []
    for unit in ("postfix.service", "postfix@.service", "dovecot.service"):
        folder = f"/etc/systemd/system/{unit}.d"
        items += [Folder(folder), _file(f"{folder}/releve.conf", CONDITION)]
    return tuple(items)


def programs() -> tuple[Item, ...]:
    """The role's own programs on the host."""
    folder = str(Path(places.PROGRAM).parent)
    files = sorted(p for p in (_HERE / "files").iterdir() if p.is_file())
    return (
        Folder("/usr/local/lib/releve"),
        Folder(folder),
        *(File(f"{folder}/{p.name}", p.read_bytes(), 0o755) for p in files),
    )


def folders() -> tuple[Item, ...]:
    """Mailboxes, accounts, and what is in no copy: indexes, counts of what was sent."""
    return (
        Folder(places.ROOT),
        Folder(places.BOXES, 0o700, places.OWNER, places.OWNER),
        Folder(places.ACCOUNTS, 0o750, "root", places.READERS),
        Folder("/var/lib/releve-mail"),
        Folder(str(Path(places.SHARED).parent), 0o700, places.OWNER, places.OWNER),
        Folder(places.INDEXES, 0o700, places.OWNER, places.OWNER),
        Folder(places.LIMITS, 0o700, places.LIMITER, places.LIMITER),
    )


def readers() -> Step:
    """The group that may read who has which address, with Postfix in it."""
    return Step(
        f"the group {places.READERS}, with Postfix",
        'id -nG postfix | tr " " "\\n" | grep -qx -- "$1"',
        'groupadd --system --force -- "$1"; usermod --append --groups "$1" postfix',
        (places.READERS,),
    )


def learning() -> Step:
    """rspamd may give the socket by which it learns to Dovecot's user. (Nothing of that user's is
    open to its group.)"""
    return Step(
        "rspamd's socket for Dovecot",
        'id -nG _rspamd | tr " " "\\n" | grep -qx -- "$1"',
        'usermod --append --groups "$1" _rspamd',
        (places.OWNER,),
    )


def queue_folders() -> Step:
    """The folders of Postfix's queue. Debian 13 leaves them to its first start, and Dovecot, which
    starts before, puts its sockets there."""
    return Step("the folders of Postfix's queue", f"[ -d {_SOCKETS} ]", "postfix check")


def way_out() -> Step:
    """The file that says whether mails to others may leave; a restore may have written it."""
    return Step("the way out for mails", '[ -e "$1" ]', 'umask 022; : >> "$1"', (places.OUTWARD,))


# --- configuration -----------------------------------------------------------------------------


# An address without what stands behind a plus.
_BARE = (
    "CASE instr(one, '+') WHEN 0 THEN one "
    "ELSE substr(one, 1, instr(one, '+') - 1) || substr(one, instr(one, '@')) END"
)
# Whoever an alias leads to in the end, but for accounts that are not there: mail to them would come
# back to whoever was named as its sender. Where nobody is left, it is not taken.
_PASSED_ON = (
    "WITH RECURSIVE who (one) AS (SELECT target FROM alias WHERE address = '%s' "
    "UNION SELECT target FROM alias JOIN who ON alias.address = BARE) "
    "SELECT one FROM who WHERE substr(one, instr(one, '@') + 1) NOT IN (NAMES) OR EXISTS "
    "(SELECT 1 FROM account WHERE active = 1 AND kind <> 'system' AND address = BARE)"
)


def postfix(service: Service, inventory: Inventory, relay_password: str = "") -> tuple[Item, ...]:
    """Postfix. `relay_password`: of the relay, when it wants one."""
    # Bound by Postfix; an address has no quote in it that was not doubled there.
    # Whoever it belongs to, whoever an alias of that name leads to, and who reads their mail.
    senders = (
        "WITH RECURSIVE who (one) AS (SELECT '%s' "
        "UNION SELECT target FROM alias JOIN who ON alias.address = one "
        "UNION SELECT reader FROM share JOIN who ON mailbox = one WHERE how = 'write') "
        "SELECT account.address FROM account JOIN who ON account.address = one WHERE active = 1"
    )
    known = (
        "SELECT address FROM account WHERE active = 1 AND address = '%s' "
        "AND (kind <> 'system' OR local = 'releve-trip')"
    )
    ours = (*mail.domains(service, inventory), service.domain)
    names = ", ".join(f"'{name}'" for name in ours)
    passed_on = _PASSED_ON.replace("BARE", _BARE).replace("NAMES", names)
    items: list[Item] = [
        _file("/etc/postfix/main.cf", _text("main.cf.j2", service, inventory)),
        _file(
            "/etc/postfix/master.cf",
            _text(
                "master.cf.j2",
                service,
                inventory,
                submission=_SUBMISSION,
                limiter=places.LIMITER,
                limit=places.LIMIT,
                limits=places.LIMITS,
            ),
        ),
    ]
    for name, query in (("mailboxes", known), ("senders", senders), ("aliases", passed_on)):
        text = _text("sqlite.cf.j2", service, inventory, query=query, names=" ".join(ours))
        items.append(_file(f"/etc/postfix/releve-{name}.cf", text))
    relay = mail.settings(service).relay
    path = _RELAY
    if relay and relay.user:
        text = f"[{relay.host}]:{relay.port} {relay.user}:{relay_password}\n"
        items.append(File(path, text.encode(), 0o600, secret=True))
    else:
        items.append(Gone(path))
    return tuple(items)


POSTFIX_FILES = tuple(
    f"/etc/postfix/{name}"
    for name in ("main.cf", "master.cf", "releve-aliases.cf", "releve-mailboxes.cf",
                 "releve-senders.cf")
)  # fmt: skip


_RELAY = "/etc/postfix/releve-relay"


def postfix_files(service: Service) -> tuple[str, ...]:
    """What Postfix reads when it starts."""
    relay = mail.settings(service).relay
    return (*POSTFIX_FILES, *((_RELAY,) if relay and relay.user else ()))


def relayed(service: Service) -> tuple[Step, ...]:
    """What waits because the relay did not let us in is tried again by what it is told now; Postfix
    alone would come back to it within an hour or so."""
    relay = mail.settings(service).relay
    if not (relay and relay.user):
        return ()
    return (
        Step(
            "what waited for the relay is tried again",
            '[ "$1" -nt "$2" ]',
            'postqueue -f; : > "$1"',
            ("/var/lib/releve-mail/relayed", _RELAY),
        ),
    )


def dovecot(service: Service, inventory: Inventory) -> tuple[Item, ...]:
    """Dovecot, for each release of it that Debian has; `dovecot_takes` chooses."""
    boxes = f"'{places.BOXES}/' || domain || '/' || local"
    values = {
        "folders": _FOLDERS,
        "home": boxes,
        "quota": f"COALESCE(quota, {places.size(mail.settings(service).quota)})",
        "password_query": (
            "SELECT address AS user, password FROM account WHERE active = 1 AND password <> '' "
            "AND address = 'USER'"
        ),
        "iterate_query": "SELECT address AS user FROM account WHERE active = 1",
    }
    return (
        Folder("/etc/dovecot"),
        *(
            _file(
                f"/etc/dovecot/releve-{release}.conf",
                _text(f"dovecot-{release}.conf.j2", service, inventory, **values),
            )
            for release in ("2.3", "2.4")
        ),
        _file(
            "/etc/dovecot/releve-sql.conf.ext",
            _text("dovecot-sql.conf.j2", service, inventory, **values),
        ),
        _file("/etc/dovecot/releve.sieve", _text("spam.sieve", service, inventory)),
        *(
            _file(f"/etc/dovecot/{name}.sieve", _text(f"{name}.sieve", service, inventory))
            for name in ("learn-spam", "learn-ham")
        ),
    )


DOVECOT_FILES = (
    "/etc/dovecot/dovecot.conf",
    "/etc/dovecot/releve-sql.conf.ext",
    "/etc/dovecot/releve.sieve",
    "/etc/dovecot/learn-spam.sieve",
    "/etc/dovecot/learn-ham.sieve",
)


def dovecot_takes(service: Service) -> Step:
    """The configuration for the release of Dovecot that is installed, once Dovecot accepts it."""
    learn = ("learn-spam", "learn-ham") if mail.settings(service).spam_filter else ()
    return Step(
        "Dovecot takes over its configuration",
        """v=$(dovecot --version | cut -d. -f1,2)
folder=$1; shift
cmp -s "$folder/releve-$v.conf" "$folder/dovecot.conf" || exit 1
for name; do [ "$folder/$name.svbin" -nt "$folder/$name.sieve" ] || exit 1; done
""",
        """v=$(dovecot --version | cut -d. -f1,2)
folder=$1; shift
if ! [ -e "$folder/releve-$v.conf" ]; then
    echo "Dovecot $v is installed, and this role knows 2.3 and 2.4 only" >&2
    exit 1
fi
cp -- "$folder/releve-$v.conf" "$folder/dovecot.conf.new"
if ! said=$(doveconf -n -c "$folder/dovecot.conf.new" 2>&1 >/dev/null); then
    rm -f -- "$folder/dovecot.conf.new"
    printf '%s\\n' "Dovecot refused the new configuration; the old one stays:" "$said" >&2
    exit 1
fi
mv -- "$folder/dovecot.conf.new" "$folder/dovecot.conf"
for name; do
    # (without -c it would ask the Dovecot that still runs with the old one)
    sievec -c "$folder/dovecot.conf" "$folder/$name.sieve"
    touch "$folder/$name.svbin"
done
""",
        ("/etc/dovecot", "releve", *learn),
    )


def rspamd(service: Service, inventory: Inventory, key: str) -> tuple[Item, ...]:
    """rspamd: signs what leaves, looks at what comes. `key`: the private key (PEM)."""
    chosen = mail.settings(service)
    selector = chosen.dkim_selector
    domains = "".join(
        f'    {json.dumps(d)} {{ path = "{places.dkim_key(service)}"; selector = "{selector}"; }}\n'
        for d in mail.domains(service, inventory)
    )
    local = "/etc/rspamd/local.d"
    actions = (
        "reject = 15;\nadd_header = 6;\ngreylist = null;\n"
        if chosen.spam_filter
        else "reject = null;\nadd_header = null;\ngreylist = null;\n"
    )
    head = "# Written by Relève; changes are lost.\n"
    signing = (
        "enabled = true;\nsign_authenticated = true;\nsign_local = true;\n"
        # What reaches us from elsewhere is never signed as ours. Members may have addresses in
        # several domains: whose From: it is, is looked at before (rspamd.local.lua).
        'sign_inbound = false;\nallow_username_mismatch = true;\nuse_domain = "header";\n'
        "try_fallback = false;\nuse_esld = false;\nuse_redis = false;\n"
        f"domain {{\n{domains}}}\n"
    )
    files = {
        "worker-proxy.inc": (
            'bind_socket = "127.0.0.1:11332";\nmilter = yes;\ntimeout = 60s;\n'
            'upstream "local" {\n    default = yes;\n    self_scan = yes;\n}\ncount = 2;\n'
        ),
        "worker-normal.inc": "enabled = false;\n",
        # Dovecot learns through it; whoever else lives on this host has no business there.
        "worker-controller.inc": (
            f'bind_socket = "{places.LEARN} mode=0660 group={places.OWNER}";\n'
        ),
        # Without Redis. Both kinds are needed before it counts: members say what spam is, what is
        # well below is taken for none, as many as of the other (check_balance).
        "classifier-bayes.conf": (
            'backend = "sqlite3";\n'
            f'cache {{ path = "{places.LEARNED}/learn_cache.sqlite"; }}\n'
            "autolearn { ham_threshold = -0.5; check_balance = true; }\n"
            'statfile { symbol = "BAYES_HAM"; spam = false; '
            f'path = "{places.LEARNED}/ham.sqlite"; }}\n'
            'statfile { symbol = "BAYES_SPAM"; spam = true; '
            f'path = "{places.LEARNED}/spam.sqlite"; }}\n'
        ),
        "worker-fuzzy.inc": "enabled = false;\n",
        "fuzzy_check.conf": "enabled = false;\n",
        "logging.inc": 'type = "syslog";\nfacility = "mail";\nlevel = "notice";\n',
        "actions.conf": actions,
        # What a domain asks for when somebody else writes in its name.
        "dmarc.conf": 'actions {\n    quarantine = "add_header";\n    reject = "reject";\n}\n',
        "milter_headers.conf": (
            'use = ["authentication-results", "spam-header", "x-spam-level"];\n'
            "routines {\n"
            '    spam-header { header = "X-Spam"; value = "Yes"; remove = 0; }\n'
            f'    authentication-results {{ hostname = "{service.domain}"; }}\n'
            "}\n"
            # Nobody outside may say what we have found out, and who logs in needs not be judged.
            "skip_local = true;\nskip_authenticated = true;\nextended_spam_headers = false;\n"
        ),
        "rbl.conf": f"enabled = {'true' if chosen.spam_filter else 'false'};\n",
    }
    return (
        Folder(local),
        *(_file(f"{local}/{name}", head + text) for name, text in files.items()),
        # Whoever else is in a private network is a stranger, too. In local.d a list would be added
        # to the one that is there.
        _file(
            RSPAMD_RULES,
            _text(
                "rspamd.local.lua.j2",
                service,
                inventory,
                ours=dict.fromkeys((*mail.domains(service, inventory), service.domain)),
            ),
        ),
        _file(RSPAMD_OVERRIDE, f'{head}local_addrs = ["127.0.0.0/8", "::1"];\n'),
        _file(places.SIGNING_NEXT, head + signing),
        File(places.dkim_key(service), key.encode(), 0o640, group="_rspamd", secret=True),
    )


def signs() -> Step:
    """It signs with the key of the inventory, once DNS names that one: before, nobody would believe
    its mails. Asked before DNS is changed, and after."""
    return Step(
        "signs with the key that DNS names",
        'exec "$@" signing',
        'exec "$@" sign',
        places.program(),
    )


RSPAMD_FILES = (
    *(
        f"/etc/rspamd/local.d/{name}"
        for name in (
            "worker-proxy.inc",
            "worker-normal.inc",
            "worker-controller.inc",
            "classifier-bayes.conf",
            "worker-fuzzy.inc",
            "fuzzy_check.conf",
            "logging.inc",
            "actions.conf",
            "dmarc.conf",
            "milter_headers.conf",
            "rbl.conf",
        )
    ),
    RSPAMD_OVERRIDE,
    RSPAMD_RULES,
    places.SIGNING,
)


JAIL_FILES = ("/etc/fail2ban/jail.d/releve.conf", "/etc/fail2ban/filter.d/releve-dovecot.conf")


def jail(service: Service, inventory: Inventory) -> tuple[Item, ...]:
    """fail2ban: who guesses passwords is shut out for an hour."""
    texts = (
        _text("jail.conf.j2", service, inventory),
        _text("filter.conf.j2", service, inventory),
    )
    return tuple(_file(path, text) for path, text in zip(JAIL_FILES, texts, strict=True))


def facts(service: Service, inventory: Inventory, key: str) -> File:
    """What the programs on the host know. With it Postfix and Dovecot may start."""
    role_mailboxes = {
        address: {
            "name": box.name or address.partition("@")[0],
            "quota": None if box.quota is None else places.size(box.quota),
        }
        for address, box in places.mailboxes(service, inventory).items()
    }
    wanted: list[tuple[str, str, tuple[str, ...], str]] = [
        (record.name, record.type, record.values, record.prefix)
        for record in records.dns(service, inventory)
        if record.type in ("MX", "TXT")
    ]
    public = (dkim_record(key),)
    wanted += [(name, "TXT", public, "") for name in places.signed_names(service, inventory)]
    keys = dict.fromkeys(places.signed_names(service, inventory), public[0])
    subject, text = guide.welcome(service, inventory)
    known: Mapping[str, Any] = {
        "welcome": {
            "from": places.postmaster(service, inventory),
            "subject": subject,
            "text": text,
        },
        "host": service.domain,
        "domains": mail.domains(service, inventory),
        "addresses": [str(a) for a in inventory.hosts[service.host].addresses],
        "system": places.system_address(service, inventory),
        "trip": places.trip_address(service, inventory),
        "mailboxes": role_mailboxes,
        "aliases": {
            address: sorted({to.lower() for to in targets})
            for address, targets in places.aliases(service, inventory).items()
        },
        "quota": places.size(mail.settings(service).quota),
        "blocklists": mail.settings(service).blocklists,
        "records": wanted,
        "keys": keys,
    }
    return File(
        places.FACTS,
        (json.dumps(known, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode(),
        0o600,
    )


def settled() -> Step:
    """The role mailboxes, and the account that probes log in with."""
    return Step(
        "role mailboxes, and the account that probes log in with",
        'exec "$@" settled',
        'exec "$@" settle',
        places.program(),
    )


def targeted() -> Step:
    """Every alias leads to somebody. Members are no business of a deploy: it looks, and what it
    says is told as a warning."""
    run = 'exec "$@" targeted'
    return Step("looks whether every alias leads to somebody", run, run, places.program())


def answering() -> Step:
    """Every part of it answers."""
    return Step(
        "every part of it answers",
        'exec "$@" wait 0',
        'exec "$@" wait 90',
        places.program(),
    )


def closed() -> Step:
    """Nobody may relay, or log in without encryption. It changes nothing: it looks, each time
    something was changed, and fails the deploy before any name leads here."""
    files = (*POSTFIX_FILES, *DOVECOT_FILES)
    return Step(
        "strangers can neither send through it nor log in without encryption",
        'mark=$1; shift 2; [ -e "$mark" ] && new=$(find "$@" -newer "$mark") && [ -z "$new" ]',
        ': > "$1.now"; python3 "$2" closed; mv -- "$1.now" "$1"',
        ("/var/lib/releve-mail/closed", places.PROGRAM, *files),
    )


# --- what it serves by https -----------------------------------------------------------------


_WEB = "/usr/local/share/releve-mail"


def published(service: Service, inventory: Inventory) -> tuple[Item, ...]:
    """The files that the web server shows."""
    name = inventory.organisation.name
    items: list[Item] = [
        Folder(_WEB),
        _file(f"{_WEB}/guide.html", guide.page(service, inventory)),
        _file(f"{_WEB}/config-v1.1.xml", _text("autoconfig.xml.j2", service, inventory, name=name)),
    ]
    path = f"{_WEB}/mta-sts.txt"
    if mail.settings(service).mta_sts == "none":
        return (*items, Gone(path))
    return (*items, File(path, places.policy(service).replace("\n", "\r\n").encode()))


def site(service: Service, inventory: Inventory) -> File:
    """nginx' configuration of the server's own name: the members' guide, and what brings it its
    certificate."""
    return web.site(service, _text("page.nginx.j2", service, inventory, web=_WEB))


def site_of(one: places.Site, inventory: Inventory) -> File:
    """nginx' configuration of one of the other names."""
    file = {"autoconfig": "config-v1.1.xml", "mta-sts": "mta-sts.txt"}[one.kind]
    body = _text(f"{one.kind}.nginx.j2", one.service, inventory, file=f"{_WEB}/{file}")
    return web.site(one.service, body)


def reloads() -> tuple[Item, ...]:
    """Who is told of a new certificate, beside the web server."""
    folder = "/etc/dehydrated/releve-reload"
    return (Folder(folder), *(_file(f"{folder}/{unit}", "") for unit in places.UNITS[:2]))


def restarts() -> tuple[Item, ...]:
    """A program that falls over is started again."""
    units = ("postfix@.service", "postfix.service", *places.UNITS[1:], "fail2ban.service")
    folders_of = [f"/etc/systemd/system/{unit}.d" for unit in units]
    return tuple(
        item
        for folder in folders_of
        for item in (Folder(folder), _file(f"{folder}/releve-restart.conf", _RESTART))
    )
