#!/usr/bin/env python3
"""drive.py INSTANCE VERB: a CryptPad of YunoHost's. Runs as root; answers are JSON on one line.

What people write is encrypted in their browsers: nothing here can read it.

counts, versions      one JSON object: accounts, documents, files
get NAMES SECRETS     values that it serves: "adminKeys", "defaultStorageLimit" …; no secrets here
set SECRETS           {name: value} on standard input; it starts again when one differed
sandbox               where its sandbox domain leads, and the certificate shown for it
canary-plant RUN AT   a file in its store, as a browser could have sent one; the last five stay
canary-find           JSON list of {"run", "at"}, as it serves them
sample                one more such file
wait                  until it answers, at most 90 s
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, "/usr/local/lib/releve/yunohost")
if TYPE_CHECKING:
    from platforms.yunohost.files import apps
else:
    import apps

# Names of files are 48 hexadecimal digits (lib/storage/blob.js). Ours begin with these.
MARK = "5e1e4e"
BLOB_LENGTH = 48
KEPT = 5
BEGIN, END = "// releve: begin", "// releve: end"
# What the admin panel writes, one decree a line (lib/decrees.js).
DECREES = {
    "defaultStorageLimit": "UPDATE_DEFAULT_STORAGE",
    "maxUploadSize": "SET_MAX_UPLOAD_SIZE",
    "restrictRegistration": "RESTRICT_REGISTRATION",
    "adminEmail": "SET_ADMIN_EMAIL",
    "inactiveTime": "SET_INACTIVE_TIME",
}


def root(instance: str) -> Path:
    return Path(apps.remembered(instance)["install_dir"])


def base(instance: str) -> str:
    return f"http://127.0.0.1:{int(apps.remembered(instance)['port'])}"


def fetch(address: str) -> bytes:
    """The body at an address of this host. Raise ToolError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=15) as said:
            body: bytes = said.read()
            return body
    except (OSError, urllib.error.URLError) as error:
        raise apps.ToolError(f"{address} does not answer: {error}") from None


def served(instance: str) -> dict[str, Any]:
    """The table in /api/config."""
    text = fetch(f"{base(instance)}/api/config").decode("utf-8", "replace")
    start, end = text.find("{", text.find("return")), text.rfind("}", 0, text.rfind("}"))
    found: dict[str, Any] = json.loads(text[start : end + 1])
    return found


def wait(instance: str) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            served(instance)
            return
        except (apps.ToolError, ValueError):
            if time.monotonic() > deadline:
                raise apps.ToolError("it does not answer 90 s after its start") from None
        time.sleep(0.5)


def counts(rest: Sequence[str]) -> None:
    """One login block an account, one log a document, one file named by 48 digits each upload
    (lib/storage); beside each lie notes about its use."""
    folder = root(rest[0])
    names = [file.name for file in (folder / "blob").glob("*/*") if is_blob(file.name)]
    logs = [file.name for file in (folder / "datastore").glob("*/*.ndjson")]
    apps.answer(
        {
            "accounts": sum(1 for f in (folder / "block").glob("*/*") if "." not in f.name),
            "documents": sum(1 for name in logs if not name.endswith(".metadata.ndjson")),
            "files": sum(1 for name in names if not name.startswith(MARK)),
        }
    )


def is_blob(name: str) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{{BLOB_LENGTH}}}", name) is not None


def versions(rest: Sequence[str]) -> None:
    package = json.loads((root(rest[0]) / "package.json").read_text(encoding="utf-8"))
    apps.answer({"cryptpad": str(package["version"])})


# --- settings --------------------------------------------------------------------------------


def keys_in(text: str) -> list[str]:
    match = re.search(
        rf"{re.escape(BEGIN)}\nmodule\.exports\.adminKeys = (\[.*?\]);\n{re.escape(END)}",
        text,
        re.S,
    )
    return list(json.loads(match[1])) if match else []


def get(instance: str, names: Sequence[str]) -> dict[str, Any]:
    now = served(instance)
    config = (root(instance) / "config/config.js").read_text(encoding="utf-8")
    return {
        # Public halves as a person copies them; what is served is in another form.
        name: sorted(keys_in(config)) if name == "adminKeys" else now.get(name)
        for name in names
    }


def put(instance: str, values: Mapping[str, Any]) -> None:
    folder = root(instance)
    if "adminKeys" in values:
        file = folder / "config/config.js"
        text = file.read_text(encoding="utf-8")
        text = re.sub(rf"\n?{re.escape(BEGIN)}\n.*?\n{re.escape(END)}\n", "\n", text, flags=re.S)
        keys = json.dumps(sorted(values["adminKeys"]))
        # A line at the end: the package writes this file anew with every update.
        text = f"{text.rstrip()}\n{BEGIN}\nmodule.exports.adminKeys = {keys};\n{END}\n"
        about = file.stat()
        apps.write_file(str(file), text, about.st_mode & 0o777, (about.st_uid, about.st_gid))
    decrees = [
        json.dumps([DECREES[n], [v], "releve", int(time.time() * 1000)], separators=(",", ":"))
        for n, v in values.items()
        if n != "adminKeys"
    ]
    unit = f"{instance}.service"
    apps.must(apps.run(["systemctl", "stop", "--", unit]), f"{unit} does not stop")
    try:
        if decrees:
            log = folder / "data/decrees/decree.ndjson"
            about = folder.stat()
            if not log.parent.is_dir():
                log.parent.mkdir(parents=True)
                os.chown(log.parent, about.st_uid, about.st_gid)
            new = not log.exists()
            with log.open("a", encoding="utf-8") as file_:
                file_.write("".join(f"{line}\n" for line in decrees))
            if new:
                os.chown(log, about.st_uid, about.st_gid)
    finally:
        apps.must(apps.run(["systemctl", "start", "--", unit]), f"{unit} does not start")
    wait(instance)


# --- sandbox ---------------------------------------------------------------------------------


def sandbox(rest: Sequence[str]) -> None:
    """YunoHost does not list this domain: the package asks for it with the app's certificate."""
    words = apps.remembered(rest[0])
    name = words.get("sandboxdomain") or f"sandbox.{words['domain']}"
    asked = [apps.ask_dns(kind, name) for kind in ("A", "AAAA")]
    found = [address for answer in asked for address in answer or ()]
    if None in asked and not found:
        raise apps.ToolError(f"no DNS server of the world tells where {name} leads")
    said = ""
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection(("127.0.0.1", 443), timeout=10) as link,
            context.wrap_socket(link, server_hostname=name) as tls,
        ):
            about = tls.getpeercert() or {}
            left = ssl.cert_time_to_seconds(str(about["notAfter"])) - time.time()
    except (OSError, ssl.SSLError) as error:
        said, left = str(error), 0.0
    apps.answer({"name": name, "addresses": found, "tls": said, "days": int(left // 86400)})


# --- the mark --------------------------------------------------------------------------------


def blobs(instance: str) -> list[Path]:
    return sorted((root(instance) / "blob" / MARK[:2]).glob(f"{MARK}*"))


def marks(instance: str) -> list[tuple[dict[str, str], Path]]:
    found = []
    for file in filter(lambda one: is_blob(one.name), blobs(instance)):
        # As a browser gets it: by its name, from the server.
        body = fetch(f"{base(instance)}/blob/{MARK[:2]}/{file.name}")
        mark = json.loads(body)
        found.append(({"run": str(mark["run"]), "at": str(mark["at"])}, file))
    return sorted(found, key=lambda m: m[0]["at"], reverse=True)


def find(rest: Sequence[str]) -> None:
    apps.answer([mark for mark, _ in marks(rest[0])])


def write(instance: str, name: str, mark: Mapping[str, str]) -> None:
    folder = root(instance)
    about = folder.stat()
    place = folder / "blob" / MARK[:2]
    for one in (place.parent, place):
        if not one.is_dir():
            one.mkdir()
            os.chown(one, about.st_uid, about.st_gid)
    owner = (about.st_uid, about.st_gid)
    apps.write_file(str(place / name), json.dumps(mark), 0o644, owner)


def plant(rest: Sequence[str]) -> None:
    instance, run_id, at = rest
    apps.checked_run(run_id, at)
    name = MARK + hashlib.sha256(run_id.encode()).hexdigest()[: BLOB_LENGTH - len(MARK)]
    mark = {"run": run_id, "at": at}
    write(instance, name, mark)
    there = marks(instance)
    if mark not in [m for m, _ in there]:
        raise apps.ToolError("the file was written but is not served the same")
    keep = {file.name for _, file in there[:KEPT]}
    for old in blobs(instance):
        # With the server's own notes about it.
        if old.name.partition(".")[0] not in keep:
            old.unlink()
    apps.answer(mark)


def sample(rest: Sequence[str]) -> None:
    name = hashlib.sha256(b"releve sample").hexdigest()[:BLOB_LENGTH]
    folder = root(rest[0]) / "blob" / name[:2]
    about = root(rest[0]).stat()
    if not folder.is_dir():
        folder.mkdir(parents=True)
        os.chown(folder, about.st_uid, about.st_gid)
    apps.write_file(str(folder / name), "☃", 0o644, (about.st_uid, about.st_gid))
    apps.answer({"files": 1})


if __name__ == "__main__":
    sys.exit(
        apps.main(
            __doc__,
            {
                "counts": (0, counts),
                "versions": (0, versions),
                "get": (2, lambda r: apps.settings("get", r[1:], lambda n: get(r[0], n), print)),
                "set": (
                    1,
                    lambda r: apps.settings(
                        "set", r[1:], lambda n: get(r[0], n), lambda v: put(r[0], v)
                    ),
                ),
                "sandbox": (0, sandbox),
                "wait": (0, lambda r: wait(r[0])),
                "canary-plant": (2, plant),
                "canary-find": (0, find),
                "sample": (0, sample),
            },
        )
    )
