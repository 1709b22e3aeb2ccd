"""Nextcloud as an app of YunoHost (nextcloud_ynh): arguments, settings, copies. Pure.

The package imports its own config.json at every update and thereby takes back mail, phone region
and window of maintenance; what is set here is therefore set again after each.
"""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from functools import partial

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from platforms.yunohost.app import Setting
from platforms.yunohost.wanted import WantedApp
from roles.app import common
from roles.interface import (
    Argv,
    InsideProbe,
    Quiesce,
    Restore,
    State,
)
from roles.nextcloud import probes
from roles.nextcloud import settings as nextcloud

PROGRAM = "/usr/local/lib/releve/nextcloud/cloud.py"


def program(service: Service, *arguments: str) -> Argv:
    """The argv, for root on the host, of a verb of files/cloud.py."""
    return ("python3", "-IS", PROGRAM, ynh.instance_of(service), *arguments)


def app(service: Service, inventory: Inventory) -> WantedApp:
    """Questions of the package: admin, user_home; visitors are let in, because phones and
    computers synchronise without YunoHost's portal."""
    chosen = nextcloud.settings(service)
    args = ynh.with_admin(service, inventory, {"user_home": chosen.home_folders})
    panel = {"main.notify_push.enable_notify_push": True} if chosen.push else {}
    return ynh.app(service, args=args, panel=panel)


def settle(service: Service, inventory: Inventory) -> tuple[Setting, ...]:
    """What occ sets."""
    chosen = nextcloud.settings(service)
    wanted: dict[str, ynh.Value] = {
        "system:default_language": nextcloud.language(service, inventory),
        "system:default_locale": nextcloud.locale(service, inventory),
        "system:default_phone_region": nextcloud.phone_region(service, inventory),
        "system:default_timezone": chosen.timezone,
        "system:maintenance_window_start": chosen.quiet_hour,
        "app:core:backgroundjobs_mode": "cron",
    }
    if chosen.sender:
        name, _, domain = chosen.sender.partition("@")
        wanted |= {"system:mail_from_address": name, "system:mail_domain": domain}
    if chosen.relay:
        wanted |= {
            "system:mail_smtphost": chosen.relay.host,
            "system:mail_smtpport": str(chosen.relay.port),
            "system:mail_smtpsecure": chosen.relay.secure,
            "system:mail_smtpauth": 1,
            "system:mail_smtpname": chosen.relay.user,
            "system:mail_smtppassword": ynh.Secret(chosen.relay.password.partition(":")[2]),
        }
    if chosen.quota:
        wanted["app:files:default_quota"] = chosen.quota
    wanted |= {f"enabled:{name}": True for name in chosen.apps}
    wanted |= {f"enabled:{name}": False for name in chosen.without}
    return (ynh.setting("occ", program(service), wanted),)


def tells(service: Service) -> Setting:
    """What may have been set inside one that was found."""
    words = ("default_language", "default_locale", "default_phone_region", "default_timezone")
    mail = ("mail_from_address", "mail_domain", "mail_smtphost", "mail_smtpport", "mail_smtpname")
    wanted: dict[str, ynh.Value] = {f"system:{name}": None for name in (*words, *mail)}
    wanted |= {
        "system:maintenance_window_start": None,
        "app:core:backgroundjobs_mode": "cron",
        "app:files:default_quota": None,
        **{f"enabled:{name}": False for name in ("calendar", "contacts", "mail", "spreed")},
    }
    return ynh.setting("occ", program(service), wanted)


def inside(service: Service, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What only the host can know."""
    return (
        InsideProbe(
            "state",
            program(service, "state"),
            partial(probes.judge_state, ynh.instance_of(service)),
            timeout=30,
        ),
        InsideProbe("setup", program(service, "checks"), probes.judge_checks, timeout=60),
        common.installed(service),
    )


def state(service: Service, inventory: Inventory) -> State:
    """Code, configuration and database come with YunoHost's archive; members' files lie beside
    it. Maintenance mode holds all of it still, as Nextcloud's manual asks for (backup.rst)."""
    hours = nextcloud.settings(service).hold_at_most
    return common.state(
        service,
        paths=(ynh.data_dir(service),),
        # The bin and old versions are members' data too; previews are made again.
        excludes=(f"{ynh.data_dir(service)}/data/appdata_*/preview",),
        quiesce=(Quiesce(program(service, "hold"), program(service, "free"), hours * 3600),),
        counts=program(service, "counts"),
        versions=program(service, "versions"),
    )


def restore(service: Service, inventory: Inventory) -> Restore:
    """The copy was made in maintenance mode; clients must look at everything again."""
    return Restore(accept=(program(service, "back"),))


# Marked by a file, as a member could have left it, in an account of our own.
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
