#!/usr/bin/env python3
"""forum.py INSTANCE VERB: a Discourse of YunoHost's. Runs as root; answers are JSON on one line.

Looks ask the database and Redis, which takes no time, as does holding it still; what changes
something goes through Discourse itself (forum.rb), which takes its quarter of a minute.

state                 jobs queued, seconds since the last one, mailbox errors in a day, read-only
counts, versions      one JSON object
get NAMES SECRETS     site settings, "category_mail:SLUG", "category_strangers:SLUG"; of
                      secrets only a fingerprint
set SECRETS           {name: value} on standard input
hold, free            read-only and background jobs paused, unless somebody else had done so
wait                  until it answers, at most 3 min
canary-plant RUN AT   a topic that only staff sees; the last five stay
canary-find           JSON list of {"run", "at"}
sample                a topic with an answer, as members leave them
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, "/usr/local/lib/releve/yunohost")
if TYPE_CHECKING:
    from platforms.yunohost.files import apps
else:
    import apps

RUBY = str(Path(__file__).resolve().parent / "forum.rb")
# Discourse::USER_READONLY_MODE_KEY and SidekiqPauser::PAUSED_KEY, with the name of the one forum
# that an installation has. Whoever serves a page or takes a job asks for them each time.
READ_ONLY, PAUSED = "default:readonly_mode:user", "default:sidekiq_is_paused_v2"
# Longer than a copy may take; then the forum serves again by itself, whatever became of us.
HELD_S = 3 * 3600
TITLE = "Relève canary"


def ruby(instance: str, verb: str, given: Any = None) -> Any:
    """A verb of forum.rb inside Discourse; what it needs goes in by standard input."""
    folder = f"{apps.remembered(instance)['install_dir']}/discourse"
    # Rails finds itself from its own folder.
    argv = ["sh", "-c", 'cd "$1" && shift && exec bin/bundle exec rails runner "$@"', "rails"]
    done = apps.as_app(instance, *argv, folder, RUBY, verb, given=json.dumps(given), timeout=900)
    return apps.last_json(apps.must(done, f"forum.rb {verb}"))


# --- database and Redis ----------------------------------------------------------------------


def query(instance: str, sql: str) -> list[list[str]]:
    """Rows of a read-only question, asked as PostgreSQL's administrator by the socket."""
    database = apps.remembered(instance)["db_name"]
    argv = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
    done = apps.run([*argv, f"--dbname={database}", "--file=-"], given=f"BEGIN READ ONLY; {sql}")
    return [line.split("\t") for line in apps.must(done, "the database").splitlines()]


class Redis:
    """The few words of Redis' protocol (RESP) that are needed here."""

    PORT = 6379

    def __init__(self, number: int) -> None:
        try:
            self.link = socket.create_connection(("127.0.0.1", self.PORT), timeout=10)
        except OSError as error:
            raise apps.ToolError(f"Redis does not answer: {error}") from None
        self.file = self.link.makefile("rb")
        self.ask("SELECT", str(number))

    def ask(self, *words: str) -> Any:
        parts = [word.encode() for word in words]
        self.link.sendall(
            b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
        )
        return self.read()

    def read(self) -> Any:
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None
            return self.file.read(size + 2)[:-2].decode("utf-8", "replace")
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        raise apps.ToolError(f"Redis says {line.decode('utf-8', 'replace')[:80]}")

    def first(self, *keys: str) -> Any:
        """The value of the first of these keys that is there: releases differ in a prefix."""
        return next((v for v in (self.ask("GET", k) for k in keys) if v is not None), None)


def redis(instance: str) -> Redis:
    return Redis(int(apps.remembered(instance).get("redis_db", "0")))


def queued(store: Redis) -> int:
    total = 0
    for prefix in ("", "sidekiq:"):
        for name in store.ask("SMEMBERS", f"{prefix}queues"):
            total += int(store.ask("LLEN", f"{prefix}queue:{name}"))
    return total


def state(rest: Sequence[str]) -> None:
    store, now = redis(rest[0]), int(time.time())
    # Jobs.last_job_performed_at, Jobs::PollMailbox.errors_in_past_24_hours in Discourse.
    last = store.first("last_job_perform_at", "sidekiq:last_job_perform_at")
    errors = store.ask("ZCOUNT", "default:poll_mailbox_errors", str(now - 86400), str(now))
    flags = (
        "default:readonly_mode",
        READ_ONLY,
        "default:readonly_mode:postgres",
    )
    trackers: list[str] = []
    if query(rest[0], "SELECT 1 FROM pg_tables WHERE tablename = 'problem_check_trackers';"):
        trackers = [
            row[0]
            for row in query(
                rest[0],
                "SELECT identifier FROM problem_check_trackers WHERE blips > 0 "
                "AND identifier LIKE 'poll_pop3%';",
            )
        ]
    apps.answer(
        {
            "queued": queued(store),
            "job_age_s": None if last is None else max(0, now - int(float(last))),
            "mailbox_errors": int(errors) + len(trackers),
            "readonly": any(store.ask("EXISTS", flag) for flag in flags),
            "held": apps.mark(rest[0], "readonly").exists(),
        }
    )


def counts(rest: Sequence[str]) -> None:
    rows = query(
        rest[0],
        f"""SELECT 'topics', COUNT(*) FROM topics t WHERE deleted_at IS NULL
              AND archetype = 'regular' AND title NOT LIKE '{TITLE}%'
            UNION ALL SELECT 'posts', COUNT(*) FROM posts p JOIN topics t ON t.id = p.topic_id
              WHERE p.deleted_at IS NULL AND t.archetype = 'regular'
              AND t.title NOT LIKE '{TITLE}%'
            UNION ALL SELECT 'messages', COUNT(*) FROM topics WHERE deleted_at IS NULL
              AND archetype = 'private_message' AND title NOT LIKE '{TITLE}%'
            UNION ALL SELECT 'accounts', COUNT(*) FROM users WHERE id > 0
            UNION ALL SELECT 'uploads', COUNT(*) FROM uploads WHERE id > 0;""",
    )
    apps.answer({name: int(number) for name, number in rows})


def versions(rest: Sequence[str]) -> None:
    file = Path(apps.remembered(rest[0])["install_dir"]) / "discourse/lib/version.rb"
    text = file.read_text(encoding="utf-8")
    match = re.search(r'STRING\s*=\s*"([^"]+)"', text)
    numbers = re.findall(r"(?:MAJOR|MINOR|TINY)\s*=\s*(\d+)", text)
    [[server]] = query(rest[0], "SHOW server_version;")
    apps.answer(
        {
            "discourse": match[1] if match else ".".join(numbers),
            "postgresql": server.split()[0],
        }
    )


# --- settings --------------------------------------------------------------------------------


def get(instance: str, names: Sequence[str]) -> dict[str, Any]:
    """What the table says; a setting nobody ever set is not there, and counts as different."""
    rows = query(
        instance,
        "SELECT json_build_array('s', name, value, data_type) FROM site_settings "
        "UNION ALL SELECT json_build_array('c', slug, email_in, email_in_allow_strangers) "
        "FROM categories;",
    )
    found: dict[str, Any] = dict.fromkeys(names)
    for row in rows:
        kind, name, value, data_type = json.loads("\t".join(row))
        if kind == "c":
            for key, here in (("mail", value), ("strangers", bool(data_type))):
                if f"category_{key}:{name}" in found:
                    found[f"category_{key}:{name}"] = here
        elif name in found:
            # SiteSettings::TypeSupervisor: 5 is bool, kept as t and f.
            found[name] = value == "t" if data_type == 5 else value
    return found


def put(instance: str, values: Mapping[str, Any]) -> None:
    said = ruby(instance, "set", dict(values))
    if said.get("wrong"):
        raise apps.ToolError(f"Discourse refuses {said['wrong']}")


# --- copies ----------------------------------------------------------------------------------


def at_work(store: Redis) -> int:
    """Jobs under way: Sidekiq keeps those of each of its processes in a table of its own."""
    return sum(
        int(store.ask("HLEN", f"{prefix}{process}:{table}"))
        for prefix in ("", "sidekiq:")
        for process in store.ask("SMEMBERS", f"{prefix}processes")
        for table in ("work", "workers")
    )


def hold(rest: Sequence[str]) -> None:
    """Not by `Sidekiq.pause!`: that lasts a minute after the process that said it has ended."""
    held, store = apps.mark(rest[0], "readonly"), redis(rest[0])
    if not held.exists() and store.ask("EXISTS", READ_ONLY):
        return  # an administrator wants it read-only: it stays so afterwards
    held.write_text("", encoding="utf-8")
    for key in (READ_ONLY, PAUSED):
        store.ask("SET", key, "releve", "EX", str(HELD_S))
    # A job under way writes: half a minute at most is waited for it.
    deadline = time.monotonic() + 30
    while at_work(store) and time.monotonic() < deadline:
        time.sleep(0.5)


def free(rest: Sequence[str]) -> None:
    held = apps.mark(rest[0], "readonly")
    if held.exists():
        store = redis(rest[0])
        for key in (READ_ONLY, PAUSED):
            if store.ask("GET", key) == "releve":
                store.ask("DEL", key)
        held.unlink()


class Local(http.client.HTTPConnection):
    """HTTP over the socket between nginx and Discourse."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def wait(rest: Sequence[str]) -> None:
    words = apps.remembered(rest[0])
    path = f"{words['install_dir']}/discourse/tmp/sockets/unicorn.sock"
    deadline = time.monotonic() + 180
    said = ""
    while time.monotonic() < deadline:
        try:
            link = Local(path)
            below = words.get("path", "/").rstrip("/")
            link.request("GET", f"{below}/srv/status", headers={"Host": words["domain"]})
            answer = link.getresponse()
            said = f"HTTP {answer.status}"
            if answer.status == 200:
                return
        except OSError as error:
            said = str(error)
        time.sleep(1)
    raise apps.ToolError(f"it does not answer after 3 min: {said}")


# --- the mark --------------------------------------------------------------------------------


def find(rest: Sequence[str]) -> None:
    rows = query(
        rest[0],
        "SELECT json_build_array(p.raw) FROM posts p JOIN topics t ON t.id = p.topic_id "
        f"WHERE t.title LIKE '{TITLE}%' AND t.deleted_at IS NULL AND p.deleted_at IS NULL "
        "AND p.post_number = 1 ORDER BY p.id DESC;",
    )
    found = []
    for row in rows:
        match = re.search(r"backup run (\S+) at (\S+)\.", json.loads("\t".join(row))[0])
        if match:
            found.append({"run": match[1], "at": match[2]})
    apps.answer(found)


def plant(rest: Sequence[str]) -> None:
    instance, run_id, at = rest
    apps.checked_run(run_id, at)
    text = f"Relève: written by the backup run {run_id} at {at}. It may be deleted."
    ruby(instance, "plant", {"title": f"{TITLE} {run_id}", "text": text, "like": f"{TITLE}%"})
    apps.answer({"run": run_id, "at": at})


if __name__ == "__main__":
    sys.exit(
        apps.main(
            __doc__,
            {
                "state": (0, state),
                "counts": (0, counts),
                "versions": (0, versions),
                "get": (2, lambda r: apps.settings("get", r[1:], lambda n: get(r[0], n), print)),
                "set": (
                    1,
                    lambda r: apps.settings(
                        "set", r[1:], lambda n: get(r[0], n), lambda v: put(r[0], v)
                    ),
                ),
                "hold": (0, hold),
                "free": (0, free),
                "wait": (0, wait),
                "canary-plant": (2, plant),
                "canary-find": (0, find),
                "sample": (0, lambda r: apps.answer(ruby(r[0], "sample"))),
            },
        )
    )
