"""From a server that somebody set up by hand to the inventory that describes it. Pure.

Members are counted and never named. What an inventory cannot say is listed instead of lost.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from inventories import model
from platforms.yunohost import answers, commands, defaults
from platforms.yunohost.answers import Answer, App, Scalar, Setting
from platforms.yunohost.converge import everybody
from platforms.yunohost.obstacles import ADMIN_ALIASES
from platforms.yunohost.server import (
    ADMINS,
    ALL_USERS,
    DOMAIN_SETTINGS,
    SPECIAL_GROUPS,
    VISITORS,
    Account,
    Looked,
    Permission,
    Question,
    Server,
    bare,
    origin,
)
from tools.toml import dumps

# Accounts with such a name are a duty and nobody's own. Others are taken for members, unless
# somebody who knows says otherwise.
ROLE_NAMES = frozenset(
    (
        "accueil", "adherents", "adhesion", "adhesions", "administration", "ag", "asso",
        "association", "benevoles", "boutique", "bureau", "ca", "cloud", "collectif", "commande",
        "commandes", "communication", "compta", "comptabilite", "conseil", "contact",
        "coordination", "direction", "don", "dons", "equipe", "facturation", "formation", "forum",
        "hello", "help", "info", "infos", "inscription", "inscriptions", "lettre", "logistique",
        "mail", "newsletter", "nextcloud", "no.reply", "no_reply", "noreply", "notification",
        "notifications", "office", "orga", "permanence", "planning", "president", "presse",
        "projet", "rh", "secretariat", "securite", "site", "support", "technique", "tresorerie",
        "wordpress",
    )
)  # fmt: skip

# Files where things are put by hand that neither a Debian package, nor YunoHost's configuration,
# nor an app brought: of an app's files YunoHost keeps checksums, under their paths.
_FILES = r"""
apps=$(sed -n 's|^checksum_\(_[^:]*\):.*|\1|p' /etc/yunohost/apps/*/settings.yml 2>/dev/null)
cd / && comm -23 <(
  { find /etc/cron.d /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly \
      /var/spool/cron/crontabs /etc/systemd/system /etc/sudoers.d /etc/fail2ban/jail.d \
      -mindepth 1 -maxdepth 1 -type f
    find /etc/nginx/conf.d /etc/php/*/fpm/pool.d -mindepth 1 -maxdepth 2 -type f
  } 2>/dev/null | sort -u
) <(
  { cat /var/lib/dpkg/info/*.list; sed -n 's|^ *\(/[^:]*\):.*|\1|p' /etc/yunohost/regenconf.yml; } \
    2>/dev/null | sort -u
) | while read -r file; do grep -qxF -- "${file//\//_}" <<< "$apps" || printf '%s\n' "$file"; done
"""

# Databases, with the program that keeps them.
_DATABASES = r"""
find /var/lib/mysql -mindepth 1 -maxdepth 1 -type d -printf 'MySQL %f\n' 2>/dev/null
! test -d /var/lib/postgresql || runuser -u postgres -- psql -AtXc \
  "SELECT 'PostgreSQL ' || datname FROM pg_database WHERE NOT datistemplate" 2>/dev/null; :
"""

# What is set for domains, without the values: a registrar's are passwords.
_DOMAIN_KEYS = r"""
sed -n 's|^\([A-Za-z0-9_]*\): *[^ ].*|\1|; T; F; p' /etc/yunohost/domains/*.yml 2>/dev/null; :
"""

# Folders in which people put what YunoHost knows nothing of, and those of other programs.
_ROOTS = (
    "/var/www", "/opt", "/srv", "/root", "/usr/local/bin", "/usr/local/sbin", "/usr/local/lib",
    "/usr/local/share", "/usr/local/src", "/usr/local/etc",
)  # fmt: skip
_OTHERS = ("/var/lib/docker", "/var/lib/containers", "/var/lib/lxc", "/var/lib/libvirt/images")

# What is asked beside `server.QUESTIONS`: what YunoHost does not look after. Names only.
BESIDE: tuple[Question, ...] = (
    Question("folders", argv=("find", *_ROOTS, "-mindepth", "1", "-maxdepth", "1", "-print")),
    Question("others", argv=("find", *_OTHERS, "-maxdepth", "0", "-not", "-empty", "-print")),
    Question("files", argv=("bash", "-c", _FILES)),
    Question("databases", argv=("bash", "-c", _DATABASES)),
    Question("domain-keys", argv=("bash", "-c", _DOMAIN_KEYS)),
)


def group_questions(server: Server) -> tuple[Question, ...]:
    """What else is asked once the groups are known: their mail aliases, which no list holds."""
    return tuple(
        Question(f"{_GROUP}{name}", argv=commands.group_info(name))
        for name in sorted(server.groups)
    )


_GROUP = "group:"


@dataclass(frozen=True)
class Facts:
    """What the server does not say of itself: how it is reached, and how it shall be called."""

    name: str
    address: str
    host_key: str
    port: int = 22
    user: str = "root"


@dataclass(frozen=True)
class Adopted:
    """An inventory as nested tables, and what it does not say, a line each for people."""

    document: Mapping[str, Any]
    missing: tuple[str, ...]
    counted: tuple[str, ...] = ()

    def text(self) -> str:
        """The inventory as TOML, with everything else as comments at its head."""
        lines = [
            "# Written by `releve adopt` from a server as it was found. Replace what says TO FILL",
            "# IN, add a second person, a repository for copies, a watch, then: releve validate.",
            "#",
            *(f"# {line}" for line in self.counted),
            *(["#", "# What an inventory cannot say stays on the server as it is:"]
              if self.missing else []),
            *(f"# - {line}" for line in self.missing),
        ]  # fmt: skip
        return "\n".join(_plain(line) for line in lines) + "\n" + dumps(self.document, depth=5)


def _plain(line: str) -> str:
    """A text as one comment line, whatever somebody called an app."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


TO_FILL_IN = "TO FILL IN"
_MAIL_IN = "feature.mail.mail_in"
# What the server's own mail is called as a service.
MAIL = "mail"


@dataclass
class _Writer:
    """What is being gathered; `missing` grows by what does not fit."""

    server: Server
    missing: list[str] = field(default_factory=list)

    def fits(self, kind: Any, value: object, what: str) -> bool:
        """Whether the inventory's type takes a value as it is; noted when not."""
        if fits(kind, value):
            return True
        self.missing.append(what)
        return False


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=ConfigDict(regex_engine="python-re"))


def fits(kind: Any, value: object) -> bool:
    """Whether a type of the inventory takes a value, and leaves it as it is."""
    try:
        return bool(_adapter(kind).validate_python(value) == value)
    except ValidationError:
        return False


def adopt(
    server: Server,
    facts: Facts,
    roles: Mapping[str, str],
    mailboxes: Collection[str] = (),
    beside: Iterable[str] = (),
    spf: str = "",
) -> Adopted:
    """Describe a server. `roles`: app of the catalog → role with that app; other apps get the
    role "app". `mailboxes`: role mailboxes beside those that ROLE_NAMES knows; the server must
    have been read with these and ROLE_NAMES as `described`. `beside`: from `beside`. `spf`: what
    DNS says of who sends for its domains, when it is another text than ours.
    """
    writer = _Writer(server, list(beside))
    chosen = {*ROLE_NAMES, *mailboxes}
    operators, people = _operators(writer)
    boxes = _mailboxes(writer, chosen - operators.keys())
    services = {**_services(writer, facts.name, roles), **_mail(server, facts.name, spf)}
    table: dict[str, Any] = {"main_domain": server.main_domain}
    parts = {
        "settings": _settings(writer),
        "firewall": _firewall(writer, facts.port),
        "domains": _domains(writer, services),
        "operators": operators,
        "mailboxes": boxes,
        "groups": _groups(writer, {*operators, *boxes}),
        "permissions": _permissions(writer),
    }
    table |= {name: part for name, part in parts.items() if part}
    members = len(server.names - operators.keys() - boxes.keys())
    document = {
        "schema": 1,
        "organisation": {
            "name": f"{TO_FILL_IN} ({server.main_domain})",
            "contact": f"postmaster@{server.main_domain}",
        },
        "people": people,
        "hosts": {
            facts.name: {
                "platform": "yunohost",
                "address": facts.address,
                **({"port": facts.port} if facts.port != 22 else {}),
                **({"user": facts.user} if facts.user != "root" else {}),
                "host_key": bare(facts.host_key),
                "provider": TO_FILL_IN,
                "datacenter": TO_FILL_IN,
                "yunohost": table,
            }
        },
        "domains": {name: {"dns": "manual"} for name in _zones(server)},
        "services": services,
    }
    counted = (
        f"YunoHost {server.version}; {len(server.domains)} domains, {len(server.apps)} apps.",
        f"{members} members: data, saved and restored with the server, never written here.",
        *_grouped(server, {*operators, *boxes}),
    )
    kept = {name: part for name, part in document.items() if part != {}}
    return Adopted(kept, tuple(writer.missing), counted)


def _grouped(server: Server, known: Collection[str]) -> Iterable[str]:
    for group in server.groups.values():
        others = group.others + len(group.members - set(known))
        if others and group.name not in SPECIAL_GROUPS:
            yield f"{others} of them in the group {group.name}."


def _zones(server: Server) -> tuple[str, ...]:
    """The domains that are below no other one of the server."""
    return tuple(
        name
        for name in server.domains
        if fits(model.Domain, name)
        and not any(name.endswith(f".{other}") for other in server.domains)
    )


# --- the parts --------------------------------------------------------------------------------


def _value(writer: _Writer, value: Scalar, default: Scalar, what: str) -> Scalar:
    """A setting as an admin would write it; None when it cannot be written."""
    text = "" if value is None else str(value)
    if isinstance(default, bool) and text.lower() in ("yes", "no", "true", "false", "1", "0"):
        return answers.same_setting(text, True)
    if isinstance(default, int) and re.fullmatch(r"0|[1-9][0-9]{0,14}", text):
        return int(text)
    # "secret:…" would be taken for the name of a secret.
    if text.startswith("secret:") or not writer.fits(model.Scalar, text, what):
        return None
    return text


def _settings(writer: _Writer) -> dict[str, Scalar]:
    out: dict[str, Scalar] = {}
    for key, setting in writer.server.settings.items():
        default = defaults.SETTINGS.get(key)
        if setting.masked:
            # Stars stand for a password, set or not: that a relay has one is seen by its user.
            continue
        if key in defaults.SETTINGS and answers.same_setting(setting.value, default):
            continue
        if key not in defaults.SETTINGS and not setting.value:
            continue
        value = _value(writer, setting.value, _guess(setting, default), f"setting {key}")
        if value is not None and writer.fits(model.SettingKey, key, f"setting {key}"):
            out[key] = value
    relay = writer.server.settings.get("email.smtp.smtp_relay_user")
    if relay is not None and relay.value:
        writer.missing.append(
            "the password of the SMTP relay: put it into the secrets and write "
            '"email.smtp.smtp_relay_password" = "secret:NAME" among the settings'
        )
    return out


def _guess(setting: Setting, default: Scalar) -> Scalar:
    return setting.value in ("yes", "no") if default is None else default


def _firewall(writer: _Writer, ssh_port: int) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for name, port in writer.server.firewall.items():
        if port.open == (name in defaults.OPEN_PORTS) or name == f"{ssh_port}/tcp":
            continue
        if not writer.fits(model.PortAndProtocol, name, f"firewall port {name}"):
            continue
        said = {"comment": port.comment} if fits(model.Line, port.comment) else {}
        if port.open:
            out[name] = said
        elif name in defaults.OPEN_PORTS:
            out[name] = {"absent": True}
    return out


def _domains(writer: _Writer, services: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    implied = {writer.server.main_domain}
    implied |= {str(s["url"]).split("/")[2] for s in services.values()}
    out: dict[str, dict[str, Any]] = {}
    for name, domain in writer.server.domains.items():
        if not writer.fits(model.Domain, name, f"domain {name}"):
            continue
        entry: dict[str, Any] = {}
        if domain.certificate == "self-signed":
            entry["certificate"] = "self-signed"
        elif domain.certificate == "other":
            writer.missing.append(f"the certificate of {name}, which somebody else issued")
        settings = {
            key: value
            for key, found in domain.settings.items()
            if (value := _domain_value(writer, name, key, found)) is not None
        }
        if settings:
            entry["settings"] = settings
        if entry or name not in implied:
            out[name] = entry
    return out


def _domain_value(writer: _Writer, name: str, key: str, value: Scalar) -> Scalar:
    default = DOMAIN_SETTINGS[key]
    switch = bool(default) if default in (0, 1) else default
    return _value(writer, value, switch, f"setting {key} of the domain {name}")


def _operators(writer: _Writer) -> tuple[dict[str, Any], dict[str, Any]]:
    operators: dict[str, Any] = {}
    people: dict[str, Any] = {}
    for name in sorted(writer.server.admins):
        account = writer.server.accounts[name]
        if not writer.fits(model.Account, name, f"the admin {name}: a name of another form"):
            continue
        keys = [line for line in account.keys if fits(model.SshPublicKey, line)]
        for line in account.keys:
            if line not in keys:
                writer.missing.append(f"an SSH key of {name} that is damaged: {line[:40]}…")
        if keys != list(account.keys):
            # Written without them, a deploy would take the others away.
            keys = []
            writer.missing.append(f"the SSH keys of {name}: add those that are right")
        if not keys:
            writer.missing.append(f"an SSH key for {name}, who needs one to work with Relève")
        person = slug(name, people)
        people[person] = {
            "mail": account.mail
            if fits(model.Mail, account.mail)
            else f"{person}@to-fill-in.example",
            "keys": keys,
            "duties": ["deploy", "restore"],
        }
        operators[name] = {"person": person, **_account(writer, account)}
        if account.aliases or account.forward:
            writer.missing.append(f"mail aliases and forwards of {name}: data, left as they are")
    return operators, people


def _account(writer: _Writer, account: Account) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if writer.fits(model.Line, account.fullname, f"the full name of {account.name}"):
        out["fullname"] = account.fullname
    local, _, domain = account.mail.partition("@")
    if local != account.name or domain not in writer.server.domains:
        writer.missing.append(f"the mail address {account.mail} of {account.name}")
    elif domain != writer.server.main_domain and fits(model.Domain, domain):
        out["domain"] = domain
    return out


def slug(text: str, taken: Collection[str]) -> str:
    """A name for a table of the inventory that is not taken yet."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    plain = (plain if plain[:1].isalpha() else f"x-{plain}".strip("-"))[:24].rstrip("-")
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}-{number}", number + 1
    return name


def _mailboxes(writer: _Writer, chosen: Collection[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in sorted(writer.server.accounts.keys() & set(chosen)):
        account = writer.server.accounts[name]
        if not writer.fits(model.Account, name, f"the mailbox {name}: a name of another form"):
            continue
        entry = _account(writer, account)
        for key, addresses in (("aliases", account.aliases), ("forward", account.forward)):
            what = f"the {key} of {name}"
            if addresses and writer.fits(tuple[model.Mail, ...], tuple(addresses), what):
                entry[key] = list(addresses)
        if account.quota != "0" and writer.fits(
            model.Quota, account.quota, f"the quota of {name}: {account.quota}"
        ):
            entry["quota"] = account.quota
        out[name] = {**entry, "found": True}
    return out


def _groups(writer: _Writer, known: Collection[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, group in writer.server.groups.items():
        if name not in SPECIAL_GROUPS and writer.fits(model.GroupName, name, f"group {name}"):
            members = sorted(group.members.intersection(known))
            out[name] = {"members": members} if members else {}
    return out


def _who(groups: Iterable[str]) -> list[str]:
    """Groups as an admin would write them: visitors are everybody."""
    chosen = set(groups)
    return sorted(chosen - {ALL_USERS} if VISITORS in chosen else chosen)


def _permissions(writer: _Writer) -> dict[str, Any]:
    out: dict[str, Any] = {}
    server = writer.server
    for name, permission in server.permissions.items():
        app, _, part = name.partition(".")
        writer.missing += _around(server, permission, app, part)
        if app in server.apps and part == "main":
            continue  # `access` of the service says it
        if permission.allowed == defaults.PERMISSIONS.get(name):
            continue
        if writer.fits(model.Permission, name, f"permission {name}") and writer.fits(
            tuple[model.GroupName, ...],
            tuple(sorted(permission.allowed)),
            f"permission {name}: a group with a name of another form",
        ):
            out[name] = _who(permission.allowed)
    return out


def _around(server: Server, permission: Permission, app: str, part: str) -> Iterable[str]:
    """What somebody chose for a permission and no inventory says."""
    name = permission.id
    if permission.others:
        yield f"{permission.others} accounts that have the permission {name} by themselves"
    if app not in server.apps:
        return
    package = server.apps[app].declared.get(part)
    main = server.permissions.get(f"{app}.main")
    title = (
        f"{main.label if main else app} ({package.label if package and package.label else part})"
    )
    # YunoHost says a part's name in brackets behind the app's.
    if part != "main" and permission.label != title:
        yield f"the label of the permission {name}: {permission.label}"
    if package is not None and permission.show_tile != package.show_tile:
        yield f"the tile of {name}, which is {'shown' if permission.show_tile else 'hidden'}"
    usual = [re.split("__[A-Z]+__", url)[-1] for url in package.additional_urls] if package else []
    more = [u for u in permission.additional_urls if not any(u.endswith(end) for end in usual)]
    if more:
        yield f"further addresses of {name}: {', '.join(more)}"


def _services(writer: _Writer, host: str, roles: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    taken = {MAIL}
    for app in sorted(writer.server.apps.values(), key=lambda a: a.id):
        if app.id in writer.server.ghosts:
            writer.missing.append(
                f"{app.id}: listed and not there, as after a failed restore; remove it: "
                f"yunohost app remove {app.id}"
            )
            continue
        url = f"https://{app.domain}{(app.path or '/').rstrip('/')}"
        if not app.domain:
            writer.missing.append(f"the app {app.id}: it has no address")
            continue
        if not writer.fits(model.HttpsUrl, url, f"the app {app.id}: at {url}"):
            continue
        if not writer.fits(model.AppId, app.id, f"the app {app.id}: a name of another form"):
            continue
        role = roles.get(app.manifest, "app")
        name = slug(app.id, {*out, *taken})
        out[name] = {"role": role, "host": host, "url": url, "app": _app(writer, app, role, roles)}
        if not app.backs_up:
            writer.missing.append(
                f"the app {app.id} cannot save itself: nothing of it is in copies"
            )
        if not app.repository and not origin(app):
            writer.missing.append(
                f"the app {app.id} is not in the catalog: write where it comes from as "
                f"services.{name}.app.source"
            )
    return out


def _mail(server: Server, host: str, spf: str) -> dict[str, Any]:
    """The server's own mail as a service: without it no plan knows its DNS records, and they stay
    where they are when the server is rebuilt elsewhere."""
    receives = [
        name
        for name, domain in server.domains.items()
        if fits(model.Domain, name) and answers.same_setting(True, domain.setting(_MAIL_IN))
    ]
    if not receives or not fits(model.Domain, server.main_domain):
        return {}
    # Where every server has its portal, and no app can be.
    url = f"https://{server.main_domain}/yunohost/sso"
    entry = {"role": "mail", "host": host, "url": url}
    own = {"spf": spf} if spf else {}
    return {MAIL: {**entry, "settings": {"domains": receives, **own}}}


def _app(writer: _Writer, app: App, role: str, roles: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if role == "app" or roles.get(app.manifest) != role:
        out["id"] = app.manifest
    if role != "app":
        out["found"] = True
    if app.id != app.manifest:
        # `id` as well: an instance alone does not say of what.
        out |= {"id": app.manifest, "instance": app.id}
    source, _, branch = origin(app).partition("/tree/")
    if source and writer.fits(model.PackageSource, source, f"where {app.id} is from: {source}"):
        out["source"] = source
        if branch and fits(model.Branch, branch):
            out["branch"] = branch
    main = writer.server.permissions.get(f"{app.id}.main")
    if main is not None:
        if main.label and writer.fits(model.Line, main.label, f"the label of {app.id}"):
            out["label"] = main.label
        if writer.fits(
            tuple[model.GroupName, ...],
            tuple(sorted(main.allowed)),
            f"who may open {app.id}: a group with a name of another form",
        ):
            out["access"] = _who(everybody(main.allowed))
    if panel := _panel(writer, app):
        out["panel"] = panel
    args = {}
    for key in app.questions:
        value = app.settings.get(key)
        if key in ("domain", "path", "init_main_permission") or value in (None, ""):
            continue
        plain = value if isinstance(value, (bool, int)) else str(value)
        if fits(model.Scalar, plain) and not str(plain).startswith("secret:"):
            args[key] = plain
    if args and writer.fits(
        model.AppOptions.model_fields["args"].annotation, args, f"the answers of {app.id}"
    ):
        out["args"] = args
    return out


def _panel(writer: _Writer, app: App) -> dict[str, Any]:
    """What somebody chose in an app's panel. What is asked when it is installed stands among the
    answers to that."""
    out: dict[str, Any] = {}
    known = writer.server.panels.get(app.id, {})
    for key, option in known.items():
        if key.rpartition(".")[2] in app.questions or option.default == option.value:
            continue
        if option.default is None:
            if option.value:
                writer.missing.append(f"in the panel of {app.id}: {key} is {option.value}")
            continue
        value = _value(writer, option.value, option.value in ("yes", "no"), f"{app.id}: {key}")
        if value is not None and writer.fits(model.SettingKey, key, f"{app.id}: {key}"):
            out[key] = value
    if app.has_panel and not known:
        writer.missing.append(
            f"what is set in the panel of {app.id}: yunohost app config get {app.id}"
        )
    return out


# --- what YunoHost does not look after ---------------------------------------------------------


def beside(looked: Looked, server: Server) -> tuple[str, ...]:
    """From the answers to BESIDE and `group_questions`: what was changed by hand, what no copy of
    YunoHost's holds, and what no inventory says, a line each. Names only."""
    lines = [f"{file} was changed by hand ({of})" for file, of in sorted(server.edited.items())]
    own = {"/var/www/html", "/var/www/.well-known", "/opt/releve"}
    for app in server.apps.values():
        own |= {str(app.settings.get(key)) for key in ("install_dir", "data_dir", "final_path")}
        own |= {f"/var/www/{app.id}", f"/opt/{app.id}", f"/opt/yunohost/{app.id}"}
    for path in (*_lines(looked, "folders"), *_lines(looked, "others")):
        known = path in own or any(o.startswith(f"{path}/") for o in own)
        if not known and not _KNOWN_FOLDERS.fullmatch(path):
            lines.append(f"{path} belongs to no app: YunoHost's backups leave it out")
    for path in _lines(looked, "files"):
        last = path.rpartition("/")[2]
        if not _KNOWN_FILES.match(last) and not any(last.startswith(app) for app in server.apps):
            lines.append(f"{path} was put there by hand: YunoHost's backups leave it out")
    lines += _databases(looked, server)
    lines += _domain_keys(looked)
    for name, found in looked.items():
        if name.startswith(_GROUP) and isinstance(found, Answer) and found.exit_code == 0:
            group = name.removeprefix(_GROUP)
            # The admins' own come with YunoHost.
            aliases = [
                alias
                for alias in answers.group(found).aliases
                if group != ADMINS or alias.partition("@")[0] not in ADMIN_ALIASES
            ]
            if aliases:
                lines.append(f"mail aliases of the group {group}: {', '.join(aliases)}")
    return tuple(lines)


# Ours, and what makes units of its own at run time.
_KNOWN_FILES = re.compile(r"releve|dbus-org|ynh|\.placeholder")
# Hidden ones are shells' and programs' own; the rest is there on every Debian, is ours, or is what
# YunoHost brings languages in.
_KNOWN_FOLDERS = re.compile(
    r"/root/\..*|/usr/local/share/(?:man|ca-certificates|fonts|emacs|sgml|xml|applications)"
    r"|/usr/local/(?:lib|share)/python3[0-9.]*|/usr/local/lib/releve"
    r"|/opt/(?:yunohost|node_n|rbenv|goenv)"
)
_KNOWN_DATABASES = re.compile(r"MySQL (?:mysql|sys|performance_schema|#.*)|PostgreSQL postgres")


def _databases(looked: Looked, server: Server) -> Iterable[str]:
    own = {
        str(app.settings.get("db_name") or app.id).replace("-", "_") for app in server.apps.values()
    }
    own |= {app.id.replace("-", "_") for app in server.apps.values()}
    for line in _lines(looked, "databases"):
        program, _, name = line.partition(" ")
        if not _KNOWN_DATABASES.fullmatch(line) and name.replace("-", "_") not in own:
            yield (
                f"the database {name} ({program}) belongs to no app: YunoHost's backups leave it "
                "out"
            )


def _domain_keys(looked: Looked) -> Iterable[str]:
    """Names that `sed` printed, each behind the name of its file."""
    known = {key.rpartition(".")[2] for key in DOMAIN_SETTINGS}
    domain, found = "", dict[str, list[str]]()
    answer = looked.get("domain-keys")
    for line in answer.stdout.splitlines() if isinstance(answer, Answer) else ():
        if line.startswith("/"):
            domain = line.rpartition("/")[2].removesuffix(".yml")
        elif line not in known:
            found.setdefault(domain, []).append(line)
    return [f"what is set for the domain {n}: {', '.join(keys)}" for n, keys in found.items()]


def _lines(looked: Looked, name: str) -> list[str]:
    found = looked.get(name)
    # `find` ends with 1 when one of the folders is not there, and lists the others.
    said = found.stdout.splitlines() if isinstance(found, Answer) else []
    return sorted(line for line in said if line)
