"""What a YunoHost server answered, as typed values.

Pure parsers, one for each question the product asks. They read only the JSON on the last line of
standard output: progress lines stand before it (seen: recordings 058, 192, 385), warnings on
standard error, and wording is never read. A command that failed has no value here and raises
`UnreadableError`: call `errors.checked` first to learn why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Answer:
    """One command as it ended. `argv` is what was run, without sudo or any wrapper."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str


class UnreadableError(ValueError):
    """An answer that is not what the command is known to say.

    The message names the command without the values it was given: they may be secret.
    """


# Categories whose second word is not yet the action (share/actionsmap.yml of 12.1.25).
_NESTED = {
    ("user", "group"),
    ("user", "permission"),
    ("user", "ssh"),
    ("domain", "config"),
    ("domain", "cert"),
    ("domain", "dns"),
    ("domain", "dyndns"),
    ("app", "config"),
    ("app", "action"),
    ("tools", "migrations"),
    ("storage", "disk"),
}


def command_words(argv: Sequence[str]) -> tuple[str, ...]:
    """Given a yunohost argv, return its words up to the action: ("user", "group", "add").

    What follows may be a secret, so only these words stand in messages and logs. Empty when
    the command is not yunohost.
    """
    if not argv or argv[0].rpartition("/")[2] != "yunohost":
        return ()
    words = []
    for word in argv[1:4]:
        if not re.fullmatch(r"[a-z][a-z_-]*", word):
            break
        words.append(word)
    return tuple(words[: 3 if tuple(words[:2]) in _NESTED else 2])


def named(argv: Sequence[str]) -> str:
    """Given an argv, return how messages call the command: "yunohost app install"."""
    words = command_words(argv)
    return " ".join(("yunohost", *words)) if words else (argv[0] if argv else "nothing")


def last_json(stdout: str) -> Any:
    """Given standard output, return the value on its last line; lines before it do not matter.

    Raise UnreadableError when there is none.
    """
    # Not splitlines(): it also cuts at separators that JSON may hold unescaped.
    lines = [line for line in stdout.split("\n") if line.strip()]
    if not lines:
        raise UnreadableError("the command printed nothing where JSON was expected")
    try:
        return json.loads(lines[-1])
    except ValueError:
        raise UnreadableError("the last line of the command's output is not JSON") from None


def value(answer: Answer) -> Any:
    """Given an answer, return its JSON value. Raise UnreadableError if it failed or has none."""
    if answer.exit_code != 0:
        raise UnreadableError(
            f"{named(answer.argv)} ended with exit code {answer.exit_code} and has no value"
        )
    try:
        return last_json(answer.stdout)
    except UnreadableError as error:
        raise UnreadableError(f"{named(answer.argv)}: {error}") from None


def _table(answer: Answer, key: str | None = None) -> dict[str, Any]:
    """The object an answer holds, or the object under `key` in it."""
    whole = value(answer)
    part = whole.get(key) if key is not None and isinstance(whole, dict) else whole
    if not isinstance(part, dict):
        raise UnreadableError(f"{named(answer.argv)} answered without the {key or 'object'} in it")
    return part


def _rows(answer: Answer, key: str) -> list[dict[str, Any]]:
    whole = value(answer)
    part = whole.get(key) if isinstance(whole, dict) else None
    if not isinstance(part, list) or not all(isinstance(row, dict) for row in part):
        raise UnreadableError(f"{named(answer.argv)} answered without the list {key}")
    return part


def _text(row: Mapping[str, Any], key: str) -> str:
    found = row.get(key)
    return "" if found is None else str(found)


def _texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = row.get(key)
    if found in (None, ""):
        return ()
    if not isinstance(found, list):
        raise UnreadableError(f"{key} is not a list")
    return tuple(str(item) for item in found)


# --- The server as a whole -------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    version: str
    repository: str


def versions(answer: Answer) -> Mapping[str, Version]:
    """`tools versions`: packages by name. Works before the post-install (seen: recording 001)."""
    return {
        name: Version(_text(row, "version"), _text(row, "repo"))
        for name, row in _table(answer).items()
    }


def version_number(text: str) -> tuple[int, ...]:
    """Given "12.1.25~dummy", return (12, 1, 25), to compare with. Empty if there is none."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


@dataclass(frozen=True)
class ServiceState:
    """`status` is systemd's word as YunoHost says it: "running", "dead", "failed" …"""

    name: str
    status: str
    start_on_boot: str
    configuration: str


def services(answer: Answer) -> Mapping[str, ServiceState]:
    """`service status` of all or several. With one name YunoHost leaves the name out (seen:
    recording 139): it is then taken from the command.
    """
    table = _table(answer)
    if isinstance(table.get("status"), str):
        table = {answer.argv[3]: table}
    return {
        name: ServiceState(
            name, _text(row, "status"), _text(row, "start_on_boot"), _text(row, "configuration")
        )
        for name, row in table.items()
    }


@dataclass(frozen=True)
class Operation:
    """One entry of YunoHost's log. `success` is None while it runs and for one that was cut
    off (YunoHost prints "?"; seen: recording 380).
    """

    name: str
    description: str
    success: bool | None
    started_at: str


def operations(answer: Answer) -> tuple[Operation, ...]:
    """`log list`, oldest first."""
    return tuple(
        Operation(
            _text(row, "name"),
            _text(row, "description"),
            row["success"] if isinstance(row.get("success"), bool) else None,
            _text(row, "started_at"),
        )
        for row in _rows(answer, "operation")
    )


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis. `status` is SUCCESS, INFO, WARNING or ERROR."""

    category: str
    status: str
    summary: str
    details: tuple[str, ...] = ()
    ignored: bool = False


def diagnosis(answer: Answer) -> tuple[Finding, ...]:
    """`diagnosis show`. Empty as well when none was ever run: then it prints no JSON (seen:
    recording 171).
    """
    if answer.exit_code == 0 and not answer.stdout.strip():
        return ()
    return tuple(
        Finding(
            _text(report, "id"),
            _text(item, "status"),
            _text(item, "summary"),
            _texts(item, "details"),
            bool(item.get("ignored")),
        )
        for report in _rows(answer, "reports")
        for item in report.get("items") or []
    )


def hooks(answer: Answer) -> tuple[str, ...]:
    """`hook list ACTION`: names. An unknown action has none (seen: recording 180)."""
    return _texts(_table(answer), "hooks")


def pending_migrations(answer: Answer) -> tuple[str, ...]:
    """`tools migrations list --pending`: their ids."""
    return tuple(_text(row, "id") for row in _rows(answer, "migrations"))


def pending_configuration(answer: Answer) -> Mapping[str, tuple[str, ...]]:
    """`tools regen-conf --list-pending` or `--dry-run`: category → files that somebody changed
    by hand and that YunoHost therefore leaves alone.
    """
    found = {}
    for category, row in _table(answer).items():
        # `--list-pending` gives the files at once, `--dry-run` below "pending".
        files = row.get("pending", {}) if isinstance(row, dict) and "pending" in row else row
        if files:
            found[category] = tuple(sorted(files))
    return found


# --- Domains ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Domains:
    main: str
    names: tuple[str, ...]


def domains(answer: Answer) -> Domains:
    """`domain list`."""
    table = _table(answer)
    main = _text(table, "main")
    if not main:
        raise UnreadableError(f"{named(answer.argv)} answered without a main domain")
    return Domains(main, _texts(table, "domains"))


def main_domain(answer: Answer) -> str:
    """`domain main-domain`."""
    return _text(_table(answer), "current_main_domain")


@dataclass(frozen=True)
class CertificateStatus:
    """`type` is "selfsigned", "letsencrypt" or "other". `days` until it ends, maybe negative.
    `eligible` whether the diagnosis found it fit for Let's Encrypt; None: not diagnosed or not
    asked (only `--full` says it).
    """

    domain: str
    type: str
    days: int
    summary: str
    eligible: bool | None = None


def _certificate(domain: str, row: Mapping[str, Any]) -> CertificateStatus:
    eligible = row.get("ACME_eligible")
    return CertificateStatus(
        domain,
        _text(row, "CA_type"),
        int(row.get("validity") or 0),
        _text(row, "summary"),
        eligible if isinstance(eligible, bool) else None,
    )


def certificates(answer: Answer) -> Mapping[str, CertificateStatus]:
    """`domain cert status`."""
    return {name: _certificate(name, row) for name, row in _table(answer, "certificates").items()}


@dataclass(frozen=True)
class DomainInfo:
    name: str
    main: bool
    certificate: CertificateStatus
    registrar: str
    apps: tuple[str, ...]


def domain_info(answer: Answer) -> DomainInfo:
    """`domain info NAME`; the name is taken from the command, the answer does not say it."""
    table = _table(answer)
    name = answer.argv[3]
    return DomainInfo(
        name,
        bool(table.get("main")),
        _certificate(name, table.get("certificate") or {}),
        _text(table, "registrar"),
        tuple(_text(app, "id") for app in table.get("apps") or []),
    )


@dataclass(frozen=True)
class Record:
    """A DNS record YunoHost recommends, as in a zone file: the name is relative to the zone."""

    name: str
    ttl: int
    type: str
    value: str


def dns_records(answer: Answer) -> tuple[Record, ...]:
    """`domain dns suggest`. Empty for special names such as .test, for which YunoHost prints a
    sentence instead (seen: recording 034).
    """
    zone = value(answer)
    found = []
    for line in str(zone).split("\n"):
        if match := re.fullmatch(r"(\S+)\s+(\d+)\s+IN\s+([A-Z]+)\s+(\S.*)", line.strip()):
            found.append(Record(match[1], int(match[2]), match[3], match[4]))
    return tuple(found)


# --- People ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class User:
    """Without `--fields` only name, full name, mail and quota are there."""

    name: str
    fullname: str
    mail: str
    quota: str = "0"
    aliases: tuple[str, ...] = ()
    forwards: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


def _user(name: str, row: Mapping[str, Any]) -> User:
    quota = row.get("mailbox-quota")
    if isinstance(quota, dict):  # `user info` and `user update`; "No quota" is translated
        limit = _text(quota, "limit")
        quota = limit if re.fullmatch(r"\d+[bkMGT]", limit) else "0"
    return User(
        name,
        _text(row, "fullname"),
        _text(row, "mail"),
        str(quota or "0"),
        _texts(row, "mail-alias") or _texts(row, "mail-aliases"),
        _texts(row, "mail-forward"),
        _texts(row, "groups"),
    )


def users(answer: Answer) -> Mapping[str, User]:
    """`user list`, with or without `--fields`."""
    return {name: _user(name, row) for name, row in _table(answer, "users").items()}


def user(answer: Answer) -> User:
    """`user info`, `user create` and `user update`: one account as it is then."""
    row = _table(answer)
    return _user(_text(row, "username"), row)


@dataclass(frozen=True)
class ImportResult:
    """`errors` counts accounts that could not be made: the command still ends well then."""

    created: int
    updated: int
    deleted: int
    errors: int


def user_import(answer: Answer) -> ImportResult:
    """`user import`. An empty object means that there was nothing to do."""
    row = _table(answer)
    return ImportResult(
        int(row.get("created", 0)),
        int(row.get("updated", 0)),
        int(row.get("deleted", 0)),
        int(row.get("errors", 0)),
    )


@dataclass(frozen=True)
class Group:
    """`permissions` is only there with `--full`, `aliases` only from `user group info`."""

    name: str
    members: tuple[str, ...]
    permissions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


def groups(answer: Answer) -> Mapping[str, Group]:
    """`user group list`, with or without `--full` and `--include-primary-groups`."""
    return {
        name: Group(name, _texts(row, "members"), _texts(row, "permissions"))
        for name, row in _table(answer, "groups").items()
    }


def group(answer: Answer) -> Group:
    """`user group info`, `create`, `add` and `remove`: one group as it is then."""
    row = _table(answer)
    return Group(
        _text(row, "name") or answer.argv[4],
        _texts(row, "members"),
        _texts(row, "permissions"),
        _texts(row, "mail-aliases"),
    )


@dataclass(frozen=True)
class Permission:
    """Who may use what. `id` is APP.NAME; `url` and what follows it need `--full`.

    The answer of a change says `url` relative to the app (seen: recording 226), a list says it
    with its domain (seen: recording 135).
    """

    id: str
    allowed: tuple[str, ...]
    label: str
    url: str = ""
    additional_urls: tuple[str, ...] = ()
    show_tile: bool = False
    protected: bool = False

    @property
    def app(self) -> str:
        """The instance it belongs to, or "mail", "ssh" and the like."""
        return self.id.partition(".")[0]


def _permission(name: str, row: Mapping[str, Any]) -> Permission:
    return Permission(
        name,
        _texts(row, "allowed"),
        _text(row, "label"),
        _text(row, "url"),
        _texts(row, "additional_urls"),
        bool(row.get("show_tile")),
        bool(row.get("protected")),
    )


def permissions(answer: Answer) -> Mapping[str, Permission]:
    """`user permission list`."""
    return {name: _permission(name, row) for name, row in _table(answer, "permissions").items()}


def permission(answer: Answer) -> Permission:
    """`user permission info`, `add`, `remove` and `update`: one permission as it is then."""
    return _permission(answer.argv[4], _table(answer))


def ssh_keys(answer: Answer) -> tuple[str, ...]:
    """`user ssh list-keys`: the lines of authorized_keys."""
    return tuple(_text(row, "key") for row in _rows(answer, "keys"))


# --- Apps ------------------------------------------------------------------------------------

# Settings that are secret by their name. Too many is harmless: what is dropped is never compared
# and never written anywhere.
_SECRET = re.compile(r"pass|pwd|secret|token|salt|credential|private|cookie|(?:^|_)key(?:_|$)")
# YunoHost's own bookkeeping, which says nothing about how the app is set up.
_BOOKKEEPING = re.compile(r"\A(?:checksum__|_)")


def is_secret(key: str) -> bool:
    """Say whether a setting or an argument of this name could be a secret."""
    return bool(_SECRET.search(key.lower()))


def public_settings(
    settings: Mapping[str, Any], secret: Iterable[str] = ()
) -> Mapping[str, Scalar]:
    """Given an app's settings.yml, return what may be shown: no secrets, no bookkeeping.

    `secret` names further keys, such as the manifest's password questions.
    """
    hidden = set(secret)
    return {
        key: found
        for key, found in settings.items()
        if isinstance(found, (str, int, float, bool, type(None)))
        and key not in hidden
        and not is_secret(key)
        and not _BOOKKEEPING.match(key)
    }


@dataclass(frozen=True)
class AppUpgrade:
    """`status` is "up_to_date", "upgradable", "url_required", "bad_quality", "fail_requirements"
    or "unknown"."""

    status: str
    current: str
    new: str
    revision: str = ""


@dataclass(frozen=True)
class App:
    """One installed app. `id` is the instance ("wordpress__2"), `manifest` the app it is of.

    `label` may differ from the label of the permission, which people see (seen: recordings 123
    and 135). What follows `upgrade` needs `--full`.
    """

    id: str
    label: str
    version: str
    domain: str = ""
    path: str = ""
    manifest: str = ""
    upgrade: AppUpgrade | None = None
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    questions: tuple[str, ...] = ()
    backs_up: bool = True
    changes_url: bool = True
    has_panel: bool = False
    repository: str = ""
    revision: str = ""
    # Its permissions by their names without the app, as its package makes them.
    declared: Mapping[str, Permission] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it answers, or "" for an app without a page."""
        return f"https://{self.domain}{self.path}".rstrip("/") if self.domain else ""


def _upgrade(row: Any) -> AppUpgrade | None:
    if not isinstance(row, dict):
        return None
    return AppUpgrade(
        _text(row, "status"),
        _text(row, "current_version"),
        _text(row, "new_version"),
        _text(row, "new_revision"),
    )


def _app(row: Mapping[str, Any]) -> App:
    name = _text(row, "id")
    domain, slash, path = _text(row, "domain_path").partition("/")
    manifest = row.get("manifest") or {}
    install = manifest.get("install") or {}
    catalog = row.get("from_catalog") or {}
    settings = row.get("settings") or {}
    passwords = [key for key, asked in install.items() if asked.get("type") == "password"]
    return App(
        id=name,
        label=_text(row, "name") or _text(row, "label"),
        version=_text(row, "version"),
        domain=domain,
        path=slash + path,
        manifest=_text(manifest, "id") or name.partition("__")[0],
        upgrade=_upgrade(row.get("upgrade")),
        settings=public_settings(settings, passwords),
        questions=tuple(install),
        backs_up=bool(row.get("supports_backup_restore", True)),
        changes_url=bool(row.get("supports_change_url", True)),
        has_panel=bool(row.get("supports_config_panel", False)),
        repository=_text(catalog.get("git") or {}, "url"),
        revision=_text(settings, "current_revision"),
        declared=_declared((manifest.get("resources") or {}).get("permissions")),
    )


def _declared(found: Any) -> Mapping[str, Permission]:
    """The permissions of a manifest; a tile is shown wherever there is an address, unless it says
    otherwise (src/permission.py of 12.1.25)."""
    table = found if isinstance(found, dict) else {}
    return {
        name: Permission(
            name,
            (),  # who may is asked when the app is installed
            _text(row, "label"),
            additional_urls=_texts(row, "additional_urls"),
            show_tile=bool(row.get("show_tile", row.get("url"))),
        )
        for name, row in table.items()
        if isinstance(row, dict)
    }


def apps(answer: Answer) -> Mapping[str, App]:
    """`app list`, with or without `--full`. Ghosts are among them: see `ghosts`."""
    return {app.id: app for app in map(_app, _rows(answer, "apps"))}


def app_info(answer: Answer) -> App:
    """`app info`, with or without `--full`."""
    return _app(_table(answer))


def ghosts(installed: Mapping[str, App], known: Mapping[str, Permission]) -> tuple[str, ...]:
    """Given `app list` and `user permission list`, return apps that are listed and not there.

    A restore that fails leaves them (seen: recordings 329 to 334): they block every retry until
    they are removed. They have an address and no permission, so that `app map` does not hold
    them either (seen: recording 331).
    """
    living = {permission.app for permission in known.values()}
    return tuple(
        sorted(app.id for app in installed.values() if app.domain and app.id not in living)
    )


def app_map(answer: Answer) -> Mapping[str, str]:
    """`app map`: DOMAIN/PATH → label."""
    return {url: str(label) for url, label in _table(answer).items()}


def catalog(answer: Answer) -> tuple[str, ...]:
    """`app catalog` or `app search`: the ids of apps that can be installed."""
    return tuple(sorted(_table(answer, "apps")))


def setting(answer: Answer) -> Scalar:
    """One value of `app setting`, `settings get`, `app config get KEY`, `domain config get KEY`.

    None for a setting an app does not have: it prints nothing then (seen: recording 127).
    """
    if answer.exit_code == 0 and not answer.stdout.strip():
        return None
    found = value(answer)
    if isinstance(found, (dict, list)):
        raise UnreadableError(f"{named(answer.argv)} answered more than one value")
    return found  # type: ignore[no-any-return]


# --- Settings, panels, firewall --------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One line of the settings or of a config panel. `masked`: YunoHost shows stars only.
    `default`: as its package says it; None: it does not, or nobody asked."""

    id: str
    value: str
    label: str
    masked: bool = False
    default: str | None = None


def panel(answer: Answer) -> Mapping[str, Setting]:
    """`settings list`, `app config get APP`, `domain config get DOMAIN`: what can be set, by id.

    Values are as people read them: "yes" and "no" for switches. Lines that only explain have
    no value and are left out.
    """
    found = {}
    for key, row in _table(answer).items():
        if isinstance(row, dict) and "value" in row:
            text = _text(row, "value")
            masked = bool(re.fullmatch(r"\*{4,}", text))
            found[key] = Setting(key, "" if masked else text, _text(row, "ask"), masked)
    return found


settings = panel

_YES = {"1", "yes", "y", "true", "t", "on"}
_NO = {"0", "no", "n", "false", "f", "off"}


def same_setting(wanted: Scalar, current: Scalar) -> bool:
    """Say whether two values of a setting mean the same: True, 1 and "yes" do; so do 22 and "22".

    The words are those of YunoHost's own switches (utils/form.py of 12.1.25).
    """

    def plain(found: Scalar) -> str:
        if isinstance(found, bool):
            return "yes" if found else "no"
        text = "" if found is None else str(found)
        if text.lower() in _YES:
            return "yes"
        return "no" if text.lower() in _NO else text

    return plain(wanted) == plain(current)


@dataclass(frozen=True)
class FirewallPort:
    """`port` is a number, or a range such as "10000:10100"."""

    port: str
    protocol: Literal["tcp", "udp"]
    open: bool
    comment: str
    upnp: bool

    @property
    def id(self) -> str:
        return f"{self.port}/{self.protocol}"


def firewall(answer: Answer) -> Mapping[str, FirewallPort]:
    """`firewall list --raw`: "8448/tcp" → what is known about it; closed ports are among them.

    Only the raw list is right: `is-open` was wrong (seen: recording 209).
    """
    table = _table(answer)
    found: dict[str, FirewallPort] = {}
    protocols: tuple[Literal["tcp"], Literal["udp"]] = ("tcp", "udp")
    for protocol in protocols:
        rows = table.get(protocol, {})
        if not isinstance(rows, dict):
            raise UnreadableError(f"{named(answer.argv)} was asked without --raw")
        for port, row in rows.items():
            entry = FirewallPort(
                str(port),
                protocol,
                bool(row.get("open")),
                _text(row, "comment"),
                bool(row.get("upnp")),
            )
            found[entry.id] = entry
    return found


# --- Upgrades --------------------------------------------------------------------------------


@dataclass(frozen=True)
class PackageUpgrade:
    name: str
    current: str
    new: str


@dataclass(frozen=True)
class Upgrades:
    """What could be upgraded. `catalog_age`: seconds since the last refresh that worked; one that
    failed leaves it as it was (seen: recording 353). Apt's own age says nothing (354).
    """

    apps: Mapping[str, AppUpgrade]
    system: tuple[PackageUpgrade, ...]
    migrations: tuple[str, ...]
    catalog_age: int


def upgrades(answer: Answer) -> Upgrades:
    """`tools update`, with or without `--no-refresh`."""
    table = _table(answer)
    found = {}
    for row in table.get("apps") or []:
        # Older servers say the versions beside the id, 12.1 below "upgrade".
        upgrade = _upgrade(row.get("upgrade")) or _upgrade({"status": "upgradable", **row})
        if upgrade is not None:
            found[_text(row, "id")] = upgrade
    return Upgrades(
        found,
        tuple(
            PackageUpgrade(
                _text(row, "name"), _text(row, "current_version"), _text(row, "new_version")
            )
            for rows in (table.get("system") or {}).values()
            for row in rows
        ),
        tuple(
            _text(row, "id") if isinstance(row, dict) else str(row)
            for row in table.get("pending_migrations") or []
        ),
        int(table.get("last_apps_catalog_update") or 0),
    )


# --- Backup ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BackupResult:
    """What became of each part: "Success", "Warning", "Error", "Skipped" or "Unknown".

    Only "Success" counts. "Skipped" is an app that is not there (seen: recording 247) or has no
    backup script, "Warning" one without a restore script, "Error" one that failed (seen:
    recording 340); the command itself ends well in all these cases. `name` and `size` (bytes)
    are a backup's only.
    """

    apps: Mapping[str, str]
    system: Mapping[str, str]
    name: str = ""
    size: int = 0

    @property
    def failed(self) -> tuple[tuple[Literal["apps", "system"], str, str], ...]:
        """What did not succeed, as (kind, name, state), in order of names."""
        kinds: tuple[tuple[Literal["apps", "system"], Mapping[str, str]], ...] = (
            ("apps", self.apps),
            ("system", self.system),
        )
        return tuple(
            (kind, name, state)
            for kind, parts in kinds
            for name, state in sorted(parts.items())
            if state != "Success"
        )

    def missing(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Given app ids that had to be in it, return those the answer does not even name."""
        return tuple(sorted(set(wanted) - set(self.apps)))


def backup_result(answer: Answer) -> BackupResult:
    """`backup create` and `backup restore`. Raise UnreadableError when nothing is said."""
    whole = _table(answer)
    results = whole.get("results", whole)
    if not isinstance(results, dict) or not {"apps", "system"} <= set(results):
        raise UnreadableError(f"{named(answer.argv)} did not say what became of each part")
    return BackupResult(
        {name: str(state) for name, state in (results["apps"] or {}).items()},
        {name: str(state) for name, state in (results["system"] or {}).items()},
        _text(whole, "name"),
        int(whole.get("size") or 0),
    )


def backup_sizes(answer: Answer) -> Mapping[str, int]:
    """`backup create --dry-run`: "apps/wordpress" and "system/data_mail" → bytes.

    It really dumps databases and leaves a folder behind: ask for it rarely.
    """
    details = _table(answer, "size_details")
    return {
        f"{kind}/{name}": int(size)
        for kind, parts in details.items()
        for name, size in (parts or {}).items()
    }


@dataclass(frozen=True)
class Archive:
    """An archive of YunoHost's own. `apps` and `system` need `--with-details`."""

    name: str
    path: str = ""
    created_at: str = ""
    description: str = ""
    size: int = 0
    apps: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    from_version: str = ""


def _archive(name: str, row: Mapping[str, Any]) -> Archive:
    return Archive(
        name,
        _text(row, "path"),
        _text(row, "created_at"),
        _text(row, "description"),
        int(row.get("size") or 0),
        tuple(row.get("apps") or ()),
        tuple(row.get("system") or ()),
        _text(row, "from_yunohost_version"),
    )


def archives(answer: Answer) -> Mapping[str, Archive]:
    """`backup list`, with or without `--with-info`. Corrupt ones are left out by YunoHost with
    `--with-info` (seen: recording 300).
    """
    found = _table(answer).get("archives")
    if isinstance(found, list):
        return {str(name): Archive(str(name)) for name in found}
    if not isinstance(found, dict):
        raise UnreadableError(f"{named(answer.argv)} answered without archives")
    return {name: _archive(name, row) for name, row in found.items()}


def archive(answer: Answer) -> Archive:
    """`backup info NAME`, with or without `--with-details`."""
    return _archive(answer.argv[3], _table(answer))
