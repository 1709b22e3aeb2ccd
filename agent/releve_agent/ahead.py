"""Bring back at once what several services gathered together, as far as that is possible.

To open a repository costs half a second of a processor, on purpose, and a service that comes back
by itself opens it five times. Of all that YunoHost gathered on a host, one stream brings what it
is made of. To start YunoHost costs a second of one: those that agree in what loads them are loaded
by one start, and are judged by the same call.

Nothing depends on it: a service of which nothing lies ready is fetched in its turn, one that was
not loaded with the others finds its archive ready and is loaded in its turn, and says then what is
wrong. That is why nothing here fails.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time

from .common import Failed, Root, iso, read_text, remove_tree, say, write
from .contents import on_disks
from .epoch import take_up
from .lock import progress
from .processes import run
from .release import parse as parse_release
from .release import too_new
from .repository import choose, connected, need_repository, snapshots
from .restore import Known, clear, finish, restore, restored_before
from .restoring import MARGIN, Restoring, add

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def restore_together(
    at: Root,
    plan: Mapping[str, Any],
    services: Sequence[str],
    *,
    wanted: str = "latest",
    until: float | None = None,
    once: bool = False,
    source: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """Bring those of `services` back that can be brought back by one command, and when all of them
    are, the others of which nothing is here. The lock is held by the caller. Return {"back":
    service -> what its `restore` would return, or {"ok": False, "error": …}, "ready": service ->
    snapshot of those that lie ready for their own `restore`, when it is asked for that snapshot
    and nothing else}."""
    began = time.time()
    ready: dict[str, str] = {}
    its: list[Restoring] = []
    back: dict[str, Any] = {}
    known = None
    try:
        take_up(at, plan)
        source = source or need_repository(plan)
        its = _fitting(at, plan, services, source, once)
        if len(its) > 1:
            with connected(at, source) as link:
                for it in its:
                    it.source = link
                known = Known(snapshots(link, its[0].epoch))
                ready = _fetch(its, known, wanted, until)
    except (Failed, OSError) as error:
        say(f"not fetched ahead, each in its turn: {error}")
    for it in its:
        if it.service not in ready:
            clear(it)
    awaited = [
        name
        for name in services
        # A duty, which the others stand on.
        if name.startswith("_") and not (once and restored_before(at, {}, name) is not None)
    ]
    for group in _groups([it for it in its if it.service in ready]):
        if not {it.service for it in group}.issuperset(awaited):
            continue
        try:
            loaded = _load(group)
        except (Failed, OSError) as error:
            say(f"not loaded together, each in its turn: {error}")
            continue
        for it, state in loaded.items():
            try:
                back[it.service] = finish(it, state, began)
            except (Failed, OSError) as error:
                say(f"{it.service}: {error}")
                back[it.service] = {"ok": False, "error": str(error)}
    rest = [name for name in services if name not in back and not name.startswith("_")]
    if rest and back and source and known and back.keys() >= {*awaited, *ready}:
        with connected(at, source) as link:
            for name in rest:
                if _nothing_of(at, plan, name, link, once):
                    back[name] = _in_turn(at, plan, name, wanted, until, link, known)
    return {"back": back, "ready": {name: one for name, one in ready.items() if name not in back}}


def _nothing_of(
    at: Root, plan: Mapping[str, Any], name: str, source: Mapping[str, Any], once: bool
) -> bool:
    """Whether nothing of a service is here: no data, and no restore, broken off or ended."""
    try:
        it = Restoring(at, plan, name, source)
        before = once and restored_before(at, {}, name) is not None
        return not before and it.load() is None and not it.holds_data()
    except (Failed, OSError):
        return False


def _in_turn(
    at: Root,
    plan: Mapping[str, Any],
    name: str,
    wanted: str,
    until: float | None,
    source: Mapping[str, Any],
    known: Known,
) -> dict[str, Any]:
    """What the restore of one more service returns, or why it is not back."""
    try:
        return restore(at, plan, name, wanted=wanted, until=until, source=source, known=known)
    except (Failed, OSError) as error:
        say(f"{name}: {error}")
        return {"ok": False, "error": str(error)}


def _fitting(
    at: Root,
    plan: Mapping[str, Any],
    services: Sequence[str],
    source: Mapping[str, Any],
    once: bool,
) -> list[Restoring]:
    """Those that come back as an archive and nothing beside it, to where nothing is yet."""
    found = []
    for name in services:
        it = Restoring(at, plan, name, source)
        state = it.load()
        if (
            not it.archives
            or it.part["paths"]
            or it.part["dumps"]
            or (state is not None and not state.get("ahead"))
            or (once and restored_before(at, {}, name) is not None)
            or it.holds_data()
        ):
            continue
        clear(it)
        found.append(it)
    return found


def _fetch(
    its: Sequence[Restoring], known: Known, wanted: str, until: float | None
) -> dict[str, str]:
    began = time.time()
    chosen = _chosen(its, known, wanted, until)
    if len(chosen) < 2:
        return {}
    first = next(iter(chosen))
    snapshot = chosen[first][0]
    whole = first.manifest(snapshot["id"])
    known.manifests[snapshot["id"]] = whole
    if too_new(whole.get("system"), parse_release(read_text(first.at.os_release))):
        return {}
    parts = whole["services"]
    its = [it for it in chosen if it.service in parts and not parts[it.service].get("errors")]
    sizes = _sizes(its, snapshot["id"])
    its = [it for it in its if it.service in sizes]
    if not its:
        return {}
    first.tell("fetch")
    _dump(its, snapshot["id"])
    for it in its:
        previous = chosen[it][1]
        it.save(
            {
                "snapshot": snapshot["id"],
                "time": snapshot["time"],
                "source": it.source["host"],
                "run": whole["run"],
                "manifest": parts[it.service],
                "step": "fetched",
                "ahead": True,
                "live": "",
                "paths": {},
                "saved_before": None,
                "previous": dict(previous) if previous else None,
                "archive_bytes": sizes[it.service]["bytes"],
                "room": _needs(sizes[it.service]),
                "started": iso(began),
            }
        )
    return {it.service: str(snapshot["id"]) for it in its}


def _chosen(
    its: Sequence[Restoring], known: Known, wanted: str, until: float | None
) -> dict[Restoring, tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
    """Which snapshot each would come back from, and the one before it; only of those that come
    from the newest of these. One about which there is anything to tell is left to its turn."""
    found = {}
    for it in its:
        said: list[str] = []
        try:
            one = choose(known.listed, it.service, wanted, until, time.time(), said.append)
        except Failed:
            continue
        if not said:
            found[it] = one
    newest = max((one[0]["at"] for one in found.values()), default=None)
    return {it: one for it, one in found.items() if one[0]["at"] == newest}


def _needs(about: Mapping[str, int]) -> int:
    """Bytes on a disk of what was counted: small files take a whole block each."""
    return about["bytes"] + 4096 * about["files"]


def _sizes(its: Sequence[Restoring], snapshot: str) -> dict[str, dict[str, int]]:
    """Service -> what comes, counted; of none, when there is no room for all of them at once, or
    when more would come for nothing than for them."""
    if not its:
        return {}
    parts = {it.service: [it.gathered(p) for a in it.archives for p in a["parts"]] for it in its}
    whole = its[0].gathered("").rstrip("/")
    found = its[0].listings(snapshot, {**parts, "": [whole]})
    everything = found.pop("")
    found = {service: about for service, about in found.items() if about["files"]}
    if 2 * sum(about["bytes"] for about in found.values()) < everything["bytes"]:
        return {}
    needs = {name: _needs(about) for name, about in found.items()}
    room: dict[str, int] = {}
    for it in its:
        for place in {place for archive in it.archives for place in archive["room"]}:
            # One after another.
            room[place] = max(room.get(place, 0), needs.get(it.service, 0))
    for path, about in on_disks([(its[0].at.var, sum(needs.values())), *room.items()]).items():
        if about["needed"] + MARGIN > about["free"]:
            say(f"{path} has no room for everything at once: each is fetched in its turn")
            return {}
    return found


def _dump(its: Sequence[Restoring], snapshot: str) -> None:
    """Make every archive of these from one stream, as `Restoring.fetch_archive` would make each:
    files that only root reads. Those that are loaded together are one file. Raise Failed."""
    import tarfile

    lists: dict[str, set[Any]] = {}
    parts: dict[str, Any] = {}
    came: set[str] = set()
    shared: dict[tuple[str, ...], tuple[str, Any]] = {}
    with contextlib.ExitStack() as opened:
        for it in its:
            for number, archive in enumerate(it.archives):
                path = it.archive_file(number)
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                key = _together(it)
                if key in shared:
                    there, made = shared[key]
                    os.link(there, path)
                else:
                    file = opened.enter_context(open(path, "wb"))
                    opened.callback(os.fsync, file.fileno())
                    opened.callback(file.flush)
                    made = opened.enter_context(tarfile.open(fileobj=file, mode="w"))
                    if key:
                        shared[key] = (path, made)
                parts.update(dict.fromkeys(archive["parts"], made))
                for name in archive["lists"]:
                    lists.setdefault(name, set()).add(made)

        def take(member: Any, content: Any) -> None:
            if member.name in lists:
                came.add(member.name)
                said = content.read() if content else b""
                for made in lists[member.name]:
                    add(made, member, io.BytesIO(said))
                return
            words = member.name.split("/")
            for depth in range(1, len(words) + 1):
                part = "/".join(words[:depth])
                if part in parts:
                    came.add(part)
                    add(parts[part], member, content)
                    return

        its[0].copy_out(snapshot, its[0].gathered("").rstrip("/"), take)
    if missing := (parts.keys() | lists.keys()) - came:
        raise Failed(f"snapshot {snapshot[:8]} does not hold {', '.join(sorted(missing))}")


def _together(it: Restoring) -> tuple[str, ...]:
    """What loads this service's archive together with others; () when it is loaded alone."""
    return tuple(it.archives[0].get("together", ())) if len(it.archives) == 1 else ()


def _groups(its: Sequence[Restoring]) -> list[list[Restoring]]:
    """Those that lie ready in one file, and that there is room for at once."""
    found: dict[tuple[Any, ...], list[Restoring]] = {}
    for it in its:
        state, key = it.load(), _together(it)
        if not key or not state or not state.get("ahead"):
            continue
        with contextlib.suppress(OSError):
            found.setdefault((os.stat(it.archive_file(0)).st_ino, *key), []).append(it)
    return [its for its in found.values() if len(its) > 1 and _room(its)]


def _room(its: Sequence[Restoring]) -> bool:
    """Whether all of them can be unpacked at once."""
    needs = [
        (place, int((it.load() or {}).get("room", 0)))
        for it in its
        for place in it.archives[0]["room"]
    ]
    return all(about["needed"] + MARGIN <= about["free"] for about in on_disks(needs).values())


def _load(its: Sequence[Restoring]) -> dict[Restoring, dict[str, Any]]:
    """Those that one call loaded, and how far each is then. From the moment that it can have
    changed anything, each is a restore that was broken off while its archive was loaded."""
    states = {}
    for it in its:
        state = it.load()
        if state is None:
            continue
        try:
            it.commands("stop")
        except Failed:
            continue  # it is told in its turn
        states[it] = state
    if len(states) < 2:
        return {}
    ahead = {it: dict(state) for it, state in states.items()}
    for it, state in states.items():
        state.pop("ahead")
        state |= {"step": "load", "replacing": True, "together": True}
        it.save(state)
        write(f"{it.home}/unfinished", b"")
    first = next(iter(states))
    progress(first.at, "restore", "load", service=", ".join(it.service for it in states))
    names = {it: str(it.archives[0]["called"]) for it in states}
    with open(first.archive_file(0), "rb") as file:
        done = run((*_together(first), *names.values()), stdin=file, timeout=12 * 3600)
    for text in done.err.decode(errors="replace").splitlines():
        say(text)
    if done.code == 2:  # nothing was changed
        for it, state in ahead.items():
            remove_tree(f"{it.home}/unfinished")
            it.save(state)
    if done.code != 0:
        return {}
    answer = json.loads(done.out)
    told = answer["messages"]  # by the first one, for all
    loaded = {it: state for it, state in states.items() if names[it] in answer["loaded"]}
    for it, state in loaded.items():
        state["loaded"] = 1
        state["told"] = [*told, *answer["loaded"][names[it]]]
        told = []
        it.save(state)
    return loaded
