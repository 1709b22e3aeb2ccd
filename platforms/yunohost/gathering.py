"""How YunoHost's own backup is made part of a run, and taken back: argv and paths. Pure.

The programs are files/collect and files/bring-back, which run on the host and spell no command
of YunoHost's: they are given them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from platforms.yunohost import commands
from platforms.yunohost.commands import Argv

# The name never changes: restic finds the last run by the folder it stands in, and does not read
# unchanged files again.
NAME = "releve"
ROOT = f"/home/yunohost.backup/tmp/{NAME}"
RESULTS = "/run/releve/gathered.json"
# Under which name an archive is offered for a restore.
BACK = "releve-restore"

PROGRAMS = "/usr/local/lib/releve/yunohost"
COLLECT = f"{PROGRAMS}/collect"
BRING_BACK = f"{PROGRAMS}/bring-back"

# Needed for every restore, whatever part of an archive comes back.
LISTS = ("info.json", "backup.csv")
# Words of an argv that the program replaces: by a name it reads in the archive, by those of all
# apps that it is to bring back.
DOMAIN = "DOMAIN"
APPS = "APPS"
# What the system is called among apps; no app's name has capital letters.
SYSTEM = "SYSTEM"
# Seconds that another operation, such as somebody's own backup, is waited for. A run has waited
# before, when nothing stood still yet.
WAIT = 3600
WAIT_STILL = 120


def collect_run() -> Argv:
    """What a run is made by; after "--" comes the command that copies."""
    create = commands.backup_create(NAME, methods=(NAME,), timeout=WAIT_STILL)
    return (COLLECT, "run", RESULTS, *create)


def collect_before() -> Argv:
    return (COLLECT, "before")


def collect_after() -> Argv:
    return (COLLECT, "after")


def _named(argv: Argv, name: str, placeholder: str) -> list[str]:
    return [placeholder if word == name else word for word in argv]


# Apps install Debian packages while they come back. Broken off in the middle of that, nothing can
# be installed or removed before this was done.
_MEND: dict[str, Sequence[str]] = {
    "packages": ("dpkg", "--audit"),
    "packages-mend": (
        *("env", "DEBIAN_FRONTEND=noninteractive", "dpkg"),
        *("--force-confdef", "--force-confold", "--configure", "-a"),
    ),
}


def _for_apps() -> dict[str, Sequence[str]]:
    stand_in = "domain.example"
    return {
        **_MEND,
        "domains": commands.domain_list(),
        "domains-in-directory": commands.domains_in_directory(),
        "domain-add": _named(commands.domain_add(stand_in, timeout=WAIT), stand_in, DOMAIN),
    }


def bring_back_app(instance: str) -> Argv:
    """Takes an archive that holds this app as standard input; replaces what is here."""
    told = {
        **_for_apps(),
        "remove": commands.app_remove(instance, timeout=WAIT),
        "restore": commands.backup_restore(BACK, apps=(instance,), timeout=WAIT),
    }
    return (BRING_BACK, "app", instance, json.dumps(told))


def bring_back_several() -> Argv:
    """The same for several apps, where none of them is yet, and for `SYSTEM`, where YunoHost is not
    set up: by one start of it. Their names come after it. Those that are not back afterwards,
    `bring_back_app` and `bring_back_system` bring back."""
    stand_in = "app"
    apps = commands.backup_restore(BACK, apps=(stand_in,), timeout=WAIT)
    everything = commands.backup_restore(BACK, system=(), apps=(stand_in,), timeout=WAIT)
    told = {
        **_for_apps(),
        "restore": _named(apps, stand_in, APPS),
        "restore-all": _named(everything, stand_in, APPS),
    }
    return (BRING_BACK, "several", json.dumps(told))


def bring_back_system() -> Argv:
    """The same for everything that is no app: accounts, domains, mail, homes, settings."""
    told = {
        **_MEND,
        "restore": commands.backup_restore(BACK, system=(), timeout=WAIT),
        "replace": commands.backup_restore(BACK, system=(), force=True, timeout=WAIT),
    }
    return (BRING_BACK, "system", json.dumps(told))


def left_out(instance: str, path: str) -> str:
    """The exclude for a folder that an app's own script gathers and that is saved beside the
    archive instead (restic's pattern). The app's restore script finds it in place already."""
    return f"{ROOT}/apps/{instance}/backup{path}"


def mail_left_out() -> str:
    """The exclude for all mailboxes, when they are saved beside the archive."""
    return f"{ROOT}/data/mail"
