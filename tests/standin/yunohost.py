#!/usr/bin/env python3
"""A stand-in for the `yunohost` command, for tests of whole flows.

It is not YunoHost. It reads a command line as YunoHost 12.1.25 reads it (the same options, the
same way), keeps a simple state in a JSON file, and answers with the words and exit codes that
were recorded of a real server, the traps among them:

- commands that end well though they failed: an upgrade that is rolled back, Let's Encrypt
  without a diagnosis, a backup by a method that does not exist, parts that are missing from a
  backup or a restore, a refresh without network;
- commands that fail though there was nothing to do: an upgrade of what is up to date, the main
  domain that is it already, the same address again, what exists or is gone already;
- ghosts that a restore leaves when a domain is missing, which block every further one;
- the lock, which writes wait for and reads do not look at;
- a password that is only asked for on a terminal; an app that becomes ID__2;
- a home for everybody to write in after a second attempt to restore on a blank server.

What passes here is no claim about YunoHost: a live test is.

Where it keeps things, from the environment or from `standin.json` beside the path it is called
by (for callers that clean the environment):
    YNH_STANDIN_STATE   the state file (made with `fresh()` when it is not there)
    YNH_STANDIN_ROOT    what stands for / : archives, hooks and YunoHost's own files lie below
                        it (default: the folder `root` beside the state file)
    YNH_STANDIN_DELAYS  a factor: 1 is as slow as the recorded server was (default 0)
Every call is added to STATE.calls, one JSON list a line.

Switches in the state: offline, broken (app → ["install", "upgrade", "remove", "backup",
"restore"]), reachable (a domain's name leads here), full_disk, catalog (app → version and
questions).
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import fcntl
import functools
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl

State = dict[str, Any]

# Every command the product may send, with its arguments as share/actionsmap.yml of 12.1.25 has
# them. `!` is a switch, `+` and `*` take several values, `?` none or one.
GRAMMAR = {
    "user list": "--fields+",
    "user create": "username -F|--fullname -p|--password -d|--domain -q|--mailbox-quota"
    " -s|--loginShell",
    "user delete": "username --purge! --force!",
    "user update": "username -F|--fullname -m|--mail -p|--change-password? --add-mailforward*"
    " --remove-mailforward* --add-mailalias* --remove-mailalias* -q|--mailbox-quota"
    " -s|--loginShell",
    "user info": "username",
    "user export": "",
    "user import": "csvfile -u|--update! -d|--delete!",
    "user group list": "-f|--full! -p|--include-primary-groups!",
    "user group create": "groupname",
    "user group delete": "groupname",
    "user group info": "groupname",
    "user group add": "groupname usernames*",
    "user group remove": "groupname usernames*",
    "user permission list": "apps* -f|--full!",
    "user permission info": "permission",
    "user permission update": "permission -l|--label -s|--show_tile -L|--logo -d|--description"
    " -o|--order -H|--hide_from_public",
    "user permission add": "permission names*",
    "user permission remove": "permission names*",
    "user ssh list-keys": "username",
    "user ssh add-key": "username key -c|--comment",
    "user ssh remove-key": "username key",
    "domain list": "--exclude-subdomains! --tree! --features*",
    "domain info": "domain",
    "domain add": "domain --ignore-dyndns! --dyndns-recovery-password? --install-letsencrypt-cert!",
    "domain remove": "domain -r|--remove-apps! -f|--force! --ignore-dyndns!"
    " --dyndns-recovery-password?",
    "domain main-domain": "-n|--new-main-domain",
    "domain url-available": "domain path",
    "domain config get": "domain key? -f|--full! -e|--export!",
    "domain config set": "domain key? -v|--value -a|--args",
    "domain dns suggest": "domain",
    "domain cert status": "domain_list* --full!",
    "domain cert install": "domain_list* --force! --no-checks! --self-signed!",
    "domain cert renew": "domain_list* --force! --email! --no-checks!",
    "app catalog": "-f|--full! -c|--with-categories! -a|--with-antifeatures!",
    "app search": "string",
    "app manifest": "app -s|--with-screenshot!",
    "app list": "-f|--full!",
    "app info": "app -f|--full! --with-pre-upgrade-notifications!",
    "app map": "-a|--app -r|--raw! -u|--user",
    "app install": "app -l|--label -a|--args -n|--no-remove-on-failure! -f|--force!"
    " -i|--ignore-yunohost-version!",
    "app remove": "app -p|--purge!",
    "app upgrade": "app* -u|--url -f|--file -F|--force! -b|--no-safety-backup!"
    " -c|--continue-on-failure! -i|--ignore-yunohost-version!",
    "app change-url": "app -d|--domain -p|--path",
    "app change-label": "app new_label",
    "app setting": "app key -v|--value -d|--delete!",
    "app config get": "app key? -f|--full! -e|--export! --core!",
    "app config set": "app key? -v|--value -a|--args -f|--args-file --core!",
    "backup create": "-n|--name -d|--description -o|--output-directory --methods* --system*"
    " --apps* --dry-run!",
    "backup restore": "name --system* --apps* --force!",
    "backup list": "-i|--with-info! -H|--human-readable!",
    "backup info": "name -d|--with-details! -H|--human-readable!",
    "backup delete": "name",
    "settings list": "-f|--full!",
    "settings get": "key -f|--full! -e|--export!",
    "settings set": "key? -v|--value -a|--args",
    "settings reset": "key",
    "service status": "names*",
    "service start": "names+",
    "service stop": "names+",
    "service restart": "names+",
    "firewall list": "-r|--raw! -p|--protocol? -f|--forwarded!",
    "firewall is-open": "port -p|--protocol",
    "firewall open": "port -p|--protocol comment --upnp! --no-reload!",
    "firewall close": "port -p|--protocol --upnp-only! --no-reload!",
    "firewall delete": "port -p|--protocol --no-reload!",
    "firewall reload": "--skip-upnp!",
    "tools postinstall": "-d|--domain -u|--username -F|--fullname -p|--password --ignore-dyndns!"
    " --dyndns-recovery-password?"
    " --force-diskspace! --i-have-read-terms-of-services!",
    "tools update": "target? --no-refresh!",
    "tools upgrade": "target?",
    "tools regen-conf": "names* -d|--with-diff! -f|--force! -n|--dry-run! -p|--list-pending!",
    "tools versions": "",
    "tools migrations list": "--pending! --done!",
    "tools migrations run": "targets* --skip! --force-rerun! --auto! --accept-disclaimer!",
    "hook list": "action -l|--list-by -i|--show-info!",
    "log list": "-l|--limit -d|--with-details! -s|--with-suboperations!",
    "diagnosis list": "",
    "diagnosis show": "categories* --full! --issues! --share! --human-readable!",
    "diagnosis run": "categories* --force! --except-if-never-ran-yet! --email!",
}

# Seconds that the recorded server took, by command; other reads 0.3, other writes 2.
DELAYS = {
    "domain add": 13.0,
    "domain remove": 6.9,
    "domain main-domain": 19.5,
    "domain info": 0.9,
    "domain config get": 0.9,
    "domain config set": 10.0,
    "domain cert install": 5.7,
    "user list": 0.33,
    "user group list": 0.32,
    "user permission list": 0.31,
    "app list": 0.34,
    "app manifest": 1.0,
    "app install": 22.1,
    "app upgrade": 22.0,
    "app remove": 4.3,
    "app change-url": 7.5,
    "app config get": 1.45,
    "app config set": 2.8,
    "settings list": 0.69,
    "settings get": 0.66,
    "service status": 0.69,
    "firewall list": 0.26,
    "firewall open": 3.1,
    "backup create": 7.2,
    "backup restore": 19.0,
    "backup list": 0.3,
    "tools postinstall": 30.0,
    "tools regen-conf": 15.2,
    "tools versions": 0.28,
}

READS = re.compile(
    r"( list| info| get| status| suggest| manifest| catalog| search| map| show| versions"
    r"| list-keys| export| url-available| is-open)$"
)
# Answered by a server that is not set up yet (recordings 001, 004, 302).
BEFORE_SETUP = {"tools versions", "tools postinstall", "backup list", "backup restore"}
SYSTEM = (
    "conf_ldap",
    "data_home",
    "data_multimedia",
    "conf_ynh_settings",
    "conf_ynh_certs",
    "data_mail",
    "conf_manually_modified_files",
)
DOMAIN = r"([^\W_A-Z]+([-]*[^\W_A-Z]+)*\.)+((xn--)?[^\W_]{2,})"
HINT = (
    "You are now about to define a new user password. The password should be at least 8 "
    "characters long—though it is good practice to use a longer password."
)


class Failure(Exception):
    """A command that ends with exit code 1 and an ERROR line for each text."""

    def __init__(self, *errors: str) -> None:
        super().__init__(*errors)
        self.errors = errors


def fresh() -> State:
    """A server on which YunoHost is installed and not set up."""
    question = {"type": "string", "optional": False}
    return {
        "installed": False,
        "main": "",
        "domains": {},
        "users": {},
        "groups": {},
        "permissions": {},
        "apps": {},
        "archives": {},
        "settings": {
            "security.password.admin_strength": "1",
            "security.password.user_strength": "1",
            "security.password.passwordless_sudo": "no",
            "security.ssh.ssh_port": "22",
            "security.ssh.ssh_password_authentication": "yes",
            "email.pop3.pop3_enabled": "no",
            "email.smtp.smtp_relay_enabled": "no",
            "email.smtp.smtp_relay_host": "",
            "email.smtp.smtp_backup_mx_domains": "",
            "misc.backup.backup_compress_tar_archives": "no",
        },
        "firewall": {
            f"{port}/{protocol}": {"open": True, "comment": comment, "upnp": True}
            for port, protocol, comment in (
                (22, "tcp", "Default SSH port"),
                (25, "tcp", "SMTP email server (postfix)"),
                (80, "tcp", "HTTP server (nginx)"),
                (443, "tcp", "HTTPS server (nginx)"),
                (587, "tcp", "SMTP MSA email server (postfix)"),
                (993, "tcp", "IMAP email server (dovecot)"),
                (53, "udp", "DNS server (dnsmasq)"),
            )
        },
        "services": dict.fromkeys(("dovecot", "nginx", "postfix", "slapd"), "running"),
        "catalog": {
            "my_webapp": {
                "version": "1.0~ynh21",
                "install": {
                    "domain": {"type": "domain"},
                    "path": {"type": "path", "default": "/site"},
                    "with_sftp": {"type": "boolean", "default": True},
                    "password": {"type": "password", "optional": True},
                    "init_main_permission": {"type": "group", "default": "visitors"},
                    "phpversion": {
                        "type": "select",
                        "default": "8.4",
                        "choices": ["none", "8.2", "8.4"],
                    },
                    "database": {
                        "type": "select",
                        "default": "none",
                        "choices": ["none", "mysql"],
                    },
                    "custom_error_file": {"type": "boolean", "default": False},
                },
            },
            "wordpress": {
                "version": "6.1.9~ynh1",
                "install": {
                    "domain": {"type": "domain"},
                    "path": {"type": "path", "default": "/blog"},
                    "init_main_permission": {"type": "group", "default": "visitors"},
                    "language": {
                        "type": "select",
                        "default": "fr_FR",
                        "choices": ["en_US", "fr_FR"],
                    },
                    "admin": {"type": "user"},
                    "multisite": {"type": "boolean", "default": False},
                },
            },
            "etherpad": {
                "version": "2.2.7~ynh1",
                "install": {
                    "domain": {"type": "domain"},
                    "path": {"type": "path", "default": "/pad"},
                    "init_main_permission": {"type": "group", "default": "visitors"},
                    "admin": {"type": "user"},
                    "password": {**question, "type": "password"},
                },
            },
        },
        "packages": [],
        "broken": {},
        "reachable": [],
        "connected": False,
        "diagnosed": False,
        "offline": False,
        "full_disk": False,
        "catalog_age": 0,
        "failed_restore": False,
        "operations": [],
    }


# --- the command line ------------------------------------------------------------------------


@functools.cache
def parser() -> argparse.ArgumentParser:
    """The whole grammar, nested as YunoHost nests it."""
    top = argparse.ArgumentParser(prog="yunohost")
    levels: dict[tuple[str, ...], Any] = {(): top.add_subparsers(dest="word0", required=True)}
    for command, arguments in GRAMMAR.items():
        words = tuple(command.split())
        for depth in range(1, len(words)):
            if words[:depth] not in levels:
                middle = levels[words[: depth - 1]].add_parser(words[depth - 1])
                levels[words[:depth]] = middle.add_subparsers(dest=f"word{depth}", required=True)
        leaf = levels[words[:-1]].add_parser(words[-1])
        leaf.set_defaults(command=command)
        for argument in arguments.split():
            _add(leaf, argument)
    return top


def _add(leaf: argparse.ArgumentParser, argument: str) -> None:
    kind = argument[-1] if argument[-1] in "!+*?" else ""
    names = argument.removesuffix(kind).split("|")
    if kind == "!":
        leaf.add_argument(*names, action="store_true")
    elif kind == "?" and names[0].startswith("-"):
        leaf.add_argument(*names, nargs="?", const="")
    elif kind:
        leaf.add_argument(*names, nargs=kind)
    else:
        leaf.add_argument(*names)


def parse(argv: list[str]) -> tuple[argparse.Namespace, argparse.Namespace]:
    """Given what follows the word yunohost, return the options for all commands and the command.

    As YunoHost does it: first the options that every command has, wherever they stand, then
    what is left of the line (bin/yunohost of 12.1.25). Ends the process with exit code 2.
    """
    glob = argparse.ArgumentParser(add_help=False, prog="yunohost")
    glob.add_argument("--output-as", choices=["json", "plain", "none"], default=None)
    glob.add_argument("--debug", action="store_true")
    glob.add_argument("--quiet", action="store_true")
    glob.add_argument("--version", action="store_true")
    glob.add_argument("--timeout", type=int, default=None)
    glob.add_argument("--plain", action="store_true")
    glob.add_argument("--json", action="store_true")
    options, rest = glob.parse_known_args(argv)
    return options, parser().parse_args(["tools", "versions"] if options.version else rest)


# --- one call --------------------------------------------------------------------------------


class Server:
    """The state during one call."""

    def __init__(self, state: Path, root: Path, quiet: bool) -> None:
        self.path = state
        self.root = root
        self.quiet = quiet
        self.s: State = fresh()
        if state.exists():
            self.s |= json.loads(state.read_text())

    def save(self) -> None:
        """Write the state, and YunoHost's own files that others read."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.s, indent=1))
        new.replace(self.path)
        ynh = self.root / "etc/yunohost"
        if not self.s["installed"]:
            return
        (ynh / "apps").mkdir(parents=True, exist_ok=True)
        (ynh / "installed").touch()
        ports: dict[str, dict[str, Any]] = {"tcp": {}, "udp": {}}
        for key, row in self.s["firewall"].items():
            port, _, protocol = key.partition("/")
            ports[protocol][port] = row
        (ynh / "firewall.yml").write_text(json.dumps({"router_forwarding_upnp": False, **ports}))
        for name, row in self.s["domains"].items():
            (ynh / "domains").mkdir(exist_ok=True)
            (ynh / "domains" / f"{name}.yml").write_text(
                json.dumps({key.rpartition(".")[2]: v for key, v in row["config"].items()})
            )
            self._certificate(name, row["certificate"])
        for name, row in self.s["apps"].items():
            folder = ynh / "apps" / name
            folder.mkdir(exist_ok=True)
            (folder / "settings.yml").write_text(block(row["settings"]))
        for gone in (ynh / "apps").iterdir():
            if gone.name not in self.s["apps"]:
                (gone / "settings.yml").unlink(missing_ok=True)
                gone.rmdir()
        for name, row in self.s["users"].items():
            if row.get("keys"):
                folder = self.root / f"home/{name}/.ssh"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "authorized_keys").write_text("\n".join(row["keys"]) + "\n")

    def _certificate(self, name: str, kind: str) -> None:
        """A certificate file whose issuer says what kind it is."""
        folder = self.root / "etc/yunohost/certs" / name
        marker = folder / ".kind"
        if marker.exists() and marker.read_text() == kind:
            return
        folder.mkdir(parents=True, exist_ok=True)
        issuer = "/O=Let's Encrypt" if kind == "letsencrypt" else ""
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        argv += ["ec_paramgen_curve:P-256", "-nodes", "-subj", f"{issuer}/CN={name[:64]}"]
        argv += ["-days", "90" if issuer else "3650"]
        argv += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "crt.pem")]
        subprocess.run(argv, check=True, capture_output=True)
        marker.write_text(kind)

    # what is printed

    def info(self, text: str) -> None:
        if not self.quiet:
            print(f"INFO {text}")

    def success(self, text: str) -> None:
        if not self.quiet:
            print(f"SUCCESS {text}")

    def warning(self, text: str) -> None:
        print(f"WARNING {text}", file=sys.stderr)

    def error(self, text: str) -> None:
        print(f"ERROR {text}", file=sys.stderr)

    # what is asked often

    def domain(self, name: str) -> dict[str, Any]:
        if name not in self.s["domains"]:
            raise Failure(f"Domain '{name}' unknown")
        found: dict[str, Any] = self.s["domains"][name]
        return found

    def user(self, name: str) -> dict[str, Any]:
        if name not in self.s["users"]:
            raise Failure(f"Unknown user: {name}")
        found: dict[str, Any] = self.s["users"][name]
        return found

    def app(self, name: str) -> dict[str, Any]:
        if name not in self.s["apps"]:
            listed = "".join(f"\n - {app}" for app in sorted(self.s["apps"])) or "\n -"
            raise Failure(f"Could not find {name} in the list of installed apps: {listed}")
        found: dict[str, Any] = self.s["apps"][name]
        return found

    def group(self, name: str) -> list[str]:
        if name == "all_users":
            return sorted(self.s["users"])
        if name not in self.s["groups"]:
            raise Failure(f"The group '{name}' is unknown")
        found: list[str] = self.s["groups"][name]
        return found

    def log(self, name: str, success: bool) -> str:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.s["operations"].append({"name": f"{stamp}-{name}", "success": success})
        return f"{stamp}-{name}"

    def failed(self, name: str, what: str) -> str:
        return (
            f"The operation '{what}' could not be completed. Please share the full log of this "
            f"operation using the command 'yunohost log share {self.log(name, False)}' to get help"
        )


@contextlib.contextmanager
def lock(path: Path, timeout: int | None) -> Iterator[None]:
    """YunoHost's lock: waited for without end, or as long as is said (recordings 222, 223)."""
    with path.open("a") as file:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if until is not None and time.monotonic() > until:
                    raise Failure(
                        "There is already a YunoHost operation running. Please wait for it to "
                        "finish before running another one."
                    ) from None
                time.sleep(0.05)
        yield


def ask(message: str, times: int = 1, prefill: str = "") -> str:
    """Ask for a password on the terminal, as often as is said (recording 067).

    What is set already stands in the line and must be rubbed out first (utils/form.py of
    12.1.25): else what is typed is added to it.
    """
    if not os.isatty(1):
        raise Failure("Not a tty, can't do interactive prompts")
    answers = []
    for turn in range(times):
        print(f"Confirm {message[0].lower()}{message[1:]}: " if turn else f"{message}: ", end="")
        sys.stdout.flush()
        answers.append(_hidden_line(prefill))
        print()
    if len(set(answers)) != 1:
        raise Failure("Values don't match")
    return answers[0]


def _hidden_line(line: str) -> str:
    old = termios.tcgetattr(0)
    raw = copy.deepcopy(old)
    raw[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(0, termios.TCSADRAIN, raw)
    typed = bytearray(line.encode())
    try:
        while (byte := os.read(0, 1)) not in (b"\r", b"\n", b""):
            if byte == b"\x15":  # control-U
                typed.clear()
            elif byte == b"\x7f":
                del typed[-1:]
            else:
                typed += byte
        return typed.decode()
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, old)


def strong(password: str) -> None:
    if password.lower() in ("password", "12345678", "weak"):
        raise Failure(
            "This password is among the most used passwords in the world. Please choose "
            "something more unique."
        )
    if len(password) < 8:
        raise Failure("The password needs to be at least 8 characters long")


def matching(pattern: str, name: str, text: str, meaning: str) -> str:
    if not re.match(rf"^{pattern}$", text):
        print(
            f"WARNING argument value '{text}' for '{name}' doesn't match pattern '^{pattern}$'",
            file=sys.stderr,
        )
        raise Failure(f"Invalid argument '{name}': {meaning}")
    return text


def user_name(text: str) -> str:
    return matching(
        r"[a-z0-9_\.]+",
        "username",
        text,
        "Must be lower-case alphanumeric and underscore characters only",
    )


def domain_name(text: str) -> str:
    return matching(DOMAIN, "domain", text, "Must be a valid domain name (e.g. my-domain.org)")


# --- commands --------------------------------------------------------------------------------
# Each takes the server and the command line, and returns what is printed as JSON, or nothing.


def tools_versions(y: Server, a: Any) -> Any:
    return {
        "yunohost": {"version": "12.1.25", "repo": "stable"},
        "moulinette": {"version": "12.1.0", "repo": "stable"},
        "ssowat": {"version": "12.0.1", "repo": "testing"},
    }


def tools_postinstall(y: Server, a: Any) -> None:
    if y.s["installed"]:
        raise Failure("YunoHost is already installed")
    if a.domain is None or a.username is None or a.fullname is None:
        ask("Main domain")
    domain_name(a.domain), user_name(a.username)
    password = a.password if a.password is not None else ask("New administration password", 2)
    print(HINT)
    strong(password)
    if a.username in ("admin", "root", "www-data"):
        raise Failure(f"Unfortunately, {a.username} cannot be used as a username")
    y.info("Installing YunoHost…")
    set_up(y, a.domain)
    make_user(y, a.username, a.fullname, a.domain, password)
    y.s["groups"]["admins"].append(a.username)
    if y.s["offline"]:
        y.error("Could not run script: /usr/share/yunohost/hooks/conf_regen/10-apt")
    y.success("YunoHost is now configured")


def set_up(y: Server, domain: str) -> None:
    y.s |= {"installed": True, "main": domain}
    y.s["groups"] |= {"admins": [], "visitors": []}
    y.s["permissions"] |= {
        "mail.main": {"label": "Email", "allowed": ["all_users"], "protected": True},
        "sftp.main": {"label": "SFTP", "allowed": [], "protected": True},
        "ssh.main": {"label": "SSH", "allowed": ["admins"], "protected": True},
    }
    y.s["domains"][domain] = {"certificate": "selfsigned", "config": {}}


def make_user(y: Server, name: str, fullname: str, domain: str, password: str) -> None:
    y.s["users"][name] = {
        "fullname": fullname,
        "mail": f"{name}@{domain}",
        "aliases": [],
        "forwards": [],
        "quota": "0",
        "password": password,
        "keys": [],
    }
    y.info(f"The user '{name}' will be added to the group 'all_users'")


def domain_list(y: Server, a: Any) -> Any:
    return {"domains": list(y.s["domains"]), "main": y.s["main"]}


def certificate(y: Server, name: str) -> dict[str, Any]:
    kind = y.domain(name)["certificate"]
    return {
        "CA_type": kind,
        "validity": 89 if kind == "letsencrypt" else 3649,
        "style": "success" if kind == "letsencrypt" else "warning",
        "summary": kind,
    }


def domain_info(y: Server, a: Any) -> Any:
    return {
        "certificate": certificate(y, a.domain),
        "registrar": "",
        "apps": [
            {"id": name, "name": app["label"], "path": app["settings"].get("path", "")}
            for name, app in y.s["apps"].items()
            if app["settings"].get("domain") == a.domain
        ],
        "main": a.domain == y.s["main"],
        "topest_parent": None,
    }


def domain_add(y: Server, a: Any) -> None:
    domain_name(a.domain)
    if a.domain in y.s["domains"]:
        y.info(f"attribute 'virtualdomain' with value '{a.domain}' is not unique")
        raise Failure("The domain already exists")
    y.s["domains"][a.domain] = {"certificate": "selfsigned", "config": {}}
    y.success(f"Self-signed certificate now installed for the domain '{a.domain}'")
    y.success("Domain created")


def domain_remove(y: Server, a: Any) -> None:
    y.domain(a.domain)
    if a.domain == y.s["main"]:
        raise Failure(f"You cannot remove '{a.domain}' since it's the main domain")
    used = [n for n, app in y.s["apps"].items() if app["settings"].get("domain") == a.domain]
    if used:
        raise Failure(
            "Those applications are still installed on your domain:\n"
            + "\n".join(f"    - {name}" for name in used)
        )
    del y.s["domains"][a.domain]
    y.success("Domain deleted")


def domain_main_domain(y: Server, a: Any) -> Any:
    if a.new_main_domain is None:
        return {"current_main_domain": y.s["main"]}
    y.domain(a.new_main_domain)
    if a.new_main_domain == y.s["main"]:
        y.success("Configuration updated for 'postfix'")
        y.info(y.failed("domain_main_domain", "Make it the main domain"))
        raise Failure(f"The alias abuse@{y.s['main']} can not be removed from the 'admins' group")
    y.s["main"] = a.new_main_domain
    y.success("The main domain has been changed")
    return None


def domain_url_available(y: Server, a: Any) -> Any:
    return False  # also for free ones (recording 375)


DOMAIN_PANEL = {
    "feature.mail.mail_out": "yes",
    "feature.mail.mail_in": "yes",
    "feature.app.default_app": "_none",
}


def domain_config_get(y: Server, a: Any) -> Any:
    values = DOMAIN_PANEL | {k: words(v) for k, v in y.domain(a.domain)["config"].items()}
    if a.key:
        if a.key not in values:
            raise Failure(f"The filter key '{a.key}' is incorrect.")
        return {"yes": 1, "no": 0}.get(values[a.key], values[a.key])
    return {key: {"ask": key, "value": value} for key, value in values.items()}


def words(value: Any) -> str:
    """A switch as YunoHost shows it."""
    return {"1": "yes", "0": "no", "True": "yes", "False": "no"}.get(str(value), str(value))


def domain_config_set(y: Server, a: Any) -> None:
    domain = y.domain(a.domain)
    if a.key not in DOMAIN_PANEL and not a.key.startswith("feature."):
        raise Failure(f"The filter key '{a.key}' is incorrect.")
    if a.args is not None:
        given = dict(parse_qsl(a.args, keep_blank_values=True))
        domain["config"] |= {f"{a.key}.{last}": value for last, value in given.items()}
    elif a.key in SHOWN_BY:
        raise KeyError(SHOWN_BY[a.key].rpartition(".")[2])
    else:
        value = {"yes": 1, "no": 0, "1": 1, "0": 0}.get(a.value, a.value)
        domain["config"][a.key] = value
    y.info("Saving the new configuration...")
    y.success("Config updated as expected")


def domain_dns_suggest(y: Server, a: Any) -> Any:
    y.domain(a.domain)
    if a.domain.endswith((".test", ".local")):
        return "This domain is based on a special-use top-level domain (TLD)."
    return f"; Basic\n@ 3600 IN A 203.0.113.11\n@ 3600 IN MX 10 {a.domain}."


def domain_cert_status(y: Server, a: Any) -> Any:
    names = a.domain_list or list(y.s["domains"])
    return {"certificates": {name: certificate(y, name) for name in names}}


def domain_cert_install(y: Server, a: Any) -> None:
    for name in a.domain_list:
        domain = y.domain(name)
        if a.self_signed:
            domain["certificate"] = "selfsigned"
            y.success(f"Self-signed certificate now installed for the domain '{name}'")
        elif domain["certificate"] == "letsencrypt" and not a.force:
            raise Failure(f"The certificate for domain {name} is not self-signed.")
        elif not y.s["diagnosed"] and not a.no_checks:
            y.error(f"There is no diagnosis result for domain {name} yet.")  # and exit code 0
        elif y.s["offline"] or name not in y.s["reachable"]:
            raise Failure(
                f"Certificate installation for {name} failed !",
                f"Let's Encrypt certificate install failed for {name}",
            )
        else:
            domain["certificate"] = "letsencrypt"
            y.success(f"Let's Encrypt certificate now installed for the domain '{name}'")


def domain_cert_renew(y: Server, a: Any) -> None:
    for name in a.domain_list:
        y.domain(name)
        raise Failure(f"The certificate for the domain '{name}' is not about to expire!")


# people


def user_row(y: Server, name: str, fields: list[str]) -> dict[str, Any]:
    row = y.s["users"][name]
    whole = {
        "username": name,
        "fullname": row["fullname"],
        "mail": row["mail"],
        "mail-alias": row["aliases"],
        "mail-forward": row["forwards"],
        "mailbox-quota": row["quota"],
        "groups": [group for group, members in y.s["groups"].items() if name in members],
        "shell": False,
        "home-path": f"/home/{name}",
    }
    return {field: whole[field] for field in fields}


def user_list(y: Server, a: Any) -> Any:
    fields = a.fields or ["username", "fullname", "mail", "mailbox-quota"]
    return {"users": {name: user_row(y, name, fields) for name in y.s["users"]}}


def user_export(y: Server, a: Any) -> None:
    print("username;firstname;lastname;password;mail;mail-alias;mail-forward;mailbox-quota;groups")
    for name, row in y.s["users"].items():
        first, _, last = row["fullname"].partition(" ")
        print(f"{name};{first};{last};;{row['mail']};;;{row['quota']};")


def user_info(y: Server, a: Any) -> Any:
    row = y.user(a.username)
    quota = row["quota"]
    return {
        "username": a.username,
        "fullname": row["fullname"],
        "mail": row["mail"],
        "loginShell": "/bin/bash",
        "mail-aliases": row["aliases"],
        "mail-forward": row["forwards"],
        "mailbox-quota": {"limit": "No quota" if quota == "0" else quota, "use": "0"},
    }


def user_create(y: Server, a: Any) -> Any:
    user_name(a.username)
    if a.fullname is None:
        ask("Full name")
    password = a.password if a.password is not None else ask("Password", 2)
    print(HINT)
    if a.username in y.s["users"]:
        raise Failure(f"The user '{a.username}' already exists")
    if a.username in ("root", "daemon", "nobody"):
        raise Failure("Username already exists in the list of system users")
    strong(password)
    domain = a.domain or y.s["main"]
    y.domain(domain)
    make_user(y, a.username, a.fullname, domain, password)
    y.s["users"][a.username]["quota"] = a.mailbox_quota or "0"
    y.success("User created")
    return {"fullname": a.fullname, "username": a.username, "mail": f"{a.username}@{domain}"}


def user_update(y: Server, a: Any) -> Any:
    row = y.user(a.username)
    if a.fullname is not None:
        row["fullname"] = a.fullname
    if a.mail is not None:
        row["mail"] = a.mail
    if a.change_password is not None:
        row["password"] = a.change_password or ask("Password", 2)
    for field, add, remove in (
        ("aliases", a.add_mailalias, a.remove_mailalias),
        ("forwards", a.add_mailforward, a.remove_mailforward),
    ):
        row[field] = [x for x in row[field] if x not in (remove or ())]
        row[field] += [x for x in (add or ()) if x not in row[field]]
    if a.mailbox_quota is not None:
        row["quota"] = a.mailbox_quota
    y.success("User info changed")
    return user_info(y, a)


def user_delete(y: Server, a: Any) -> None:
    y.user(a.username)
    del y.s["users"][a.username]
    for members in y.s["groups"].values():
        if a.username in members:
            members.remove(a.username)
    y.success("User deleted")


def user_import(y: Server, a: Any) -> Any:
    rows = list(csv.DictReader(io.StringIO(Path(a.csvfile).read_text()), delimiter=";"))
    result = {"created": 0, "updated": 0, "deleted": 0, "errors": 0}
    for row in rows:
        user_name(row["username"])
        domain = row["mail"].split("@")[1]
        bad = [g for g in row["groups"].split(",") if g and g not in y.s["groups"]]
        if domain not in y.s["domains"] or bad or not row["lastname"]:
            y.error(f"Incorrect line: {row['username']}")
            raise Failure(
                "Your CSV file is not correctly formatted it will be ignored to avoid potential "
                "data loss"
            )
    for row in rows:
        if row["username"] in y.s["users"]:
            result["updated"] += bool(a.update)
            continue
        try:
            strong(row["password"])
        except Failure as failure:
            result["errors"] += 1
            y.error(f"{row['username']}: {failure.errors[0]}")
            continue
        fullname = f"{row['firstname']} {row['lastname']}"
        make_user(y, row["username"], fullname, row["mail"].split("@")[1], row["password"])
        y.s["users"][row["username"]] |= {
            "mail": row["mail"],
            "aliases": [x for x in row["mail-alias"].split(",") if x],
            "forwards": [x for x in row["mail-forward"].split(",") if x],
            "quota": row["mailbox-quota"] or "0",
        }
        for group in filter(None, row["groups"].split(",")):
            y.s["groups"][group].append(row["username"])
        result["created"] += 1
    y.success("Users successfully imported")
    return result if rows else {}


def user_group_list(y: Server, a: Any) -> Any:
    def row(name: str, members: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {"members": members}
        if a.full:
            found["permissions"] = [
                key for key, perm in y.s["permissions"].items() if name in perm["allowed"]
            ]
        return found

    groups = {"admins": y.s["groups"]["admins"], "all_users": sorted(y.s["users"])}
    groups |= {name: members for name, members in y.s["groups"].items() if name != "admins"}
    if a.include_primary_groups:
        groups |= {name: [name] for name in y.s["users"]}
    return {"groups": {name: row(name, members) for name, members in groups.items()}}


def user_group_create(y: Server, a: Any) -> Any:
    if a.groupname in y.s["groups"] or a.groupname in ("all_users", *y.s["users"]):
        raise Failure(f"Group {a.groupname} already exists")
    y.s["groups"][a.groupname] = []
    y.success(f"Group '{a.groupname}' created")
    return {"name": a.groupname}


def user_group_delete(y: Server, a: Any) -> None:
    y.group(a.groupname)
    if a.groupname in ("admins", "all_users", "visitors"):
        raise Failure(f"The group {a.groupname} cannot be deleted manually.")
    del y.s["groups"][a.groupname]
    for permission in y.s["permissions"].values():
        if a.groupname in permission["allowed"]:
            permission["allowed"].remove(a.groupname)


def user_group_info(y: Server, a: Any) -> Any:
    return {"members": y.group(a.groupname), "permissions": [], "mail-aliases": []}


def user_group_add(y: Server, a: Any) -> Any:
    members = y.group(a.groupname)
    if a.groupname in ("all_users", "visitors"):
        raise Failure(f"The group '{a.groupname}' cannot be edited manually.")
    for name in a.usernames:
        y.user(name)
        if name in members:
            y.warning(f"User {name} is already in group {a.groupname}")
        else:
            members.append(name)
    return user_group_info(y, a)


def user_group_remove(y: Server, a: Any) -> Any:
    members = y.group(a.groupname)
    for name in a.usernames:
        if a.groupname == "admins" and members == [name]:
            raise Failure(f"The user '{name}' is the last user in the group 'admins'")
        if name in members:
            members.remove(name)
        else:
            y.warning(f"User {name} is not in group {a.groupname}")
    return user_group_info(y, a)


def permission_row(y: Server, name: str, full: bool) -> dict[str, Any]:
    row = y.s["permissions"][name]
    found = {"allowed": row["allowed"], "label": row["label"]}
    if full:
        app = y.s["apps"].get(name.partition(".")[0], {"settings": {}})["settings"]
        found |= {"protected": row["protected"], "corresponding_users": []}
        if "url" in row:
            url = f"{app.get('domain', '')}{app.get('path', '')}".rstrip("/")
            found |= {"url": url, "additional_urls": [], "show_tile": row["show_tile"]}
    return found


def user_permission_list(y: Server, a: Any) -> Any:
    return {"permissions": {n: permission_row(y, n, a.full) for n in y.s["permissions"]}}


def permission(y: Server, name: str) -> dict[str, Any]:
    if name not in y.s["permissions"]:
        y.app(name.partition(".")[0])
        raise Failure(f"Permission '{name}' not found")
    found: dict[str, Any] = y.s["permissions"][name]
    return found


def user_permission_info(y: Server, a: Any) -> Any:
    permission(y, a.permission)
    return permission_row(y, a.permission, True)


def user_permission_add(y: Server, a: Any) -> Any:
    row = permission(y, a.permission)
    for name in a.names:
        if name not in y.s["users"] and name != "all_users":
            y.group(name)
        if row["protected"] and name == "visitors":
            raise Failure(f"Permission {a.permission} is protected.")
        if name in row["allowed"]:
            y.warning(f"Group '{name}' already has permission '{a.permission}' enabled")
        else:
            row["allowed"].append(name)
    y.success(f"Permission '{a.permission}' updated")
    return permission_row(y, a.permission, True)


def user_permission_remove(y: Server, a: Any) -> Any:
    row = permission(y, a.permission)
    row["allowed"] = [name for name in row["allowed"] if name not in a.names]
    y.success(f"Permission '{a.permission}' updated")
    return permission_row(y, a.permission, True)


def user_permission_update(y: Server, a: Any) -> Any:
    row = permission(y, a.permission)
    if a.label is not None:
        row["label"] = a.label
    if a.show_tile is not None:
        row["show_tile"] = a.show_tile == "True"
    y.success(f"Permission '{a.permission}' updated")
    return permission_row(y, a.permission, True)


def user_ssh_list_keys(y: Server, a: Any) -> Any:
    return {"keys": [{"key": key, "name": ""} for key in y.user(a.username)["keys"]]}


def user_ssh_add_key(y: Server, a: Any) -> None:
    keys = y.user(a.username)["keys"]
    if a.key not in keys:
        keys.append(a.key)


def user_ssh_remove_key(y: Server, a: Any) -> None:
    row = y.user(a.username)
    if a.key not in row["keys"]:
        raise Failure("Key not found")
    row["keys"].remove(a.key)
    if not row["keys"]:  # the last one leaves an empty file
        (y.root / f"home/{a.username}/.ssh/authorized_keys").write_text("")


# apps


def app_row(y: Server, name: str, full: bool) -> dict[str, Any]:
    app = y.s["apps"][name]
    settings = app["settings"]
    row = {
        "id": name,
        "name": app["label"],
        "description": "",
        "version": app["version"],
        "domain_path": f"{settings['domain']}{settings['path']}",
    }
    if not full:
        return row
    offered = y.s["catalog"].get(app["manifest"], {}).get("version", app["version"])
    own = {n: permission_row(y, n, True) for n in y.s["permissions"] if n.startswith(f"{name}.")}
    return row | {
        "upgrade": {
            "status": "upgradable" if offered != app["version"] else "up_to_date",
            "current_version": app["version"],
            "new_version": offered,
            "new_revision": "0" * 40,
        },
        "settings": settings,
        "manifest": {
            "id": app["manifest"],
            "version": app["version"],
            "install": y.s["catalog"].get(app["manifest"], {}).get("install", {}),
        },
        "from_catalog": {"git": {"url": f"https://github.com/YunoHost-Apps/{app['manifest']}_ynh"}},
        "supports_change_url": True,
        "supports_backup_restore": True,
        "supports_multi_instance": True,
        "supports_config_panel": bool(app.get("panel")),
        "permissions": own,
    }


def app_list(y: Server, a: Any) -> Any:
    return {"apps": [app_row(y, name, a.full) for name in sorted(y.s["apps"])]}


def app_info(y: Server, a: Any) -> Any:
    y.app(a.app)
    return app_row(y, a.app, a.full)


def app_map(y: Server, a: Any) -> Any:
    found = {}
    for name in y.s["permissions"]:
        app = y.s["apps"].get(name.partition(".")[0])
        if app and name.endswith(".main"):
            settings = app["settings"]
            found[f"{settings['domain']}{settings['path']}".rstrip("/")] = app["label"]
    return found


def app_catalog(y: Server, a: Any) -> Any:
    return {"apps": {name: {"level": 8} for name in y.s["catalog"]}}


def app_search(y: Server, a: Any) -> Any:
    return {"apps": {name: {"level": 8} for name in y.s["catalog"] if a.string in name}}


def source(y: Server, text: str) -> str:
    """The id of the app that a catalog id, an address or a folder stands for."""
    if text in y.s["catalog"]:
        return text
    match = re.search(r"([a-z0-9_-]+)_ynh(?:/tree/[\w.-]+)?/?$", text)
    if match is None or match[1] not in y.s["catalog"]:
        raise Failure("Unknown app")
    return match[1]


def app_manifest(y: Server, a: Any) -> Any:
    name = source(y, a.app)
    found = y.s["catalog"][name]
    return {
        "packaging_format": 2.0,
        "id": name,
        "name": name,
        "version": found["version"],
        "integration": {"yunohost": ">= 11.2.4", "multi_instance": True},
        "install": [
            {"id": key, "ask": f"{key}?", "visible": True, "optional": False, **row}
            for key, row in found["install"].items()
        ],
        "quality": {"level": 8, "state": "working"},
        "requirements": {"install": {"id": "install", "passed": True, "error": ""}},
    }


def taken(y: Server, domain: str, path: str, but: str = "") -> None:
    for name, app in y.s["apps"].items():
        settings = app["settings"]
        if name != but and (settings["domain"], settings["path"]) == (domain, path):
            raise Failure(
                "This URL is either unavailable, or conflicts with the already installed app(s):"
                f"\n * {domain}{path} → {app['label']} ({name})"
            )


def app_install(y: Server, a: Any) -> None:
    manifest = source(y, a.app)
    if manifest != a.app and not a.force:
        ask("Do you really want to install this app")
    answers = dict(parse_qsl(a.args or "", keep_blank_values=True))
    settings = {}
    for key, row in y.s["catalog"][manifest]["install"].items():
        if key in answers:
            value: Any = answers[key]
        elif os.isatty(1):
            value = ask(f"{key}?")
        else:
            value = row.get("default", "")  # silently (recording 112)
        if value == "" and row.get("default") is not None:
            value = row["default"]
        choices = row.get("choices")
        if row["type"] == "domain":
            value, choices = value or y.s["main"], list(y.s["domains"])
        if choices and value not in choices:
            raise Failure(
                f"Pick a valid value for the argument '{key}': Unexpected value; choose between "
                + ", ".join(f"'{choice}'" for choice in choices)
            )
        if row["type"] == "password" and value:
            strong(value)
        settings[key] = value
    taken(y, settings["domain"], settings["path"])
    name = manifest
    number = 2
    while name in y.s["apps"]:
        name, number = f"{manifest}__{number}", number + 1
    y.info(f"Installing {manifest}…")
    if y.s["offline"]:
        y.info(y.failed(f"app_install-{manifest}", f"Install the '{manifest}' app"))
        raise Failure(
            f"Provisioning, deprovisioning, or updating resources for {name} failed: Failed to "
            f"download asset 'main' for {name}: failed: Connection refused."
        )
    if "install" in y.s["broken"].get(manifest, ()):
        y.info(y.failed(f"app_install-{manifest}", f"Install the '{manifest}' app"))
        raise Failure(
            f"Unable to install {manifest}: An error occurred inside the app installation script"
        )
    access = settings.pop("init_main_permission", "visitors")
    put_app(y, name, manifest, a.label or manifest, settings, access)
    y.log(f"app_install-{name}", True)
    y.success("Installation completed")


def put_app(
    y: Server, name: str, manifest: str, label: str, settings: dict[str, Any], access: str
) -> None:
    y.s["apps"][name] = {
        "manifest": manifest,
        "label": label,
        "version": y.s["catalog"][manifest]["version"],
        "settings": {"app": name, "id": name, "install_dir": f"/var/www/{name}", **settings},
        "panel": {},
        "data": f"data of {name}",
    }
    allowed = ["visitors", "all_users"] if access == "visitors" else [access]
    y.s["permissions"][f"{name}.main"] = {
        "label": label,
        "allowed": allowed,
        "protected": False,
        "url": "/",
        "show_tile": True,
    }


def drop_app(y: Server, name: str) -> None:
    del y.s["apps"][name]
    for key in [key for key in y.s["permissions"] if key.startswith(f"{name}.")]:
        del y.s["permissions"][key]


def app_remove(y: Server, a: Any) -> None:
    y.app(a.app)
    if "remove" in y.s["broken"].get(a.app, ()):
        raise Failure(f"Could not remove {a.app}")
    drop_app(y, a.app)
    y.success(f"{a.app} uninstalled")


def app_upgrade(y: Server, a: Any) -> None:
    todo = []
    for name in a.app or sorted(y.s["apps"]):
        app = y.app(name)
        offered = y.s["catalog"][app["manifest"]]["version"]
        if offered == app["version"] and not (a.force or a.file or a.url):
            y.info(f"{name} is already up to date ({app['version']})")
        else:
            todo.append(name)
    if not todo:
        raise Failure("No apps can be upgraded")
    for name in todo:
        upgrade_app(y, name, safety=not a.no_safety_backup)


def upgrade_app(y: Server, name: str, safety: bool) -> None:
    app = y.app(name)
    y.info(f"Now upgrading {name}…")
    if safety:
        archive = f"{name}-pre-upgrade1"
        if archive in y.s["archives"]:
            archive = f"{name}-pre-upgrade2"
        make_archive(y, archive, [], [name], "")
        y.success(f"Backup created: {archive}")
    if "upgrade" in y.s["broken"].get(name, ()):
        y.error(f"Failed to upgrade {name}: An error occurred inside the app upgrade script")
        y.warning("Upgrade failed ... attempting to restore the safety backup")
        if not safety:
            app["data"] = "half upgraded"
        y.success("Restoration completed")
        y.error(y.failed(f"app_upgrade-{name}", f"Upgrade the '{name}' app"))
        return  # and exit code 0 (recording 343)
    app["version"] = y.s["catalog"][app["manifest"]]["version"]
    app["settings"]["update_time"] = time.time_ns() // 10**6
    y.log(f"app_upgrade-{name}", True)
    y.success(f"{name} upgraded")


def app_change_url(y: Server, a: Any) -> None:
    settings = y.app(a.app)["settings"]
    y.domain(a.domain)
    if (settings["domain"], settings["path"]) == (a.domain, a.path):
        raise Failure(
            f"The old and new domain/url_path are identical ('{a.domain}{a.path}'), nothing to do."
        )
    taken(y, a.domain, a.path, a.app)
    settings |= {"domain": a.domain, "path": a.path}
    y.success(f"{a.app} URL is now {a.domain}{a.path}")


def app_change_label(y: Server, a: Any) -> None:
    y.app(a.app)["label"] = a.new_label
    y.s["permissions"][f"{a.app}.main"]["label"] = a.new_label


def app_setting(y: Server, a: Any) -> Any:
    settings = y.app(a.app)["settings"]
    if a.delete:
        settings.pop(a.key, None)
    elif a.value is not None:
        settings[a.key] = a.value
    else:
        return settings.get(a.key)
    return None


def app_config_get(y: Server, a: Any) -> Any:
    panel = y.app(a.app).get("panel")
    if not panel:
        raise Failure("No config panel found.")
    if a.key:
        return panel[a.key]
    return {key: {"ask": key, "value": words(value)} for key, value in panel.items()}


def app_config_set(y: Server, a: Any) -> None:
    panel = y.app(a.app).get("panel")
    if not panel:
        raise Failure("No config panel found.")
    part = {k.rpartition(".")[2]: k for k in panel if k.startswith(f"{a.key}.")}
    if part and (a.args is not None or a.args_file is not None):
        given = json.loads(Path(a.args_file).read_text()) if a.args_file else {}
        for last, value in (given | dict(parse_qsl(a.args or "", keep_blank_values=True))).items():
            if last in part:
                panel[part[last]] = value
        y.success("Config updated as expected")
        return
    if a.key not in panel:
        raise Failure(f"The filter key '{a.key}' is incorrect.")
    value = a.value
    panel[a.key] = ask(a.key, prefill=str(panel[a.key])) if value is None else value
    y.success("Config updated as expected")


# settings, services, firewall


def settings_list(y: Server, a: Any) -> Any:
    return {key: {"ask": key, "value": value} for key, value in y.s["settings"].items()}


def settings_get(y: Server, a: Any) -> Any:
    if a.key not in y.s["settings"]:
        raise Failure(f"The filter key '{a.key}' is incorrect.")
    value = y.s["settings"][a.key]
    return {"yes": 1, "no": 0}.get(value, value)


# A setting that only shows while another one is on cannot be set alone: 12.1.25 crashes.
SHOWN_BY = {
    "email.smtp.smtp_relay_host": "email.smtp.smtp_relay_enabled",
    "email.smtp.smtp_relay_user": "email.smtp.smtp_relay_enabled",
    "email.smtp.smtp_relay_password": "email.smtp.smtp_relay_enabled",
    "feature.portal.search_engine_name": "feature.portal.search_engine",
}


def settings_set(y: Server, a: Any) -> None:
    if a.args is not None:
        given = dict(parse_qsl(a.args, keep_blank_values=True))
        part = {k: k.rpartition(".")[2] for k in y.s["settings"] if k.startswith(f"{a.key}.")}
        for key, last in part.items():
            if last in given:
                y.s["settings"][key] = words(given[last])
            elif os.isatty(1):
                y.s["settings"][key] = ask(key, prefill=y.s["settings"][key])
        y.success("Config updated as expected")
        return
    if a.key in SHOWN_BY:
        raise KeyError(SHOWN_BY[a.key].rpartition(".")[2])
    if a.key not in y.s["settings"]:
        raise Failure(f"The filter key '{a.key}' is incorrect.")
    if a.value is None:
        a.value = ask(a.key, prefill=y.s["settings"][a.key])
    if y.s["settings"][a.key] in ("yes", "no"):
        if a.value.lower() not in ("yes", "no", "0", "1", "true", "false"):
            raise Failure(f"Pick a valid value for the argument '{a.key}': yes/no")
        value = "yes" if a.value.lower() in ("yes", "1", "true") else "no"
    else:
        value = a.value
    y.s["settings"][a.key] = value
    y.info("Saving the new configuration...")
    y.success("Config updated as expected")


def settings_reset(y: Server, a: Any) -> None:
    settings_get(y, a)
    y.s["settings"][a.key] = fresh()["settings"][a.key]


def service_status(y: Server, a: Any) -> Any:
    names = a.names or sorted(y.s["services"])
    for name in names:
        service(y, name)
    rows = {
        name: {
            "status": y.s["services"][name],
            "start_on_boot": "enabled",
            "configuration": "valid",
        }
        for name in names
    }
    return rows[names[0]] if len(a.names) == 1 else rows


def service(y: Server, name: str) -> None:
    if name not in y.s["services"]:
        raise Failure(f"Unknown service '{name}'")


def service_start(y: Server, a: Any) -> None:
    for name in a.names:
        service(y, name)
        y.s["services"][name] = "running"
        y.success(f"Service '{name}' started")


service_restart = service_start


def service_stop(y: Server, a: Any) -> None:
    for name in a.names:
        service(y, name)
        y.s["services"][name] = "dead"
        y.success(f"Service '{name}' stopped")


def firewall_list(y: Server, a: Any) -> Any:
    if not a.raw:
        opened = [key for key, row in y.s["firewall"].items() if row["open"]]
        return {"tcp": [int(key.split("/")[0]) for key in opened if key.endswith("/tcp")]}
    rows: dict[str, Any] = {"router_forwarding_upnp": False, "tcp": {}, "udp": {}}
    for key, row in y.s["firewall"].items():
        port, _, protocol = key.partition("/")
        rows[protocol][port] = row
    return rows


def firewall_is_open(y: Server, a: Any) -> Any:
    return False  # whatever is true (recording 209)


def firewall_open(y: Server, a: Any) -> None:
    key = f"{a.port}/{a.protocol or 'tcp'}"
    row = y.s["firewall"].setdefault(
        key, {"open": False, "comment": a.comment or "Manually set", "upnp": a.upnp}
    )
    if row["open"]:
        y.warning(f"Port {a.port} is already opened")
    elif a.comment:
        row["comment"] = a.comment
    row["open"] = True
    y.success("Firewall reloaded")


def firewall_close(y: Server, a: Any) -> None:
    row = y.s["firewall"].get(f"{a.port}/{a.protocol or 'tcp'}")
    if row is None or not row["open"]:
        y.warning(f"Port {a.port} is already closed")
    else:
        row["open"] = False
    y.success("Firewall reloaded")


def firewall_delete(y: Server, a: Any) -> None:
    y.s["firewall"].pop(f"{a.port}/{a.protocol or 'tcp'}", None)
    y.success("Firewall reloaded")


def firewall_reload(y: Server, a: Any) -> None:
    y.success("Firewall reloaded")


# the system


def tools_update(y: Server, a: Any) -> Any:
    if not a.no_refresh:
        if not y.s["offline"]:
            y.s["catalog_age"] = 0
        elif a.target != "system":
            y.s["catalog_age"] += 243
            y.error(
                "Unable to download the default app catalog: Failed to connect to "
                "https://app.yunohost.org/default/v3/apps.json... maybe the service is down"
            )
        if y.s["offline"] and a.target != "apps":
            y.warning("W: Failed to fetch http://mirror.debian.example/debian/InRelease")
    todo = [name for name, app in sorted(y.s["apps"].items()) if upgradable(y, app)]
    return {
        "system": {"yunohost": y.s["packages"]} if y.s["packages"] else {},
        "apps": [
            {key: value for key, value in app_row(y, name, True).items() if key != "settings"}
            for name in todo
        ],
        "important_yunohost_upgrade": False,
        "pending_migrations": [],
        "last_apt_update": 0,
        "last_apps_catalog_update": y.s["catalog_age"],
    }


def upgradable(y: Server, app: dict[str, Any]) -> bool:
    offered = y.s["catalog"].get(app["manifest"], {}).get("version", app["version"])
    return bool(offered != app["version"])


def tools_upgrade(y: Server, a: Any) -> None:
    if a.target not in ("apps", "system"):
        raise Failure(
            "Uhoh ?! tools_upgrade should have 'apps' or 'system' value for argument target"
        )
    if a.target == "apps":
        for name in [name for name, app in y.s["apps"].items() if upgradable(y, app)]:
            upgrade_app(y, name, safety=True)
        return
    if "upgrade" in y.s["broken"].get("system", ()):
        y.info(y.failed("tools_upgrade", "Upgrade system packages"))
        raise Failure("Could not upgrade packages")
    y.s["packages"] = []
    y.success("System upgraded")


def tools_regen_conf(y: Server, a: Any) -> Any:
    return {}


def tools_migrations_list(y: Server, a: Any) -> Any:
    return {"migrations": []}


def tools_migrations_run(y: Server, a: Any) -> None:
    y.info("No migrations to run")


def hook_list(y: Server, a: Any) -> Any:
    if a.action in ("backup", "restore"):
        return {"hooks": list(SYSTEM)}
    return {"hooks": sorted(hooks(y, a.action))}


def hooks(y: Server, action: str) -> dict[str, Path]:
    folder = y.root / "etc/yunohost/hooks.d" / action
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name.partition("-")[2] or path.name: path for path in found}


def log_list(y: Server, a: Any) -> Any:
    rows = y.s["operations"][-int(a.limit or 50) :]
    return {
        "operation": [
            {**row, "description": row["name"], "path": "", "started_at": ""} for row in rows
        ]
    }


def diagnosis_list(y: Server, a: Any) -> Any:
    return {"categories": ["basesystem", "ip", "dnsrecords", "ports", "web", "mail"]}


def diagnosis_show(y: Server, a: Any) -> Any:
    if not y.s["diagnosed"]:
        y.warning("It looks like this server was setup recently")
        return None
    items = [
        {
            "status": "SUCCESS" if name in y.s["reachable"] else "ERROR",
            "summary": f"DNS records of domain {name}",
        }
        for name in y.s["domains"]
    ]
    return {"reports": [{"id": "dnsrecords", "description": "DNS records", "items": items}]}


def diagnosis_run(y: Server, a: Any) -> None:
    if y.s["offline"]:
        y.error("Found 1 significant issue(s) related to Internet connectivity!")
        y.error("Can't run diagnosis for DNS records while there are important issues")
        return
    y.s["connected"] = y.s["connected"] or not a.categories or "ip" in a.categories
    if not y.s["connected"]:  # src/diagnosis.py of 12.1.25: what a category depends on
        y.error("Can't run diagnosis for DNS records while there are important issues")
        return
    y.s["diagnosed"] = True


# backup


def block(values: dict[str, Any]) -> str:
    """YAML as YunoHost writes it: one key a line."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())


def archive_folder(y: Server) -> Path:
    folder = y.root / "home/yunohost.backup/archives"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def archives(y: Server) -> dict[str, dict[str, Any]]:
    """What lies in the folder, whoever put it there: that is what YunoHost lists."""
    found = {}
    for path in sorted(archive_folder(y).glob("*.tar")):
        try:
            found[path.stem] = read_info(path)
        except (tarfile.TarError, KeyError, ValueError, OSError):
            y.warning(f"It looks like the backup archive '{path}' is corrupted")
    return found


def read_info(path: Path) -> dict[str, Any]:
    with tarfile.open(path) as tar:
        for name in ("info.json", "./info.json"):
            with contextlib.suppress(KeyError):
                member = tar.extractfile(name)
                if member is not None:
                    found: dict[str, Any] = json.load(member)
                    return found
    raise KeyError("info.json")


def backup_list(y: Server, a: Any) -> Any:
    if not a.with_info:
        return {"archives": [path.stem for path in sorted(archive_folder(y).glob("*.tar"))]}
    return {
        "archives": {
            name: {
                "path": str(archive_folder(y) / f"{name}.tar"),
                "created_at": info["created_at"],
                "description": info["description"],
                "size": info["size"],
            }
            for name, info in archives(y).items()
        }
    }


def known_archive(y: Server, name: str) -> Path:
    path = archive_folder(y) / f"{name}.tar"
    if not path.is_file():
        raise Failure(f"Unknown local backup archive named '{name}'")
    try:
        read_info(path)
    except (tarfile.TarError, KeyError, ValueError, EOFError):
        raise Failure(
            f"It looks like the backup archive '{path}' is corrupted : unexpected end of data"
        ) from None
    return path


def backup_info(y: Server, a: Any) -> Any:
    path = known_archive(y, a.name)
    info = read_info(path)
    row = {
        "path": str(path),
        "created_at": info["created_at"],
        "description": info["description"],
        "size": info["size"],
    }
    if a.with_details:
        row |= {key: info[key] for key in ("apps", "system", "from_yunohost_version")}
    return row


def backup_delete(y: Server, a: Any) -> None:
    path = archive_folder(y) / f"{a.name}.tar"
    if not path.is_file():
        raise Failure(f"Unknown local backup archive named '{a.name}'")
    path.unlink()
    y.s["archives"].pop(a.name, None)
    y.success(f"Backup deleted: {a.name}")


def collect(y: Server, system: list[str], apps: list[str], description: str) -> dict[str, bytes]:
    """An archive's files by their path in it."""
    files: dict[str, bytes] = {}
    rows: dict[str, Any] = {}
    for name in apps:
        app = y.s["apps"][name]
        own = {k: v for k, v in y.s["permissions"].items() if k.startswith(f"{name}.")}
        base = f"apps/{name}"
        files[f"{base}/settings/settings.yml"] = block(app["settings"]).encode()
        files[f"{base}/settings/standin.json"] = json.dumps([app, own]).encode()
        files[f"{base}/backup/var/www/{name}/data"] = str(app["data"]).encode()
        rows[name] = {"version": app["version"], "name": app["label"], "size": 1000}
    if "conf_ldap" in system:
        people = {key: y.s[key] for key in ("users", "groups", "main", "domains", "settings")}
        people["permissions"] = {
            key: value
            for key, value in y.s["permissions"].items()
            if key.partition(".")[0] not in y.s["apps"]
        }
        files["conf/ldap/dc=yunohost-dc=org.ldif"] = json.dumps(people).encode()
    if "conf_ynh_settings" in system:
        files["conf/ynh/current_host"] = y.s["main"].encode()
    if "data_mail" in system:
        for name in y.s["users"]:
            files[f"data/mail/{name}/mail"] = f"mail of {name}".encode()
    size = sum(len(content) for content in files.values())
    info = {
        "description": description,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "size": size,
        "apps": rows,
        "system": {part: {"paths": [], "size": 0} for part in system},
        "from_yunohost_version": "12.1.25",
    }
    return {
        "info.json": json.dumps(info).encode(),
        "backup.csv": b"source,dest\n",
        **files,
    }


def make_archive(
    y: Server, name: str, system: list[str], apps: list[str], description: str
) -> None:
    files = collect(y, system, apps, description)
    with tarfile.open(archive_folder(y) / f"{name}.tar", "w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    y.s["archives"][name] = description


def sources(y: Server, apps: list[str]) -> dict[str, Path]:
    """Real folders below the root, by their path in an archive: apps' own, and homes."""
    found = {
        f"apps/{app}/backup/var/{place}/{app}": y.root / "var" / place / app
        for app in apps
        for place in ("www", "log")
    }
    for home in sorted((y.root / "home").glob("*")):
        if not home.name.startswith("yunohost"):
            found[f"data/home/{home.name}"] = home
    return {path: folder for path, folder in found.items() if folder.is_dir()}


def by_hook(y: Server, name: str, hook: Path, files: dict[str, bytes], apps: list[str]) -> None:
    """Hand the files to a backup method as YunoHost does (recording 294; backup.py and hook.py of
    12.1.25): folders are bound read-only, for which it needs to be root, not copied; the hook
    runs in its own folder; whatever becomes of it, the mounts go and then the folder."""
    folder = y.root / "home/yunohost.backup/tmp" / name
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    folder.chmod(0o750)
    bound = []
    try:
        for path, source in sources(y, apps).items():
            target = folder / path / "bound" if (folder / path).exists() else folder / path
            target.mkdir(parents=True)
            for words in (("--rbind", str(source)), ("-o", "remount,ro,bind")):
                subprocess.run(["mount", *words, str(target)], check=True)
            bound.append(target)
        repository = str(archive_folder(y))
        size = str(sum(len(content) for content in files.values()))
        for action in ("need_mount", "backup"):
            argv = ["/bin/bash", "-x", f"./{hook.name}", action, str(folder), name]
            argv += [repository, size, ""]
            done = subprocess.run(argv, check=False, cwd=hook.parent, stderr=subprocess.DEVNULL)
            if done.returncode != 0 and action == "backup":
                raise Failure(
                    f"Could not run script: {hook}",
                    "Custom backup method could not get past the 'backup' step",
                )
    finally:
        for target in reversed(bound):
            subprocess.run(["umount", str(target)], check=True)
        for path in files:
            (folder / path).unlink(missing_ok=True)
        for sub in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
            sub.rmdir()
        folder.rmdir()


def backup_create(y: Server, a: Any) -> Any:
    everything = a.system is None and a.apps is None
    system = list(SYSTEM) if everything or a.system == [] else list(a.system or [])
    apps = sorted(y.s["apps"]) if everything or a.apps == [] else list(a.apps or [])
    name = a.name or time.strftime("%Y%m%d-%H%M%S")
    methods = a.methods or ["tar"]
    if (archive_folder(y) / f"{name}.tar").exists():
        raise Failure(f"A backup archive with the name '{name}' already exists.")
    results: dict[str, dict[str, str]] = {"system": {}, "apps": {}}
    for part in system:
        if part not in SYSTEM:
            y.error(f"The backup hook '{part}' is unknown")
            results["system"][part] = "Skipped"
        else:
            results["system"][part] = "Success"
    for app in apps:
        if app not in y.s["apps"]:
            y.error(f"{app} will not be saved")
            results["apps"][app] = "Skipped"
        elif "no backup script" in y.s["broken"].get(app, ()):
            y.warning(f"The app '{app}' has no backup script. Ignoring.")
            results["apps"][app] = "Skipped"
        elif "backup" in y.s["broken"].get(app, ()):
            y.error(f"Failed to collect files to backed up for {app}.")
            results["apps"][app] = "Error"
        else:
            y.info(f"Collecting files to be backed up for {app}…")
            results["apps"][app] = "Success"
    parts = [part for part, state in results["system"].items() if state == "Success"]
    saved = [app for app, state in results["apps"].items() if state == "Success"]
    if not parts and not saved:
        y.info(y.failed("backup_create", "Create a backup archive"))
        raise Failure("Failed to collect files to be backed up")
    files = collect(y, parts, saved, a.description or "")
    size = sum(len(content) for content in files.values())
    if a.dry_run:
        return {
            "size": size,
            "size_details": {
                "system": dict.fromkeys(parts, 100),
                "apps": dict.fromkeys(saved, 1000),
            },
        }
    if y.s["full_disk"] and "tar" in methods:
        raise Failure("[Errno 28] No space left on device")
    y.info("Creating a backup archive from the collected files…")
    known = hooks(y, "backup_method")
    for method in methods:
        if method == "tar":
            make_archive(y, name, parts, saved, a.description or "")
        elif method in known:
            by_hook(y, name, known[method], files, saved)
        # and an unknown one is nothing at all (recording 249)
    y.success(f"Backup created: {name}")
    return {"name": name, "size": size, "results": results}


def backup_restore(y: Server, a: Any) -> Any:
    path = known_archive(y, a.name)
    info = read_info(path)
    everything = a.system is None and a.apps is None
    parts = list(info["system"]) if everything or a.system == [] else list(a.system or [])
    apps = list(info["apps"]) if everything or a.apps == [] else list(a.apps or [])
    installed = [app for app in apps if app in y.s["apps"]]
    if installed and not a.force:
        missing = [app for app in apps if app not in info["apps"]]
        for app in missing:
            y.error(f"Could not find {app} in the backup archive")
        raise Failure(
            "The following apps can't be restored because they are already installed: "
            + ", ".join(installed)
        )
    if y.s["installed"] and parts:
        y.warning("YunoHost is already installed")
        if not a.force:
            ask("Do you really want to restore an already installed system?")
    y.info("Preparing archive for restoration…")
    for app in [app for app in apps if app not in info["apps"]]:
        y.error(f"Could not find {app} in the backup archive")
        apps.remove(app)
    for part in [part for part in parts if part not in info["system"]]:
        y.error(f"System part '{part}' unavailable in this backup")
        parts.remove(part)
    if not apps and not parts:
        raise Failure("Nothing was restored")
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            top, _, rest = member.name.removeprefix("./").partition("/bound/")
            app = top.split("/")[1] if rest and top.startswith("apps/") else ""
            if app in apps and app not in installed and member.isfile():
                target = y.root / "var/www" / app / rest
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read())  # type: ignore[union-attr]
                os.chown(target, member.uid, member.gid)
            for app in set(apps) - set(installed):
                if member.isdir() and member.name.endswith(f"apps/{app}/backup/var/log/{app}"):
                    # ynh_restore shuts a folder as if it was a file (helpers 2.1 of 12.1.25).
                    (y.root / "var/log" / app).mkdir(parents=True, exist_ok=True)
                    (y.root / "var/log" / app).chmod(0o400)
        files = {
            member.name.removeprefix("./"): tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar.getmembers()
            if member.isfile()
        }
    if not y.s["installed"] and "conf_ldap" not in parts:
        y.s["failed_restore"] = True
        y.save()
        raise Failure(
            "The following critical error happened during restoration: The main domain name "
            "cannot be retrieved from inside the archive, and is needed to perform the postinstall"
        )
    if y.s["failed_restore"] and not y.s["installed"]:
        home = y.root / "home"
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o777)  # umask 0 at the second attempt (recording 284)
    custom = y.root / "etc/yunohost/hooks.d/restore"
    if custom.is_dir():
        # mkdir() does not set the umask back when the folder is there (file_utils.py of 12.1.25).
        (y.root / "etc/cron.daily").mkdir(parents=True, exist_ok=True)
        (y.root / "etc/cron.daily/app").write_text("#!/bin/sh\n")
        (y.root / "etc/cron.daily/app").chmod(0o666)
    custom.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, str]] = {"system": {}, "apps": {}}
    if parts:
        if "conf_ldap" in parts:
            people = json.loads(files["conf/ldap/dc=yunohost-dc=org.ldif"])
            own = {k: v for k, v in y.s["permissions"].items() if k.split(".")[0] in y.s["apps"]}
            y.s |= people | {"installed": True}
            y.s["permissions"] |= own
        results["system"] = dict.fromkeys(parts, "Success")
    for app in apps:
        if app in installed:
            y.error(f"An app with the ID '{app}' is already installed")
            results["apps"][app] = "Error"
            continue
        y.info(f"Restoring {app}…")
        row, permissions = json.loads(files[f"apps/{app}/settings/standin.json"])
        y.s["apps"][app] = row
        domain = row["settings"]["domain"]
        if domain not in y.s["domains"]:
            # It stays in the list, without permissions: a ghost (recording 329).
            y.save()
            y.error(f"Failed to read info for {app} : Domain '{domain}' unknown")
            raise Failure(
                f"Provisioning, deprovisioning, or updating resources for {app} failed: Domain "
                f"'{domain}' unknown"
            )
        if "restore" in y.s["broken"].get(app, ()):
            # It is taken away again, and the whole ends well (recording 340).
            y.error(f"Could not restore {app}: An error occured inside the app restore script")
            drop_app(y, app)
            results["apps"][app] = "Error"
            continue
        row["data"] = files[f"apps/{app}/backup/var/www/{app}/data"].decode()
        y.s["permissions"] |= permissions
        results["apps"][app] = "Success"
    y.success("Restoration completed")
    return results


# --- start -----------------------------------------------------------------------------------


def places() -> tuple[Path, Path, float]:
    """Where the state and the root are, and how slow to be."""
    beside = Path(sys.argv[0]).absolute().parent / "standin.json"
    told = json.loads(beside.read_text()) if beside.is_file() else {}
    state = os.environ.get("YNH_STANDIN_STATE") or told.get("state")
    if not state:
        sys.exit("stand-in: YNH_STANDIN_STATE does not say where the state is")
    root = os.environ.get("YNH_STANDIN_ROOT") or told.get("root")
    delays = os.environ.get("YNH_STANDIN_DELAYS") or told.get("delays") or 0
    return Path(state), Path(root or Path(state).parent / "root"), float(delays)


def main() -> NoReturn:
    state, root, delays = places()
    with state.with_suffix(".calls").open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    options, arguments = parse(sys.argv[1:])
    command: str = arguments.command
    write = not READS.search(f" {command}") and not (
        command == "domain main-domain" and arguments.new_main_domain is None
    )
    if delays:
        time.sleep(delays * DELAYS.get(command, 2.0 if write else 0.3))
    code = 0
    try:
        holding = lock(state.with_suffix(".lock"), options.timeout) if write else None
        with holding or contextlib.nullcontext():
            y = Server(state, root, options.quiet)
            if not y.s["installed"] and command not in BEFORE_SETUP:
                print(
                    "Error: YunoHost is not correctly installed. Please run 'yunohost tools "
                    "postinstall'"
                )
                sys.exit(1)
            run = globals()[re.sub(r"[ -]", "_", command)]
            try:
                answer = run(y, arguments)
            finally:
                if write:
                    y.save()
        if answer is not None and options.output_as == "json":
            print(json.dumps(answer, ensure_ascii=True))
    except Failure as failure:
        for text in failure.errors:
            print(f"ERROR {text}", file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
