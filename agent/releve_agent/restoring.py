"""One restore of one service, step by step, its state on disk so that it survives a kill."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from functools import partial

from .common import (
    STALL_S,
    Failed,
    Root,
    file_sha256,
    human,
    read_json,
    remove_tree,
    say,
    write,
    write_json,
)
from .contents import free_bytes, on_disks, tally
from .lock import progress
from .placing import Way, discard, move, own_by_name
from .processes import Done, json_of, run, start, stop
from .repository import full_here, need_repository, own_epoch, restic_argv, restic_failed

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


# Bytes that stay free on a disk to which something comes back.
MARGIN = 64 * 2**20


class Restoring:
    """One restore of one service. Its state lies on disk, so that it survives being killed."""

    def __init__(
        self, at: Root, plan: Mapping[str, Any], service: str, source: Mapping[str, Any]
    ) -> None:
        duty = plan.get("duties", {}).get(service[1:]) if service.startswith("_") else None
        if service not in plan["services"] and not (duty and duty.get("archives")):
            raise Failed(
                f"{plan['host']} has no service {service} that can be restored; it has "
                + (", ".join(plan["services"]) or "none")
            )
        self.at, self.plan, self.service = at, plan, service
        self.part = duty or plan["services"][service]
        self.archives = self.part.get("archives", ())
        self.archive_bytes = 0
        self.source = source
        self.home = at.v("restore", service)
        self.messages: list[str] = []
        self.epoch = own_epoch(at) if source["host"] == plan["host"] else 0

    # State: {"snapshot", "manifest", "step", "paths": {path: "aside"|"placed"}, …}
    def load(self) -> dict[str, Any] | None:
        found = read_json(f"{self.home}/state.json")
        return found if isinstance(found, dict) else None

    def save(self, state: Mapping[str, Any]) -> None:
        write_json(f"{self.home}/state.json", state)

    def warn(self, text: str) -> None:
        self.messages.append(text)
        say(text)

    def tell(self, phase: str, **more: Any) -> None:
        progress(self.at, "restore", phase, service=self.service, **more)

    def ways(self) -> list[Way]:
        return [Way(self.at, self.service, n, p) for n, p in enumerate(self.part["paths"])]

    def restic(self, *verb: str) -> list[str]:
        return restic_argv(self.source, self.epoch, *verb)

    def guess(self, into: dict[str, Any]) -> None:
        """Read the manifest of the snapshot that seems to be the latest, if that is possible."""
        chosen = (f"--tag=service={self.service}", f"--host={self.source['host']}")
        with contextlib.suppress(Failed):
            into.update(self.manifest("latest", *chosen))

    def manifest(self, snapshot: str, *options: str) -> dict[str, Any]:
        """The snapshot's manifest. Raise Failed."""
        path = self.at.v("stage", "manifest.json")
        argv = self.restic("dump", "--no-lock", *options, "--", snapshot, path)
        done = run(argv, timeout=1800)
        if done.code != 0:
            restic_failed(done, f"the manifest of snapshot {snapshot[:8]} cannot be read")
        try:
            found = json.loads(done.out)
            found["services"][self.service]["paths"]
        except (ValueError, KeyError, TypeError):
            raise Failed(
                f"the manifest of snapshot {snapshot[:8]} is damaged or lacks {self.service}"
            ) from None
        return dict(found)

    def holds_data(self) -> str:
        """Why what is here now may be somebody's work, or "". Nothing is assumed away."""
        if os.path.exists(f"{self.home}/unfinished"):
            return ""  # it is what an archive left that was not taken whole
        argv = self.part.get("counts")
        installed = any(run(a["holds"], timeout=60).code == 0 for a in self.archives)
        if not argv:
            if installed:
                return "it is installed"
            full = [
                p
                for p in self.part["paths"]
                if os.path.lexists(p) and (not os.path.isdir(p) or os.listdir(p))
            ]
            return f"{full[0]} is not empty" if full else ""
        filled = installed or any(os.path.isdir(p) and os.listdir(p) for p in self.part["paths"])
        if self.archives and not filled:
            return ""  # it is not installed: there is nobody to ask for counts
        try:
            counts = json_of(argv, "counts")
        except Failed as error:
            if not filled:
                return ""
            if not os.path.exists(self.at.v("serving", self.service)):
                # It never was restored, saved or counted here: what lies there is what
                # `install` brought. It is set aside all the same, and kept.
                return ""
            return f"its objects cannot be counted ({error})"
        full = [f"{n} {name}" for name, n in counts.items() if isinstance(n, int) and n > 0]
        return f"it holds {', '.join(full[:4])}" if full else ""

    def check_owners(self, manifest: Mapping[str, Any]) -> None:
        """Every owner of a file must exist here by name, unless an archive brings them along.
        Raise Failed."""
        import grp
        import pwd

        missing = set()
        for about in manifest["paths"].values():
            for pair in about["owners"].values():
                user, _, group = pair.partition(":")
                with contextlib.suppress(KeyError):
                    if user:
                        pwd.getpwnam(user)
                    if group:
                        grp.getgrnam(group)
                    continue
                missing.add(pair)
        if missing:
            raise Failed(
                f"files of {self.service} belong to {', '.join(sorted(missing))}, and there is no "
                "such user or group here. Run `releve deploy` for this host first (its install "
                "stage makes them)."
            )

    def check_space(self, snapshot: str, manifest: Mapping[str, Any], live: str) -> dict[str, Any]:
        """Is there room before anything is fetched? Raise Failed with the sizes. `live`: what is
        here now, "" for nothing: it is kept meanwhile."""
        needs: list[tuple[str, int]] = []

        def need(path: str, size: int) -> None:
            needs.append((path, size))

        for way in self.ways():
            about = manifest["paths"].get(way.path)
            if about:
                # Small files take a whole block each.
                need(way.base, about["bytes"] + 4096 * about["files"])
        for about in manifest["dumps"].values():
            # The dump itself, and the database it becomes.
            need(self.home, about["bytes"])
            need(self.home, about["bytes"])
            if live:
                # That of today beside them. How large it is, is known when it is there; it is
                # most likely about as large.
                need(self.home, about["bytes"])
        for archive in self.archives:
            about = self.listing(snapshot, *self.archive_paths(archive))
            if not about["files"]:
                raise Failed(
                    f"snapshot {snapshot[:8]} holds nothing of {self.service} but its name: it "
                    "was not gathered then, see the receipt of that run"
                )
            size = about["bytes"] + 4096 * about["files"]
            self.archive_bytes += about["bytes"]
            for place in (self.home, *archive["room"]):
                need(place, size)
        sizes = on_disks(needs)
        for path, about in sizes.items():
            if about["needed"] + MARGIN > about["free"]:
                raise Failed(
                    f"{self.service} needs {human(about['needed'])} and a margin of 67 MB on the "
                    f"disk that holds {path}, and {human(about['free'])} are free: nothing was "
                    "fetched, nothing was changed. Make room or take a host with a larger disk."
                )
        return sizes

    def fetch(self, snapshot: str, manifest: Mapping[str, Any]) -> None:
        """Bring the data beside its place, then hold it against the manifest. Raise Failed."""
        for way in self.ways():
            if way.path not in manifest["paths"]:
                raise Failed(
                    f"snapshot {snapshot[:8]} does not hold {way.path}: it was made by another "
                    "version of the role. Restore with the release that made it, or by hand."
                )
        stage = self.at.v("stage", self.service)
        trees: dict[str, list[str]] = {}
        for way in self.ways():
            trees.setdefault(way.tree, []).append(way.path)
        if manifest["dumps"]:
            trees.setdefault(f"{self.home}/new", []).append(stage)
        for archive in self.archives:
            lists = [self.gathered(name) for name in archive["lists"]]
            trees.setdefault(f"{self.home}/new", []).extend(lists)
        total = sum(p["bytes"] for p in manifest["paths"].values())
        total += sum(d["bytes"] for d in manifest["dumps"].values())
        for tree, paths in trees.items():
            remove_tree(tree)
            os.makedirs(tree, mode=0o700)
            os.chmod(tree, 0o700)
            self.fetch_tree(snapshot, tree, paths, total)
        for name, about in manifest["dumps"].items():
            if file_sha256(f"{self.home}/new{stage}/{name}") != about["sha256"]:
                raise Failed(f"the dump {name} in snapshot {snapshot[:8]} is not what was saved")
        for way in self.ways():
            about = manifest["paths"][way.path]
            if not os.path.lexists(way.new):
                raise Failed(f"snapshot {snapshot[:8]} does not hold {way.path}")
            if not self.archives:
                own_by_name(way.new, about["owners"])
            self.compare(snapshot, way, about)
        for number in range(len(self.archives)):
            self.fetch_archive(snapshot, number)

    def gathered(self, name: str) -> str:
        """Where something gathered lies in a snapshot."""
        around = self.plan.get("around")
        if not around:
            raise Failed(f"{self.service} comes back as an archive, which this host cannot take")
        return f"{around['root']}/{name}"

    def archive_paths(self, archive: Mapping[str, Any]) -> list[str]:
        return [self.gathered(name) for name in (*archive["parts"], *archive["lists"])]

    def archive_file(self, number: int) -> str:
        return f"{self.home}/new/{number}.tar"

    def fetch_archive(self, snapshot: str, number: int) -> None:
        """One archive as a tar file that only root reads, names relative to where it was gathered.
        Only its own parts are fetched. Raise Failed."""
        import tarfile

        archive = self.archives[number]
        path = self.archive_file(number)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        root = self.gathered("").lstrip("/")
        with open(path, "wb") as file:
            with tarfile.open(fileobj=file, mode="w") as made:
                for name in archive["lists"]:
                    # What fetch_tree brought along with everything else.
                    try:
                        made.add(f"{self.home}/new/{root}{name}", name, recursive=False)
                    except OSError:
                        raise Failed(f"snapshot {snapshot[:8]} does not hold {name}") from None
                for name in archive["parts"]:
                    self.copy_out(snapshot, self.gathered(name), partial(add, made))
            file.flush()
            os.fsync(file.fileno())

    def copy_out(self, snapshot: str, path: str, take: Callable[[Any, Any], None]) -> None:
        """Hand each member of a folder of a snapshot to `take`, with what reads its content (None:
        it has none), named relative to where everything was gathered. Raise Failed."""
        import tarfile
        import threading

        root = self.gathered("").lstrip("/")

        argv = self.restic("dump", "--no-lock", "--archive=tar", "--", snapshot, path)
        process = start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        complaints = bytearray()
        came = {"bytes": 0}

        def give_up(before: int) -> None:
            if came["bytes"] == before:
                process.terminate()

        def listen() -> None:
            """Keep what restic complains; end it when it only tries again and again."""
            assert process.stderr is not None  # noqa: S101 (for the type checker)
            for raw in process.stderr:
                complaints.extend(raw[:2000])
                del complaints[:-65536]
                if b"retrying after" in raw:
                    stuck = threading.Timer(STALL_S, give_up, [came["bytes"]])
                    stuck.daemon = True
                    stuck.start()

        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        broken = ""
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as stream:
                while member := stream.next():
                    if not member.name.startswith(root):
                        raise Failed(f"snapshot {snapshot[:8]} holds {member.name} at {path}")
                    member.name = member.name[len(root) :]
                    # What stands there would win over the name.
                    member.pax_headers = {
                        k: v for k, v in member.pax_headers.items() if k != "path"
                    }
                    take(member, stream.extractfile(member) if member.isreg() else None)
                    came["bytes"] += member.size + 512
                    # They would be kept, all of them, to the end.
                    stream.members = []  # type: ignore[attr-defined]
                    self.tell("fetch", done=came["bytes"])
        except tarfile.TarError as error:
            broken = str(error)
        except BaseException:
            stop(process)
            raise
        if broken:
            stop(process)
        code = process.wait()
        listening.join(10)
        if full := full_here(complaints.decode(errors="replace"), self.home):
            raise Failed(f"{path} of snapshot {snapshot[:8]} could not be read whole: {full}")
        if code != 0 or broken or not came["bytes"]:
            restic_failed(
                Done(code, b"", bytes(complaints) or broken.encode()),
                f"{path} of snapshot {snapshot[:8]} could not be read whole",
            )

    def fetch_tree(self, snapshot: str, tree: str, paths: Sequence[str], total: int) -> None:
        """Have restic restore some paths below `tree`, and say how far it is."""
        # A pattern's own signs are taken literally (filepath.Match of Go).
        literal = [re.sub(r"([*?[\\])", r"\\\1", path) for path in paths]
        includes = [f"--include={path}" for path in literal]
        argv = self.restic("restore", "--no-lock", f"--target={tree}", *includes, "--", snapshot)
        before = free_bytes(tree)
        trouble = {"since": 0.0, "free": before, "told": 0.0}
        complaints = bytearray()

        def line(raw: bytes) -> None:
            complaints.extend(raw[:2000] + b"\n")
            del complaints[:-65536]
            if b"retrying after" in raw and not trouble["since"]:
                trouble["since"], trouble["free"] = time.monotonic(), free_bytes(tree)

        def tick() -> None:
            now = time.monotonic()
            if now - trouble["told"] < 1:
                return
            trouble["told"] = now
            free = free_bytes(tree)
            self.tell("fetch", done=max(0, min(total, before - free)), total=total)
            if trouble["since"] and free < trouble["free"] - 2**20:
                trouble["since"] = 0.0
            if trouble["since"] and now - trouble["since"] > STALL_S:
                raise Failed("stalled")

        try:
            done = run(argv, timeout=48 * 3600, tick=tick, on_line=line)
        except Failed as error:
            if str(error) != "stalled":
                raise
            done = Done(1, b"", b"")
        if done.code != 0:
            to_come = total - (before - free_bytes(tree))
            if full := full_here(complaints.decode(errors="replace"), tree, to_come):
                raise Failed(f"snapshot {snapshot[:8]} could not be read whole: {full}")
            restic_failed(
                Done(done.code, b"", bytes(complaints)),
                f"snapshot {snapshot[:8]} could not be read whole",
            )

    def compare(self, snapshot: str, way: Way, about: Mapping[str, Any]) -> None:
        """Is what came all that there is? The manifest was written just before the copy; where
        it differs (somebody was writing), the snapshot's own list decides. Raise Failed."""
        keys = ("files", "folders", "others", "bytes")
        came = tally(way.new)
        if all(came[k] == about[k] for k in keys):
            return
        saved = self.listing(snapshot, way.path)
        if any(came[k] != saved[k] for k in keys):
            raise Failed(
                f"{way.path} did not come back whole from snapshot {snapshot[:8]}: "
                + ", ".join(f"{saved[k]} {k} were saved, {came[k]} came" for k in keys)
            )
        self.messages.append(f"{way.path} was being written to while it was saved")

    def listing(self, snapshot: str, *paths: str) -> dict[str, int]:
        """What a snapshot says it holds at paths, counted like `tally`."""
        return self.listings(snapshot, {"": paths})[""]

    def listings(
        self, snapshot: str, groups: Mapping[str, Sequence[str]]
    ) -> dict[str, dict[str, int]]:
        """The same of several groups of paths at once, by their names."""
        counted = {name: {"files": 0, "folders": 0, "others": 0, "bytes": 0} for name in groups}
        problems: list[bytes] = []

        def line(raw: bytes) -> None:
            if not raw.startswith(b"{"):
                problems.append(raw)
                return
            node = json.loads(raw)
            here = node.get("path", "")
            if node.get("struct_type") != "node":
                return
            for name, paths in groups.items():
                if not any(
                    here.startswith(f"{path}/") or (here == path and node["type"] == "file")
                    for path in paths
                ):
                    continue
                found = counted[name]
                if node["type"] == "file":
                    found["files"] += 1
                    found["bytes"] += node.get("size", 0)
                elif node["type"] == "dir":
                    found["folders"] += 1
                elif node["type"] != "socket":
                    found["others"] += 1

        asked = dict.fromkeys(path for paths in groups.values() for path in paths)
        argv = self.restic("ls", "--json", "--no-lock", "--recursive", snapshot, *asked)
        done = run(argv, timeout=3600, on_line=line)
        if done.code != 0:
            restic_failed(done, f"snapshot {snapshot[:8]} cannot be listed")
        return counted

    def place(self, state: dict[str, Any]) -> None:
        """Old data aside, new data in place, one path after the other. Each step is written down
        so that a later call continues; see `Way`."""
        for way in self.ways():
            step = state["paths"].get(way.path, "")
            if step == "":
                if os.path.lexists(way.old):
                    # Setting aside was complete; what is still at the old place is a rest of it.
                    if os.path.lexists(way.path) and os.path.lexists(way.new):
                        discard(way.path)
                elif os.path.lexists(way.path):
                    move(way.path, way.old)
                state["paths"][way.path] = step = "aside"
                self.save(state)
            if step == "aside":
                if os.path.lexists(way.new):
                    self.put(way)
                elif not os.path.lexists(way.path):
                    raise Failed(f"{way.new} has gone: run the restore again from the start")
                state["paths"][way.path] = "placed"
                self.save(state)
            remove_tree(way.new)

    def put(self, way: Way) -> None:
        """New data to its place."""
        os.makedirs(os.path.dirname(way.path), exist_ok=True)
        if os.path.ismount(way.path):
            discard(way.path)
            for name in os.listdir(way.new):
                done = run(["cp", "-a", "--", f"{way.new}/{name}", f"{way.path}/{name}"])
                if done.code != 0:
                    raise Failed(f"{way.path} could not be filled: {done.said()}")
            about = os.stat(way.new)
            os.chown(way.path, about.st_uid, about.st_gid)
            os.chmod(way.path, about.st_mode & 0o7777)
            return
        if os.path.lexists(way.path):
            discard(way.path)
        move(way.new, way.path)

    def put_back(self, state: dict[str, Any]) -> None:
        """After a failure: the old data in place again, as far as there was any."""
        for way in self.ways():
            if os.path.lexists(way.old):
                if os.path.lexists(way.path):
                    discard(way.path)
                if os.path.ismount(way.path):
                    way.new = way.old
                    self.put(way)
                    remove_tree(way.old)
                else:
                    move(way.old, way.path)
        for dump in self.part["dumps"]:
            before = f"{self.home}/before/{dump['name']}"
            if os.path.exists(before):
                with open(before, "rb") as file:
                    done = run(dump["load"], stdin=file, timeout=6 * 3600)
                if done.code != 0:
                    self.warn(
                        f"the database as it was before lies in {before}, but could not be loaded: "
                        f"{done.said()}"
                    )
                    state["step"] = "stuck"
        if state.get("replacing"):
            self.archives_back(state)
        self.commands("accept", hard=False)

    def commands(self, which: str, *, hard: bool = True) -> None:
        for argv in self.part["restore"][which]:
            done = run(argv, timeout=3600)
            if done.code != 0:
                text = f"{self.service}: `{' '.join(argv[:4])} …` ({which}) failed: {done.said()}"
                if hard:
                    raise Failed(text)
                self.warn(text)

    def keep_databases(self, state: dict[str, Any]) -> None:
        """The databases as they are now, so that a failure can be taken back. Raise Failed when
        one that people use can be kept neither so nor in a snapshot."""
        os.makedirs(f"{self.home}/before", mode=0o700, exist_ok=True)
        for dump in self.part["dumps"]:
            target = f"{self.home}/before/{dump['name']}"
            if os.path.exists(target):
                continue  # an earlier, broken-off call has it, from before it changed anything
            with open(f"{target}.part", "wb") as file:
                done = run(dump["save"], stdout=file, timeout=6 * 3600)
                file.flush()
                os.fsync(file.fileno())
            if done.code == 0:
                os.rename(f"{target}.part", target)
                continue
            os.unlink(f"{target}.part")
            if not state["live"]:
                continue  # on a blank host there may be none yet
            said = f"the {dump['name']} that is here could not be kept meanwhile: {done.said()}"
            saved = state.get("saved_before")
            if not saved and self.countable():
                raise Failed(
                    f"{self.service}: {said}. Without --no-snapshot it is saved first, and need "
                    "not be kept"
                )
            where = f"in snapshot {saved[:8]}" if saved else "nowhere: it cannot be read any more"
            self.warn(f"{said}. If this restore fails, what it held is {where}")
            state["broken"] = True  # then not all of it can be put back

    def countable(self) -> bool:
        """Whether what is here now can still be read."""
        try:
            return bool(self.part.get("counts")) and bool(json_of(self.part["counts"], "counts"))
        except Failed:
            return False

    def load_archives(self, state: dict[str, Any]) -> None:
        """Have each archive loaded, and what was placed before given to the owners that came with
        them. Written down one by one, so that a later call continues. Raise Failed."""
        for number, archive in enumerate(self.archives):
            if number < state.get("loaded", 0):
                continue
            self.tell("load")
            state["replacing"] = True
            self.save(state)
            if not state["live"]:
                write(f"{self.home}/unfinished", b"")
            with open(self.archive_file(number), "rb") as file:
                done = run(archive["load"], stdin=file, timeout=12 * 3600)
            if done.code == 2:
                state["replacing"] = bool(number)
                remove_tree(f"{self.home}/unfinished")
            if done.code != 0:
                raise Failed(f"{self.service}: its archive was not taken: {done.said()}")
            with contextlib.suppress(ValueError, AttributeError):
                for text in json.loads(done.out).get("messages", ()):
                    self.warn(f"{self.service}: {text}")
            state["loaded"] = number + 1
            self.save(state)
        if self.archives:
            self.check_owners(state["manifest"])
            for way in self.ways():
                own_by_name(way.path, state["manifest"]["paths"][way.path]["owners"])

    def archives_back(self, state: dict[str, Any]) -> None:
        """After an archive was not taken: what was here before, from the snapshot made of it."""
        before = state.get("saved_before")
        if not before:
            state["broken"] = True
            self.warn(f"{self.service} is not whole now: run the restore again")
            return
        try:
            remove_tree(f"{self.home}/new")
            trees = [self.gathered(n) for archive in self.archives for n in archive["lists"]]
            os.makedirs(f"{self.home}/new", mode=0o700)
            # It was saved by this host, into its own repository.
            it = Restoring(self.at, self.plan, self.service, need_repository(self.plan))
            if trees:
                it.fetch_tree(before, f"{self.home}/new", trees, 0)
            for number, archive in enumerate(self.archives):
                it.fetch_archive(before, number)
                with open(it.archive_file(number), "rb") as file:
                    done = run(archive["load"], stdin=file, timeout=12 * 3600)
                if done.code != 0:
                    raise Failed(done.said())
        except (Failed, OSError) as error:
            state["broken"] = True
            self.warn(
                f"what was here before could not be brought back: {error}. It is in snapshot "
                f"{str(before)[:8]}: restore it with --snapshot {str(before)[:8]}"
            )

    def dump_path(self, name: str) -> str:
        return f"{self.home}/new{self.at.v('stage', self.service, name)}"

    def load_dumps(self) -> None:
        for dump in self.part["dumps"]:
            self.tell("load")
            with open(self.dump_path(dump["name"]), "rb") as file:
                done = run(dump["load"], stdin=file, timeout=12 * 3600)
            if done.code != 0:
                raise Failed(f"{self.service}: {dump['name']} could not be loaded: {done.said()}")

    def judge(self, manifest: Mapping[str, Any], run_id: str) -> dict[str, Any]:
        """Counts and canaries of what is here now, against what was saved."""
        result: dict[str, Any] = {"counts": {}, "versions": {}, "canaries": [], "canary": None}
        if self.part.get("versions"):
            with contextlib.suppress(Failed):
                result["versions"] = json_of(self.part["versions"], "versions")
        saved = manifest.get("counts", {})
        after = manifest.get("counts_after", saved)
        result["counts_saved"] = saved
        problems = []
        if self.part.get("counts"):
            try:
                result["counts"] = json_of(self.part["counts"], "its objects cannot be counted")
            except Failed as error:
                problems.append(str(error))
        for name, was in saved.items():
            now = result["counts"].get(name)
            low, high = (was, now) if after is None else sorted((was, after.get(name, was)))
            if now is not None and not low <= now <= high:
                problems.append(f"{was} {name} were saved, {now} are here")
        canary = self.part.get("canary")
        if canary:
            try:
                result["canaries"] = find_canaries(self.part)
            except Failed as error:
                problems.append(str(error))
            seen = [c for c in result["canaries"] if c.get("run") == run_id]
            result["canary"] = seen[0] if seen else None
            if manifest.get("canary") and not seen:
                problems.append(f"the canary of run {run_id} is not there")
        result["problems"] = problems
        return result


def add(made: Any, member: Any, content: Any) -> None:
    """Add a member to a tar file that is being made."""
    made.addfile(member, content)
    # They would be kept, all of them, to the end.
    made.members = []


def find_canaries(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The canaries a service shows, newest first. Raise Failed."""
    found = json_of(part["canary"]["find"], "its canaries cannot be looked for")
    if not isinstance(found, list):
        raise Failed("its canaries are not a JSON list")
    return sorted(found, key=lambda c: str(c.get("at")), reverse=True)
