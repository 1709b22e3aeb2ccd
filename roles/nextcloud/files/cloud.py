#!/usr/bin/env python3
"""cloud.py INSTANCE VERB: a Nextcloud of YunoHost's, through its own occ and, to count, its
database. Runs as root; occ runs as the app. Answers are JSON on one line.

state                 what `occ status` says, and when background jobs last ran
checks                how many of Nextcloud's own setup checks end how; asked twice a day at most
                      while there is no error
counts, versions      one JSON object
get NAMES SECRETS     values of settings: "system:NAME", "app:APP:NAME", "enabled:APP"
set SECRETS           {name: value} on standard input
hold, free            maintenance mode, unless somebody else had switched it on
back                  after a restore: maintenance off, previews made anew, clients told to look at
                      everything again
canary-plant RUN AT   a file of the account "releve"; the last five stay
canary-find           JSON list of {"run", "at"}
sample                two files, as members leave them
"""

from __future__ import annotations

import json
import os
import re
import secrets
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

ACCOUNT = "releve"
FOLDER = "Relève"
RUN = "/run/releve"
KEPT = 5
CHECKS_EVERY = 12 * 3600
# With an error in it an answer is soon out of date: somebody is seeing to it.
CHECKS_AGAIN = 600


def occ(instance: str, *arguments: str, given: str | None = None, **env: str) -> str:
    """The standard output of an occ command. Raise ToolError when it failed."""
    done = apps.as_app(
        instance,
        "{php}",
        "{install_dir}/occ",
        "--no-interaction",
        "--no-ansi",
        *arguments,
        given=given,
        timeout=600,
        **env,
    )
    return apps.must(done, f"occ {arguments[0]}")


def said(instance: str, *arguments: str) -> Any:
    return apps.last_json(occ(instance, *arguments, "--output=json"))


def state(rest: Sequence[str]) -> None:
    status = said(rest[0], "status")
    try:
        last = int(occ(rest[0], "config:app:get", "core", "lastcron").split()[-1])
    except (apps.ToolError, IndexError, ValueError):
        last = None
    apps.answer(
        {
            **{k: status.get(k) for k in ("installed", "maintenance", "needsDbUpgrade")},
            "version": status.get("versionstring"),
            "jobs_age_s": None if last is None else max(0, int(time.time()) - last),
        }
    )


def checks(rest: Sequence[str]) -> None:
    """setupchecks asks this server for its own pages and takes seconds: kept for half a day when
    no error is among the answers."""
    file = Path(f"{RUN}/{rest[0]}.setupchecks.json")
    try:
        age, kept = time.time() - file.stat().st_mtime, json.loads(file.read_text(encoding="utf-8"))
        if age < (CHECKS_AGAIN if kept.get("error") else CHECKS_EVERY):
            apps.answer(kept)
            return
    except (OSError, ValueError):
        pass
    done = apps.as_app(
        rest[0], "{php}", "{install_dir}/occ", "--no-interaction", "--no-ansi", "setupchecks",
        "--output=json", timeout=55,
    )  # fmt: skip
    # It ends with 1 as soon as one check is less than a success.
    found: dict[str, list[str]] = {}
    for category in apps.last_json(done.stdout).values():
        for kind, check in category.items():
            name = str(check.get("name") or kind.rpartition("\\")[2])
            found.setdefault(str(check.get("severity")), []).append(name)
    text = json.dumps(found, ensure_ascii=False)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    apps.write_file(str(file), text, 0o600, (0, 0))
    print(text)


def query(instance: str, sql: str) -> list[list[str]]:
    """Rows of a read-only question to the app's own database, asked as root by the socket."""
    database = apps.remembered(instance)["db_name"]
    argv = ["mysql", "--batch", "--skip-column-names", "--default-character-set=utf8mb4"]
    done = apps.run([*argv, "--", database], given=sql)
    return [line.split("\t") for line in apps.must(done, "the database").splitlines()]


def config(words: Mapping[str, str]) -> Path:
    """Nextcloud's own configuration, from what YunoHost remembers of the app."""
    return Path(words["install_dir"]) / "config/config.php"


def data(words: Mapping[str, str]) -> Path:
    """The folder of everybody's files."""
    match = re.search(r"'datadirectory'\s*=>\s*'([^']+)'", config(words).read_text("utf-8"))
    return Path(match[1] if match else f"{words['data_dir']}/data")


def prefix(instance: str) -> str:
    """The prefix of its tables."""
    text = config(apps.remembered(instance)).read_text("utf-8")
    match = re.search(r"'dbtableprefix'\s*=>\s*'([A-Za-z0-9_]*)'", text)
    return match[1] if match else "oc_"


def counts(rest: Sequence[str]) -> None:
    p = prefix(rest[0])
    # Files that members see: not previews, versions or what lies in the bin. Folders aside.
    sql = f"""SELECT 'files', COUNT(*) FROM {p}filecache f
        JOIN {p}storages s ON s.numeric_id = f.storage
        JOIN {p}mimetypes m ON m.id = f.mimetype
        WHERE s.id LIKE 'home::%' AND s.id <> 'home::{ACCOUNT}' AND f.path LIKE 'files/%'
        AND m.mimetype <> 'httpd/unix-directory';
        SELECT 'accounts', COUNT(*) FROM {p}accounts WHERE uid <> '{ACCOUNT}';
        SELECT 'shares', COUNT(*) FROM {p}share;"""
    known = {row[0] for row in query(rest[0], "SHOW TABLES;")}
    for name, table in (("events", "calendarobjects"), ("contacts", "cards")):
        if f"{p}{table}" in known:
            sql += f"SELECT '{name}', COUNT(*) FROM {p}{table};"
    apps.answer({name: int(number) for name, number in query(rest[0], sql)})


def versions(rest: Sequence[str]) -> None:
    status = said(rest[0], "status")
    words = apps.remembered(rest[0])
    apps.answer({"nextcloud": str(status["versionstring"]), "php": words.get("php_version", "")})


# --- settings --------------------------------------------------------------------------------


def get(instance: str, names: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    listing = said(instance, "config:list", "--private")
    listed = said(instance, "app:list") if any(n.startswith("enabled:") for n in names) else {}
    for name in names:
        kind, _, rest = name.partition(":")
        if kind == "system":
            found[name] = listing["system"].get(rest)
        elif kind == "app":
            app, _, key = rest.partition(":")
            found[name] = listing["apps"].get(app, {}).get(key)
        else:
            found[name] = rest in listed["enabled"]
    return found


def put(instance: str, values: Mapping[str, Any]) -> None:
    """Set all that can be set; raise ToolError with what could not."""
    system: dict[str, Any] = {}
    failed = []
    for name, value in values.items():
        kind, _, rest = name.partition(":")
        try:
            if kind == "enabled":
                enable(instance, rest, wanted=bool(value))
            elif kind == "app":
                app, _, key = rest.partition(":")
                text = ("yes" if value else "no") if isinstance(value, bool) else value
                # Keeps the type that Nextcloud gave a value; `config:import` refuses such values.
                occ(instance, "config:app:set", f"--value={text}", "--", app, key)
            else:
                system[rest] = value
        except apps.ToolError as error:
            failed.append(str(error))
    if system:
        # By standard input: secrets are among these.
        occ(instance, "config:import", given=json.dumps({"system": system}))
    if failed:
        raise apps.ToolError("; ".join(failed))


def enable(instance: str, app: str, *, wanted: bool) -> None:
    """Switch an app of Nextcloud on or off; fetch it from Nextcloud's catalog when it is not
    there yet."""
    if not re.fullmatch(r"[a-z0-9_]+", app):
        raise apps.ToolError(f"{app!r} is not the name of an app of Nextcloud")
    if not wanted:
        occ(instance, "app:disable", app)
        return
    listed = said(instance, "app:list")
    if app in listed["disabled"]:
        occ(instance, "app:enable", app)
        return
    try:
        occ(instance, "app:install", app)
    except apps.ToolError as error:
        raise apps.ToolError(
            f"{app}: {error}. Nextcloud's catalog has no such app for this version, or this server "
            "cannot reach it: then Nextcloud asks it again only after five minutes"
        ) from None


# --- copies ----------------------------------------------------------------------------------


def in_maintenance(instance: str) -> bool:
    return bool(said(instance, "status").get("maintenance"))


def hold(rest: Sequence[str]) -> None:
    held = apps.mark(rest[0], "maintenance")
    if in_maintenance(rest[0]) and not held.exists():
        return  # somebody is working on it: it stays as it is afterwards
    held.write_text("", encoding="utf-8")
    occ(rest[0], "maintenance:mode", "--on")


def free(rest: Sequence[str]) -> None:
    held = apps.mark(rest[0], "maintenance")
    if held.exists():
        occ(rest[0], "maintenance:mode", "--off")
        held.unlink()


def back(rest: Sequence[str]) -> None:
    """A copy is made in maintenance mode and comes back in it."""
    occ(rest[0], "maintenance:mode", "--off")
    apps.mark(rest[0], "maintenance").unlink(missing_ok=True)
    forget_previews(rest[0])
    # Without it, clients take what is missing here for deleted, and delete it on their side.
    occ(rest[0], "maintenance:data-fingerprint")


def forget_previews(instance: str) -> None:
    """No copy holds previews, but its database lists them: Nextcloud would show none for ever."""
    words = apps.remembered(instance)
    match = re.search(r"'instanceid'\s*=>\s*'([a-z0-9]+)'", config(words).read_text("utf-8"))
    if match is None:
        raise apps.ToolError("its config.php has no instanceid")
    # What lists them there is looked through only where the folder exists.
    folder = data(words) / f"appdata_{match[1]}" / "preview"
    apps.must(apps.as_app(instance, "mkdir", "-p", "--", str(folder)), "no folder of previews")
    occ(instance, "files:scan-app-data", "preview")
    # Since Nextcloud 33 they are listed in a table of their own.
    if query(instance, f"SHOW TABLES LIKE '{prefix(instance)}previews';"):
        occ(instance, "preview:cleanup")


# --- the mark --------------------------------------------------------------------------------


def account(instance: str, who: str = ACCOUNT) -> None:
    """A local account of our own, switched off: nobody logs in with it, and no member's space is
    written to."""
    asked = ("--no-interaction", "user:info", "--output=json", who)
    done = apps.as_app(instance, "{php}", "{install_dir}/occ", *asked)
    there = done.returncode == 0
    if not there:
        word = secrets.token_urlsafe(24)
        occ(instance, "user:add", "--password-from-env", f"--display-name={who}", who, OC_PASS=word)
    # Also when an earlier `user:add` failed after it had made the account.
    if not there or apps.last_json(done.stdout)["enabled"]:
        occ(instance, "user:disable", who)
    if not (home(instance, who) / FOLDER).is_dir():
        # Who never logged in has no folder yet, and `files:put` makes only the last one of a path.
        made = apps.as_app(instance, "mkdir", "-p", "--", str(home(instance, who) / FOLDER))
        apps.must(made, "its folder cannot be made")
        occ(instance, "files:scan", who)


def home(instance: str, who: str = ACCOUNT) -> Path:
    """Where an account's files lie on the disk, to list them; they are read and written through
    occ."""
    return data(apps.remembered(instance)) / who / "files"


def marks(instance: str) -> list[tuple[float, str, dict[str, str]]]:
    found = []
    for file in (home(instance) / FOLDER).glob("canary-*.json"):
        text = occ(instance, "files:get", f"/{ACCOUNT}/files/{FOLDER}/{file.name}", "-")
        mark = json.loads(text)
        found.append((file.stat().st_mtime, file.name, {"run": mark["run"], "at": mark["at"]}))
    return sorted(found, key=lambda m: m[2]["at"], reverse=True)


def find(rest: Sequence[str]) -> None:
    apps.answer([mark for _, _, mark in marks(rest[0])])


def plant(rest: Sequence[str]) -> None:
    instance, run_id, at = rest
    apps.checked_run(run_id, at)
    account(instance)
    name = f"canary-{re.sub(r'[^A-Za-z0-9.-]', '-', run_id)}.json"
    mark = {"run": run_id, "at": at}
    occ(instance, "files:put", "-", f"/{ACCOUNT}/files/{FOLDER}/{name}", given=json.dumps(mark))
    there = marks(instance)
    if mark not in [m for _, _, m in there]:
        raise apps.ToolError("the file was written but does not read the same")
    for _, old, _ in there[KEPT:]:
        # Without it, occ asks, gets no answer, deletes nothing, and ends well.
        occ(instance, "files:delete", "--force", f"/{ACCOUNT}/files/{FOLDER}/{old}")
    apps.answer(mark)


def sample(rest: Sequence[str]) -> None:
    # Not in the account of the marks, whose files do not count.
    instance, who = rest[0], "exemple"
    account(instance, who)
    for name, text in (
        ("Réunion d'équipe.md", "# Budget, accueil, été\nÀ relire ! ☀\n"),
        ("planning.csv", "jour,équipe\nlundi,accueil\n"),
    ):
        occ(instance, "files:put", "-", f"/{who}/files/{name}", given=text)
    apps.answer({"files": 2})


def main() -> int:
    os.umask(0o077)
    return apps.main(
        __doc__,
        {
            "state": (0, state),
            "checks": (0, checks),
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
            "back": (0, back),
            "canary-plant": (2, plant),
            "canary-find": (0, find),
            "sample": (0, sample),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
