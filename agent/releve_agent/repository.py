"""restic and the gate: commands, what failed in words, which snapshots to believe."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time

from .common import Busy, Failed, Root, human, iso, parse_iso, read_text
from .contents import free_bytes
from .processes import Done, Launched, run

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, NoReturn


# Snapshots that claim to be made later than this from now were not made by this agent.
FUTURE_S = 3600


def own_epoch(at: Root) -> int:
    """Which life of this host this is; 1 unless it was raised."""
    try:
        return max(1, int(read_text(at.v("epoch")).strip()))
    except ValueError:
        return 1


def restic_argv(source: Mapping[str, Any], epoch: int, *verb: str) -> list[str]:
    """The argv of restic for a source of the plan. The epoch goes along, so that the gate can
    send a host away that has been replaced."""
    return [*source["restic"], f"--option=rclone.args=restic {int(epoch)}", *verb]


# Whoever read this need not knock again soon.
UNREACHED = "the repository host cannot be reached"

_LOST = "the connection to the repository host was lost"

_REPLACED = (
    "another machine has taken this host's place (the repository knows a higher epoch). "
    "It must neither serve nor save"
)

_FULL = (
    "the disk of the repository host is full. Prune (`releve backup prune`) or enlarge it; what "
    "was saved before is untouched"
)

# What the program that gathers on a YunoHost server says begins so.
_GATHERING = "YunoHost gathered nothing"

_NO_REPOSITORY = "there is no repository here"

_REASONS = (
    ("releve-gate: epoch", _REPLACED),
    ("releve-gate:", "the repository's gate refused"),
    (
        "permission denied (",
        "the repository host refused this host's key: is it in its authorized_keys? "
        "`releve deploy` puts it there",
    ),
    (
        "host key verification failed",
        "the repository host showed another host key than the inventory says. Nothing was sent. "
        "If it was reinstalled, write the new key into the inventory and deploy",
    ),
    ("no space left on device", _FULL),
    ("file too big for remaining disk space", _FULL),
    ("disk quota exceeded", "the quota on the repository host is used up"),
    (
        "read-only file system",
        "the repository is read-only: its file system went read-only. Look at that disk first",
    ),
    (
        "wrong password or no key found",
        "the repository does not open with this host's restic password",
    ),
    ("is there a repository at", f"{_NO_REPOSITORY}: run `releve deploy`, which makes one"),
    ("connection refused", UNREACHED),
    ("connection timed out", UNREACHED),
    ("no route to host", UNREACHED),
    ("network is unreachable", UNREACHED),
    ("could not resolve hostname", "the repository host's name has no address"),
    ("timeout, server", _LOST),
    ("connection closed by", "the repository host closed the connection"),
    ("broken pipe", _LOST),
    ("unexpected eof", _LOST),
    ("error talking http to rclone", _LOST),
    ("ciphertext verification failed", "the repository is damaged: a pack does not verify"),
    ("does not match", "the repository is damaged: a pack does not match its name"),
    ("repository is already locked", "the repository is locked by somebody else (a prune?)"),
)


def reason(text: str) -> str:
    """Given what restic or ssh complained, say it so that a person knows what to do."""
    low = text.lower()
    own = text.find(f"Fatal: {_GATHERING}")
    if own >= 0:
        # It ran on this host, and says itself what was wrong here.
        return text[own + len("Fatal: ") :].splitlines()[0]
    lines = [x.strip() for x in text.splitlines() if x.strip() and not x.startswith("{")]
    for sign, meaning in _REASONS:
        if sign in low:
            said = next((x for x in lines if sign in x.lower()), "")
            return f"{meaning} ({said[:300]})" if said else meaning
    # A panic or a failed upload ends with the lines of a call stack; the reason stands before.
    fatal = [x for x in lines if x.startswith(("Fatal:", "panic:"))]
    return " / ".join(fatal[-2:] or lines[-3:])[:600] or "restic said nothing"


# Bytes. Less is no room: what is broken off may have given a little back.
_ROOM = 64 * 2**20


def full_here(text: str, place: str, needed: int = 0) -> str:
    """What to say when something that writes to `place`, on this host, complained that a disk is
    full, and it is that one; "" when it is not. `needed`: bytes that were still to come."""
    free = free_bytes(place)
    if "no space left on device" not in text.lower() or free > max(_ROOM, needed):
        return ""
    missing = f" and {human(needed - free)} more are needed" if needed > free else ""
    return (
        f"the disk of this host that holds {place} is full: {human(free)} are free{missing}. Make "
        "room on that disk, and run this again"
    )


def restic_failed(done: Done, what: str) -> NoReturn:
    text = done.err.decode(errors="replace")
    why = reason(text) if text.strip() or done.code >= 0 else f"killed (signal {-done.code})"
    message = f"{what}: {why}"
    if "already locked" in text.lower():
        raise Busy(f"{message}. Run it again when that has ended.")
    raise Failed(message)


def gate(source: Mapping[str, Any], *verb: str, give: bytes | None = None) -> bytes:
    """Ask the repository host's gate. Raise Failed."""
    done = run([*source["gate"], *verb], give=give, timeout=90)
    if done.code != 0:
        raise Failed(reason(done.err.decode(errors="replace")))
    return done.out


@contextlib.contextmanager
def connected(at: Root, source: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The source, by one connection for all of a run, which is made while the run prepares. Where
    that does not work (ssh falls back by itself) each command makes its own, as ever."""
    if source["gate"][0] != "ssh":
        yield source
        return
    path = f"{at.run}/repository.link"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    option = f"-oControlPath={path}"
    words = source["gate"][1:]
    link = Launched(["ssh", option, "-oControlMaster=yes", "-N", *words])
    program = "--option=rclone.program=ssh "
    try:
        yield {
            **source,
            "gate": ["ssh", option, *words],
            "restic": [w.replace(program, f"{program}{option} ") for w in source["restic"]],
        }
    finally:
        link.close()


def snapshots(source: Mapping[str, Any], epoch: int) -> list[dict[str, Any]]:
    """Every snapshot of the repository, oldest first, with `at` (seconds), `run`, `services`."""
    done = run(restic_argv(source, epoch, "snapshots", "--json", "--no-lock"), timeout=900)
    if done.code != 0:
        restic_failed(done, "the snapshots cannot be listed")
    found = []
    for entry in json.loads(done.out) or ():
        tags = [t for t in entry.get("tags") or () if "=" in t]
        found.append(
            {
                "id": entry["id"],
                "time": entry["time"],
                "at": parse_iso(entry["time"]),
                "run": next((t[4:] for t in tags if t.startswith("run=")), None),
                "services": [t[8:] for t in tags if t.startswith("service=")],
            }
        )
    return sorted(found, key=lambda s: (s["at"], s["id"]))


def run_time(name: str | None) -> float | None:
    """The time that a run's id begins with (20261123T201500Z-…), or None."""
    match = re.match(r"(\d{8}T\d{6}Z)(?:-|\Z)", name or "")
    if match is None:
        return None
    try:
        import calendar

        return float(calendar.timegm(time.strptime(match[1], "%Y%m%dT%H%M%SZ")))
    except ValueError:
        return None


def believable(snapshot: Mapping[str, Any], now: float) -> str:
    """Why a snapshot's date cannot be true, or "".

    Whoever steals an append key cannot delete, but can add snapshots dated in the future, so
    that they would be "the latest".
    """
    if snapshot["at"] > now + FUTURE_S:
        return "it is dated in the future"
    made = run_time(snapshot["run"])
    if made is not None and abs(snapshot["at"] - made) > 2 * 86400:
        return "its date and its run's id do not agree"
    return ""


def choose(
    found: Sequence[Mapping[str, Any]],
    service: str,
    wanted: str,
    until: float | None,
    now: float,
    warn: Callable[[str], None],
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """The snapshot to restore a service from, and the one before it (or None).

    `wanted` is "latest" or the start of an id. Raise Failed when there is none.
    """
    # A duty of the host ("_base") is no tag of a snapshot: its manifest says whether it is there.
    holding = [s for s in found if service in s["services"] or service.startswith("_")]
    good = []
    for snapshot in holding:
        doubt = believable(snapshot, now)
        if doubt:
            warn(f"snapshot {snapshot['id'][:8]} of {snapshot['time'][:19]} is left out: {doubt}")
        else:
            good.append(snapshot)
    if wanted != "latest":
        named = [s for s in found if s["id"].startswith(wanted)]
        if len(named) != 1:
            raise Failed(
                f"{len(named) or 'no'} snapshots begin with {wanted}; those that hold {service}: "
                + (", ".join(f"{s['id'][:8]} ({s['time'][:16]})" for s in good[-8:]) or "none")
            )
        if named[0] not in holding:
            raise Failed(f"snapshot {wanted} does not hold {service}")
        earlier = [s for s in good if s["at"] < named[0]["at"]]
        return named[0], earlier[-1] if earlier else None
    if until is not None:
        # Whoever names a copy by its time has read that without its fractions.
        good = [s for s in good if int(s["at"]) <= until]
    if not good:
        when = f" until {iso(until)}" if until is not None else ""
        raise Failed(f"no snapshot holds {service}{when}: there is nothing to restore it from")
    return good[-1], good[-2] if len(good) > 1 else None


def need_repository(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    source = plan.get("repository")
    if not source:
        raise Failed(
            f"{plan['host']} has no repository in the inventory: it cannot be saved. Give it one "
            "(hosts.*.repository) and deploy."
        )
    return dict(source)


def sign(at: Root, data: bytes) -> str:
    """The SSH signature of data with this host's receipt key. Raise Failed."""
    key = f"{at.etc}/receipt-key"
    done = run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "releve-receipt"], give=data)
    if done.code != 0:
        raise Failed(f"the receipt could not be signed with {key}: {done.said()}")
    return done.out.decode()


def receipt_key(at: Root) -> str:
    """The public half of this host's receipt key, "TYPE BASE64"."""
    return " ".join(read_text(f"{at.etc}/receipt-key.pub").split()[:2])
