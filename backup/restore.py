"""The data half of a restore: has a host bring one service's data back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backup import remote
from backup.errors import BackupError, BusyError, UnreachableError
from backup.remote import Progress
from tools.restic import parse_time
from tools.ssh import Connection


@dataclass(frozen=True)
class Canary:
    """A mark that was found: the run that planted it, and when (UTC)."""

    run: str
    at: datetime


@dataclass(frozen=True)
class Restored:
    """What came back, and what it was held against.

    `time` is when the snapshot was made. `canaries`: newest first. `problems` is what does not
    agree with what was saved; empty when all of it does. `sizes`: bytes needed and free, by path.
    `live` says what was there before, None when nothing was.
    """

    service: str
    snapshot: str
    run: str
    time: datetime
    bytes: int
    counts_saved: Mapping[str, int]
    counts_now: Mapping[str, int]
    versions_saved: Mapping[str, str]
    versions_now: Mapping[str, str]
    canaries: tuple[Canary, ...]
    problems: tuple[str, ...]
    messages: tuple[str, ...]
    saved_before: str | None
    live: str | None
    sizes: Mapping[str, Mapping[str, int]]
    seconds: float


def _text(value: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in (value or {}).items()}


def _whole(value: Any) -> dict[str, int]:
    return {str(k): int(v) for k, v in (value or {}).items()}


def parse(answer: Mapping[str, Any]) -> Restored:
    """Given what the agent's `restore` printed, return it with types. Raise BackupError."""
    try:
        return Restored(
            service=str(answer["service"]),
            snapshot=str(answer["snapshot"]),
            run=str(answer["run"]),
            time=parse_time(answer["time"]),
            bytes=int(answer.get("bytes", 0)),
            counts_saved=_whole(answer.get("counts_saved")),
            counts_now=_whole(answer.get("counts")),
            versions_saved=_text(answer.get("versions_saved")),
            versions_now=_text(answer.get("versions")),
            canaries=tuple(
                Canary(str(c["run"]), parse_time(c["at"])) for c in answer.get("canaries", ())
            ),
            problems=tuple(map(str, answer.get("problems", ()))),
            messages=tuple(map(str, answer.get("messages", ()))),
            saved_before=answer.get("saved_before"),
            live=answer.get("live"),
            sizes={
                str(path): {str(k): int(v) for k, v in about.items()}
                for path, about in (answer.get("sizes") or {}).items()
            },
            seconds=float(answer.get("seconds", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BackupError(f"the agent's answer cannot be read: {error!r}") from None


def _which(snapshot: str | None, at: datetime | None) -> list[str]:
    words = [] if snapshot is None else [f"--snapshot={snapshot}"]
    if at is not None:
        words.append(f"--at={at.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}")
    return words


def restore_words(
    service: str,
    *,
    snapshot: str | None = None,
    at: datetime | None = None,
    replace: bool = False,
    dry_run: bool = False,
    no_snapshot: bool = False,
    once: bool = False,
    unless_live: bool = False,
    source: str | None = None,
) -> tuple[str, ...]:
    """The words of the agent's command line. Values are joined with "=": none becomes an option."""
    words = ["restore", f"--service={service}", *_which(snapshot, at)]
    if source is not None:
        words.append(f"--source={source}")
    flags = {
        "--replace": replace,
        "--dry-run": dry_run,
        "--no-snapshot": no_snapshot,
        "--once": once,
        "--unless-live": unless_live,
    }
    return (*words, *(flag for flag, wanted in flags.items() if wanted))


@dataclass(frozen=True)
class Together:
    """What became of several services at once: what is back, why some are not, and of those that
    lie ready to come back in their turn, from which snapshot."""

    back: Mapping[str, Restored]
    failed: Mapping[str, BackupError]
    ready: Mapping[str, str]


def restore_together(
    connection: Connection,
    services: Sequence[str],
    *,
    snapshot: str | None = None,
    at: datetime | None = None,
    once: bool = False,
    source: str | None = None,
    on_progress: Progress | None = None,
) -> Together:
    """Have those of `services` come back that one command can bring back, where nothing of them is
    yet. The rest is for `restore_service`, of the snapshot that is told for it: that says what is
    wrong with it. The words are those of `restore_service`. Raise BusyError, SshError.
    """
    words = ["together", *(f"--service={service}" for service in services), *_which(snapshot, at)]
    words += [f"--source={source}"] if source is not None else []
    words += ["--once"] if once else []
    name = connection.target.name
    back: dict[str, Restored] = {}
    failed: dict[str, BackupError] = {}
    try:
        answer = remote.call(connection, words, on_progress=on_progress)
        ready = {str(service): str(one) for service, one in answer["ready"].items()}
        told = dict(answer["back"])
    except (BusyError, UnreachableError):
        raise
    except (BackupError, KeyError, AttributeError, TypeError, ValueError):
        return Together({}, {}, {})
    for service, one in told.items():
        try:
            if error := one.get("error"):
                raise BackupError(f"{name}: {error}")
            back[service] = _insist(name, parse(one))
        except BackupError as error:
            failed[service] = error
    return Together(back, failed, ready)


def _insist(host: str, restored: Restored) -> Restored:
    """Raise BackupError when what came back is not what was saved."""
    if restored.problems:
        raise BackupError(
            f"{host}: {restored.service} came back from snapshot {restored.snapshot[:8]}, "
            f"but not as it was saved: {'; '.join(restored.problems)}"
        )
    return restored


def restore_service(
    connection: Connection,
    service: str,
    *,
    snapshot: str | None = None,
    at: datetime | None = None,
    replace: bool = False,
    dry_run: bool = False,
    no_snapshot: bool = False,
    once: bool = False,
    unless_live: bool = False,
    source: str | None = None,
    on_progress: Progress | None = None,
) -> Restored:
    """Bring the data of `service` back on the host at the other end, where `install` has run.

    `snapshot`: the start of an id; else the newest believable one, not later than `at`.
    `once`: keep what a restore that was finished in this epoch left, and return what it said.
    `unless_live`: leave what is in use as it is; `Restored.live` then says what that is.
    `source`: a file on that host that `backup.lend` put there, to restore another host's copy.
    Raise BackupError when it did not come back whole: what was there before is in place again
    then, unless the message says otherwise, or, when the service took the data and they do not
    agree with what was saved, the message says in what. Raise BusyError, SshError.
    """
    words = restore_words(
        service,
        snapshot=snapshot,
        at=at,
        replace=replace,
        dry_run=dry_run,
        no_snapshot=no_snapshot,
        once=once,
        unless_live=unless_live,
        source=source,
    )
    answer = remote.call(connection, words, on_progress=on_progress)
    return _insist(connection.target.name, parse(answer))


def canaries(connection: Connection, service: str) -> tuple[Canary, ...]:
    """The canaries that `service` shows now, newest first. Raise BackupError, SshError."""
    import json

    done = connection.run(
        (remote.AGENT, "canaries", f"--service={service}"), timeout=180, check=False
    )
    if done.exit_code != 0:
        remote.parse(connection.target.name, done.exit_code, done.stdout, done.stderr)
    return tuple(Canary(str(c["run"]), parse_time(c["at"])) for c in json.loads(done.stdout))
