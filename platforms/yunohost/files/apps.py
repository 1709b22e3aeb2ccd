"""What the programs of all roles share on a host with YunoHost: what it remembers of an app,
how to run something as that app, how settings are asked and set. Standard library only; it lies
beside as-app in /usr/local/lib/releve/yunohost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

APPS = "/etc/yunohost/apps"
AS_APP = str(Path(__file__).resolve().parent / "as-app")
HELD = "/var/lib/releve"


class ToolError(Exception):
    """Something did not go as it should; the text is for people."""


def remembered(instance: str) -> dict[str, str]:
    """The plain words of the app's settings.yml; lists and tables are left out.

    Raise ToolError when there is no such app.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", instance):
        raise ToolError(f"{instance!r} is not the name of an app")
    try:
        lines = Path(f"{APPS}/{instance}/settings.yml").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ToolError(f"there is no app {instance} here: {error.strerror}") from None
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_]+):[ ]+(\S.*?)\s*", line)
        if match:
            value = match[2]
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1].replace("''", "'") if value[0] == "'" else value[1:-1]
            found[match[1]] = value
    return found


def run(
    argv: Sequence[str],
    *,
    given: str | None = None,
    timeout: int = 120,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `given` is its standard input. Raise ToolError when it cannot
    be started or takes too long."""
    try:
        return subprocess.run(
            list(argv),
            input=given if given is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env={**os.environ, **(env or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{argv[0]}: {error}") from None


def must(done: subprocess.CompletedProcess[str], what: str) -> str:
    """Its standard output. Raise ToolError when it failed."""
    if done.returncode != 0:
        # PHP says why before it says where.
        text = (done.stderr or done.stdout).partition("Stack trace:")[0]
        said = " ".join(text.split())[-300:]
        raise ToolError(f"{what} (exit {done.returncode}): {said}")
    return done.stdout


def as_app(
    instance: str, *argv: str, given: str | None = None, timeout: int = 120, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as the app: see as-app."""
    return run([AS_APP, instance, *argv], given=given, timeout=timeout, env=env)


def last_json(text: str) -> Any:
    """The JSON on the last line that holds some; programs print warnings before it.

    Raise ToolError when there is none.
    """
    with contextlib.suppress(ValueError):
        return json.loads(text)
    for line in reversed(text.splitlines()):
        if line.strip():
            with contextlib.suppress(ValueError):
                return json.loads(line)
    raise ToolError(f"no JSON in the answer: {' '.join(text.split())[:200]}")


def answer(value: object) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(value, ensure_ascii=False))


def fingerprint(name: str, value: str) -> str:
    """The same as platforms.yunohost.app.fingerprint."""
    salt = f"releve:{name}".encode()
    found = hashlib.scrypt(value.encode(), salt=salt, n=2**12, r=8, p=1, dklen=18)
    return f"scrypt:{found.hex()}"


def servers() -> list[str]:
    """DNS servers of the world. The one that YunoHost runs here answers for its own domains what
    it thinks itself, whatever the world is told."""
    try:
        text = Path("/etc/resolv.dnsmasq.conf").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    found = re.findall(r"(?m)^nameserver\s+(\S+)", text)
    # A host without IPv6 would wait for each of those.
    return sorted(found, key=lambda address: ":" in address)[:3]


def ask_dns(kind: str, name: str) -> list[str] | None:
    """The values that the world's DNS has, None when no server answered."""
    what = ["-x", name] if kind == "PTR" else [kind, name]
    for server in servers() or [""]:
        where = [f"@{server}"] if server else []
        argv = ["dig", *where, "+time=2", "+tries=1", "+noall", "+comments", "+answer", *what]
        done = run(argv, timeout=20)
        status = re.search(r"status: ([A-Z]+)", done.stdout)
        if done.returncode != 0 or status is None or status[1] not in ("NOERROR", "NXDOMAIN"):
            continue
        found = []
        for line in done.stdout.splitlines():
            words = line.split(None, 4)
            if not line.startswith(";") and len(words) == 5 and words[3] == kind:
                found.append(words[4])
        if kind == "TXT":
            return ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', text)) for text in found]
        return [text.rstrip(".").lower() for text in found]
    return None


def truth(value: object) -> bool | None:
    """What a value says as yes or no, None when it says neither."""
    text = str(value).lower()
    if text in ("true", "1", "yes", "t", "on", "enabled"):
        return True
    return False if text in ("false", "0", "no", "f", "off", "", "none", "disabled") else None


def same(here: object, wanted: object) -> bool:
    """Whether two values mean the same: apps keep most as text."""
    if isinstance(wanted, bool) or isinstance(here, bool):
        return truth(here) is truth(wanted) is not None
    if isinstance(wanted, (int, str)) and isinstance(here, (int, str)):
        return str(here) == str(wanted)
    return here == wanted


def settings(
    verb: str,
    rest: Sequence[str],
    get: Callable[[Sequence[str]], Mapping[str, Any]],
    put: Callable[[Mapping[str, Any]], None],
) -> None:
    """The verbs `get NAMES SECRETS` and `set SECRETS`, for any app.

    `get(names)` answers the values that these have now; `put(values)` sets those that differ.
    """
    secrets = set(json.loads(rest[-1]))
    if verb == "get":
        now = dict(get(json.loads(rest[0])))
        for name in secrets & now.keys():
            now[name] = None if now[name] is None else fingerprint(name, str(now[name]))
        answer(now)
        return
    wanted = json.load(sys.stdin)
    now = dict(get(list(wanted)))
    change = {n: v for n, v in wanted.items() if not same(now.get(n), v)}
    if change:
        put(change)
        now = dict(get(list(wanted)))
    wrong = sorted(n for n, v in wanted.items() if not same(now.get(n), v))
    if wrong:
        raise ToolError(f"set, but does not read back as wanted: {', '.join(wrong)}")
    answer({"changed": sorted(change)})


def mark(instance: str, what: str) -> Path:
    """A file that says that we, and nobody else, hold an app still."""
    return Path(f"{HELD}/{instance}.{what}")


def write_file(path: str, text: str, mode: int, owner: tuple[int, int]) -> None:
    """Replace a file in one step."""
    folder = str(Path(path).parent)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".releve-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chown(name, *owner)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def checked_run(run_id: str, at: str) -> None:
    """Raise ToolError unless these are a run's name and a time."""
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,100}", run_id) or not re.fullmatch(
        r"[0-9T:.Z+-]{8,40}", at
    ):
        raise ToolError("a run is named by letters, digits and . _ : - and its time is ISO 8601")


Verb = Callable[[Sequence[str]], None]


def main(text: str | None, verbs: Mapping[str, tuple[int, Verb]]) -> int:
    """Run INSTANCE VERB ARGUMENT… of the command line; the verbs get [INSTANCE, ARGUMENT…].

    Exit code: 0, 1 when it failed (said on stderr), 64 for a wrong form.
    """
    arguments = sys.argv[1:]
    if (
        len(arguments) < 2
        or arguments[1] not in verbs
        or (verbs[arguments[1]][0] != len(arguments) - 2)
    ):
        print(text, file=sys.stderr)
        return 64
    instance, verb, *rest = arguments
    try:
        verbs[verb][1]([instance, *rest])
    except (ToolError, OSError, ValueError, KeyError) as error:
        print(f"{Path(sys.argv[0]).name}: {instance}: {error}", file=sys.stderr)
        return 1
    return 0
