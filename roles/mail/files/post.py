#!/usr/bin/env python3
"""post.py mail VERB: YunoHost's own mail. Runs as root; answers are JSON on one line.

queue                   mails that wait, and for how long the oldest does
records DOMAIN,…        what DNS says of SPF, DKIM and DMARC
reverse ADDRESS,…       the server's name, and what its addresses are called in DNS
counts, versions        one JSON object
canary-plant ACCOUNT RUN AT   a mail in the folder "Releve" of an account; the last five stay
canary-find ACCOUNT           JSON list of {"run", "at"}
sample ACCOUNT                two mails, as members leave them
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, "/usr/local/lib/releve/yunohost")
if TYPE_CHECKING:
    from platforms.yunohost.files import apps
else:
    import apps

MAIL = Path("/var/mail")
KEYS = Path("/etc/dkim")
FOLDER = "Releve"
KEPT = 5


def queue(_: Sequence[str]) -> None:
    done = apps.run(["postqueue", "-j"])
    waiting = [json.loads(line) for line in apps.must(done, "postqueue").splitlines() if line]
    oldest = min((int(one["arrival_time"]) for one in waiting), default=None)
    why: dict[str, int] = {}
    for one in waiting:
        for person in one.get("recipients", []):
            reason = str(person.get("delay_reason", ""))[:120]
            if reason:
                # Addresses are members' own business.
                reason = re.sub(r"\S+@\S+", "…", reason)
                why[reason] = why.get(reason, 0) + 1
    apps.answer(
        {
            "waiting": len(waiting),
            "oldest_s": None if oldest is None else max(0, int(time.time()) - oldest),
            "why": max(why, key=lambda w: why[w]) if why else "",
        }
    )


def own_key(domain: str) -> str:
    """The public key that signs mails of a domain, as the server has it."""
    try:
        text = (KEYS / f"{domain}.mail.txt").read_text(encoding="utf-8")
    except OSError:
        return ""
    joined = "".join(re.findall(r'"([^"]*)"', text))
    match = re.search(r"p=([A-Za-z0-9+/=]+)", joined)
    return match[1] if match else ""


def records(rest: Sequence[str]) -> None:
    found = {}
    for domain in rest[1].split(","):
        if not re.fullmatch(r"[a-z0-9.-]+", domain):
            raise apps.ToolError(f"{domain!r} is not a domain")
        found[domain] = {
            "spf": apps.ask_dns("TXT", domain),
            "dkim": apps.ask_dns("TXT", f"mail._domainkey.{domain}"),
            "dmarc": apps.ask_dns("TXT", f"_dmarc.{domain}"),
            "key": own_key(domain),
        }
    apps.answer(found)


def reverse(rest: Sequence[str]) -> None:
    name = apps.must(apps.run(["postconf", "-h", "myhostname"]), "postconf").strip()
    names = {}
    for address in rest[1].split(","):
        if not re.fullmatch(r"[0-9a-fA-F.:]+", address):
            raise apps.ToolError(f"{address!r} is not an address")
        names[address] = apps.ask_dns("PTR", address)
    apps.answer({"name": name.lower(), "addresses": names})


def boxes() -> list[Path]:
    """The folder of every account that ever got a mail."""
    return [one for one in MAIL.iterdir() if (one / "cur").is_dir()] if MAIL.is_dir() else []


def counts(_: Sequence[str]) -> None:
    messages = 0
    for box in boxes():
        for folder in (box, *(f for f in box.glob(".*") if f.name != f".{FOLDER}" and f.is_dir())):
            for part in ("cur", "new"):
                if (folder / part).is_dir():
                    messages += sum(1 for f in (folder / part).iterdir() if f.is_file())
    apps.answer({"mailboxes": len(boxes()), "messages": messages})


def versions(_: Sequence[str]) -> None:
    postfix = apps.must(apps.run(["postconf", "-h", "mail_version"]), "postconf").strip()
    dovecot = apps.must(apps.run(["dovecot", "--version"]), "dovecot").split()[0]
    apps.answer({"postfix": postfix, "dovecot": dovecot})


# --- the mark --------------------------------------------------------------------------------


def account_of(word: str) -> str:
    if not re.fullmatch(r"[a-z0-9_][a-z0-9_.]{0,30}", word):
        raise apps.ToolError(f"{word!r} is not an account")
    return word


def doveadm(*argv: str, given: str | None = None) -> str:
    return apps.must(apps.run(["doveadm", *argv], given=given), f"doveadm {argv[0]}")


def save(account: str, folder: str, subject: str, text: str, extra: str = "") -> None:
    """Put a mail into a folder, as a mail program would keep a draft."""
    made = apps.run(["doveadm", "mailbox", "create", "-u", account, folder])
    if made.returncode not in (0, 65):  # 65: it exists (sysexits.h)
        apps.must(made, "doveadm mailbox create")
    mail = (
        f"From: Releve <root@localhost>\nTo: {account}\nSubject: {subject}\n{extra}"
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\n"
        f"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n{text}\n"
    )
    doveadm("save", "-u", account, "-m", folder, given=mail)


def marks(account: str) -> list[tuple[dict[str, str], str]]:
    """Marks, newest first, each with its number in the folder."""
    listed = doveadm("mailbox", "list", "-u", account)
    if FOLDER not in listed.split():
        return []
    said = doveadm(
        "-f", "flow", "fetch", "-u", account, "uid hdr.x-releve-run hdr.x-releve-at",
        "mailbox", FOLDER,
    )  # fmt: skip
    found = []
    for line in said.splitlines():
        words = dict(one.split("=", 1) for one in line.split() if "=" in one)
        run_id, at = words.get("hdr.x-releve-run"), words.get("hdr.x-releve-at")
        if run_id and at:
            found.append(({"run": run_id, "at": at}, words["uid"]))
    return sorted(found, key=lambda m: m[0]["at"], reverse=True)


def plant(rest: Sequence[str]) -> None:
    _, account, run_id, at = rest
    apps.checked_run(run_id, at)
    mark = {"run": run_id, "at": at}
    save(
        account_of(account),
        FOLDER,
        f"Releve {run_id}",
        f"Relève: written by the backup run {run_id} at {at}. It may be deleted.",
        f"X-Releve-Run: {run_id}\nX-Releve-At: {at}\n",
    )
    there = marks(account)
    if mark not in [m for m, _ in there]:
        raise apps.ToolError("the mail was kept but does not read the same")
    for _, uid in there[KEPT:]:
        doveadm("expunge", "-u", account, "mailbox", FOLDER, "uid", uid)
    apps.answer(mark)


def find(rest: Sequence[str]) -> None:
    apps.answer([mark for mark, _ in marks(account_of(rest[1]))])


def sample(rest: Sequence[str]) -> None:
    account = account_of(rest[1])
    save(account, "INBOX", "Reunion", "Réunion d'équipe : budget, accueil, été. ☀")
    save(account, "INBOX", "Marche", "J’apporte le vin chaud.")
    apps.answer({"messages": 2})


if __name__ == "__main__":
    sys.exit(
        apps.main(
            __doc__,
            {
                "queue": (0, queue),
                "records": (1, records),
                "reverse": (1, reverse),
                "counts": (0, counts),
                "versions": (0, versions),
                "canary-plant": (3, plant),
                "canary-find": (1, find),
                "sample": (1, sample),
            },
        )
    )
