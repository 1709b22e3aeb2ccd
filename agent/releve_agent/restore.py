"""Bring services back from a snapshot, judge what came, and continue when broken off."""

from __future__ import annotations

import contextlib
import os
import re
import time

from .backup import backup
from .common import (
    Busy,
    Failed,
    Root,
    iso,
    read_json,
    read_text,
    remove_tree,
    say,
    write_json,
)
from .epoch import mark_serving, take_up
from .release import parse as parse_release
from .release import too_new
from .repository import choose, full_here, need_repository, own_epoch, snapshots
from .restoring import Restoring, find_canaries

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Known:
    """What was read of a repository already: its snapshots, and manifests by snapshot."""

    def __init__(self, listed: list[dict[str, Any]]) -> None:
        self.listed = listed
        self.manifests: dict[str, dict[str, Any]] = {}


_SNAPSHOT = re.compile(r"[0-9a-f]{8,64}")


def restore(
    at: Root,
    plan: Mapping[str, Any],
    service: str,
    *,
    wanted: str = "latest",
    until: float | None = None,
    replace: bool = False,
    dry: bool = False,
    no_snapshot: bool = False,
    unless_live: bool = False,
    source: Mapping[str, Any] | None = None,
    known: Known | None = None,
) -> dict[str, Any]:
    """Bring one service's data back. The lock is held by the caller. Return what was done. `known`
    is not asked of the repository again.

    Raise Failed: with the old data in place again, unless the message says otherwise.
    """
    if wanted != "latest" and not _SNAPSHOT.fullmatch(wanted):
        raise Failed("a snapshot is named by at least eight hexadecimal digits, or `latest`")
    take_up(at, plan)
    began = time.time()
    it = Restoring(at, plan, service, source or need_repository(plan))
    os.makedirs(it.home, mode=0o700, exist_ok=True)
    state = it.load()
    if state is not None and state.get("ahead") and not dry:
        state = _taken(it, state, wanted)
    if state is not None and state["step"] != "fetch" and not dry:
        same = wanted == "latest" or state["snapshot"].startswith(wanted)
        if not same or state["source"] != it.source["host"]:
            raise Failed(
                f"a restore of {service} from snapshot {state['snapshot'][:8]} was broken off "
                f"half-way: run it again with --snapshot {state['snapshot'][:8]} first"
            )
        if state.pop("ahead", False):
            say(f"{service}: snapshot {state['snapshot'][:8]}, fetched before")
        elif state.pop("together", False):
            done = "loaded" if state.get("loaded") else "fetched"
            say(f"{service}: snapshot {state['snapshot'][:8]}, {done} before")
        else:
            say(f"continuing the restore of {service} that was broken off ({state['step']})")
        return finish(it, state, began)
    it.tell("choose")
    guess: dict[str, Any] = {}
    guessing = None
    if known is None and wanted == "latest" and until is None:
        # Opening a repository takes half a second of deliberate work: guess that the latest is
        # what will be chosen, and read its manifest at the same time.
        import threading

        guessing = threading.Thread(target=it.guess, args=(guess,), daemon=True)
        guessing.start()
    listed = known.listed if known else snapshots(it.source, it.epoch)
    chosen, previous = choose(listed, service, wanted, until, time.time(), it.warn)
    say(f"{service}: snapshot {chosen['id'][:8]} of {chosen['time'][:19]}, run {chosen['run']}")
    if guessing is not None:
        guessing.join()
    elif known:
        guess = known.manifests.get(chosen["id"], {})
    try:
        right = guess.get("run") == chosen["run"] is not None
        whole = guess if right else it.manifest(chosen["id"])
    except Busy:
        raise
    except Failed as error:
        raise Failed(f"{error}. {_offer(service, previous)}") from None
    manifest = whole["services"][service]
    if manifest.get("errors"):
        it.warn(f"that copy of {service} was reported incomplete: {'; '.join(manifest['errors'])}")
    if state is not None and not dry:
        clear(it)
    live = it.holds_data()
    sizes = it.check_space(chosen["id"], manifest, live)
    if not it.archives:
        it.check_owners(manifest)
    result = {
        "service": service,
        "snapshot": chosen["id"],
        "run": whole["run"],
        "time": chosen["time"],
        "sizes": sizes,
        "counts_saved": manifest.get("counts", {}),
        "versions_saved": manifest.get("versions", {}),
        "live": live or None,
        "messages": it.messages,
    }
    left = live and unless_live
    if not left and (why := too_new(whole.get("system"), parse_release(read_text(at.os_release)))):
        raise Failed(
            f"{service}: {why}. Nothing was changed. A copy from before can be asked for with --at."
        )
    if dry:
        return {**result, "dry_run": True, "ok": True}
    if left:
        say(f"{service} is left as it is: {live}")
        return {**result, "ok": True, "kept": live}
    if live and not replace:
        raise Failed(
            f"{service} is in use here: {live}. Nothing was changed. To put the copy of "
            f"{chosen['time'][:16]} in its place, say --replace; a snapshot of what is here now "
            "is taken first."
        )
    if live and not no_snapshot:
        say(f"{service}: saving what is here now, before it is replaced")
        try:
            saved = backup(at, plan)
        except Failed as error:
            raise Failed(
                f"what is here now could not be saved first: {error}. Nothing was changed. To "
                "replace it all the same and lose it, say --no-snapshot."
            ) from None
        if not saved["services"][service]["ok"]:
            it.warn("what was here before was saved incompletely; see the receipt of that run")
        result["saved_before"] = saved["snapshot"]
    state = {
        "snapshot": chosen["id"],
        "time": chosen["time"],
        "source": it.source["host"],
        "run": whole["run"],
        "manifest": manifest,
        "step": "fetch",
        "live": live,
        "paths": {},
        "saved_before": result.get("saved_before"),
        "previous": dict(previous) if previous else None,
        "archive_bytes": it.archive_bytes,
        "started": iso(began),
    }
    it.save(state)
    try:
        it.fetch(chosen["id"], manifest)
    except OSError as error:
        why = full_here(str(error), it.home) or f"{error.strerror} ({error.filename or it.home})"
        clear(it)
        raise Failed(f"{service}: {why}. What is here was not changed") from None
    except Busy:
        raise
    except Failed as error:
        clear(it)
        raise Failed(
            f"{error}. What is here was not changed. {_offer(service, previous)}"
        ) from None
    state["step"] = "fetched"
    it.save(state)
    return {**result, **finish(it, state, began)}


def _taken(it: Restoring, state: dict[str, Any], wanted: str) -> dict[str, Any] | None:
    """What was fetched ahead (`ahead.restore_together`), if it is what is asked for and nobody
    works with anything here meanwhile; else it is removed, and None."""
    named = wanted != "latest" and state["snapshot"].startswith(wanted)
    if named and state["source"] == it.source["host"] and not it.holds_data():
        return state
    clear(it)
    return None


def _offer(service: str, previous: Mapping[str, Any] | None) -> str:
    if previous is None:
        return f"There is no earlier snapshot of {service}."
    return (
        f"The one before it is {previous['id'][:8]} of {previous['time'][:16]}: "
        f"restore with --snapshot {previous['id'][:8]}."
    )


def clear(it: Restoring) -> None:
    """Remove what was fetched; old data set aside is never touched here."""
    for way in it.ways():
        remove_tree(way.tree)
        remove_tree(f"{way.old}.part")
        if way.base != it.home:
            with contextlib.suppress(OSError):
                os.rmdir(way.base)
    for name in ("new", "before", "state.json"):
        remove_tree(f"{it.home}/{name}")


def finish(it: Restoring, state: dict[str, Any], began: float) -> dict[str, Any]:
    """From "all is fetched and verified" to "the service has accepted it". Raise Failed."""
    manifest = state["manifest"]
    for text in state.get("told", ()):
        it.warn(f"{it.service}: {text}")
    try:
        if state["step"] == "fetched":
            it.tell("stop")
            it.keep_databases(state)
            it.commands("stop")
            state["step"] = "place"
            it.save(state)
        if state["step"] == "place":
            it.tell("place")
            it.place(state)
            state["step"] = "load"
            it.save(state)
        if state["step"] == "load":
            it.tell("load")
            it.load_archives(state)
            it.commands("prepare")
            it.load_dumps()
            state["step"] = "accept"
            it.save(state)
        it.tell("accept")
        it.commands("accept")
    except (Failed, OSError) as error:
        say(f"{it.service}: putting back what was here before: {error}")
        it.put_back(state)
        if state["step"] == "stuck":
            it.save(state)
            raise Failed(f"{error}. What was here before lies in {it.home}.") from None
        clear(it)
        after = "" if state.get("broken") else " What was here before is in place again."
        raise Failed(f"{error}.{after}") from None
    it.tell("judge")
    verdict = it.judge(manifest, state["run"])
    for way in it.ways():
        remove_tree(way.old)
    clear(it)
    remove_tree(f"{it.home}/unfinished")
    with contextlib.suppress(OSError):
        os.rmdir(it.home)
    mark_serving(it.at, it.service)
    for text in verdict["problems"]:
        it.warn(f"{it.service}: {text}")
    it.tell("done")
    result = {
        "service": it.service,
        "snapshot": state["snapshot"],
        "time": state["time"],
        "run": state["run"],
        "saved_before": state["saved_before"],
        "bytes": state.get("archive_bytes", 0)
        + sum(about["bytes"] for part in ("paths", "dumps") for about in manifest[part].values()),
        "versions_saved": manifest.get("versions", {}),
        "live": state["live"] or None,
        "messages": it.messages,
        "seconds": round(time.time() - began, 1),
        "ok": not verdict["problems"],
        **verdict,
    }
    os.makedirs(it.at.v("restored"), mode=0o700, exist_ok=True)
    write_json(it.at.v("restored", it.service), {**result, "epoch": own_epoch(it.at)})
    return result


def restored_before(at: Root, part: Mapping[str, Any], service: str) -> dict[str, Any] | None:
    """What a finished restore of `service` said, in this life of the host; None without one.

    A rebuild that was cut off asks: the data that came back may have changed since, and must
    not be replaced by the copy again. Marks are looked for anew.
    """
    before = read_json(at.v("restored", service))
    if not isinstance(before, dict) or before.get("epoch") != own_epoch(at) or not before.get("ok"):
        return None
    say(f"{service} came back from snapshot {str(before['snapshot'])[:8]} already")
    if part.get("canary"):
        before["canaries"] = find_canaries(part)
    return before
