"""Save this host: canaries, dumps, one snapshot, its receipt."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time

from .common import (
    STALL_S,
    VERSION,
    Busy,
    Failed,
    Root,
    canonical,
    file_sha256,
    human,
    iso,
    read_json,
    read_text,
    remove_tree,
    say,
    span,
    write,
)
from .contents import free_bytes, tally
from .epoch import guard, mark_serving, refuse_when_fenced, verified
from .lock import progress
from .processes import Launched, json_of, run
from .quiesce import Still
from .release import parse as parse_release
from .repository import (
    _LOST,
    _NO_REPOSITORY,
    _REPLACED,
    UNREACHED,
    connected,
    full_here,
    gate,
    need_repository,
    own_epoch,
    reason,
    restic_argv,
    restic_failed,
    sign,
)

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any


_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")

# A run that is broken off and repeated may not pile up receipts: this many stay.
RECEIPTS_KEPT = 30
ERRORS_TOLD = 20


class Part:
    """One service during a run: what was found out, and what went wrong."""

    def __init__(self, name: str, plan: Mapping[str, Any]) -> None:
        self.name, self.plan = name, plan
        self.manifest: dict[str, Any] = {"role": plan.get("role"), "dumps": {}, "paths": {}}
        self.errors: list[str] = []
        self.mirrored: dict[str, str] = {}  # path -> the tree that is saved in its stead

    def fail(self, text: str) -> None:
        self.errors.append(text)
        say(f"{self.name}: {text}")

    def told(self) -> list[str]:
        """What goes into the receipt: the first ones say enough, and it must not grow without
        end."""
        more = len(self.errors) - ERRORS_TOLD
        rest = [f"and {more} more: the journal of this run names them"] if more > 0 else []
        return [text[:1000] for text in self.errors[:ERRORS_TOLD]] + rest


class Planting:
    """The mark of this run, on its way into a service."""

    def __init__(self, part: Part, run_id: str) -> None:
        self.part = part
        self.mark = {"run": run_id, "at": iso()}
        self.launched: Launched | None = None
        part.manifest["canary"] = None

    def begin(self) -> None:
        canary = self.part.plan.get("canary")
        if canary:
            self.launched = Launched([*canary["plant"], self.mark["run"], self.mark["at"]])

    def end(self) -> None:
        if self.launched:
            done = self.launched.ended(180)
            if done.code != 0:
                raise Failed(f"its canary could not be planted: {done.said()}")
            self.part.manifest["canary"] = self.mark


def _launch(part: Part, what: str) -> Launched | None:
    """Start to ask a service something, so that the answer is there when `_ask` wants it."""
    with contextlib.suppress(Failed):  # it will be tried again then, and told
        return Launched(_question(part, what)) if part.plan.get(what) else None
    return None


def _question(part: Part, what: str) -> list[str]:
    return [*as_mirrored(part.mirrored), *part.plan[what]]


def _ask(part: Part, what: str, launched: Launched | None = None) -> dict[str, Any]:
    argv = _question(part, what) if part.plan.get(what) else None
    found = json_of(argv, f"its {what} cannot be told", launched=launched) if argv else {}
    if not isinstance(found, dict):
        raise Failed(f"its {what} are not one JSON object")
    return found


class Dump:
    """One database on its way into its file. The file of an earlier run never stands in for a
    failed one. It need not be on the disk: each run makes it anew."""

    def __init__(self, at: Root, part: Part, dump: Mapping[str, Any]) -> None:
        self.name, self.folder = dump["name"], at.v("stage", part.name)
        self.path = f"{self.folder}/{self.name}"
        self.whole = False
        with self._explained():
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                try:
                    self.launched = Launched(dump["save"], stdout=file)
                except BaseException:
                    os.unlink(self.path)
                    raise

    def end(self, still: Still) -> dict[str, Any]:
        """Wait for it; return what the manifest says of it. Raise Failed."""
        with self._explained():
            done = self.launched.ended(6 * 3600, still.watch)
            if done.code != 0:
                why = full_here(done.err.decode(errors="replace"), self.folder) or done.said()
                raise Failed(f"its database {self.name} could not be saved: {why}")
            told = {"sha256": file_sha256(self.path), "bytes": os.path.getsize(self.path)}
        self.whole = True
        return told

    def close(self) -> None:
        """Nothing of it runs on, and nothing of it stays unless it ended well."""
        self.launched.close()
        if not self.whole:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Failed(
                f"its database {self.name} could not be saved: {error.strerror} ({self.folder} "
                f"has {human(free_bytes(self.folder))} free)"
            ) from None


def _prepare(at: Root, part: Part, run_id: str, still: Still) -> None:
    """Canary, counts, quiet, dumps, mirrors, tallies of one service. Errors stay in `part`."""
    steps: list[Callable[[], None]] = []
    asked: dict[str, Launched | None] = {}

    def ask_versions() -> None:
        asked["versions"] = _launch(part, "versions")

    def versions() -> None:
        part.manifest["versions"] = _ask(part, "versions", asked.get("versions"))

    def counts() -> None:
        part.manifest["counts"] = _ask(part, "counts")

    def counts_after() -> None:
        # What was written after the first count and before the copy belongs to the copy: how much
        # that may be is known only where it can be asked once more.
        asked = all(q.get("answers", True) for q in part.plan.get("quiesce", ()))
        part.manifest["counts_after"] = _ask(part, "counts") if asked else None

    def hold() -> None:
        for number, quiesce in enumerate(part.plan.get("quiesce", ())):
            still.hold(part.name, number, quiesce)

    def dumps() -> None:
        # All at once: what a small one takes is the start of its program.
        begun: list[Dump] = []
        try:
            begun.extend(Dump(at, part, dump) for dump in part.plan.get("dumps", ()))
            for dump in begun:
                part.manifest["dumps"][dump.name] = dump.end(still)
        finally:
            for dump in begun:
                dump.close()

    def mirrors() -> None:
        for mirror in part.plan["mirrors"]:
            done = run(mirror["make"], timeout=6 * 3600, tick=still.watch)
            if done.code != 0:
                raise Failed(
                    f"{mirror['path']} was saved while people wrote to it, so that something may "
                    f"be missing: no mirror of it could be made ({done.said()})"
                )
            part.mirrored[mirror["path"]] = mirror["copy"]

    def ask_counts() -> None:
        # Of what is saved, whatever people do meanwhile.
        asked["counts"] = _launch(part, "counts")

    def counts_of_mirrors() -> None:
        found = _ask(part, "counts", asked.get("counts"))
        part.manifest["counts"] = part.manifest["counts_after"] = found

    def paths() -> None:
        for path in part.plan["paths"]:
            place = part.mirrored.get(path, "")
            try:
                part.manifest["paths"][path] = tally(path, part.plan.get("excludes", ()), place)
            except OSError as error:
                raise Failed(f"{path} cannot be read: {error.strerror}") from None

    planting = Planting(part, run_id)
    if part.plan.get("mirrors"):
        # The mark has to be in the mirror, not in the dumps.
        steps = [planting.begin, hold, dumps, planting.end]
        steps += [ask_versions, mirrors, ask_counts, paths, counts_of_mirrors]
    else:
        steps = [ask_versions, planting.begin, planting.end]
        steps += [counts, hold, dumps, counts_after, paths]
    steps += [versions]
    for step in steps:
        try:
            step()
        except Failed as error:
            part.fail(str(error))
        still.watch()


# Runs a command that sees each mirror in the place of its folder. What it mounts is its own, and
# ends with it however it ends; the copy has the folder's name, as every copy before it.
_AS_MIRRORED = """
while [ "$1" != -- ]; do mount -n --bind -- "$1" "$2" || exit 1; shift 2; done
shift; exec "$@"
"""


def as_mirrored(mirrored: Mapping[str, str]) -> list[str]:
    """What to put before a command so that it reads mirrors (path -> tree) instead of folders."""
    if not mirrored:
        return []
    pairs = [word for path, copy in sorted(mirrored.items()) for word in (copy, path)]
    return ["unshare", "--mount", "--", "sh", "-c", _AS_MIRRORED, "mirrored", *pairs, "--"]


def _restic_backup(
    at: Root,
    source: Mapping[str, Any],
    paths: Sequence[str],
    extra: Sequence[str],
    still: Still,
    around: Mapping[str, Any] | None = None,
    mirrored: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], list[str], int]:
    """Save paths. Return restic's summary, the items it could not read, and its exit code.

    `around` runs restic, with what it gathered added. `mirrored` is what stands for a path. Raise
    Failed when no snapshot was made.
    """
    summary: dict[str, Any] = {}
    unreadable: list[str] = []
    stalled = {"since": 0.0, "bytes": -1, "seen": -1}

    def line(raw: bytes) -> None:
        if not raw.startswith(b"{"):
            if b"retrying after" in raw and not stalled["since"]:
                stalled["since"], stalled["seen"] = time.monotonic(), stalled["bytes"]
            return
        try:
            message = json.loads(raw)
        except ValueError:
            return
        kind = message.get("message_type")
        if kind == "status":
            done, total = message.get("bytes_done", 0), message.get("total_bytes", 0)
            stalled["bytes"] = done
            if stalled["since"] and done > stalled["seen"]:
                stalled["since"] = 0.0
            progress(at, "backup", "copy", done=done, total=total)
        elif kind == "summary":
            summary.update(message)
        elif kind == "error":
            unreadable.append(str(message.get("item") or message.get("error")))

    def tick() -> None:
        still.watch()
        if stalled["since"] and time.monotonic() - stalled["since"] > STALL_S:
            raise Failed("stalled")

    argv = as_mirrored(mirrored or {})
    argv += restic_argv(source, own_epoch(at), "backup", "--json", *extra, "--", *paths)
    if around:
        argv = [*around["argv"], "--", *argv]
    complaints = bytearray()

    def keep(raw: bytes) -> None:
        if not raw.startswith(b"{"):
            complaints.extend(raw[:2000] + b"\n")
            del complaints[:-65536]
        line(raw)

    # Asked so, restic takes its lock along, which would keep a prune out for half an hour; older
    # ones do not at SIGTERM. What gathers on a YunoHost server ends restic by itself.
    ask = signal.SIGTERM if around else signal.SIGINT
    try:
        done = run(argv, timeout=24 * 3600, tick=tick, on_line=keep, ask=ask)
    except Failed as error:
        if str(error) != "stalled":
            raise
        text = complaints.decode(errors="replace")
        raise Failed(
            f"nothing was saved: {reason(text)}. restic had tried for {STALL_S} s; the next run "
            "starts afresh, and of what was sent only the last ten minutes are sent again"
        ) from None
    if done.code not in (0, 3) or not summary.get("snapshot_id"):
        restic_failed(done, "nothing was saved")
    return summary, unreadable, done.code


def new_run_id(host: str) -> str:
    """A run's id: when, where, and something nobody can guess."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{host}-{os.urandom(3).hex()}"


def backup(at: Root, plan: Mapping[str, Any], run_id: str | None = None) -> dict[str, Any]:
    """Save this host. The lock is held by the caller. Return the receipt; `ok` says whether all
    of it was saved. Raise Failed when nothing was."""
    refuse_when_fenced(at)
    with connected(at, need_repository(plan)) as source:
        return _backup(at, plan, source, run_id)


def _backup(
    at: Root, plan: Mapping[str, Any], source: Mapping[str, Any], run_id: str | None
) -> dict[str, Any]:
    began = time.time()
    run_id = run_id or new_run_id(plan["host"])
    if not _RUN.fullmatch(run_id):
        raise Failed("a run's id is made of letters, digits and . _ -")
    parts = [Part(name, p) for name, p in plan["services"].items()]
    parts += [Part(f"_{name}", p) for name, p in plan.get("duties", {}).items()]
    strangers: tuple[Part, ...] = ()
    still = Still(at)
    receipt: dict[str, Any] = {
        "run": run_id,
        "host": plan["host"],
        "epoch": own_epoch(at),
        "started": iso(began),
        "agent": VERSION,
        "system": parse_release(read_text(at.os_release)),
        "snapshot": None,
    }
    error: Failed | None = None
    try:
        _clear_stage(at, {p.name for p in parts})
        around = plan.get("around")
        if around:
            # First of all: it waits until the platform is free, and nothing stands still for that.
            progress(at, "backup", "wait")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(around["results"])
            held = {"do": around["before"], "undo": around["after"], "at_most": 48 * 3600}
            still.hold("_around", 0, held)
        for part in parts:
            progress(at, "backup", "prepare", service=part.name)
            _prepare(at, part, run_id, still)
        manifest = {
            "format": 1,
            **{k: receipt[k] for k in ("run", "host", "epoch", "started", "agent", "system")},
            "services": {p.name: {**p.manifest, "errors": p.errors} for p in parts},
        }
        data = canonical(manifest)
        import hashlib

        receipt["manifest"] = hashlib.sha256(data).hexdigest()
        write(at.v("stage", "manifest.json"), data, sync=False)  # every run makes it anew
        paths = [p for part in parts for p in part.plan["paths"] if os.path.lexists(p)]
        extra = [
            f"--host={plan['host']}",
            f"--tag=run={run_id}",
            f"--tag=epoch={receipt['epoch']}",
            *(f"--tag=service={p.name}" for p in parts if not p.name.startswith("_")),
            *(f"--exclude={e}" for part in parts for e in part.plan.get("excludes", ())),
        ]
        progress(at, "backup", "copy")
        # The order and the names are always the same: restic finds the last run by them and
        # does not read unchanged files again.
        every = [*sorted(set(paths)), at.v("stage")]
        mirrored = {k: v for part in parts for k, v in part.mirrored.items()}
        summary, unreadable, _ = _restic_backup(at, source, every, extra, still, around, mirrored)
        receipt["snapshot"] = summary["snapshot_id"]
        receipt["bytes"] = summary.get("total_bytes_processed")
        receipt["bytes_added"] = summary.get("data_added")
        receipt["files"] = summary.get("total_files_processed")
        _blame(parts, unreadable, at, around)
        if around:
            strangers = _claim(parts, read_json(around["results"]))
    except OSError as problem:
        error = Failed(f"nothing was saved: {problem.strerror} ({problem.filename or at.var})")
    except Failed as problem:
        error = problem
    finally:
        stuck = still.release()
    for text in stuck:
        say(text)
    if error is not None:
        error = _why(at, plan, source, error)
    for name, allowed in still.late.items():
        part = next((p for p in parts if p.name == name), parts[0])
        part.fail(
            f"it serves again since before its copy was complete, for it may be held still for "
            f"{span(allowed)} only: what was written then may be in the copy by halves. The copy "
            "took too long: look at what has grown, or allow more (hold_at_most, where the service "
            "has that setting)"
        )
    receipt["services"] = {
        p.name: {
            "ok": not p.errors,
            "errors": p.told(),
            "counts": p.manifest.get("counts", {}),
            "versions": p.manifest.get("versions", {}),
            "canary": p.manifest.get("canary"),
        }
        for p in (*parts, *strangers)
    }
    for p in parts:
        if any(p.manifest.get("counts", {}).values()):
            mark_serving(at, p.name)
    receipt["finished"] = iso()
    receipt["seconds"] = round(time.time() - began, 1)
    receipt["error"] = str(error) if error else None
    receipt["ok"] = error is None and not stuck and not any(p.errors for p in parts)
    progress(at, "backup", "receipt")
    _keep_receipt(at, source, receipt)
    progress(at, "backup", "done")
    if error is not None:
        raise error
    return receipt


def _why(at: Root, plan: Mapping[str, Any], source: Mapping[str, Any], error: Failed) -> Failed:
    """When restic only says that the connection ended: ask the gate, which says why. It may be
    that this host has been replaced; then it stops serving at once."""
    text = str(error)
    if _LOST in text:
        try:
            epoch = verified(at, plan, gate(source, "epoch"))
        except Failed as reason_of_gate:
            return Failed(f"nothing was saved: {reason_of_gate}")
        if epoch is not None and epoch > own_epoch(at):
            text = f"nothing was saved: {_REPLACED}"
    if _NO_REPOSITORY in text:
        # The deploy's own mark, see docs/architecture.md: it says there is one.
        with contextlib.suppress(OSError):
            os.unlink(at.v("initialised"))
    if _REPLACED in text:
        with contextlib.suppress(Failed):
            guard(at, plan)
    return Failed(text) if not isinstance(error, Busy) else error


def _clear_stage(at: Root, wanted: set[str]) -> None:
    """What services left in the stage that are not here any more goes."""
    for name in os.listdir(at.v("stage")):
        if name not in wanted:
            remove_tree(at.v("stage", name))


def _blame(
    parts: Sequence[Part],
    unreadable: Sequence[str],
    at: Root,
    around: Mapping[str, Any] | None = None,
) -> None:
    """Tell each service which of its files could not be read."""

    root = around["root"] if around else ""

    def places(part: Part) -> list[str]:
        found = list(part.plan["paths"])
        for archive in part.plan.get("archives", ()):
            found += [f"{root}/{name}" for name in archive["parts"]]
        return found

    for item in unreadable:
        owner = next(
            (p for p in parts if any(item == x or item.startswith(f"{x}/") for x in places(p))),
            None,
        )
        if owner is None:
            owner = next((p for p in parts if item.startswith(at.v("stage", p.name))), None)
        text = f"{item} could not be read and is not in the copy"
        (owner or (parts[0] if parts else Part("host", {}))).fail(text)


def _claim(parts: Sequence[Part], results: Any) -> tuple[Part, ...]:
    """Hold what was gathered against what services need of it. Return what is of no service and
    was not saved whole: it is told under its own name, and says nothing against the copies of what
    the plan names."""
    told: dict[str, str] = results if isinstance(results, dict) else {}
    claimed: set[str] = set()
    holders = [p for p in parts if p.plan.get("archives")]
    for part in holders:
        for claim in (c for archive in part.plan["archives"] for c in archive["claims"]):
            mine = [n for n in told if n == claim or n.startswith(f"{claim}/")]
            claimed.update(mine)
            if not mine:
                part.fail(f"{claim} was not gathered and is not in the copy")
            for name in mine:
                if told[name]:
                    part.fail(f"{name}: {told[name]}")
    strangers = []
    for name, trouble in sorted(told.items()):
        if trouble and name not in claimed:
            if name.startswith("apps/"):
                strangers.append(Part(name, {}))
                strangers[-1].fail(f"{trouble} (it is no service of the inventory)")
            else:
                (holders or list(parts))[-1].fail(f"{name}: {trouble}")
    return tuple(strangers)


def _keep_receipt(at: Root, source: Mapping[str, Any], receipt: Mapping[str, Any]) -> None:
    """Sign, store, send. A receipt that cannot be sent now goes along with the next one; where the
    run itself did not reach the repository, nobody waits to find that out once more."""
    folder = at.v("receipts")
    name = receipt["run"]
    try:
        signed = {"receipt": receipt, "signature": sign(at, canonical(receipt))}
        # Written first, the mark reaches the disk with the receipt. Alone it means nothing.
        write(f"{folder}/{name}.unsent", b"", sync=False)
        write(f"{folder}/{name}.json", canonical(signed) + b"\n")
    except (OSError, Failed) as error:
        say(f"the receipt could not be kept: {error}")
        return
    if UNREACHED in str(receipt["error"]):
        say(f"the receipt {name} waits to be sent with the next run")
        return
    unsent = sorted(n[:-7] for n in os.listdir(folder) if n.endswith(".unsent"))
    for run_id in unsent[-5:]:
        try:
            with open(f"{folder}/{run_id}.json", "rb") as file:
                gate(source, "receipt", run_id, give=file.read())
            os.unlink(f"{folder}/{run_id}.unsent")
        except FileNotFoundError:
            with contextlib.suppress(OSError):
                os.unlink(f"{folder}/{run_id}.unsent")
        except Failed as error:
            say(f"the receipt {run_id} waits to be sent with the next run: {error}")
            break
    kept = sorted(n[:-5] for n in os.listdir(folder) if n.endswith(".json"))
    for old in kept[:-RECEIPTS_KEPT]:
        for suffix in (".json", ".unsent"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{folder}/{old}{suffix}")
