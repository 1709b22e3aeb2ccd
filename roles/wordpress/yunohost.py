"""WordPress as an app of YunoHost (wordpress_ynh): arguments, settings, copies. Pure.

The package brings WordPress' own release into /var/www/INSTANCE and runs wp-cron once a day at
03:00; after each update it installs its plugins anew and leaves options alone.
"""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import json
from functools import partial

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from platforms.yunohost.app import Setting
from platforms.yunohost.wanted import WantedApp
from roles.app import common
from roles.interface import (
    Argv,
    Finding,
    InsideProbe,
    Restore,
    State,
)
from roles.wordpress import probes
from roles.wordpress import settings as wordpress

_FOLDER = "/usr/local/lib/releve/wordpress"
# What the package asks for; others are set afterwards.
LANGUAGES = ("de_DE", "en_US", "es_ES", "fr_FR", "it_IT", "pt_PT", "pt_BR")


def program(service: Service, *arguments: str) -> Argv:
    """The argv, for root on the host, of a verb of files/wp.php, run as the app."""
    site = ynh.install_dir(service)
    return ynh.as_app(service, "{php}", f"{_FOLDER}/wp.php", site, *arguments)


def app(service: Service, inventory: Inventory) -> WantedApp:
    """Questions of the package: language, admin, multisite."""
    locale = wordpress.locale(service, inventory)
    language = locale if locale in LANGUAGES else "en_US"
    args = ynh.with_admin(service, inventory, {"language": language, "multisite": False})
    return ynh.app(service, args=args)


def settle(service: Service, inventory: Inventory) -> tuple[Setting, ...]:
    """Options of the site. Its title is left to its admins unless the inventory names one: the
    package calls every site "YunoBlog"."""
    chosen = wordpress.settings(service)
    wanted: dict[str, ynh.Value] = {
        "locale": wordpress.locale(service, inventory),
        "timezone_string": chosen.timezone,
        "admin_email": chosen.admin_mail or inventory.organisation.contact,
    }
    if chosen.title:
        wanted["blogname"] = chosen.title
    if chosen.updates:
        wanted |= {
            "updates:minor": chosen.updates != "none",
            "updates:major": chosen.updates == "all",
            "updates:plugins": chosen.updates == "all",
            "updates:themes": chosen.updates == "all",
        }
    return (ynh.setting("options", program(service), wanted),)


def tells(service: Service) -> Setting:
    """What may have been set inside one that was found."""
    texts = ("locale", "timezone_string", "admin_email", "blogname")
    updates = ("minor", "major", "plugins", "themes")
    wanted: dict[str, ynh.Value] = {
        **dict.fromkeys(texts, ""),
        **{f"updates:{kind}": False for kind in updates},
    }
    return ynh.setting("options", program(service), wanted)


def judge_code(instance: str, exit_code: int, stdout: str) -> Finding:
    """Judge `verify.py`: program files against WordPress' own list of checksums."""
    try:
        said = json.loads(stdout)
        changed, unknown = list(said["changed"]), list(said["unknown"])
        missing, version = list(said["missing"]), str(said["version"])
        compared = said["compared"]
    except (ValueError, KeyError, TypeError):
        return Finding("warning", f"WordPress' files could not be compared (exit {exit_code})")
    if not compared:
        return Finding(
            "warning",
            f"the files of WordPress {version} were not compared: {said.get('why', '')[:200]}",
        )
    wrong = [*changed, *unknown]
    if wrong:
        return Finding(
            "critical",
            f"{len(wrong)} program file(s) are not those of WordPress {version}, first {wrong[0]}: "
            "somebody changed its code, or put some there. Compare, then "
            f"`yunohost app upgrade --force {instance}` brings the right ones.",
        )
    if missing:
        return Finding(
            "critical", f"{len(missing)} program file(s) are missing, first {missing[0]}"
        )
    return Finding("ok", f"the program files are those of WordPress {version}")


def inside(service: Service, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What only the host can know."""
    site = ynh.install_dir(service)
    return (
        # As the site's own user: root must run no plugin.
        InsideProbe(
            "state",
            ynh.as_app(service, "{php}", f"{_FOLDER}/probe.php", site),
            probes.judge_state,
        ),
        InsideProbe(
            "files",
            ("python3", f"{_FOLDER}/verify.py", site),
            partial(judge_code, ynh.instance_of(service)),
            timeout=40,
        ),
        common.installed(service),
    )


def state(service: Service, inventory: Inventory) -> State:
    """All of it comes with YunoHost's archive: the package saves its folder and a dump."""
    return common.state(
        service, counts=program(service, "counts"), versions=program(service, "versions")
    )


def restore(service: Service, inventory: Inventory) -> Restore:
    """Tables to the code's version, caches away."""
    return Restore(accept=(program(service, "upgrade"),))


# Marked by a private page, as an editor could have written it.
ON = common.with_program(
    program,
    own_unit=False,
    inside=inside,
    state=state,
    restore=restore,
    app=app,
    settle=settle,
    tells=tells,
)
