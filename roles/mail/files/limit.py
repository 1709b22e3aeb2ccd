#!/usr/bin/env python3
"""limit.py FOLDER PER_HOUR FREE: started by Postfix (spawn(8)) for each connection of its policy
protocol (SMTPD_POLICY_README). Lets an account that logged in write to PER_HOUR recipients within
an hour, then asks to wait: whoever stole a password sends no thousands of mails. All programs of
this host together, which do not log in, count as one account more. FREE, whose mails look whether
mails arrive, is not counted. What is counted lies in FOLDER, and in no copy."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Mapping

WINDOW = 3600
OWN = "programs of this host"


def open_counts(folder: str) -> sqlite3.Connection:
    """The counts, shared by the processes that Postfix starts."""
    counts = sqlite3.connect(f"{folder}/recipients.sqlite", timeout=10, isolation_level=None)
    # Nothing waits for the disk: a count that a power cut takes away does no harm.
    counts.execute("PRAGMA journal_mode = WAL")
    counts.execute("PRAGMA synchronous = NORMAL")
    # One row a second, however many recipients it had. The index is for what is forgotten: no mail
    # waits for a look at all of them.
    counts.execute(
        "CREATE TABLE IF NOT EXISTS sent "
        "(account TEXT, at INTEGER, count INTEGER, PRIMARY KEY (account, at)) WITHOUT ROWID"
    )
    counts.execute("CREATE INDEX IF NOT EXISTS sent_when ON sent (at)")
    return counts


def who(asked: Mapping[str, str]) -> str:
    """The account that a question of Postfix is about, OWN for programs of this host, "" for
    others, whom it does not ask about."""
    address = asked.get("client_address", "")
    own = OWN if address.startswith("127.") or address == "::1" else ""
    return asked.get("sasl_username", "").lower() or own


def judge(counts: sqlite3.Connection, account: str, most: int, now: float) -> str:
    """What Postfix shall do with one more recipient of `account`; it is counted if let through."""
    name = "The programs of this host together" if account == OWN else "This account"
    counts.execute("BEGIN IMMEDIATE")
    try:
        counts.execute("DELETE FROM sent WHERE at <= ?", (now - WINDOW,))
        row = counts.execute("SELECT TOTAL(count) FROM sent WHERE account = ?", (account,))
        if row.fetchone()[0] >= most:
            return (
                f"450 4.7.1 {name} wrote to {most} recipients within an hour, which is the most: "
                "try again later, or ask your administrators"
            )
        counts.execute(
            "INSERT INTO sent VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
            (account, int(now)),
        )
        return "DUNNO"
    finally:
        counts.execute("COMMIT")


def requests(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Each question of Postfix: lines NAME=VALUE up to an empty one."""
    asked: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.rstrip("\n").partition("=")
        if separator:
            asked[name] = value
        elif asked:
            yield asked
            asked = {}


def main(folder: str, most: str, free: str) -> None:
    counts = open_counts(folder)
    for asked in requests(sys.stdin):
        account = who(asked)
        answer = "DUNNO"
        if account not in ("", free) and asked.get("protocol_state") == "RCPT":
            answer = judge(counts, account, int(most), time.time())
        print(f"action={answer}\n", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
