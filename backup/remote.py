"""Commands the agent of a service host over SSH, and tells how far it is."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from backup.errors import BackupError, BusyError
from tools.ssh import Connection, SshError

AGENT = "/usr/local/lib/releve/agent.py"
PROGRESS = "/run/releve/progress"
_BUSY = 75
# Longer than any copy that is worth waiting for: a day, in seconds.
_LONG = 86400.0
# A verb that ends well has undone what it did; to start Python once more takes as long as some do.
_UNDO = f"/bin/sh -c 'test \"$SERVICE_RESULT\" = success || exec {AGENT} undo'"
# How often it is looked for what the agent is at, seconds.
_LOOK, _LOOK_AT_LEAST = 1.0, 5.0

Progress = Callable[[str], None]


def parse(host: str, exit_code: int, stdout: bytes, stderr: bytes) -> dict[str, Any]:
    """Given how the agent ended and what it printed, return its JSON object.

    Raise BusyError for exit code 75; BackupError when it printed no object, or one with "error".
    An answer with "ok": false and no "error" is returned: it says itself what is wrong.
    """
    text = stdout.decode(errors="replace").strip()
    try:
        # The first line: what runs after the verb (`undo`) has its say on later ones.
        answer = json.loads(text.splitlines()[0]) if text else None
    except ValueError:
        answer = None
    if isinstance(answer, dict) and exit_code != 0 and answer.keys() == {"undone"}:
        # Only what clears up afterwards had its say: the verb itself was killed.
        raise BackupError(
            f"{host}: the agent was stopped from outside before it could answer. What it held "
            "still was let go; run the same command again, it goes on where it was"
        )
    said = stderr.decode(errors="replace").strip().splitlines()
    reason = answer.get("error") if isinstance(answer, dict) else None
    if exit_code == _BUSY:
        raise BusyError(f"{host}: {reason or ' / '.join(said[-2:])}")
    # As sh and systemd-run say it.
    lacking = any(words in " ".join(said) for words in ("not found", "Failed to find executable"))
    if exit_code == 127 or (exit_code != 0 and answer is None and lacking):
        raise BackupError(f"{host} has no agent yet: run `releve deploy` for it first")
    if not isinstance(answer, dict):
        raise BackupError(
            f"{host}: the agent ended with code {exit_code} and no answer: {' / '.join(said[-3:])}"
        )
    if exit_code != 0 and reason:
        raise BackupError(f"{host}: {reason}")
    return answer


def human(size: float) -> str:
    """A size in bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def line(progress: bytes) -> str:
    """Given the agent's progress file, return one line for people, "" when there is none."""
    try:
        found = json.loads(progress)
        phase, service = str(found["phase"]), found.get("service")
        done, total = found.get("done"), found.get("total")
    except (ValueError, KeyError, TypeError):
        return ""
    words = [phase] + ([str(service)] if service else [])
    if total:
        words.append(f"{human(min(done, total))} of {human(total)}")
    return " ".join(words)


@contextlib.contextmanager
def _watched(connection: Connection, on_progress: Progress | None) -> Iterator[None]:
    """While this runs, hand what the agent is at to `on_progress`: looked for once a second, and
    less and less often while it stays the same, for each look starts programs there."""
    if on_progress is None:
        yield
        return
    over = threading.Event()

    def look() -> None:
        last, pause = "", _LOOK
        while not over.wait(pause):
            pause = min(pause * 1.5, _LOOK_AT_LEAST)
            try:
                text = line(connection.run(("cat", PROGRESS), check=False, timeout=10).stdout)
            except SshError:
                continue  # the command itself will say so
            if text and text != last:
                on_progress(text)
                last, pause = text, _LOOK

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(15)


def call(
    connection: Connection,
    words: Sequence[str],
    *,
    on_progress: Progress | None = None,
    timeout: float = _LONG,
) -> dict[str, Any]:
    """Run one verb of the agent to its end, return its JSON. Raise what `parse` raises, SshError.

    It runs as a systemd unit of its own, so that everything it started ends with it and whatever
    it held still is undone, even when it is killed.
    """
    unit = (
        "systemd-run",
        "--quiet",
        "--pipe",
        "--wait",
        "--collect",
        f"--property=ExecStopPost={_UNDO}",
        "--property=StandardError=inherit",
        "--",
    )
    with _watched(connection, on_progress):
        done = connection.run((*unit, AGENT, *words), check=False, timeout=timeout)
    return parse(connection.target.name, done.exit_code, done.stdout, done.stderr)
