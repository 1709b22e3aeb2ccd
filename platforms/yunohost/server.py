"""What a YunoHost server is now: the questions that describe it, and their answers as one value.

Pure. Six starts of `yunohost` answer everything; the rest is read from files. Secrets and what
belongs to members are dropped while reading: of members only names are kept, to know which
names are taken, and those are neither printed nor written anywhere.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias

import yaml  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from platforms.yunohost import answers, commands
from platforms.yunohost.answers import Answer, App, FirewallPort, Scalar, Setting, UnreadableError
from platforms.yunohost.errors import checked, classify

# The groups that YunoHost makes itself.
ADMINS, ALL_USERS, VISITORS = "admins", "all_users", "visitors"
SPECIAL_GROUPS = frozenset((ADMINS, ALL_USERS, VISITORS))


@dataclass(frozen=True)
class Question:
    """One thing to look at on the host: a command (`argv`), or files by a shell pattern; of lines
    in which the expression `hide` is found nothing leaves the host. `needs`: asked only where
    there is this path."""

    name: str
    argv: tuple[str, ...] = ()
    files: str = ""
    hide: str = ""
    needs: str = ""


def _ask(name: str, argv: tuple[str, ...]) -> Question:
    # Before the post-install each of these would only fail.
    return Question(name, argv=argv, needs=commands.INSTALLED_MARKER)


_CONFIGURATION = "/etc/yunohost/regenconf.yml"
_SETTINGS = "/etc/yunohost/settings.yml"
_FIELDS = ("username", "fullname", "mail", "mail-alias", "mail-forward", "mailbox-quota")
_PACKAGES = ("yunohost", "yunohost-admin", "yunohost-portal", "moulinette", "ssowat")

# A setting of ours among an app's own: where its package came from, if not from the catalog. It
# goes along with the app into copies and back.
ORIGIN = "releve_source"


def origin(app: App) -> str:
    """Where a deploy or an upgrade took the package of an app from; "" for the catalog, and for
    what nobody noted."""
    return str(app.settings.get(ORIGIN) or "")


# Which files of its own configuration are not as YunoHost wrote them: "CATEGORY PATH" each. It
# keeps an MD5 sum of every one (src/regenconf.py of 12.1.25).
_EDITED = r"""
bad=$(sed -n "s|^ *\(/[^:]*\): '\{0,1\}\([0-9a-f]\{32\}\)'\{0,1\}\$|\2  \1|p" "$1" |
  md5sum -c --quiet 2>/dev/null | sed 's/: FAILED.*//')
BAD=$bad awk 'BEGIN { n = split(ENVIRON["BAD"], b, "\n"); for (i = 1; i <= n; i++) t[b[i]] }
  /^[^ ]/ { c = $1; sub(":", "", c) } { p = $1; sub(/:$/, "", p); if (p in t) print c, p }' "$1"
"""
# For each password among YunoHost's settings, a word that is another one when the password is, and
# that nobody can make without this machine's own number.
_SECRETS = """
import hashlib, re, sys
salt = open("/etc/machine-id", "rb").read()
for line in open(sys.argv[1], encoding="utf-8", errors="replace"):
    found = re.match(r"(\\w*password): *(.+)", line)
    if found and found[2].strip() not in ("''", "null"):
        word = hashlib.scrypt(found[2].strip().encode(), salt=salt, n=2**12, r=8, p=1, dklen=9)
        print(found[1], word.hex())
"""

# Everything that describes a server, in six starts of `yunohost`. What is read from a file
# instead is exactly what the command would print (src/firewall.py, src/domain.py of 12.1.25).
QUESTIONS: tuple[Question, ...] = (
    Question("installed", files=commands.INSTALLED_MARKER),
    Question("versions", argv=("dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *_PACKAGES)),
    # The slowest goes first: what comes after it is answered beside it.
    _ask("settings", commands.settings_list()),
    _ask("domains", commands.domain_list()),
    _ask("users", commands.user_list(_FIELDS)),
    _ask("groups", commands.group_list(full=True)),
    _ask("permissions", commands.permission_list(full=True)),
    _ask("apps", commands.app_list(full=True)),
    Question("firewall", files="/etc/yunohost/firewall.yml"),
    Question(
        "domain-settings",
        files="/etc/yunohost/domains/*.yml",
        hide=r"(?i)pass|token|secret|key|api",
    ),
    Question("certificates", files="/etc/yunohost/certs/*/crt.pem"),
    Question("authority", files=commands.AUTHORITY),
    Question("signer", files=commands.SIGNER),
    Question("keys", files="/home/*/.ssh/authorized_keys"),
    # Names alone: `app list` leaves out what it cannot read about, and ends well.
    Question("installed-apps", files="/etc/yunohost/apps/*/settings.yml", hide="."),
    # When each installation began and ended, and nothing else that is written of it.
    Question(
        "installations",
        files="/var/log/yunohost/operations/*-app_install-*.yml",
        hide=r"^(?!started_at:|ended_at:)",
    ),
    Question(
        "edited", argv=("bash", "-c", _EDITED, "edited", _CONFIGURATION), needs=_CONFIGURATION
    ),
    Question("secrets", argv=("python3", "-I", "-c", _SECRETS, _SETTINGS), needs=_SETTINGS),
    # As far as the colon: no account can be called so.
    Question("system-accounts", files="/etc/passwd"),
)

# The answers to QUESTIONS by name: a command as it ended, or the text of each file by its path.
Looked: TypeAlias = Mapping[str, Answer | Mapping[str, str]]


# What the panels of apps offer, and of their scripts the lines by which they would answer
# themselves. Asked along where the inventory sets anything in a panel.
PANELS: tuple[Question, ...] = (
    Question("panel-options", files="/etc/yunohost/apps/*/config_panel.toml"),
    Question(
        "panel-answers",
        files="/etc/yunohost/apps/*/scripts/config",
        hide=r"^(?!.*\b(?:get__|ynh_app_config_(?:get|show)))",
    ),
)


def panel_question(instance: str) -> Question:
    """What an app's configuration panel says: one more start of `yunohost`, for what its settings
    do not tell."""
    path = f"/etc/yunohost/apps/{instance}"
    return Question(f"panel:{instance}", argv=commands.app_config_get(instance), needs=path)


# --- what a server is -------------------------------------------------------------------------

CertificateKind = Literal["none", "self-signed", "letsencrypt", "other"]

# What can be set for a domain and read back, with the value it has when nobody set it
# (share/config_domain.toml of 12.1.25; a domain's file holds only what differs from it).
DOMAIN_SETTINGS: Mapping[str, Scalar] = {
    "feature.mail.mail_in": 1,
    "feature.mail.mail_out": 1,
    "feature.app.default_app": "_none",
    "feature.portal.enable_public_apps_page": 0,
    "feature.portal.show_other_domains_apps": 1,
    "feature.portal.portal_title": "YunoHost",
    "feature.portal.portal_theme": "system",
    "feature.portal.portal_tile_theme": "simple",
    "feature.portal.search_engine": "",
    "feature.portal.search_engine_name": "",
    "feature.portal.portal_user_intro": "",
    "feature.portal.portal_public_intro": "",
}


# What YunoHost only shows, and only takes, when another setting of the same part is on: setting →
# that other one (share/config_global.toml and config_domain.toml of 12.1.25). Set alone, YunoHost
# crashes, whatever that other one is (KeyError; seen on 12.1.25).
SHOWN_BY: Mapping[str, str] = {
    "security.webadmin.webadmin_allowlist": "security.webadmin.webadmin_allowlist_enabled",
    "email.smtp.smtp_relay_host": "email.smtp.smtp_relay_enabled",
    "email.smtp.smtp_relay_port": "email.smtp.smtp_relay_enabled",
    "email.smtp.smtp_relay_user": "email.smtp.smtp_relay_enabled",
    "email.smtp.smtp_relay_password": "email.smtp.smtp_relay_enabled",
    "email.smtp.smtp_backup_mx_emails_whitelisted": "email.smtp.smtp_backup_mx_domains",
    "misc.tls_passthrough.tls_passthrough_list": "misc.tls_passthrough.tls_passthrough_enabled",
    "feature.portal.search_engine_name": "feature.portal.search_engine",
}


@dataclass(frozen=True)
class Domain:
    """`settings`: only what differs from the default. `names`: those that its certificate is
    for."""

    name: str
    certificate: CertificateKind = "none"
    names: frozenset[str] = frozenset()
    settings: Mapping[str, Scalar] = field(default_factory=dict)

    def setting(self, key: str) -> Scalar:
        """The value that a setting has, set or not. Raise KeyError for one we cannot read."""
        return self.settings.get(key, DOMAIN_SETTINGS[key])


@dataclass(frozen=True)
class Account:
    """An operator or a role mailbox; never a member. `keys`: lines of authorized_keys that are
    nothing but a key."""

    name: str
    fullname: str = ""
    mail: str = ""
    aliases: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    quota: str = "0"
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """`members`: those who are described; `others`: how many there are beside them."""

    name: str
    members: frozenset[str] = frozenset()
    others: int = 0


@dataclass(frozen=True)
class Permission:
    """`allowed`: groups; `others`: how many accounts are allowed by themselves."""

    id: str
    allowed: frozenset[str] = frozenset()
    others: int = 0
    label: str = ""
    show_tile: bool = False
    additional_urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Server:
    """A server as it is. Empty but for `installed` when YunoHost is not set up there."""

    installed: bool
    versions: Mapping[str, str] = field(default_factory=dict)
    main_domain: str = ""
    domains: Mapping[str, Domain] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)  # described ones only
    names: frozenset[str] = field(default=frozenset(), repr=False)  # every account's
    groups: Mapping[str, Group] = field(default_factory=dict)
    permissions: Mapping[str, Permission] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    firewall: Mapping[str, FirewallPort] = field(default_factory=dict)
    apps: Mapping[str, App] = field(default_factory=dict)
    # Apps that are installed and that YunoHost does not tell about, as without its catalog.
    untold: tuple[str, ...] = ()
    # Apps whose installation has not ended: it still runs, or was cut off. When it began (UTC).
    unfinished: Mapping[str, datetime] = field(default_factory=dict)
    reserved: frozenset[str] = field(default=frozenset(), repr=False)  # the system's own accounts
    # What is known of the panels that were asked for: all of it, or what settings.yml says.
    panels: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)
    # Configuration files that are not as YunoHost wrote them, with its word for what they are of.
    edited: Mapping[str, str] = field(default_factory=dict)
    # Name of a hidden setting (its last part) → a word that changes when it does.
    fingerprints: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def version(self) -> str:
        """Of YunoHost itself, such as "12.1.25"; "" when the package is not there."""
        return self.versions.get("yunohost", "")

    @property
    def admins(self) -> frozenset[str]:
        """The accounts of the group admins."""
        group = self.groups.get(ADMINS)
        return group.members if group else frozenset()

    @property
    def members(self) -> int:
        """How many accounts are not described: people, of whom nothing is kept."""
        return len(self.names - self.accounts.keys())

    @property
    def ghosts(self) -> tuple[str, ...]:
        """Apps that are listed and not there, left by a restore that failed."""
        living = {name.partition(".")[0] for name in self.permissions}
        return tuple(sorted(a.id for a in self.apps.values() if a.domain and a.id not in living))


# --- reading ----------------------------------------------------------------------------------


def read(looked: Looked, described: Collection[str] = ()) -> Server:
    """The answers to QUESTIONS (and to PANELS and any `panel_question`) as a Server.

    `described`: accounts beside the admins of which more than the name is wanted. Raise
    YunohostError for a command that failed, UnreadableError for an answer that cannot be
    understood; neither holds what was answered.
    """
    versions = _versions(looked)
    if not _files(looked, "installed"):
        return Server(installed=False, versions=versions)
    domains = answers.domains(_answer(looked, "domains"))
    users = answers.users(_answer(looked, "users"))
    groups = answers.groups(_answer(looked, "groups"))
    admins = groups[ADMINS].members if ADMINS in groups else ()
    known = (set(admins) | set(described)) & users.keys()
    keys = _keys(_files(looked, "keys"))
    certificates = _certificates(looked)
    settings = _domain_settings(_files(looked, "domain-settings"))
    apps = answers.apps(_answer(looked, "apps"))
    there = {PurePosixPath(path).parent.name for path in _files(looked, "installed-apps")}
    return Server(
        installed=True,
        versions=versions,
        main_domain=domains.main,
        domains={
            name: Domain(
                name,
                *certificates.get(name, ("none", frozenset())),
                settings=settings.get(name, {}),
            )
            for name in domains.names
        },
        accounts={
            name: Account(
                name,
                users[name].fullname,
                users[name].mail,
                users[name].aliases,
                users[name].forwards,
                users[name].quota,
                keys.get(name, ()),
            )
            for name in sorted(known)
        },
        names=frozenset(users),
        groups={
            name: Group(
                name,
                frozenset(known.intersection(group.members)),
                len(set(group.members) - known),
            )
            for name, group in groups.items()
            if name not in users  # each account has a group of its own
        },
        permissions=_permissions(looked, groups.keys() - users.keys()),
        settings=answers.settings(_answer(looked, "settings")),
        firewall=_firewall(looked),
        apps=apps,
        untold=tuple(sorted(there - apps.keys())),
        unfinished=_unfinished(apps.values(), _files(looked, "installations")),
        reserved=frozenset(
            line.partition(":")[0]
            for text in _files(looked, "system-accounts").values()
            for line in text.splitlines()
        ),
        edited={path: category for category, path in _pairs(looked, "edited")},
        fingerprints=dict(_pairs(looked, "secrets")),
        panels={
            **_panels(apps, looked),
            **{
                name.partition(":")[2]: _panel(found)
                for name, found in looked.items()
                if name.startswith("panel:") and isinstance(found, Answer)
            },
        },
    )


def _answer(looked: Looked, name: str) -> Answer:
    found = looked.get(name)
    if not isinstance(found, Answer):
        raise UnreadableError(f"the host did not answer the question {name!r}")
    return checked(found)


def _panel(found: Answer) -> Mapping[str, Setting]:
    """An app's panel; empty when it has none."""
    error = classify(found)
    if error is not None and error.kind == "no_panel":
        return {}
    return answers.panel(checked(found))


def _panels(apps: Mapping[str, App], looked: Looked) -> Mapping[str, Mapping[str, Setting]]:
    """What apps' settings say of their panels."""
    if "panel-options" not in looked:
        return {}
    scripts = {
        PurePosixPath(path).parts[-3]: text
        for path, text in _files(looked, "panel-answers").items()
    }
    offered = {
        PurePosixPath(path).parent.name: text
        for path, text in _files(looked, "panel-options").items()
    }
    return {
        name: found
        for name, app in apps.items()
        if (found := _from_settings(app, offered.get(name, ""), scripts.get(name, "")))
    }


# A script that answers in a way of its own, whatever the option.
_OWN_WAY = re.compile(r"\bynh_app_config_(?:get|show)(?:_one)?\s*\(\s*\)")
# What is no value, or none that may be seen.
_NO_VALUE = {"alert", "button", "display_text", "file", "markdown", "password"}


def _from_settings(app: App, offered: str, script: str) -> Mapping[str, Setting]:
    """The options of an app's panel whose value is kept among its settings, and nowhere else."""
    try:
        panels = tomllib.loads(offered)
    except tomllib.TOMLDecodeError:
        return {}
    if _OWN_WAY.search(script):
        return {}
    found = {}
    for first, panel in _tables(panels):
        for second, section in _tables(panel):
            for last, option in _tables(section):
                bind = option.get("bind") or section.get("bind") or panel.get("bind")
                kind = option.get("type")
                if (
                    bind in (None, "settings")
                    and isinstance(kind, str)
                    and kind not in _NO_VALUE
                    and last in app.settings
                    and not re.search(rf"\bget__{re.escape(last)}\b", script)
                ):
                    key = f"{first}.{second}.{last}"
                    default = option.get("default")
                    found[key] = Setting(
                        key,
                        _as_shown(app.settings[last], option),
                        "",
                        default=None if default is None else _as_shown(default, option),
                    )
    return found


def _tables(table: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    return ((key, value) for key, value in table.items() if isinstance(value, dict))


def _as_shown(value: Scalar, option: Mapping[str, Any]) -> str:
    """A value of settings.yml as `app config get` shows it."""
    text = "" if value is None else str(value)
    if option["type"] == "boolean":
        for word, default in (("yes", 1), ("no", 0)):
            if text == str(option.get(word, default)):
                return word
        if isinstance(value, bool):
            return "yes" if value else "no"
    return text


def _files(looked: Looked, name: str) -> Mapping[str, str]:
    found = looked.get(name)
    if found is None or isinstance(found, Answer):
        raise UnreadableError(f"the host did not answer the question {name!r}")
    return found


def _versions(looked: Looked) -> Mapping[str, str]:
    return dict(_pairs(looked, "versions"))


def _pairs(looked: Looked, name: str) -> Iterable[tuple[str, str]]:
    """The lines of two words that a command printed, however it ended: dpkg-query ends with 1 when
    one of the packages is unknown, and says the others."""
    found = looked.get(name)
    lines = found.stdout.splitlines() if isinstance(found, Answer) else []
    return ((pair[0], pair[1]) for pair in map(str.split, lines) if len(pair) == 2)


def _yaml(path: str, text: str) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        # Not the parser's own words: they quote the file.
        raise UnreadableError(f"{path} on the host is not YAML") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UnreadableError(f"{path} on the host is not a table")
    return found


def _firewall(looked: Looked) -> Mapping[str, FirewallPort]:
    for path, text in _files(looked, "firewall").items():
        # YAML knows numbers for ports, JSON only texts; the rest is as `firewall list --raw`.
        said = json.dumps(_yaml(path, text))
        found = answers.firewall(Answer(commands.firewall_list(), 0, said, ""))
        return {port_id(p.port, p.protocol): p for p in found.values()}
    raise UnreadableError("there is no /etc/yunohost/firewall.yml on the host")


def port_id(port: str, protocol: str) -> str:
    """ "8448/tcp", "6881-6889/udp": a port as inventories name it; YunoHost knows two signs for
    ranges."""
    return f"{port.replace(':', '-')}/{protocol}"


def _domain_settings(files: Mapping[str, str]) -> Mapping[str, Mapping[str, Scalar]]:
    """Domain → what is set. The files hold registrars' passwords too: only known keys pass."""
    by_last = {key.rpartition(".")[2]: key for key in DOMAIN_SETTINGS}
    out = {}
    for path, text in files.items():
        found = _yaml(path, text)
        out[PurePosixPath(path).stem] = {
            by_last[key]: value
            for key, value in found.items()
            if key in by_last
            and isinstance(value, (str, int, float, bool))
            and not answers.same_setting(value, DOMAIN_SETTINGS[by_last[key]])
        }
    return out


def _permissions(looked: Looked, groups: Collection[str]) -> Mapping[str, Permission]:
    return {
        name: Permission(
            name,
            frozenset(found.allowed).intersection(groups),
            len(set(found.allowed) - set(groups)),
            found.label,
            found.show_tile,
            found.additional_urls,
        )
        for name, found in answers.permissions(_answer(looked, "permissions")).items()
    }


# An app's `install_time` is taken when its installation begins (src/app.py of 12.1.25); seconds.
_SOON = timedelta(seconds=60)


def _unfinished(apps: Iterable[App], records: Mapping[str, str]) -> Mapping[str, datetime]:
    """App → since when it is being installed, of those whose installation YunoHost's own record
    of it does not say the end of. One that was upgraded since was finished by that."""
    began = []
    for path, text in records.items():
        told = _yaml(path, text)
        since = told.get("started_at")
        if isinstance(since, datetime) and "ended_at" not in told:
            began.append(since.replace(tzinfo=UTC))
    out = {}
    for app in apps:
        number = app.settings.get("install_time")
        if isinstance(number, int) and "update_time" not in app.settings:
            at = datetime.fromtimestamp(number, UTC) + timedelta(seconds=1)  # it is cut off
            if since := next((s for s in began if s <= at <= s + _SOON), None):
                out[app.id] = since
    return out


_KEY_LINE = re.compile(r"(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}(?: .*)?")


def bare(line: str) -> str:
    """Given a public key line, return "TYPE BASE64" without the comment."""
    return " ".join(line.split()[:2])


def _keys(files: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """Account → its lines that are a key alone. Lines with options (restrict, command=…) are
    other accesses, each with a purpose of its own."""
    return {
        PurePosixPath(path).parts[2]: tuple(
            dict.fromkeys(
                line.strip() for line in text.splitlines() if _KEY_LINE.fullmatch(line.strip())
            )
        )
        for path, text in files.items()
    }


def _certificates(looked: Looked) -> Mapping[str, tuple[CertificateKind, frozenset[str]]]:
    known = (*_files(looked, "authority").values(), *_files(looked, "signer").values())
    roots = [c for text in known for c in _pem(text)]
    out: dict[str, tuple[CertificateKind, frozenset[str]]] = {}
    for path, text in _files(looked, "certificates").items():
        if chain := _pem(text):
            # YunoHost appends its own authority, a root, to what it signs itself.
            own = [*roots, *(c for c in chain if c.issuer == c.subject)]
            out[PurePosixPath(path).parent.name] = (_kind(chain[0], own), _names(chain[0]))
    return out


def _names(certificate: x509.Certificate) -> frozenset[str]:
    """The host names that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(found.value.get_values_for_type(x509.DNSName))


def _pem(text: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        return []


def _kind(certificate: x509.Certificate, roots: Iterable[x509.Certificate]) -> CertificateKind:
    issuer = certificate.issuer.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    if any(name.value == "Let's Encrypt" for name in issuer):
        return "letsencrypt"
    for root in roots:
        try:
            certificate.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return "self-signed"
    return "other"
