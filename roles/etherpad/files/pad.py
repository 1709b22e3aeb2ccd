#!/usr/bin/env python3
"""pad.py FOLDER PORT VERB …: speaks with an Etherpad on this host through its HTTP interface.

Standard library only; runs as root, for it reads FOLDER/APIKEY.txt. Answers are JSON. PORT may be
"-": then it is read from FOLDER/settings.json.

wait                    until it answers, at most 60 s
counts, versions        one JSON object
write PAD TEXT          create the pad or replace its text
read PAD                its text, as it is
canary-plant RUN AT     a pad such as a member could have written; the last five stay
canary-find             JSON list of {"run", "at"}
sample                  two pads such as members leave behind
interface UNIT          have the release behind UNIT open its interface with a key of its own
get UNIT NAMES SECRETS  values at the top of settings.json, and "interface"; no secrets here
set UNIT SECRETS        {name: value} on standard input; UNIT starts again when one differed
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

API = "1.2.13"  # known by every Etherpad since 1.7.5
PREFIX = "releve-canary-"
KEPT = 5


class PadError(Exception):
    """Etherpad did not answer, or refused."""


class Etherpad:
    def __init__(self, folder: str, port: int) -> None:
        self.folder = folder
        self.base = f"http://127.0.0.1:{port}"
        # No proxy of the environment: this never leaves the host.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, data: bytes | None = None) -> bytes:
        try:
            with self.opener.open(self.base + path, data, timeout=20) as answer:
                body: bytes = answer.read()
                return body
        except (OSError, urllib.error.URLError) as error:
            raise PadError(f"Etherpad at {self.base} does not answer: {error}") from None

    def call(self, function: str, **arguments: str) -> Any:
        """One call of the interface; its `data`. The key travels in the body, not in a log."""
        with open(f"{self.folder}/APIKEY.txt", encoding="ascii") as file:  # noqa: PTH123
            arguments["apikey"] = file.read().strip()
        body = urllib.parse.urlencode(arguments).encode()
        answer = json.loads(self.get(f"/api/{API}/{function}", body))
        if answer["code"] != 0:
            raise PadError(f"Etherpad refused {function}: {answer['message']}")
        return answer["data"]

    def pads(self) -> list[str]:
        found: list[str] = self.call("listAllPads")["padIDs"]
        return found


def wait(pad: Etherpad) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            pad.call("checkToken")
            return
        except (PadError, OSError) as error:
            if time.monotonic() > deadline:
                raise PadError(f"not ready after 60 s: {error}") from None
        time.sleep(0.2)


def write(pad: Etherpad, name: str, text: str) -> None:
    with contextlib.suppress(PadError):  # "padID does already exist"
        pad.call("createPad", padID=name)
    pad.call("setText", padID=name, text=text)


def read(pad: Etherpad, name: str) -> str:
    text: str = pad.call("getText", padID=name)["text"]
    return text


def counts(pad: Etherpad) -> dict[str, int]:
    pads = [name for name in pad.pads() if not name.startswith(PREFIX)]
    revisions = sum(int(pad.call("getRevisionsCount", padID=n)["revisions"]) for n in pads)
    # Each pad's first state counts as a revision too, as it does for its members.
    return {"pads": len(pads), "revisions": revisions + len(pads)}


def versions(pad: Etherpad) -> dict[str, str]:
    with open(f"{pad.folder}/src/package.json", encoding="utf-8") as file:  # noqa: PTH123
        release = str(json.load(file)["version"])
    api = str(json.loads(pad.get("/api"))["currentVersion"])
    return {"etherpad": release, "api": api}


def find(pad: Etherpad) -> list[dict[str, str]]:
    found = []
    for name in pad.pads():
        if name.startswith(PREFIX):
            match = re.search(r"backup run (\S+) at (\S+)\.", read(pad, name))
            if match:
                found.append({"run": match[1], "at": match[2]})
    return sorted(found, key=lambda mark: mark["at"], reverse=True)


def plant(pad: Etherpad, run: str, at: str) -> dict[str, str]:
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,100}", run) or not re.fullmatch(r"[0-9T:.Z+-]+", at):
        raise PadError("a run is named by letters, digits and . _ : - and its time is ISO 8601")
    name = PREFIX + re.sub(r"[^A-Za-z0-9.-]", "-", run)
    write(pad, name, f"Relève: written by the backup run {run} at {at}. It may be deleted.\n")
    planted = {"run": run, "at": at}
    marks = find(pad)
    if planted not in marks:
        raise PadError("the pad was written but does not read the same")
    keep = {PREFIX + re.sub(r"[^A-Za-z0-9.-]", "-", mark["run"]) for mark in marks[:KEPT]} | {name}
    for old in pad.pads():
        if old.startswith(PREFIX) and old not in keep:
            pad.call("deletePad", padID=old)
    return planted


def sample(pad: Etherpad) -> dict[str, int]:
    write(pad, "compte-rendu", "Réunion d'équipe : budget, accueil, été. À relire ! ☀\n")
    write(pad, "courses", "- café\n- thé\n- crêpes (œufs, lait)\n")
    return {"pads": 2}


# --- YunoHost's package ------------------------------------------------------------------------

# Since 2.1, Etherpad's interface wants a login in a browser unless it is told otherwise; the
# package's settings.json takes this word from the environment. Beside the unit, not in it: the
# package writes its unit anew with every update.
DROP_IN = "[Service]\nEnvironment=AUTHENTICATION_METHOD=apikey\n"


def drop_in(unit: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*\.service", unit):
        raise PadError(f"{unit!r} is not a unit")
    return f"/etc/systemd/system/{unit}.d/releve.conf"


def has_interface(pad: Etherpad, unit: str) -> bool:
    try:
        with open(drop_in(unit), encoding="utf-8") as now:  # noqa: PTH123
            right = now.read() == DROP_IN
    except OSError:
        right = False
    return right and os.path.exists(f"{pad.folder}/APIKEY.txt")  # noqa: PTH110


def place_drop_in(unit: str) -> None:
    file = drop_in(unit)
    os.makedirs(os.path.dirname(file), exist_ok=True)  # noqa: PTH103, PTH120
    with open(file, "w", encoding="utf-8") as new:  # noqa: PTH123
        new.write(DROP_IN)
    systemctl("daemon-reload")


def interface(pad: Etherpad, unit: str) -> dict[str, bool]:
    """Make sure that the unit has the drop-in, its process the key, and that it answers."""
    right = has_interface(pad, unit)
    if not right:
        place_drop_in(unit)
        systemctl("restart", "--", unit)
    else:
        systemctl("start", "--", unit)
    wait(pad)
    return {"changed": not right}


def systemctl(*arguments: str) -> None:
    done = subprocess.run(
        ["systemctl", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise PadError(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")


def entry(name: str) -> re.Pattern[str]:
    """Where settings.json, which holds comments, names a value at its top."""
    return re.compile(
        rf'^(\s*"{re.escape(name)}"\s*:\s*)("(?:[^"\\\n]|\\.)*"|null|true|false|[0-9]+)',
        re.MULTILINE,
    )


def port_in(folder: str) -> int:
    with open(f"{folder}/settings.json", encoding="utf-8") as file:  # noqa: PTH123
        found = entry("port").search(file.read())
    if found is None or not found[2].isdigit():
        raise PadError(f"{folder}/settings.json names no port")
    return int(found[2])


def get(pad: Etherpad, unit: str, names: list[str]) -> dict[str, Any]:
    with open(f"{pad.folder}/settings.json", encoding="utf-8") as file:  # noqa: PTH123
        text = file.read()
    now: dict[str, Any] = {}
    for name in names:
        if name == "interface":
            now[name] = "apikey" if has_interface(pad, unit) else None
            continue
        found = entry(name).search(text)
        now[name] = json.loads(found[2]) if found else None
    return now


def put(pad: Etherpad, unit: str, wanted: dict[str, Any]) -> dict[str, list[str]]:
    path = f"{pad.folder}/settings.json"
    now = get(pad, unit, list(wanted))
    changed = sorted(name for name in wanted if now[name] != wanted[name])
    if not changed:
        return {"changed": []}
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        text = file.read()
    for name in (n for n in changed if n != "interface"):
        said = json.dumps(wanted[name], ensure_ascii=False)
        found = entry(name).search(text)
        if found is None:
            raise PadError(f"{path} does not name {name}")
        text = f"{text[: found.start(2)]}{said}{text[found.end(2) :]}"
    if "interface" in changed:
        place_drop_in(unit)
    about = os.stat(path)  # noqa: PTH116
    with open(f"{path}.releve", "w", encoding="utf-8") as new:  # noqa: PTH123
        os.fchmod(new.fileno(), about.st_mode & 0o7777)
        os.fchown(new.fileno(), about.st_uid, about.st_gid)
        new.write(text)
    os.replace(f"{path}.releve", path)  # noqa: PTH105
    systemctl("restart", "--", unit)
    wait(pad)
    wrong = [n for n, value in get(pad, unit, list(wanted)).items() if value != wanted[n]]
    if wrong:
        raise PadError(f"set, but does not read back as wanted: {', '.join(wrong)}")
    return {"changed": changed}


def answer(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False))


def main(arguments: list[str]) -> int:
    needed = {
        "wait": 0, "counts": 0, "versions": 0, "canary-find": 0, "sample": 0,
        "read": 1, "write": 2, "canary-plant": 2, "interface": 1, "get": 3, "set": 2,
    }  # fmt: skip
    if len(arguments) < 3 or needed.get(arguments[2]) != len(arguments) - 3:
        print(__doc__, file=sys.stderr)
        return 64
    verb, rest = arguments[2], arguments[3:]
    try:
        folder = arguments[0]
        port = port_in(folder) if arguments[1] == "-" else int(arguments[1])
        pad = Etherpad(folder, port)
        if verb == "wait":
            wait(pad)
        elif verb == "counts":
            answer(counts(pad))
        elif verb == "versions":
            answer(versions(pad))
        elif verb == "write":
            write(pad, *rest)
        elif verb == "read":
            sys.stdout.write(read(pad, rest[0]))
        elif verb == "canary-plant":
            answer(plant(pad, *rest))
        elif verb == "sample":
            answer(sample(pad))
        elif verb == "interface":
            answer(interface(pad, rest[0]))
        elif verb == "get":
            answer(get(pad, rest[0], json.loads(rest[1])))
        elif verb == "set":
            answer(put(pad, rest[0], json.load(sys.stdin)))
        else:
            answer(find(pad))
    except (PadError, OSError, ValueError, KeyError) as error:
        print(f"pad.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
