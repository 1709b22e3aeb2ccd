"""Every `yunohost` command the product runs, as argv; nothing else in the tree spells one.

Pure builders. Questions carry no lock, writes carry `--timeout`: without it they wait for ever
while another operation runs, with it they give up after so many seconds (seen: recordings 222
to 224). Where an option's value could be read as an option, it is joined to it by "="; where
nothing can protect a value, the builder raises ValueError. Patterns are YunoHost's own
(share/actionsmap.yml of 12.1.25).

Run them without a terminal (it would die with the SSH session; seen: recording 380) unless
`prompts` says that a password is asked for, and with `ENVIRONMENT`, so that what is left of
wording in error messages is English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Argv = tuple[str, ...]

# Settings of the process: English messages, UTF-8 whatever the SSH client sent.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}

# There when the post-install was done. Test it instead of asking, which answers "not correctly
# installed" on standard output (seen: recordings 002 and 015).
INSTALLED_MARKER = "/etc/yunohost/installed"

# Whoever signs what YunoHost calls self-signed certificates (src/certificate.py of 12.1.25).
AUTHORITY = "/etc/ssl/certs/ca-yunohost_crt.pem"
# Whoever really signs: on a server that was brought back from a copy AUTHORITY is that of the
# server which was saved, and this is another one (seen).
SIGNER = "/usr/share/yunohost/ssl/ca/cacert.pem"
# What a domain shows. Whoever signed it by the server's own means is appended: that of the main
# domain is older than AUTHORITY (seen).
CERTIFICATE = "/etc/yunohost/certs/{}/crt.pem"

# Where each app's settings lie, as YAML, secrets among them.
APP_SETTINGS = "/etc/yunohost/apps/{}/settings.yml"

# Archives that `backup restore` finds by name; NAME.tar is enough, the rest is made anew (seen:
# recordings 281 and 302).
ARCHIVES = "/home/yunohost.backup/archives"

# Seconds that a write waits for another operation to end before it gives up.
LOCK_TIMEOUT = 600

_JSON: Argv = ("--output-as", "json")

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PATTERNS = {
    "domain": rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+{_LABEL}",
    "user name": r"[a-z0-9_.]+",
    "group": r"[a-z0-9_]+",
    "user or group": r"[a-z0-9_.]+",
    "permission": r"[a-z0-9_][a-z0-9_-]*(?:\.[a-z0-9_-]+)?",
    "app": r"[a-z0-9][a-z0-9_-]*",
    "setting": r"[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_][A-Za-z0-9_-]*){0,2}",
    "word": r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    "archive": r"\w[\w.-]{0,48}[\w-]|\w",
    "mail address": rf"[A-Za-z0-9_][\w+.-]*@(?:{_LABEL}\.)+{_LABEL}",
    "quota": r"\d+[bkMGT]|0",
    "port": r"\d{1,5}(?::\d{1,5})?",
    "path": r"/[^\x00]*",
    "SSH key": r"(?:sk-)?(?:ssh|ecdsa)-[^\x00-\x1f]+",
    "source": r"https://[^\s\x00]+|/[^\x00]+|[a-z0-9][a-z0-9_-]*",
}


def _is(kind: str, text: str) -> str:
    """The text itself. Raise ValueError when YunoHost would not take it, or not as this."""
    if not re.fullmatch(_PATTERNS[kind], _sendable(text), re.ASCII):
        raise ValueError(f"{text!r} is no {kind} as YunoHost takes it ({_PATTERNS[kind]})")
    return text


def _fullname(text: str) -> str:
    """A full name as YunoHost takes it, by a pattern that says the same as its own: letters and
    digits of any script, and between them one to three of space , . ' -
    """
    if not re.fullmatch(r"[^\W_]+(?:[ ,.'-]{1,3}[^\W_]+)*[ ,.'-]{0,3}", _sendable(text)):
        raise ValueError(
            f"{text!r} is no full name as YunoHost takes it: letters and digits, and between them "
            "at most three of space , . ' -"
        )
    return text


def _all(kind: str, texts: Sequence[str]) -> Argv:
    if isinstance(texts, str):
        raise TypeError("give a sequence of texts, not one text")
    return tuple(_is(kind, text) for text in texts)


def _sendable(text: str) -> str:
    """The text itself. Raise ValueError when no program can be given it."""
    if "\0" in text:
        raise ValueError(f"{text!r} has a zero byte in it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not proper Unicode") from None
    return text


def _free(what: str, text: str) -> str:
    """Free text that stands alone in an argv. Raise ValueError if it could be an option."""
    if _sendable(text).startswith("-"):
        raise ValueError(f"the {what} {text!r} begins with a dash and would be read as an option")
    return text


def _option(name: str, text: str) -> Argv:
    """An option with its value, which may begin with a dash. Raise ValueError for "--" alone:
    Python's argparse, up to 3.12, loses it wherever it stands.
    """
    if text == "--":
        raise ValueError('"--" alone cannot be told to YunoHost')
    if _sendable(text).startswith("-"):
        return (f"{name}={text}",)
    return (name, text)


def _read(*words: str) -> Argv:
    return ("yunohost", *words, *_JSON)


def _write(timeout: int, *words: str) -> Argv:
    if timeout < 1:
        raise ValueError("the time to wait for another operation is at least one second")
    return ("yunohost", *words, *_JSON, "--timeout", str(timeout))


def _flag(name: str, wanted: bool) -> Argv:
    return (name,) if wanted else ()


# --- Questions -------------------------------------------------------------------------------


def domain_list() -> Argv:
    return _read("domain", "list")


def domains_in_directory() -> Argv:
    """The domains as YunoHost's directory has them, in a tenth of the time that it takes itself:
    a line `virtualdomain: NAME` for each. For root."""
    where = ("-H", "ldapi:///", "-b", "ou=domains,dc=yunohost,dc=org", "-s", "one")
    return ("ldapsearch", "-LLL", "-Q", "-Y", "EXTERNAL", *where, "virtualdomain")


def domain_config_get(name: str, key: str | None = None) -> Argv:
    """The panel of a domain, or one value of it."""
    return _read(
        "domain", "config", "get", _is("domain", name), *(_all("setting", (key,)) if key else ())
    )


def cert_status(names: Sequence[str] = (), *, full: bool = False) -> Argv:
    """All domains' certificates, or those named."""
    return _read("domain", "cert", "status", *_all("domain", names), *_flag("--full", full))


def user_list(fields: Sequence[str] = ()) -> Argv:
    """All accounts. Members are data: ask only for the fields that are needed."""
    wanted = ("--fields", *_all("word", fields)) if fields else ()
    return _read("user", "list", *wanted)


def group_list(*, full: bool = True, primary: bool = False) -> Argv:
    """`full`: with permissions. `primary`: with the group that each account has of its own."""
    return _read(
        "user",
        "group",
        "list",
        *_flag("--full", full),
        *_flag("--include-primary-groups", primary),
    )


def group_info(name: str) -> Argv:
    return _read("user", "group", "info", _is("group", name))


def permission_list(*, full: bool = True) -> Argv:
    return _read("user", "permission", "list", *_flag("--full", full))


def app_list(*, full: bool = False) -> Argv:
    """`full` answers passwords too: keep it off logs, and read it by `answers.apps` only."""
    return _read("app", "list", *_flag("--full", full))


def app_manifest(source: str) -> Argv:
    """What an app asks for: a catalog id, an https URL, or a folder on the server."""
    return _read("app", "manifest", _is("source", source))


def app_config_get(app: str, key: str | None = None) -> Argv:
    """The panel of an app, or one value of it."""
    return _read("app", "config", "get", _is("app", app), *(_all("setting", (key,)) if key else ()))


def settings_list() -> Argv:
    return _read("settings", "list")


def firewall_list() -> Argv:
    """The raw list: nothing else is right (seen: recordings 209 to 211)."""
    return _read("firewall", "list", "--raw")


# --- The server ------------------------------------------------------------------------------

# `postinstall` and `user_create` ask for the password and then for it again (seen: recording
# 067): both answers are the same.
PASSWORD_PROMPTS = 2


def postinstall(domain: str, user: str, fullname: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    """Set YunoHost up. Asks for the password on a terminal, `PASSWORD_PROMPTS` times.

    People's keys must be there already: it closes root's door. It ends well though a part
    failed (seen: recording 355).
    """
    return _write(
        timeout,
        "tools",
        "postinstall",
        "--domain",
        _is("domain", domain),
        "--username",
        _is("user name", user),
        "--fullname",
        _fullname(fullname),
        "--ignore-dyndns",
        "--i-have-read-terms-of-services",
    )


def tools_update(
    target: Literal["apps", "system", "all"], *, refresh: bool, timeout: int = LOCK_TIMEOUT
) -> Argv:
    """What could be upgraded. With `refresh` offline it may take six minutes and ends well
    (seen: recordings 353 and 354).
    """
    words = ("tools", "update", target)
    return _write(timeout, *words) if refresh else _write(timeout, *words, "--no-refresh")


def system_upgrade(timeout: int = LOCK_TIMEOUT) -> Argv:
    return _write(timeout, "tools", "upgrade", "system")


def settings_set(key: str, value: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    return _write(timeout, "settings", "set", _is("setting", key), *_option("-v", value))


def settings_set_part(part: str, args: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    """Several settings of one part, such as "email.smtp". `args` as `arguments.encoded` makes
    them; what it leaves out stays, and on a terminal is asked for."""
    return _write(timeout, "settings", "set", _is("setting", part), *_option("--args", args))


def settings_ask(key: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    """Set a secret: YunoHost asks for it on a terminal, once (src/utils/form.py of 12.1.25)."""
    return _write(timeout, "settings", "set", _is("setting", key))


def diagnosis_run(
    categories: Sequence[str] = (), *, force: bool = False, timeout: int = LOCK_TIMEOUT
) -> Argv:
    """Look for problems. Finding some is not a failure (seen: recording 172)."""
    return _write(timeout, "diagnosis", "run", *_all("word", categories), *_flag("--force", force))


def _port(port: str, protocol: str) -> tuple[str, Argv]:
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"{protocol!r} is neither tcp nor udp")
    if any(not 1 <= int(part) <= 65535 for part in _is("port", port).split(":")):
        raise ValueError(f"{port!r} is no port or range of ports between 1 and 65535")
    return port, ("-p", protocol)


def firewall_open(port: str, protocol: str, comment: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    """The form of 12.1 (seen: recording 207; what was before it is gone: 153)."""
    number, rest = _port(port, protocol)
    return _write(timeout, "firewall", "open", number, _free("comment", comment), *rest)


def firewall_close(port: str, protocol: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    number, rest = _port(port, protocol)
    return _write(timeout, "firewall", "close", number, *rest)


# --- Domains ---------------------------------------------------------------------------------


def domain_add(name: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    """Makes a self-signed certificate too; takes about 14 seconds (seen: recording 021)."""
    return _write(timeout, "domain", "add", _is("domain", name))


def domain_remove(name: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    """Refused while an app is on it, and for the main domain (seen: recordings 050 and 137)."""
    return _write(timeout, "domain", "remove", _is("domain", name))


def domain_make_main(name: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    """Only for another one than now: else it fails after it worked (seen: recording 030)."""
    return _write(timeout, "domain", "main-domain", "-n", _is("domain", name))


def domain_config_set(name: str, key: str, value: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    return _write(
        timeout,
        "domain",
        "config",
        "set",
        _is("domain", name),
        _is("setting", key),
        *_option("-v", value),
    )


def domain_config_set_part(name: str, part: str, args: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    """As `settings_set_part`, of a domain."""
    where = (_is("domain", name), _is("setting", part))
    return _write(timeout, "domain", "config", "set", *where, *_option("--args", args))


def cert_install(
    name: str, *, self_signed: bool = False, force: bool = False, timeout: int = LOCK_TIMEOUT
) -> Argv:
    """Let's Encrypt, or a self-signed one. Let's Encrypt ends well without a certificate when
    the domain was not diagnosed (seen: recording 045): look at the certificate afterwards.
    """
    return _write(
        timeout,
        "domain",
        "cert",
        "install",
        _is("domain", name),
        *_flag("--self-signed", self_signed),
        *_flag("--force", force),
    )


# --- People ----------------------------------------------------------------------------------


def user_create(
    name: str, fullname: str, domain: str, *, quota: str = "0", timeout: int = LOCK_TIMEOUT
) -> Argv:
    """Asks for the password on a terminal, `PASSWORD_PROMPTS` times. It cannot be given by
    standard input (seen: recording 066), and as an argument everybody on the server sees it.
    """
    return _write(
        timeout,
        "user",
        "create",
        _is("user name", name),
        "--fullname",
        _fullname(fullname),
        "--domain",
        _is("domain", domain),
        *(("--mailbox-quota", _is("quota", quota)) if quota != "0" else ()),
    )


def user_update(
    name: str,
    *,
    fullname: str | None = None,
    mail: str | None = None,
    add_aliases: Sequence[str] = (),
    remove_aliases: Sequence[str] = (),
    add_forwards: Sequence[str] = (),
    remove_forwards: Sequence[str] = (),
    quota: str | None = None,
    timeout: int = LOCK_TIMEOUT,
) -> Argv:
    """Change what is given, nothing else; never the password. Repeatable (seen: 074, 076)."""
    words: list[str] = []
    if fullname is not None:
        words += ("--fullname", _fullname(fullname))
    if mail is not None:
        words += ("--mail", _is("mail address", mail))
    lists = (
        ("--add-mailalias", add_aliases),
        ("--remove-mailalias", remove_aliases),
        ("--add-mailforward", add_forwards),
        ("--remove-mailforward", remove_forwards),
    )
    for option, addresses in lists:
        if addresses:
            words += (option, *_all("mail address", addresses))
    if quota is not None:
        words += ("--mailbox-quota", _is("quota", quota))
    return _write(timeout, "user", "update", _is("user name", name), *words)


def user_delete(name: str, *, purge: bool = False, timeout: int = LOCK_TIMEOUT) -> Argv:
    """`purge` removes home and mail too."""
    return _write(timeout, "user", "delete", _is("user name", name), *_flag("--purge", purge))


def ssh_key_add(user: str, line: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    """`line` is the one line of a .pub file."""
    return _write(timeout, "user", "ssh", "add-key", _is("user name", user), _is("SSH key", line))


def ssh_key_remove(user: str, line: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    return _write(
        timeout, "user", "ssh", "remove-key", _is("user name", user), _is("SSH key", line)
    )


def group_create(name: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    return _write(timeout, "user", "group", "create", _is("group", name))


def group_delete(name: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    return _write(timeout, "user", "group", "delete", _is("group", name))


def group_add(name: str, users: Sequence[str], timeout: int = LOCK_TIMEOUT) -> Argv:
    """Repeatable (seen: recording 086)."""
    return _write(timeout, "user", "group", "add", _is("group", name), *_some("user name", users))


def group_remove(name: str, users: Sequence[str], timeout: int = LOCK_TIMEOUT) -> Argv:
    """Repeatable (seen: recording 091)."""
    return _write(
        timeout, "user", "group", "remove", _is("group", name), *_some("user name", users)
    )


def _some(kind: str, texts: Sequence[str]) -> Argv:
    if not texts:
        raise ValueError(f"name at least one {kind}")
    return _all(kind, texts)


def permission_add(name: str, who: Sequence[str], timeout: int = LOCK_TIMEOUT) -> Argv:
    """Repeatable (seen: recording 098)."""
    return _write(
        timeout,
        "user",
        "permission",
        "add",
        _is("permission", name),
        *_some("user or group", who),
    )


def permission_remove(name: str, who: Sequence[str], timeout: int = LOCK_TIMEOUT) -> Argv:
    return _write(
        timeout,
        "user",
        "permission",
        "remove",
        _is("permission", name),
        *_some("user or group", who),
    )


def permission_update(
    name: str,
    *,
    label: str | None = None,
    show_tile: bool | None = None,
    timeout: int = LOCK_TIMEOUT,
) -> Argv:
    """The label that people see on their page, and whether the tile is there."""
    return _write(
        timeout,
        "user",
        "permission",
        "update",
        _is("permission", name),
        *(_option("--label", label) if label is not None else ()),
        *(("--show_tile", str(show_tile)) if show_tile is not None else ()),
    )


# --- Apps ------------------------------------------------------------------------------------


def app_install(
    source: str,
    *,
    args: str,
    label: str | None = None,
    force: bool = False,
    timeout: int = LOCK_TIMEOUT,
) -> Argv:
    """Install an app: a catalog id, an https URL (`source_url` for a branch), or a folder.

    `args` comes from `arguments.checked`. An id that is installed already becomes ID__2 (seen:
    recording 121). `force` only answers "yes, this app is not from the catalog" (seen:
    recordings 314 to 316) and "I have read the notice".
    """
    return _write(
        timeout,
        "app",
        "install",
        _is("source", source),
        *(_option("--label", label) if label is not None else ()),
        *_flag("--force", force),
        *(_option("--args", args) if args else ()),
    )


def source_url(url: str, branch: str | None = None) -> str:
    """Given a package's https URL and a branch, return how YunoHost is told both.

    Raise ValueError for what YunoHost would not see as a package (utils/app_utils.py of
    12.1.25): the name must end in _ynh, the branch hold no slash.
    """
    if not re.fullmatch(r"https://[\w.-]+/[\w./~-]+_ynh(?:\.git)?/?", url, re.ASCII):
        raise ValueError(
            f"{url!r} is no package as YunoHost takes it: an https address whose last part "
            "ends in _ynh"
        )
    if branch is None:
        return url
    if not re.fullmatch(r"\w[\w.-]*", branch, re.ASCII):
        raise ValueError(f"{branch!r} is no branch as YunoHost takes it: no slash, no spaces")
    return f"{url.rstrip('/').removesuffix('.git')}/tree/{branch}"


def app_remove(app: str, *, purge: bool = False, timeout: int = LOCK_TIMEOUT) -> Argv:
    """Also what removes a ghost (seen: recording 335). `purge` removes its data too."""
    return _write(timeout, "app", "remove", _is("app", app), *_flag("--purge", purge))


def app_upgrade(
    app: str,
    *,
    source: str | None = None,
    force: bool = False,
    safety_backup: bool = True,
    timeout: int = LOCK_TIMEOUT,
) -> Argv:
    """One app. Ends well though it failed and was rolled back (seen: recording 343), badly when
    there was nothing to do (198): compare versions, and see `errors.classify`.
    """
    if source is None:
        where: Argv = ()
    else:
        where = ("--file" if source.startswith("/") else "--url", _is("source", source))
    return _write(
        timeout,
        "app",
        "upgrade",
        _is("app", app),
        *where,
        *_flag("--force", force),
        *_flag("--no-safety-backup", not safety_backup),
    )


def app_change_url(app: str, domain: str, path: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    """Only for another address than now: else it fails (seen: recording 221)."""
    return _write(
        timeout,
        "app",
        "change-url",
        _is("app", app),
        "-d",
        _is("domain", domain),
        "-p",
        _is("path", path),
    )


def app_setting_set(app: str, key: str, value: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    return _write(
        timeout, "app", "setting", _is("app", app), _is("setting", key), *_option("-v", value)
    )


def app_setting_delete(app: str, key: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    return _write(timeout, "app", "setting", _is("app", app), _is("setting", key), "--delete")


def app_config_set_panel(
    app: str, panel: str, args: str, file: str = "", timeout: int = LOCK_TIMEOUT
) -> Argv:
    """Several values of one panel of an app, such as "main". `args` as `arguments.encoded` makes
    them, `file` holds more, as YAML; what neither names stays.

    Never one value alone: YunoHost crashes on one that another one shows (`visible`), and an app's
    script may count on all that its panel holds (my_webapp does; both seen on 12.1.25).
    """
    given = (
        *(_option("--args", args) if args else ()),
        *(_option("--args-file", file) if file else ()),
    )
    where = (_is("app", app), _is("setting", panel))
    return _write(timeout, "app", "config", "set", *where, *given)


# --- Backup ----------------------------------------------------------------------------------


def backup_create(
    name: str,
    *,
    apps: Sequence[str] | None = None,
    system: Sequence[str] | None = None,
    methods: Sequence[str] = (),
    description: str = "",
    timeout: int = LOCK_TIMEOUT,
) -> Argv:
    """Everything; or the `apps` named, the `system` parts named, an empty one meaning all of its
    kind. An unknown method makes nothing and says it did (seen: recording 249); `answers.
    backup_result` tells what became of each part. Never into a folder of one's own choice: a
    second backup there deletes it (seen: recording 286).
    """
    return _write(
        timeout,
        "backup",
        "create",
        "-n",
        _is("archive", name),
        *(_option("-d", description) if description else ()),
        *(("--methods", *_all("word", methods)) if methods else ()),
        *_parts(apps, system),
    )


def _parts(apps: Sequence[str] | None, system: Sequence[str] | None) -> Argv:
    return (
        *(("--system", *_all("word", system)) if system is not None else ()),
        *(("--apps", *_all("app", apps)) if apps is not None else ()),
    )


def backup_restore(
    name: str,
    *,
    apps: Sequence[str] | None = None,
    system: Sequence[str] | None = None,
    force: bool = False,
    timeout: int = LOCK_TIMEOUT,
) -> Argv:
    """From NAME.tar in `ARCHIVES`. Everything; or the parts named, as in `backup_create`.

    Restore apps one at a time: one that fails ends the whole (seen: recording 338). System
    parts on a server in use need `force` (seen: recording 272), which replaces its people and
    domains.
    """
    return _write(
        timeout,
        "backup",
        "restore",
        _is("archive", name),
        *_parts(apps, system),
        *_flag("--force", force),
    )


def backup_delete(name: str, timeout: int = LOCK_TIMEOUT) -> Argv:
    return _write(timeout, "backup", "delete", _is("archive", name))
