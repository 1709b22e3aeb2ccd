"""Discourse as an app of YunoHost (discourse_ynh): arguments, settings, copies. Pure.

The package gives it YunoHost's own mail server to send by. Mails come in by POP3, which YunoHost
keeps switched off until a service asks for it. Its updates write discourse.conf anew; what is set
here lies in the database, and is looked at again after each.
"""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

from functools import partial

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from platforms.yunohost.app import Needs, Setting
from platforms.yunohost.wanted import WantedApp
from roles import units as units_of
from roles.app import common
from roles.discourse import probes
from roles.discourse import settings as discourse
from roles.interface import (
    Argv,
    InsideProbe,
    Quiesce,
    Restore,
    State,
)

PROGRAM = "/usr/local/lib/releve/discourse/forum.py"
POP3 = "email.pop3.pop3_enabled"


def program(service: Service, *arguments: str) -> Argv:
    """The argv, for root on the host, of a verb of files/forum.py."""
    return ("python3", "-IS", PROGRAM, ynh.instance_of(service), *arguments)


def app(service: Service, inventory: Inventory) -> WantedApp:
    """Question of the package: admin."""
    return ynh.app(service, args=ynh.with_admin(service, inventory))


def needs(service: Service, inventory: Inventory) -> Needs:
    """POP3, for a mailbox on the same server."""
    box = discourse.settings(service).mailbox
    return Needs(settings={POP3: True}, mailboxes=(box,)) if isinstance(box, str) else Needs()


def incoming(service: Service, inventory: Inventory) -> tuple[str, dict[str, ynh.Value]]:
    """The mailbox's address ("" without one) and how Discourse reads it."""
    chosen = discourse.settings(service)
    box = chosen.mailbox
    if box is None:
        return "", {}
    if isinstance(box, str):
        address = ynh.mail_of(box, service, inventory)
        host, port, user = ynh.main_domain(service, inventory), 995, box
        word = ynh.password(box, service)
    else:
        address, host, port, user = str(box.address), box.host, box.port, box.user
        word = ynh.Secret(box.password.partition(":")[2])
    return address, {
        "pop3_polling_host": host,
        "pop3_polling_port": port,
        "pop3_polling_ssl": True,
        "pop3_polling_username": user,
        "pop3_polling_password": word,
        "pop3_polling_period_mins": chosen.poll_minutes,
        "pop3_polling_enabled": True,
    }


def settle(service: Service, inventory: Inventory) -> tuple[Setting, ...]:
    """Site settings, mail in and out first of all."""
    chosen = discourse.settings(service)
    address, wanted = incoming(service, inventory)
    # Never the mailbox: Discourse refuses reply addresses in the mailbox that it sends as
    # (ReplyByEmailAddressValidator), for its own mails would come back as replies.
    sender = chosen.sender or f"noreply@{ynh.main_domain(service, inventory)}"
    wanted |= {
        "title": chosen.title or inventory.organisation.name,
        "default_locale": chosen.locale or inventory.organisation.locale,
        "contact_email": chosen.contact or inventory.organisation.contact,
        "notification_email": sender,
    }
    if address:
        name, _, domain = address.partition("@")
        wanted["reply_by_email_enabled"] = chosen.reply_by_mail
        if chosen.reply_by_mail:
            # Postfix hands NAME+anything to NAME (recipient_delimiter).
            wanted["reply_by_email_address"] = f"{name}+%{{reply_key}}@{domain}"
    if chosen.new_topics:
        wanted["email_in"] = True
        for slug, mail in chosen.new_topics.items():
            wanted[f"category_mail:{slug}"] = mail
            wanted[f"category_strangers:{slug}"] = chosen.strangers
    if chosen.mailing_list is not None:
        wanted["disable_mailing_list_mode"] = not chosen.mailing_list
        wanted["default_email_mailing_list_mode"] = chosen.mailing_list
    if chosen.chat is not None:
        wanted["chat_enabled"] = chosen.chat
    return (ynh.setting("site settings", program(service), wanted),)


def tells(service: Service) -> Setting:
    """What may have been set inside one that was found: mail in above all."""
    texts = (
        "title", "default_locale", "contact_email", "notification_email", "pop3_polling_host",
        "pop3_polling_username", "reply_by_email_address",
    )  # fmt: skip
    switches = (
        "pop3_polling_enabled", "reply_by_email_enabled", "email_in",
        "default_email_mailing_list_mode", "chat_enabled",
    )  # fmt: skip
    wanted: dict[str, ynh.Value] = {**dict.fromkeys(texts, ""), **dict.fromkeys(switches, False)}
    return ynh.setting("site settings", program(service), wanted)


def inside(service: Service, inventory: Inventory) -> tuple[InsideProbe, ...]:
    """What only the host can know."""
    return (
        units_of.probe(ynh.service_unit(service)),
        InsideProbe(
            "state",
            program(service, "state"),
            partial(probes.judge_state, ynh.instance_of(service)),
            timeout=30,
        ),
        common.installed(service),
    )


def state(service: Service, inventory: Inventory) -> State:
    """All of it with YunoHost's archive, which copies files and dumps the database while both are
    in use: for that long the forum is read-only and its jobs are paused. Why not Discourse's own
    archive: docs/architecture.md."""
    return common.state(
        service,
        quiesce=(Quiesce(program(service, "hold"), program(service, "free"), 2 * 3600),),
        counts=program(service, "counts"),
        versions=program(service, "versions"),
    )


def restore(service: Service, inventory: Inventory) -> Restore:
    """It starts for a while. What held it still for the copy lay in Redis, not in the copy; on the
    same host it may still lie there."""
    return Restore(accept=(program(service, "wait"), program(service, "free")))


# Marked by a message to the forum's admins, as somebody could have written it. On a host that was
# replaced it must not run: it would read members' mail as well.
ON = common.with_program(
    program,
    own_unit=True,
    inside=inside,
    state=state,
    restore=restore,
    app=app,
    needs=needs,
    settle=settle,
    tells=tells,
)
