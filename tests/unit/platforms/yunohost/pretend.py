"""A server that exists only as nested dicts: what it would answer, and what commands do to it.

Small on purpose: it knows the effect of the commands that `converge` uses, so that "the second
time there is nothing to do" can be tried on thousands of servers. It proves nothing about
YunoHost; the recordings and a real server do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import yaml  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from platforms.yunohost.answers import Answer
from platforms.yunohost.server import DOMAIN_SETTINGS, QUESTIONS, SHOWN_BY, Looked, Server, read
from platforms.yunohost.steps import Step


@cache
def certificates() -> dict[str, str]:
    """PEM texts: "authority", "self-signed" (with the authority behind it, as YunoHost does),
    "old" and "brought-back" (another authority, and what is signed where a copy brought that),
    "letsencrypt", "other", and "both": Let's Encrypt's with the name sandbox.site.lab.test."""

    def name(organisation: str, common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    def made(subject: x509.Name, issuer: x509.Name, public: Any, signer: Any, *names: str) -> str:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=3650))
        )
        if names:
            more = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
            builder = builder.add_extension(more, critical=False)
        certificate = builder.sign(signer, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    own, other, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ours = name("YunoHost", "lab.test")
    authority = made(ours, ours, own.public_key(), own)
    old = made(ours, ours, other.public_key(), other)
    subject = name("x", "site.lab.test")
    return {
        "authority": authority,
        "self-signed": made(subject, ours, leaf.public_key(), own) + authority,
        "old": old,
        "brought-back": made(subject, ours, leaf.public_key(), own) + old,
        "letsencrypt": made(subject, name("Let's Encrypt", "R11"), leaf.public_key(), other),
        "both": made(
            subject,
            name("Let's Encrypt", "R11"),
            leaf.public_key(),
            other,
            "site.lab.test",
            "sandbox.site.lab.test",
        ),
        "other": made(subject, name("Somebody", "CA"), leaf.public_key(), other),
    }


@dataclass
class Pretended:
    """The state. Users as `user list --fields` says them, keys as lines, and so on."""

    main: str = "lab.test"
    domains: dict[str, str] = field(default_factory=lambda: {"lab.test": "self-signed"})
    domain_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=lambda: {"admins": [], "visitors": []})
    permissions: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    firewall: dict[str, dict[Any, dict[str, Any]]] = field(
        default_factory=lambda: {"tcp": {}, "udp": {}}
    )
    apps: dict[str, dict[str, Any]] = field(default_factory=dict)
    panels: dict[str, dict[str, str]] = field(default_factory=dict)
    edited: dict[str, str] = field(default_factory=dict)  # path → of what
    relay: str = ""  # what its password is known by
    sandboxes: tuple[str, ...] = ()  # domains for which a package asks for one name more
    offered: dict[str, tuple[str, str]] = field(default_factory=dict)  # config_panel.toml, script
    shown: str = "authority"  # what the server shows as its own authority
    version: str = "12.1.25"
    untold: tuple[str, ...] = ()  # installed, and not told about
    installations: dict[str, str] = field(default_factory=dict)  # YunoHost's records of them

    def looked(self, panels: Iterable[str] = ()) -> Looked:
        groups = {name: {"members": who} for name, who in self.groups.items()}
        groups["all_users"] = {"members": list(self.users)}
        said: dict[str, Any] = {
            "domains": {"domains": list(self.domains), "main": self.main},
            "users": {"users": self.users},
            "groups": {"groups": groups},
            "permissions": {"permissions": self.permissions},
            "apps": {"apps": [self._app(name) for name in self.apps]},
            "settings": {k: {"ask": k, "value": v} for k, v in self.settings.items()},
        }
        argv = {q.name: q.argv for q in QUESTIONS}
        out: dict[str, Answer | dict[str, str]] = {
            name: Answer(argv[name], 0, f"INFO noise\n{json.dumps(value)}\n", "WARNING x")
            for name, value in said.items()
        }
        for name in panels:
            if name in self.panels:
                rows = {k: {"ask": k, "value": v} for k, v in self.panels[name].items()}
                out[f"panel:{name}"] = Answer(("yunohost",), 0, json.dumps(rows), "")
        for name, number in (("panel-options", 0), ("panel-answers", 1)):
            file = ("config_panel.toml", "scripts/config")[number]
            out[name] = {
                f"/etc/yunohost/apps/{app}/{file}": texts[number]
                for app, texts in self.offered.items()
            }
        pems = certificates()
        return out | {
            "installed": {"/etc/yunohost/installed": ""},
            "edited": Answer(
                ("bash",), 0, "".join(f"{of} {path}\n" for path, of in self.edited.items()), ""
            ),
            "secrets": Answer(
                ("python3",), 0, f"smtp_relay_password {self.relay}\n" if self.relay else "", ""
            ),
            "versions": Answer(("dpkg-query",), 1, f"yunohost {self.version}\n", "no moulinette"),
            "firewall": {"/etc/yunohost/firewall.yml": yaml.dump(self.firewall)},
            "domain-settings": {
                f"/etc/yunohost/domains/{name}.yml": yaml.dump(
                    {key.rpartition(".")[2]: value for key, value in settings.items()}
                )
                for name, settings in self.domain_settings.items()
            },
            "certificates": {
                f"/etc/yunohost/certs/{name}/crt.pem": pems[kind]
                for name, kind in self.domains.items()
            },
            "authority": {"/etc/ssl/certs/ca-yunohost_crt.pem": pems[self.shown]},
            "signer": {"/usr/share/yunohost/ssl/ca/cacert.pem": pems["authority"]},
            "keys": {f"/home/{n}/.ssh/authorized_keys": text for n, text in self.keys.items()},
            "installations": dict(self.installations),
            "installed-apps": {
                f"/etc/yunohost/apps/{name}/settings.yml": "" for name in (*self.apps, *self.untold)
            },
            "system-accounts": {"/etc/passwd": "root:x:0:0::/root:/bin/sh\nmysql:x:105:112::/:\n"},
        }

    def _app(self, name: str) -> dict[str, Any]:
        app = self.apps[name]
        return {
            "id": name,
            "name": app.get("label", name),
            "version": "1.0~ynh1",
            "domain_path": f"{app['domain']}{app['path']}" if app.get("domain") else None,
            "settings": app.get("settings", {}),
            "manifest": {"id": app["id"], "install": {q: {"type": "string"} for q in app["asks"]}},
            "from_catalog": {"git": {"url": f"https://git.example/{app['id']}_ynh"}},
            "supports_change_url": True,
            "supports_backup_restore": app.get("backs_up", True),
        }

    def read(self, described: Iterable[str] = (), panels: Iterable[str] = ()) -> Server:
        return read(self.looked(panels), frozenset(described))

    def does(self, step: Step) -> None:
        """Change as the commands would, or fail as they would."""
        for argv in filter(None, (step.argv, step.then)):
            self.runs(argv)

    def runs(self, argv: tuple[str, ...]) -> None:
        """Change as one command would."""
        words = list(argv[1:])
        options: dict[str, list[str]] = {}
        plain: list[str] = []
        name = ""
        for word in words:
            if word.startswith("-"):
                name, equal, value = word.partition("=")
                options.setdefault(name, []).extend([value] if equal else [])
                name = "" if equal or name in _FLAGS else name
            elif name:
                options[name].append(word)
                # Lists end where the next option begins; everything else takes one value.
                name = name if name in _LISTS else ""
            else:
                plain.append(word)
        _EFFECTS[tuple(plain[: 3 if tuple(plain[:2]) in _NESTED else 2])](self, plain, options)


_FLAGS = frozenset(("--force", "--self-signed", "--purge"))
_LISTS = frozenset(
    ("--add-mailalias", "--remove-mailalias", "--add-mailforward", "--remove-mailforward")
)
_NESTED = frozenset(
    (
        ("user", "group"),
        ("user", "permission"),
        ("user", "ssh"),
        ("domain", "config"),
        ("domain", "cert"),
        ("app", "config"),
    )
)
Options = dict[str, list[str]]


class RefusedError(Exception):
    """What the command answers with exit code 1."""


def _must(true: bool, why: str) -> None:
    if not true:
        raise RefusedError(why)


def _domain_add(s: Pretended, words: list[str], _: Options) -> None:
    _must(words[2] not in s.domains, "exists")
    s.domains[words[2]] = "self-signed"


def _domain_remove(s: Pretended, words: list[str], _: Options) -> None:
    _must(words[2] in s.domains and words[2] != s.main, "unknown or main")
    _must(all(a.get("domain") != words[2] for a in s.apps.values()), "in use")
    del s.domains[words[2]]


def _main_domain(s: Pretended, _: list[str], options: Options) -> None:
    new = options["-n"][0]
    _must(new in s.domains and new != s.main, "unknown or already so")
    s.main = new


def _cert_install(s: Pretended, words: list[str], options: Options) -> None:
    _must(words[3] in s.domains, "unknown domain")
    if s.domains[words[3]] == "letsencrypt":
        _must("--force" in options, "is not self-signed")
    issued = "both" if words[3] in s.sandboxes else "letsencrypt"
    s.domains[words[3]] = "self-signed" if "--self-signed" in options else issued


def _domain_config(s: Pretended, words: list[str], options: Options) -> None:
    _must(words[3] in s.domains, "unknown domain")
    value: Any = options["-v"][0]
    if value in ("yes", "no"):
        value = int(value == "yes")
    kept = s.domain_settings.setdefault(words[3], {})
    kept[words[4]] = value
    if value == DOMAIN_SETTINGS[words[4]]:
        del kept[words[4]]


def _user_create(s: Pretended, words: list[str], options: Options) -> None:
    name, domain = words[2], options["--domain"][0]
    _must(name not in s.users and name not in s.groups and domain in s.domains, "taken")
    s.users[name] = {
        "username": name,
        "fullname": options["--fullname"][0],
        "mail": f"{name}@{domain}",
        "mail-alias": [],
        "mail-forward": [],
        "mailbox-quota": options.get("--mailbox-quota", ["0"])[0],
    }


def _user_update(s: Pretended, words: list[str], options: Options) -> None:
    _must(words[2] in s.users, "unknown")
    user = s.users[words[2]]
    for option, key in (("--fullname", "fullname"), ("--mailbox-quota", "mailbox-quota")):
        user[key] = options.get(option, [user[key]])[0]
    if new := options.get("--mail"):
        user["mail"] = new[0]
        user["mail-alias"] = [a for a in user["mail-alias"] if a != new[0]]
    for option, key in (("mailalias", "mail-alias"), ("mailforward", "mail-forward")):
        added, removed = (options.get(f"--{verb}-{option}", []) for verb in ("add", "remove"))
        _must(set(removed) <= set(user[key]), "not there")
        # The real one loses what is added in the same command (src/user.py of 12.1.25).
        _must(not (added and removed and key == "mail-forward"), "would be lost")
        kept = [a for a in user[key] if a not in removed]
        user[key] = [*kept, *(a for a in added if a not in kept and a != user["mail"])]


def _user_delete(s: Pretended, words: list[str], _: Options) -> None:
    _must(words[2] in s.users, "unknown")
    del s.users[words[2]]
    s.keys.pop(words[2], None)
    for group in s.groups.values():
        if words[2] in group:
            group.remove(words[2])


def _key_add(s: Pretended, words: list[str], _: Options) -> None:
    s.keys[words[3]] = f"{s.keys.get(words[3], '')}\n\n{words[4]}\n"


def _key_remove(s: Pretended, words: list[str], _: Options) -> None:
    _must(words[4] in s.keys.get(words[3], ""), "not there")
    s.keys[words[3]] = s.keys[words[3]].replace(words[4], "")


def _group_create(s: Pretended, words: list[str], _: Options) -> None:
    _must(words[3] not in s.groups and words[3] not in s.users, "exists")
    s.groups[words[3]] = []


def _group_delete(s: Pretended, words: list[str], _: Options) -> None:
    _must(words[3] in s.groups and words[3] not in ("admins", "visitors"), "unknown or special")
    del s.groups[words[3]]
    for permission in s.permissions.values():
        permission["allowed"] = [g for g in permission["allowed"] if g != words[3]]


def _group_add(s: Pretended, words: list[str], _: Options) -> None:
    _must(words[3] in s.groups and set(words[4:]) <= s.users.keys(), "unknown")
    s.groups[words[3]] = list(dict.fromkeys([*s.groups[words[3]], *words[4:]]))


def _group_remove(s: Pretended, words: list[str], _: Options) -> None:
    _must(words[3] in s.groups, "unknown")
    s.groups[words[3]] = [m for m in s.groups[words[3]] if m not in words[4:]]


def _permission(s: Pretended, words: list[str], _: Options) -> None:
    _must(words[3] in s.permissions, "unknown")
    known = {*s.groups, "all_users", *s.users}
    _must(set(words[4:]) <= known, "no such group")
    allowed = s.permissions[words[3]]["allowed"]
    if words[2] == "add":
        s.permissions[words[3]]["allowed"] = list(dict.fromkeys([*allowed, *words[4:]]))
    else:
        s.permissions[words[3]]["allowed"] = [g for g in allowed if g not in words[4:]]


def _permission_update(s: Pretended, words: list[str], options: Options) -> None:
    _must(words[3] in s.permissions, "unknown")
    s.permissions[words[3]]["label"] = options["--label"][0]


def _settings_set(s: Pretended, words: list[str], options: Options) -> None:
    if "--args" in options:
        given = dict(parse_qsl(options["--args"][0], keep_blank_values=True))
        if not any("password" in key for key in given):
            s.settings |= {f"{words[2]}.{key}": value for key, value in given.items()}
        return
    _must(words[2] in s.settings, "unknown")
    _must(words[2] not in SHOWN_BY, "KeyError")
    s.settings[words[2]] = options["-v"][0] if "-v" in options else "**************"


def _app_install(s: Pretended, words: list[str], options: Options) -> None:
    app = words[2]
    given = dict(parse_qsl(options.get("--args", [""])[0], keep_blank_values=True))
    _must(given["domain"] in s.domains, "unknown domain")
    name, number = app, 2
    while name in s.apps:
        name, number = f"{app}__{number}", number + 1
    label = options.get("--label", [name])[0]
    first = given.get("init_main_permission", "all_users")
    s.apps[name] = {
        "id": app, "domain": given["domain"], "path": given["path"], "asks": list(given),
        "settings": given, "label": label,
    }  # fmt: skip
    allowed = ["visitors", "all_users"] if first == "visitors" else [first]
    s.permissions[f"{name}.main"] = {"label": label, "allowed": allowed}


def _app_remove(s: Pretended, words: list[str], _: Options) -> None:
    _must(words[2] in s.apps, "unknown")
    del s.apps[words[2]]
    gone = [p for p in s.permissions if p.partition(".")[0] == words[2]]
    for permission in gone:
        del s.permissions[permission]


def _change_url(s: Pretended, words: list[str], options: Options) -> None:
    app, place = s.apps[words[2]], (options["-d"][0], options["-p"][0])
    _must(place[0] in s.domains and place != (app["domain"], app["path"]), "same or unknown")
    app["domain"], app["path"] = place


def _app_setting(s: Pretended, words: list[str], options: Options) -> None:
    _must(words[2] in s.apps, "unknown")
    s.apps[words[2]]["settings"][words[3]] = options["-v"][0]


def _app_config(s: Pretended, words: list[str], options: Options) -> None:
    panel = s.panels.setdefault(words[3], {})
    (given,) = options.get("--args", [""])
    for last, value in parse_qsl(given, keep_blank_values=True):
        panel[next(k for k in panel if k.startswith(f"{words[4]}.") and k.endswith(last))] = value


def _firewall(s: Pretended, words: list[str], options: Options) -> None:
    number, protocol = words[2].replace(":", "-"), options["-p"][0]
    port: Any = int(number) if number.isdecimal() else number
    ports = s.firewall[protocol]
    entry = ports.setdefault(port, {"comment": "", "upnp": False, "open": False})
    entry["open"] = words[1] == "open"
    if words[1] == "open":
        entry["comment"] = words[3]


def _nothing(*_: object) -> None:
    pass


_EFFECTS: dict[tuple[str, ...], Callable[[Pretended, list[str], Options], None]] = {
    ("domain", "add"): _domain_add,
    ("domain", "remove"): _domain_remove,
    ("domain", "main-domain"): _main_domain,
    ("domain", "cert", "install"): _cert_install,
    ("domain", "config", "set"): _domain_config,
    ("diagnosis", "run"): _nothing,
    ("user", "create"): _user_create,
    ("user", "update"): _user_update,
    ("user", "delete"): _user_delete,
    ("user", "ssh", "add-key"): _key_add,
    ("user", "ssh", "remove-key"): _key_remove,
    ("user", "group", "create"): _group_create,
    ("user", "group", "delete"): _group_delete,
    ("user", "group", "add"): _group_add,
    ("user", "group", "remove"): _group_remove,
    ("user", "permission", "add"): _permission,
    ("user", "permission", "remove"): _permission,
    ("user", "permission", "update"): _permission_update,
    ("settings", "set"): _settings_set,
    ("app", "install"): _app_install,
    ("app", "remove"): _app_remove,
    ("app", "change-url"): _change_url,
    ("app", "config", "set"): _app_config,
    ("app", "setting"): _app_setting,
    ("firewall", "open"): _firewall,
    ("firewall", "close"): _firewall,
}
