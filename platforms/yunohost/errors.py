"""One typed error for each way a YunoHost command is known to fail, with what to do about it.

Whether a command succeeded is never read from its words: the exit code says it, the `results` of
a backup or restore say it, and where both are known to lie, the caller says it, who looked at
the server afterwards (`done`). Words only choose between kinds of failure once it is known that
there is one, and every command has a kind for when they say nothing known.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

from platforms.yunohost import answers
from platforms.yunohost.answers import Answer, UnreadableError, command_words, named

Kind = Literal[
    "already_postinstalled",
    "app_exists",
    "app_failed",
    "archive_corrupt",
    "archive_exists",
    "archive_lacks",
    "archive_without_system",
    "backup_failed",
    "backup_folder",
    "backup_incomplete",
    "backup_method_failed",
    "bad_argument",
    "bad_name",
    "catalog_offline",
    "certificate_not_diagnosed",
    "certificate_refused",
    "command_unknown",
    "crashed",
    "diagnosis_issues",
    "disk_full",
    "dns_special",
    "domain_exists",
    "domain_in_use",
    "domain_is_main",
    "download_failed",
    "group_exists",
    "group_protected",
    "import_failed",
    "interrupted",
    "locked",
    "mail_taken",
    "mirrors_offline",
    "needs_terminal",
    "no_archive",
    "no_effect",
    "no_panel",
    "not_postinstalled",
    "not_root",
    "nothing_to_do",
    "packages_broken",
    "packages_missing",
    "postinstall_incomplete",
    "refused",
    "restore_domain_missing",
    "restore_failed",
    "restore_incomplete",
    "sudo_password",
    "too_old",
    "unknown_app",
    "unknown_archive",
    "unknown_catalog_app",
    "unknown_domain",
    "unknown_group",
    "unknown_log",
    "unknown_permission",
    "unknown_service",
    "unknown_setting",
    "unknown_user",
    "unreadable",
    "upgrade_failed",
    "url_taken",
    "user_exists",
    "weak_password",
]


class YunohostError(Exception):
    """A YunoHost command that did not do what it was for.

    `message` says what happened, where, and what it means; `remedy` what to do next. `log` is
    YunoHost's name of the operation (`yunohost log show LOG`), or "". `parts` names what of a
    backup or restore is missing. None of it holds a password.
    """

    def __init__(
        self, kind: Kind, message: str, remedy: str, log: str = "", parts: tuple[str, ...] = ()
    ) -> None:
        super().__init__(f"{message} {remedy}")
        self.kind: Kind = kind
        self.message = message
        self.remedy = remedy
        self.log = log
        self.parts = parts

    @property
    def harmless(self) -> bool:
        """Whether it only says that there was nothing to do."""
        return self.kind == "nothing_to_do"


@dataclass(frozen=True)
class _Meaning:
    means: str
    remedy: str


_SHOW = "yunohost log show {log}"
_LOOK = f"Look at the log on the server: {_SHOW}."
_WHY: dict[Kind, _Meaning] = {
    "already_postinstalled": _Meaning(
        "The server is set up already, perhaps by somebody else.",
        "If it is the right server, adopt it: releve adopt HOST. A blank one is needed else.",
    ),
    "app_exists": _Meaning(
        "The app is in the server's list already: it is installed, or it is a ghost that a "
        "restore which failed left behind.",
        "If it does not answer, remove it with yunohost app remove and restore again; if it "
        "does, decide whether to replace it.",
    ),
    "app_failed": _Meaning(
        "The app's own script failed. YunoHost takes back what it had installed.",
        _LOOK + " The end of it says what the script was doing.",
    ),
    "archive_corrupt": _Meaning(
        "The archive is cut off or damaged; nothing was restored from it.",
        "Take another copy, or bring this one to the server again.",
    ),
    "archive_exists": _Meaning(
        "There is an archive of this name; nothing was saved.",
        "Give another name, or delete the old one if nobody needs it.",
    ),
    "archive_lacks": _Meaning(
        "The copy does not hold what was asked for; nothing was restored.",
        "Look at what is in it, and name something of that, or take another copy.",
    ),
    "archive_without_system": _Meaning(
        "A server that is not set up yet can only be brought back with the system's part of a "
        "copy: people, domains, settings.",
        "Restore the system first, from a copy that holds it.",
    ),
    "backup_failed": _Meaning(
        "Nothing was saved.",
        _LOOK + " Check that each app has a backup script and that the disk has room.",
    ),
    "backup_folder": _Meaning(
        "The folder cannot be used; nothing was saved.",
        "Leave the folder to YunoHost: a second backup into one's own would delete it.",
    ),
    "backup_incomplete": _Meaning(
        "The command ended well, and yet these parts are not saved.",
        "See that each app is still installed and has a backup script (in the log), then save "
        "again. Until then the older copy is what can be restored of them.",
    ),
    "backup_method_failed": _Meaning(
        "The program that takes the files over failed; no copy was finished.",
        "See what it said in the log of the backup, then save again.",
    ),
    "bad_argument": _Meaning(
        "A value is not among those that are allowed here; nothing was changed.",
        "Write one of the allowed values into the inventory.",
    ),
    "bad_name": _Meaning(
        "YunoHost does not take this name; nothing was changed.",
        "User names: small letters, digits, _ and . only, and none of a system account. "
        "Domains: at least two labels, no underscore.",
    ),
    "catalog_offline": _Meaning(
        "The list of apps could not be fetched; what it says about upgrades is old.",
        "See that the server reaches app.yunohost.org by HTTPS, then try again.",
    ),
    "certificate_not_diagnosed": _Meaning(
        "YunoHost asks Let's Encrypt only for domains whose diagnosis of DNS and web is good; "
        "the old certificate stays.",
        "See that the domain's name leads to this server and port 80 is open, run the diagnosis, "
        "and deploy again.",
    ),
    "certificate_refused": _Meaning(
        "There is no new certificate; the old one stays.",
        "See that the domain's name leads to this server, that port 80 is open from outside, and "
        "that the server reaches Let's Encrypt. After too many attempts, wait some hours.",
    ),
    "command_unknown": _Meaning(
        "This YunoHost does not know the command in this form; nothing was changed.",
        "Upgrade YunoHost to 12.1 or newer. If it is, this release of it is newer than what Relève "
        "was made for: update Relève, or do this by hand on the server and run it again.",
    ),
    "crashed": _Meaning(
        "YunoHost itself broke off in the middle; what it had begun may be half done.",
        "Look at the server's state before trying again, and at the log.",
    ),
    "diagnosis_issues": _Meaning(
        "YunoHost's diagnosis found something that is not well.",
        "See what, on the server: yunohost diagnosis show --issues --human-readable.",
    ),
    "disk_full": _Meaning(
        "There is no room left on the disk; what was begun is not finished.",
        "Make room (old archives in /home/yunohost.backup/archives are the first place to look), "
        "then start again.",
    ),
    "dns_special": _Meaning(
        "The name ends in one that is never in the DNS, such as .test or .local.",
        "Nothing to do for a test; else use a name that is yours.",
    ),
    "domain_exists": _Meaning("The domain is there already.", "Nothing to do."),
    "domain_in_use": _Meaning(
        "Apps are installed on the domain; it was not removed.",
        "Move these apps or mark them as absent first.",
    ),
    "domain_is_main": _Meaning(
        "The main domain cannot be removed; it is still there.",
        "Give the server another main_domain first.",
    ),
    "download_failed": _Meaning(
        "The server could not download what the app consists of; it is not installed or not "
        "upgraded.",
        "See that the server reaches that address; if it is gone (404), the app's package must "
        "be newer.",
    ),
    "group_exists": _Meaning("The group is there already.", "Nothing to do."),
    "group_protected": _Meaning(
        "This group belongs to YunoHost and cannot be changed in this way.",
        "Leave it out of the inventory. At least one person must stay among the admins.",
    ),
    "import_failed": _Meaning(
        "Some accounts could not be made.",
        _LOOK + " Names, mail addresses and groups must be ones that YunoHost takes.",
    ),
    "interrupted": _Meaning(
        "The command was ended from outside before it was done.",
        "Look at the server's state: what it had begun may be half done. Then deploy again.",
    ),
    "locked": _Meaning(
        "Another YunoHost operation was running for all the time that we waited; nothing was "
        "changed.",
        "See what runs (ps, /var/run/moulinette_yunohost.lock), let it finish, and try again.",
    ),
    "mail_taken": _Meaning(
        "Somebody has the mail address already, or it is reserved for the admins, or its domain "
        "is not on this server.",
        "Give another address.",
    ),
    "mirrors_offline": _Meaning(
        "Lists of Debian packages could not be fetched; what is said about upgrades is old.",
        "See that the server reaches the mirrors named above, then try again.",
    ),
    "needs_terminal": _Meaning(
        "The command wanted to ask something and nobody could answer; nothing was changed.",
        "What it asks stands in its output above, in YunoHost's words. Most often an app wants to "
        "be confirmed, or asks what the inventory does not answer: see `yunohost app manifest APP` "
        "and write it below services.NAME.app.args; or do this by hand on the server, and run it "
        "again.",
    ),
    "no_archive": _Meaning(
        "The command says that the backup is made, and there is none: YunoHost takes a method "
        "it does not know for one that does nothing.",
        "See that the hook is there and executable "
        "(yunohost hook list backup_method), then save again.",
    ),
    "no_effect": _Meaning(
        "The command ended well, and the server is not as it should be afterwards.",
        _LOOK,
    ),
    "no_panel": _Meaning(
        "The app has no panel to set this in; nothing was changed.",
        "Remove it from `panel` in the inventory.",
    ),
    "not_postinstalled": _Meaning(
        "YunoHost is installed on the server and not set up yet.",
        "Deploy the host first; it sets it up.",
    ),
    "not_root": _Meaning(
        "The command was run without the rights of root; nothing was changed.",
        "Use root, or an admin who may use sudo without a password.",
    ),
    "nothing_to_do": _Meaning("It is so already.", "Nothing to do."),
    "packages_broken": _Meaning(
        "Another program holds Debian's package manager, or it is in a broken state.",
        "Wait for it; if nothing runs: apt install --fix-broken and dpkg --configure -a.",
    ),
    "packages_missing": _Meaning(
        "Debian packages that the app needs could not be installed; the app is not installed.",
        "See that the server reaches its package mirrors, and that the versions asked for (of "
        "PHP, say) exist there.",
    ),
    "postinstall_incomplete": _Meaning(
        "The server counts as set up, and a part of its configuration was not written.",
        "See that the server reaches the internet, then: yunohost tools regen-conf.",
    ),
    "refused": _Meaning("It was refused; nothing is known to have changed.", _LOOK),
    "restore_domain_missing": _Meaning(
        "The app's domain is not on this server. A ghost of the app is now in its list, and what "
        "was to come after it was not restored.",
        "Add the domain, remove the ghost with yunohost app remove, and restore it again.",
    ),
    "restore_failed": _Meaning(
        "What was to be restored is not, or not whole; a ghost of an app may be in the server's "
        "list.",
        "Look at the log, remove the ghost with yunohost app remove, and restore it again.",
    ),
    "restore_incomplete": _Meaning(
        "The command ended well, and yet these parts were not restored.",
        "Remove what is left of these apps with yunohost app remove, and restore them one at a "
        "time.",
    ),
    "sudo_password": _Meaning(
        "sudo asks this admin for a password; nothing was changed.",
        "Once, as an admin on the server: "
        "sudo yunohost settings set security.password.passwordless_sudo -v yes",
    ),
    "too_old": _Meaning(
        "The app or the copy and this YunoHost do not fit each other; nothing was changed.",
        "Upgrade YunoHost first, or take an older version of the app.",
    ),
    "unknown_app": _Meaning(
        "No such app is installed on this server.",
        "Check the instance's name in the inventory (yunohost app list).",
    ),
    "unknown_archive": _Meaning(
        "There is no such archive on the server.",
        "Bring it there (/home/yunohost.backup/archives/NAME.tar), or name another.",
    ),
    "unknown_catalog_app": _Meaning(
        "The catalog has no app of this id; nothing was changed.",
        "Check the id at apps.yunohost.org. For one that is not in the catalog, give its source.",
    ),
    "unknown_domain": _Meaning(
        "The domain is not on this server; nothing was changed.",
        "Add it to the host's domains in the inventory.",
    ),
    "unknown_group": _Meaning(
        "There is no such group; nothing was changed.", "Add it to the inventory's groups."
    ),
    "unknown_log": _Meaning("There is no such log.", "List them: yunohost log list."),
    "unknown_permission": _Meaning(
        "There is no such permission; nothing was changed.",
        "Check its name (yunohost user permission list) and that the app is installed.",
    ),
    "unknown_service": _Meaning(
        "There is no such service on the server.", "List them: yunohost service status."
    ),
    "unknown_setting": _Meaning(
        "This YunoHost, or this app, has no such setting; nothing was changed.",
        "Check its name (yunohost settings list, yunohost app config get APP).",
    ),
    "unknown_user": _Meaning(
        "There is no such account; nothing was changed.",
        "Check the name in the inventory; operators and mailboxes are made by a deploy.",
    ),
    "unreadable": _Meaning(
        "The answer is not one that this version of YunoHost is known to give.",
        "Look at the server's state, and please report this with the version of YunoHost.",
    ),
    "upgrade_failed": _Meaning(
        "The app was not upgraded. If YunoHost's own safety copy worked, it is as it was before, "
        "though the command may have ended well.",
        "See that the app answers; else restore it from the last copy. " + _LOOK,
    ),
    "url_taken": _Meaning(
        "Another app answers at this address; nothing was changed.",
        "Give one of the two another address.",
    ),
    "user_exists": _Meaning(
        "The name is an account already, or one of the system's, or the full name of another "
        "account; nothing was changed.",
        "Give another name, or that other account another full name.",
    ),
    "weak_password": _Meaning(
        "YunoHost refuses the password as too weak, too common, too long, or for a character "
        "in it; nothing was changed.",
        "Let a deploy make one, or choose a longer one without { and }.",
    ),
}

# For a name that nobody gives a certificate for, whatever was wrong beside that.
_NO_AUTHORITY = _Meaning(
    "No authority gives certificates for names that are never in the DNS, such as those in .test "
    "or .local; the old certificate stays.",
    'Write certificate = "self-signed" for this domain, or use a name that is yours.',
)
# src/utils/dns.py of 12.1.25.
_NEVER_IN_DNS = re.compile(r".+\.(?:home\.arpa|internal|local|localhost|onion|test)")

# Words that tell kinds of failure apart, the first that fits. Only looked at when it is known
# that there was a failure. Sources: the recordings, and locales/en.json of 12.1.25 for those
# that were not recorded. A pair: command words that it is limited to, or () for all.
_HINTS: tuple[tuple[Kind, tuple[str, ...], str], ...] = (
    ("not_postinstalled", (), r"YunoHost is not correctly installed"),
    ("locked", (), r"already a YunoHost operation running"),
    ("not_root", (), r"must be run as root"),
    ("sudo_password", (), r"sudo: .*(?:password|terminal) is required"),
    (
        "disk_full",
        (),
        r"No space left on device|Errno 28|[Nn]ot enough (?:free |disk )?space|requires \S+ free"
        r" space|not seem to have enough space",
    ),
    ("packages_broken", (), r"using the lock of dpkg|broke dpkg/APT"),
    ("needs_terminal", (), r"Not a tty"),
    ("command_unknown", (), r"Invalid usage|should have 'apps' or 'system' value"),
    (
        "weak_password",
        (),
        r"most used passwords|The password needs to be|password shorter than|passwords can not"
        r" contain|Must be at least 3 characters",
    ),
    ("already_postinstalled", ("tools", "postinstall"), r"already installed"),
    ("archive_corrupt", (), r"archive '.*' is corrupted|open the backup archive|info\.json"),
    ("archive_exists", ("backup",), r"archive with the name '.*' already exists"),
    ("unknown_archive", ("backup",), r"Unknown local backup archive"),
    ("archive_without_system", ("backup", "restore"), r"needed to perform the postinstall"),
    ("too_old", (), r"too-old YunoHost|requires YunoHost|only be installed on architectures|some"
     r" requirements are not met"),
    ("app_exists", ("backup", "restore"), r"already installed"),
    ("restore_domain_missing", ("backup", "restore"), r"Domain '.*' unknown"),
    ("archive_lacks", ("backup", "restore"), r"in the backup archive|unavailable in this backup"),
    ("backup_method_failed", ("backup", "create"), r"ustom backup method|hooks\.d/backup_method"),
    ("backup_folder", ("backup", "create"), r"output directory"),
    ("nothing_to_do", ("app", "upgrade"), r"No apps can be upgraded"),
    ("nothing_to_do", ("app", "change-url"), r"nothing to do"),
    ("nothing_to_do", ("domain", "main-domain"), r"can not be removed from the 'admins' group"),
    ("nothing_to_do", ("domain", "cert"), r"not about to expire|overwrite a good and valid"),
    ("download_failed", ("app",), r"Failed to download|Could not fetch source files"
     r"|Failed to connect to|status code \d+"),
    ("packages_missing", ("app",), r"no installation candidate|Unable to install dependencies"
     r"|Failed to provision apt"),
    ("url_taken", ("app",), r"URL is either unavailable"),
    ("no_panel", (), r"No config panel"),
    ("unknown_setting", (), r"filter key '.*' is incorrect"),
    ("bad_argument", (), r"Pick a valid value for|Unexpected value"),
    ("bad_argument", ("diagnosis",), r"categories are unknown"),
    ("bad_name", (), r"Invalid argument|cannot be used as a username|list of system users"),
    ("domain_exists", ("domain", "add"), r"domain already exists"),
    ("domain_is_main", ("domain", "remove"), r"main domain"),
    ("domain_in_use", ("domain", "remove"), r"still installed on your domain"),
    ("user_exists", ("user",), r"user '.*' already exists|attribute '(?:cn|uid)' already exists"),
    ("mail_taken", ("user",), r"attribute 'mail' already exists|Mail address '.*' already exists"
     r"|reserved for the admins|Invalid e-mail address for domain"),
    ("group_exists", ("user", "group"), r"Group .* already exists"),
    ("group_protected", ("user", "group"), r"cannot be deleted manually|cannot be edited manually"
     r"|last user in the group"),
    ("group_protected", ("user", "permission"), r"is protected"),
    ("unknown_permission", ("user", "permission"), r"Could not find|Permission '.*' not found"),
    ("unknown_user", (), r"Unknown user|Unknown '.*' user"),
    ("unknown_group", (), r"group '.*' is unknown|Unknown '.*' group"),
    ("unknown_catalog_app", ("app",), r"Unknown app"),
    ("unknown_app", (), r"in the list of installed apps"),
    ("unknown_service", (), r"Unknown service"),
    ("unknown_log", ("log",), r"no operation log"),
    ("mirrors_offline", ("tools",), r"[WE]: (?:Failed to fetch|Some index files failed)"),
    ("dns_special", ("domain", "dns"), r"special-use top-level domain"),
    ("certificate_not_diagnosed", ("domain", "cert"), r"no diagnosis result"),
    ("unknown_domain", (), r"Domain '.*' unknown"),
)  # fmt: skip

# What a command that failed for no known reason is, by its words; the longest that fits.
_FALLBACKS: tuple[tuple[tuple[str, ...], Kind], ...] = (
    (("app", "install"), "app_failed"),
    (("app", "remove"), "app_failed"),
    (("app", "change-url"), "app_failed"),
    (("app", "upgrade"), "upgrade_failed"),
    (("tools", "upgrade"), "upgrade_failed"),
    (("backup", "create"), "backup_failed"),
    (("backup", "restore"), "restore_failed"),
    (("domain", "cert"), "certificate_refused"),
    (("tools", "postinstall"), "postinstall_incomplete"),
    (("user", "import"), "import_failed"),
)

# The same for a command that ended well without the effect it was for.
_FALLBACKS_DONE: tuple[tuple[tuple[str, ...], Kind], ...] = (
    (("backup", "create"), "no_archive"),
    (("backup", "restore"), "restore_incomplete"),
    (("domain", "cert"), "certificate_refused"),
    (("diagnosis", "run"), "diagnosis_issues"),
    (("app", "upgrade"), "upgrade_failed"),
    (("tools", "upgrade"), "upgrade_failed"),
    (("tools", "postinstall"), "postinstall_incomplete"),
    (("user", "import"), "import_failed"),
)


def classify(answer: Answer, *, done: bool | None = None, host: str = "") -> YunohostError | None:
    """Given an answer, return the typed error it is, or None.

    `done` is what the server showed afterwards: True, it is as wanted now, whatever the exit
    code (`main-domain` fails when it is so already; seen: recording 030); False, it is not,
    whatever the exit code (an upgrade that was rolled back ends well; seen: recording 343);
    None, nobody looked, or the command was only a question. `host` is named in the message.
    """
    if done is True:
        return None
    where = f"On {host}, " if host else ""
    if answer.exit_code == 0:
        return _ended_well(answer, done, where)
    code = answer.exit_code
    if code == 2:
        return _error("command_unknown", answer, where)
    if code < 0 or code >= 128:
        return _error("interrupted", answer, where)
    if not command_words(answer.argv) and code in (126, 127):
        return _error("refused", answer, where)
    kind = _hinted(answer) or _by_words(answer, _FALLBACKS) or "refused"
    # A traceback is a crash whatever words are in it, except that it may say why: a full disk.
    if "Traceback (most recent call last)" in answer.stderr and kind != "disk_full":
        kind = "crashed"
    return _error(kind, answer, where)


def checked(answer: Answer, *, done: bool | None = None, host: str = "") -> Answer:
    """The answer itself. Raise the YunohostError that `classify` finds in it."""
    error = classify(answer, done=done, host=host)
    if error is not None:
        raise error
    return answer


def _ended_well(answer: Answer, done: bool | None, where: str) -> YunohostError | None:
    """An answer with exit code 0 is one of a few known failures, or none."""
    words = command_words(answer.argv)
    look = _LOOKS.get(words)
    if look is not None:
        try:
            found = look(answer)
        except UnreadableError:
            found = _Found("unreadable") if "json" in answer.argv else None
        if found is not None:
            return _error(found.kind, answer, where, found.parts)
    if done is False:
        kind = _hinted(answer) or _by_words(answer, _FALLBACKS_DONE) or "no_effect"
        return _error(kind, answer, where)
    return None


@dataclass(frozen=True)
class _Found:
    kind: Kind
    parts: tuple[str, ...] = ()


def _backup(answer: Answer) -> _Found | None:
    if "--dry-run" in answer.argv:
        return None
    failed = answers.backup_result(answer).failed
    if not failed:
        return None
    kind: Kind = "restore_incomplete" if answer.argv[2] == "restore" else "backup_incomplete"
    return _Found(kind, tuple(f"{name} ({state})" for _, name, state in failed))


def _update(answer: Answer) -> _Found | None:
    # A refresh that worked was just now. One that did not leaves the age (seen: recording 353).
    refreshed = "--no-refresh" not in answer.argv and answer.argv[3:4] != ("system",)
    if refreshed and answers.upgrades(answer).catalog_age > _FRESH:
        return _Found("catalog_offline")
    return None


def _import(answer: Answer) -> _Found | None:
    return _Found("import_failed") if answers.user_import(answer).errors else None


# Seconds within which a catalog that was fetched by this very command is still.
_FRESH = 120

_LOOKS: dict[tuple[str, ...], Callable[[Answer], _Found | None]] = {
    ("backup", "create"): _backup,
    ("backup", "restore"): _backup,
    ("tools", "update"): _update,
    ("user", "import"): _import,
}


# --- What was said ---------------------------------------------------------------------------

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LEVEL = re.compile(r"(DEBUG|INFO|SUCCESS|WARNING|ERROR) (.*)")


def said(answer: Answer) -> tuple[str, ...]:
    """Given an answer, return its error messages, without secrets, continuation lines joined.

    They are for people. Errors are lines of that level on standard error, "Error:" lines of
    either stream (seen: recordings 002 and 388), and the last line of a crash.
    """
    found: list[str] = []
    open_message = False
    crashed = False
    last = ""
    for line in _COLOUR.sub("", answer.stderr).split("\n"):
        level = _LEVEL.match(line)
        if level:
            open_message = level[1] == "ERROR"
            if open_message:
                found.append(level[2])
        elif re.match(r"Error: |sudo: |\S+( \S+)*: error: ", line):
            found.append(line.removeprefix("Error: "))
        elif line.startswith("Traceback "):
            crashed, open_message = True, False
        elif open_message and line.strip():
            found[-1] += f" {line.strip()}"
        if line.strip():
            last = line.strip()
    if crashed:
        found.append(last)
    if not found:
        found = re.findall(r"(?m)^Error: (.*)$", _COLOUR.sub("", answer.stdout))
    # The last one is often "None", or the same as before with a hint to a web page.
    unique = dict.fromkeys(text.strip() for text in found)
    return tuple(without_secrets(text, answer.argv) for text in unique if text not in ("", "None"))


_SECRET_OPTIONS = ("-p", "--password", "--change-password", "--new-password")


# Commands that run scripts of apps: what these complain of is a warning to YunoHost.
_SCRIPTS = (
    ("app", "install"),
    ("app", "remove"),
    ("app", "upgrade"),
    ("app", "change-url"),
    ("backup", "create"),
    ("backup", "restore"),
    ("tools", "upgrade"),
)
# How many of the complaints before the failure are told.
_COMPLAINTS = 3


def complaints(answer: Answer) -> tuple[str, ...]:
    """What an app's script complained of last before YunoHost called it a failure, without
    secrets: YunoHost's own message says only that the script failed. Empty for other commands."""
    if command_words(answer.argv) not in _SCRIPTS:
        return ()
    before: list[str] = []
    for line in _COLOUR.sub("", answer.stderr).split("\n"):
        level = _LEVEL.match(line)
        if level and level[1] == "ERROR":
            last = dict.fromkeys(text.strip() for text in before if text.strip())
            return tuple(without_secrets(one, answer.argv) for one in last)[-_COMPLAINTS:]
        if level and level[1] == "WARNING":
            before.append(level[2])
    return ()


def without_secrets(text: str, argv: Sequence[str]) -> str:
    """Given text a command printed and its argv, return it without what could be secret in it:
    passwords, values of settings, and app arguments whose name says so. For logs.
    """
    hidden: set[str] = set()
    words = command_words(argv)
    for before, word in itertools.pairwise(argv):
        option, joined, found = word.partition("=")
        if not (joined and option.startswith("--")):
            option, found = before, word
        if option in ("-v", "--value"):
            hidden.add(found)
        elif option in ("-a", "--args"):
            hidden |= {
                item
                for key, item in parse_qsl(found, keep_blank_values=True)
                if answers.is_secret(key)
            }
        elif option in _SECRET_OPTIONS and words[:1] in (("user",), ("tools",)):
            hidden.add(found)
    # Longest first, so that none leaves a part of another; very short ones say nothing.
    for found in sorted(hidden, key=len, reverse=True):
        if len(found) >= 4:
            text = text.replace(found, "…")
    return text


def operation_log(answer: Answer) -> str:
    """The name of YunoHost's log of what failed, or ""."""
    match = re.search(r"yunohost log (?:share|show) (\d{8}-\d{6}-[\w.-]+)", answer.stdout)
    match = match or re.search(r"yunohost log (?:share|show) (\d{8}-\d{6}-[\w.-]+)", answer.stderr)
    return match[1] if match else ""


def _hinted(answer: Answer) -> Kind | None:
    words = command_words(answer.argv)
    # Errors are looked through first: a warning may tell of something that was overcome.
    for text in ("\n".join(said(answer)), f"{answer.stdout}\n{answer.stderr}"):
        for kind, limit, pattern in _HINTS:
            if words[: len(limit)] == limit and re.search(pattern, text):
                return kind
    return None


def _by_words(answer: Answer, table: tuple[tuple[tuple[str, ...], Kind], ...]) -> Kind | None:
    words = command_words(answer.argv)
    return next((kind for prefix, kind in table if words[: len(prefix)] == prefix), None)


def _error(kind: Kind, answer: Answer, where: str, parts: tuple[str, ...] = ()) -> YunohostError:
    why = _WHY[kind]
    if kind in ("certificate_not_diagnosed", "certificate_refused") and any(
        map(_NEVER_IN_DNS.fullmatch, answer.argv)
    ):
        why = _NO_AUTHORITY
    log = operation_log(answer)
    how = (
        "ended well and yet failed"
        if answer.exit_code == 0
        else f"failed (exit code {answer.exit_code})"
    )
    message = f"{where}{named(answer.argv)} {how}"
    if parts:
        message += f": {', '.join(parts)}"
    elif quoted := _told(answer, log):
        message += f": {' / '.join(quoted)}"
    message = f"{message.rstrip('. ')}. {why.means}"
    remedy = why.remedy.replace(_SHOW, f"yunohost log show {log}" if log else "yunohost log list")
    return YunohostError(kind, message, remedy, log, parts)


# How many messages are told of one failure: the first is often the cause, the last the sum.
_TOLD = 5


def _told(answer: Answer, log: str) -> tuple[str, ...]:
    """What is told of a failure: complaints first, and of the errors none that only leads to the
    log, which the remedy does."""
    errors = said(answer)
    telling = [text for text in errors if not (log and log in text)]
    found = (*complaints(answer), *(telling or errors))
    return tuple(dict.fromkeys(_short(text) for text in found))[-_TOLD:]


def _short(text: str, begin: int = 140, end: int = 260) -> str:
    """The text on one line. Of a long one the middle goes: what failed stands at the beginning,
    why at the end."""
    text = _UNSPEAKABLE.sub("…", " ".join(text.split()))
    if len(text) <= begin + end:
        return text
    return f"{text[:begin].rstrip()} … {text[-end:].lstrip()}"


# Signatures, keys and tokens, which tell people nothing.
_UNSPEAKABLE = re.compile(r"[A-Za-z0-9+_=-]{60,}")
