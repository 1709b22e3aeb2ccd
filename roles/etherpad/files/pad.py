#!/usr/bin/env python3
"""pad.py FOLDER PORT VERB …: speaks with an Etherpad on this host through its HTTP interface.

Standard library only; runs as root, for it reads FOLDER/APIKEY.txt. Answers are JSON.

wait                    until it answers, at most 60 s
counts, versions        one JSON object
write PAD TEXT          create the pad or replace its text
read PAD                its text, as it is
canary-plant RUN AT     a pad such as a member could have written; the last five stay
canary-find             JSON list of {"run", "at"}
sample                  two pads such as members leave behind
"""

from __future__ import annotations

import contextlib
import json
import re
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


def answer(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False))


def main(arguments: list[str]) -> int:
    needed = {
        "wait": 0, "counts": 0, "versions": 0, "canary-find": 0, "sample": 0,
        "read": 1, "write": 2, "canary-plant": 2,
    }  # fmt: skip
    if len(arguments) < 3 or needed.get(arguments[2]) != len(arguments) - 3:
        print(__doc__, file=sys.stderr)
        return 64
    pad, verb, rest = Etherpad(arguments[0], int(arguments[1])), arguments[2], arguments[3:]
    try:
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
        else:
            answer(find(pad))
    except (PadError, OSError, ValueError, KeyError) as error:
        print(f"pad.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
