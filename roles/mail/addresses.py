"""Whether the addresses that an inventory gives to a mail service make sense together. Pure.

Members are data of the service: whether a target that is one exists is looked at on the host
(`mailhost.py targets`), and judged here."""

from __future__ import annotations

import json
from collections.abc import Iterator

from inventories.judge import Judgement
from inventories.model import Inventory, Service
from roles.interface import Finding
from roles.mail import settings as mail


def judge(service: Service, inventory: Inventory) -> tuple[Judgement, ...]:
    """What would lose mail without a word. On YunoHost, which judges for itself, nothing."""
    if inventory.hosts[service.host].platform != "debian":
        return ()
    return tuple(_wrong(service, inventory))


def _wrong(service: Service, inventory: Inventory) -> Iterator[Judgement]:
    chosen = mail.settings(service)
    ours = mail.domains(service, inventory)
    aliases = {address.lower(): {t.lower() for t in to} for address, to in chosen.aliases.items()}

    def error(kind: str, address: str, message: str, remedy: str) -> Judgement:
        path = f'services.{service.id}.settings.{kind}."{address}"'
        return Judgement("mail-address", "error", path, message, remedy)

    for kind, addresses in (("mailboxes", chosen.mailboxes), ("aliases", chosen.aliases)):
        for address in addresses:
            domain = address.lower().partition("@")[2]
            if domain not in ours and not (kind == "aliases" and domain == service.domain):
                yield error(
                    kind,
                    address,
                    f"{domain} is none of its domains ({', '.join(ours)})",
                    "Add it to domains, or write another address",
                )
    for address in (a for a in chosen.mailboxes if a.lower() in aliases):
        if address.lower() not in aliases[address.lower()]:
            yield error(
                "mailboxes",
                address,
                "is an alias as well: what is written to it would not arrive in the mailbox",
                "Name the address itself among the alias's targets, or drop one of the two",
            )
    for address in chosen.aliases:
        if not chosen.aliases[address]:
            yield error("aliases", address, "leads to nobody", "Name one target at least")
        elif not _ends(address.lower(), aliases):
            yield error(
                "aliases",
                address,
                "leads back to itself: mail to it would go in a circle",
                "Name a mailbox, a member or an address elsewhere among the targets",
            )


def _ends(address: str, aliases: dict[str, set[str]]) -> bool:
    """Does an alias lead to an address that is none? One that names itself is a mailbox, too."""
    seen: set[str] = set()
    ahead = [address]
    while ahead:
        one = ahead.pop()
        if one in seen:
            continue
        seen.add(one)
        if one not in aliases or one in aliases[one]:
            return True
        ahead += aliases[one]
    return False


def judge_targets(exit_code: int, stdout: str) -> Finding:
    """Judge `mailhost.py targets`: does what is written to an alias arrive?"""
    try:
        found = [(one["alias"], one["target"], one["problem"]) for one in json.loads(stdout)]
    except (ValueError, KeyError, TypeError):
        return Finding("unknown", f"the aliases could not be looked at (exit {exit_code})")
    words = {
        "taken": "{alias} is an alias and an account, which gets nothing that is written to it",
        "member": "{alias}, a role mailbox in the inventory, is a member's account and stays one",
    }
    nobody = "{alias} passes mail on to {target}, which does not exist"
    told = [
        words.get(problem, nobody).format(alias=alias, target=target)
        for alias, target, problem in found
    ]
    if told:
        return Finding("warning", "; ".join(told[:3]) + f" ({len(told)} in all)" * (len(told) > 3))
    return Finding("ok", "every alias leads to somebody")
