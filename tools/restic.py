"""Argv of restic, and what it prints. Knows nothing of Relève.

Builders and parsers are pure; `run` is the only thing here that starts a process. Works with
restic 0.14 (Debian 12) to 0.18 (Debian 13).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

# restic splits `rclone.program` by rules of its own (a backslash outside quotes separates), so
# that only words that need no quoting are let through.
_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_-]+")


class ResticError(Exception):
    """restic ended with an error. `exit_code` is its code, the message what it said."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Snapshot:
    """One snapshot. `time` is what its maker claims, UTC."""

    id: str
    time: datetime
    host: str
    paths: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def short(self) -> str:
        """The first eight signs of the id, as people write it."""
        return self.id[:8]

    @property
    def run(self) -> str:
        """The run that it says it is of, "" when it says none."""
        return next(iter(self.values("run")), "")

    def values(self, key: str) -> tuple[str, ...]:
        """The values of the tags that read KEY=VALUE."""
        return tuple(t[len(key) + 1 :] for t in self.tags if t.startswith(f"{key}="))


def rclone_program(argv: Sequence[str]) -> str:
    """Given an argv, return it as the value of `-o rclone.program=`.

    Raise ValueError for a word that would need quoting.
    """
    for word in argv:
        if not _PLAIN.fullmatch(word):
            raise ValueError(f"restic cannot be given {word!r} as part of a program")
    return " ".join(argv)


def command(
    repository: str, password_file: Path, verb: Sequence[str], *, options: Mapping[str, str] = {}
) -> tuple[str, ...]:
    """The argv of one restic call. Values are joined to their option with "=", so that a leading
    dash cannot turn one into an option."""
    return (
        "restic",
        f"--repo={repository}",
        f"--password-file={password_file}",
        *(f"--option={name}={value}" for name, value in options.items()),
        *verb,
    )


def parse_time(text: str) -> datetime:
    """Given RFC 3339 with up to nine digits of a second, return it in UTC. Raise ValueError."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a time")
    zone = "+00:00" if match[3] == "Z" else match[3]
    return datetime.fromisoformat(f"{match[1]}{(match[2] or '')[:7]}{zone}").astimezone(UTC)


def parse_snapshots(text: str) -> tuple[Snapshot, ...]:
    """Given the output of `restic snapshots --json`, return them, oldest first.

    Raise ValueError when that is no list of snapshots.
    """
    found: list[Snapshot] = []
    try:
        for entry in json.loads(text) or ():
            found.append(
                Snapshot(
                    id=str(entry["id"]),
                    time=parse_time(entry["time"]),
                    host=str(entry.get("hostname", "")),
                    paths=tuple(entry.get("paths") or ()),
                    tags=tuple(entry.get("tags") or ()),
                )
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"restic's list of snapshots cannot be read: {error!r}") from None
    return tuple(sorted(found, key=lambda s: (s.time, s.id)))


def explain(text: str, exit_code: int) -> str:
    """Given what restic wrote to stderr, return the line that names the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for marker in (
        *("Permission denied", "verification failed", "no space left", "read-only file"),
        *("already locked", "does not match", "does not exist", "invalid data returned"),
        # What ssh said; restic's own last line is about HTTP then.
        "ssh: ",
    ):
        for line in lines:
            if marker.lower() in line.lower():
                return line
    for line in lines:
        if line.startswith(("Fatal:", "releve")):
            return line
    return lines[-1] if lines else f"restic ended with code {exit_code}"


def run(argv: Sequence[str], *, timeout: float | None = None) -> str:
    """Run restic, return its stdout. Raise ResticError; `timeout` is in seconds."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SSH_AUTH_SOCK", "XDG_CACHE_HOME")
    environment = {k: v for k, v in os.environ.items() if k in kept}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise ResticError(f"{argv[0]} is not installed on this machine", 127) from None
    except subprocess.TimeoutExpired:
        raise ResticError(f"restic gave no answer in {timeout:.0f} s", 124) from None
    if done.returncode != 0:
        said = (done.stderr + b"\n" + done.stdout).decode(errors="replace")
        raise ResticError(explain(said, done.returncode), done.returncode)
    return done.stdout.decode(errors="replace")
