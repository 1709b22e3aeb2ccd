#!/usr/bin/env -S /usr/bin/python3 -IS -c 'import sys; del sys.argv[0]; sys.path.append(sys.argv[0].rpartition("/")[0]); import agent; sys.exit(agent.main())'
"""What Relève runs on a service host: saves it, restores it, and tells how it is.

One file, standard library only. What there is to save stands in /etc/releve/plan.json, as argv
arrays; nothing here ever builds a line for a shell. See docs/architecture.md, "On a service host".

Every verb prints JSON on stdout and messages for people on stderr.
Exit codes: 0 ok, 1 failed, 64 wrong usage, 75 busy (somebody else holds this host's lock).
"""

# The first line has this file imported, not run: then Python compiles it once (into __pycache__
# beside it, if it may write there) and not at every start, which would take half of a short run.
# `python3 -IS agent.py` does as well. pathlib would cost a tenth of the time that most verbs take.
# ruff: noqa: E501, PTH101, PTH103, PTH104, PTH106, PTH108, PTH110, PTH112, PTH113, PTH114, PTH116, PTH120, PTH123, PTH202, PTH208
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, NoReturn

VERSION = "0.1.0"
FAILED, USAGE, BUSY = 1, 64, 75

# A run that is broken off and repeated may not pile up receipts: this many stay.
RECEIPTS_KEPT = 30
# Snapshots that claim to be made later than this from now were not made by this agent.
FUTURE_S = 3600
# restic retries a failing repository for a quarter of an hour; nobody is served by that.
STALL_S = 90
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_SNAPSHOT = re.compile(r"[0-9a-f]{8,64}")


class Failed(Exception):
    """Something did not work. The message says what, where, what it means, what to do next."""


class Busy(Failed):
    """Somebody else is at work on this host or its repository; later it will go."""


class Root:
    """Where things lie. `prefix` is "" but in tests."""

    def __init__(self, prefix: str = "") -> None:
        self.etc = f"{prefix}/etc/releve"
        self.var = f"{prefix}/var/lib/releve"
        self.run = f"{prefix}/run/releve"
        self.cron = f"{prefix}/etc/cron.d"
        self.units = f"{prefix}/etc/systemd/system"

    def v(self, *parts: str) -> str:
        return "/".join((self.var, *parts))


# --- small things ----------------------------------------------------------------------------


def say(text: str) -> None:
    """A message for people. Nobody listening is no reason to fail."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"releve: {text}\n")
        sys.stderr.flush()


def iso(at: float | None = None) -> str:
    """A time as ISO 8601 in UTC, whole seconds; now by default."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def parse_iso(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 time. Raise ValueError."""
    from datetime import datetime, timezone

    # Nine digits of a second, as restic writes them, are more than Python reads.
    text = re.sub(r"(\.\d{1,6})\d*", r"\1", text.strip().replace("Z", "+00:00"))
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        found = found.replace(tzinfo=timezone.utc)  # noqa: UP017 (one spelling for all Pythons)
    return found.timestamp()


def human(size: float) -> str:
    """A size in bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value that is signed and digested."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_json(path: str) -> Any:
    """The value in a file, or None when it is not there or broken."""
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def sync_folder(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: str, data: bytes, mode: int = 0o600, *, sync: bool = True) -> None:
    """Replace a file in one step; it is on disk when this returns, unless `sync` is false: a busy
    disk takes tenths of a second for that."""
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if sync:
        sync_folder(os.path.dirname(path))


def write_json(path: str, value: Any, mode: int = 0o600) -> None:
    write(path, json.dumps(value, sort_keys=True, ensure_ascii=False).encode() + b"\n", mode)


def remove_tree(path: str) -> None:
    """Remove a file or a folder with all in it, never following a link."""
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.lexists(path):
        import shutil

        shutil.rmtree(path)


def file_sha256(path: str) -> str:
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folders(at: Root) -> None:
    """The folders this agent keeps things in; none is for anybody but root."""
    for path in (at.var, at.run, *(at.v(n) for n in ("stage", "receipts", "quiesced", "restore"))):
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chmod(path, 0o700)


# --- running programs ------------------------------------------------------------------------


class Done:
    """How a program ended."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out, err

    def said(self, lines: int = 3) -> str:
        """The last lines of what it complained."""
        found = [x.strip() for x in self.err.decode(errors="replace").splitlines() if x.strip()]
        return " / ".join(found[-lines:]) or f"it ended with code {self.code}"


_prctl: list[Any] = []  # loaded once, and before the fork: each child would pay for it


def _tie() -> None:
    """In a child: end when the agent ends, however that happens (PR_SET_PDEATHSIG is 1)."""
    _prctl[0](1, signal.SIGTERM)


def environment() -> dict[str, str]:
    """What programs get to see: nothing of whoever started us."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "RESTIC_PROGRESS_FPS": "2",
    }


def start(argv: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
    """Start a program that ends when we do. Raise Failed when there is no such program."""
    streams.setdefault("stdin", subprocess.DEVNULL)
    if not _prctl:
        import ctypes

        _prctl.append(ctypes.CDLL(None).prctl)
    try:
        return subprocess.Popen(list(argv), cwd="/", env=environment(), preexec_fn=_tie, **streams)
    except OSError as error:
        raise Failed(f"{argv[0]} cannot be started: {error.strerror}. Is it installed?") from None


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program we started: politely, then not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(
    argv: Sequence[str],
    *,
    give: bytes | None = None,
    stdin: Any = None,
    stdout: Any = None,
    timeout: float = 600.0,
    tick: Callable[[], None] | None = None,
    on_line: Callable[[bytes], None] | None = None,
) -> Done:
    """Run a program to its end. `tick` is called about twice a second and may raise: the program
    is ended then. `on_line` gets each line of stdout and of stderr as it comes."""
    memory = None
    if give is not None:
        memory = os.memfd_create("give")
        os.write(memory, give)
        os.lseek(memory, 0, os.SEEK_SET)
        stdin = memory
    try:
        process = start(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
        )
    finally:
        if memory is not None:
            os.close(memory)
    kept: dict[int, bytearray] = {}
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as waiting:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                kept[stream.fileno()] = bytearray()
                waiting.register(stream, selectors.EVENT_READ)
        partial: dict[int, bytes] = dict.fromkeys(kept, b"")
        try:
            while waiting.get_map():
                for key, _ in waiting.select(0.5):
                    data = os.read(key.fd, 65536)
                    if not data:
                        waiting.unregister(key.fileobj)
                    if on_line:
                        *lines, partial[key.fd] = (partial[key.fd] + data).split(b"\n")
                        if not data and partial[key.fd]:
                            lines.append(partial[key.fd])
                        for line in lines:
                            on_line(line)
                        if process.stdout is not None and key.fd == process.stdout.fileno():
                            continue
                    kept[key.fd] += data
                    if process.stderr is not None and key.fd == process.stderr.fileno():
                        del kept[key.fd][:-65536]
                if tick:
                    tick()
                if time.monotonic() > deadline:
                    raise Failed(f"{argv[0]} gave no end within {timeout:.0f} s and was stopped")
            while True:
                try:
                    process.wait(0.5)
                    break
                except subprocess.TimeoutExpired:
                    if tick:
                        tick()
        except BaseException:
            stop(process)
            raise
        out = kept.get(process.stdout.fileno(), bytearray()) if process.stdout else bytearray()
        err = kept.get(process.stderr.fileno(), bytearray()) if process.stderr else bytearray()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return Done(process.returncode, bytes(out), bytes(err))


def json_of(argv: Sequence[str], what: str, timeout: float = 120.0) -> Any:
    """Run a program that prints one JSON value. Raise Failed, naming `what`."""
    done = run(argv, timeout=timeout)
    if done.code != 0:
        raise Failed(f"{what}: {done.said()}")
    try:
        return json.loads(done.out)
    except ValueError:
        raise Failed(f"{what}: {argv[0]} did not print JSON") from None


# --- the host's lock -------------------------------------------------------------------------


@contextlib.contextmanager
def locked(at: Root, verb: str, patience: float = 2.0) -> Iterator[None]:
    """Hold this host's one lock. Raise Busy when somebody else keeps holding it.

    The kernel gives it back when this process ends. Who holds it stands in the file.
    """
    handle = os.open(at.v("lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    other = holder(at) or {}
                    raise Busy(
                        f"{verb} did not start: {other.get('verb', 'something')} has held this "
                        f"host's lock since {other.get('since', 'a moment ago')}. Nothing was "
                        "touched. Run it again when that has ended."
                    ) from None
                time.sleep(0.1)
        record = {"verb": verb, "pid": os.getpid(), "since": iso()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, canonical(record), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def holder(at: Root) -> dict[str, Any] | None:
    """Who holds the lock: {"verb", "since", …}, or None when it is free."""
    try:
        handle = os.open(at.v("lock"), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            found = json.loads(os.pread(handle, 4096, 0))
        except ValueError:
            found = {}
        return {"verb": "something", "since": None, **(found if isinstance(found, dict) else {})}
    else:
        return None
    finally:
        os.close(handle)


def progress(at: Root, verb: str, phase: str, **more: Any) -> None:
    """Where we are, for whoever looks from outside. Failing to tell is no failure."""
    try:
        temporary = f"{at.run}/progress.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump({"verb": verb, "phase": phase, "at": iso(), **more}, file)
        os.rename(temporary, f"{at.run}/progress")
    except OSError:
        pass


# --- holding services still ------------------------------------------------------------------


def _identity(pid: int) -> str:
    """What tells a process from a later one with the same number: its start time and the boot."""
    try:
        # The second field may hold spaces and brackets; the 22nd is the start time (proc(5)).
        born = read_text(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[19]
    except IndexError:
        return ""
    return f"{pid} {born} {read_text('/proc/sys/kernel/random/boot_id').strip()}"


class Still:
    """What is held still now, and until when. A mark lies on disk before anything is held."""

    def __init__(self, at: Root) -> None:
        self.at = at
        self.until: dict[str, float] = {}  # mark -> monotonic time
        self.late: list[str] = []  # services whose time was up

    def hold(self, service: str, number: int, quiesce: Mapping[str, Any]) -> None:
        """Hold one thing still. Raise Failed; it is undone then."""
        mark = self.at.v("quiesced", f"{service}.{number}")
        record = {
            "service": service,
            "undo": quiesce["undo"],
            "at": iso(),
            "owner": _identity(os.getpid()),
        }
        write_json(mark, record)
        self.until[mark] = time.monotonic() + quiesce["at_most"]
        done = run(quiesce["do"], timeout=max(30, quiesce["at_most"]))
        if done.code != 0:
            undo_mark(mark)
            self.until.pop(mark, None)
            raise Failed(f"{service}: it could not be held still: {done.said()}")

    def watch(self) -> None:
        """Undo whatever was held for as long as it may be."""
        for mark, until in list(self.until.items()):
            if time.monotonic() > until:
                del self.until[mark]
                record = read_json(mark) or {}
                self.late.append(str(record.get("service")))
                undo_mark(mark)

    def release(self) -> list[str]:
        """Undo everything. Return messages of what would not be undone."""
        failed = [text for mark in list(self.until) if (text := undo_mark(mark))]
        self.until.clear()
        return failed


def undo_mark(mark: str) -> str:
    """Undo what one mark names and remove it. Return "" or what went wrong; it stays then."""
    record = read_json(mark)
    if record is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(mark)
        return ""
    try:
        done = run(record["undo"], timeout=300)
    except Failed as error:
        return f"{record['service']} is still held still: {error}"
    if done.code != 0:
        return f"{record['service']} is still held still: {done.said()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(mark)
    return ""


def undo(at: Root) -> dict[str, Any]:
    """Undo every quiescing whose maker is gone. Repeatable; harmless while a backup runs."""
    undone, failed = [], []
    for name in sorted(os.listdir(at.v("quiesced")) if os.path.isdir(at.v("quiesced")) else ()):
        mark = at.v("quiesced", name)
        if name.endswith(".new"):
            os.unlink(mark)
            continue
        owner = str((read_json(mark) or {}).get("owner", ""))
        if owner and _identity(int(owner.split()[0])) == owner:
            continue
        text = undo_mark(mark)
        if text:
            failed.append(text)
            say(text)
        else:
            undone.append(name)
            whom = name.rsplit(".", 1)[0]
            if whom == "_around":
                say("what an earlier run had gathered and not cleared away is gone")
            else:
                say(f"{whom} serves again: an earlier run had left it held still")
    if failed:
        raise Failed(f"{len(failed)} thing(s) could not be undone; look at the service and repeat")
    return {"undone": undone}


# --- the repository --------------------------------------------------------------------------


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


_LOST = "the connection to the repository host was lost"
_REPLACED = (
    "another machine has taken this host's place (the repository knows a higher epoch). "
    "It must neither serve nor save"
)
_FULL = (
    "the disk of the repository host is full. Prune (`releve backup prune`) or enlarge it; what "
    "was saved before is untouched"
)
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
    ("connection refused", "the repository host cannot be reached"),
    ("connection timed out", "the repository host cannot be reached"),
    ("no route to host", "the repository host cannot be reached"),
    ("network is unreachable", "the repository host cannot be reached"),
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
    lines = [x.strip() for x in text.splitlines() if x.strip() and not x.startswith("{")]
    for sign, meaning in _REASONS:
        if sign in low:
            said = next((x for x in lines if sign in x.lower()), "")
            return f"{meaning} ({said[:300]})" if said else meaning
    # A panic or a failed upload ends with the lines of a call stack; the reason stands before.
    fatal = [x for x in lines if x.startswith(("Fatal:", "panic:"))]
    return " / ".join(fatal[-2:] or lines[-3:])[:600] or "restic said nothing"


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
        good = [s for s in good if s["at"] <= until]
    if not good:
        when = f" until {iso(until)}" if until is not None else ""
        raise Failed(f"no snapshot holds {service}{when}: there is nothing to restore it from")
    return good[-1], good[-2] if len(good) > 1 else None


# --- what a path consists of -----------------------------------------------------------------


def excluded(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A test for restic's absolute patterns: each part matches one name, ** any number."""
    if not patterns:
        return lambda _: False
    expressions = []
    for pattern in patterns:
        parts = []
        for part in pattern.strip("/").split("/"):
            if part == "**":
                parts.append("(?:/[^/]+)*")
                continue
            text = re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
            parts.append(f"/{text}")
        expressions.append("".join(parts) + "(?:/.*)?")
    compiled = re.compile("|".join(expressions), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def owner_names() -> Callable[[int, int], str]:
    """A function that turns ids into "USER:GROUP", asking the system once for each."""
    import grp
    import pwd

    users: dict[int, str] = {}
    groups: dict[int, str] = {}

    def name(uid: int, gid: int) -> str:
        if uid not in users:
            try:
                users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                users[uid] = ""
        if gid not in groups:
            try:
                groups[gid] = grp.getgrgid(gid).gr_name
            except KeyError:
                groups[gid] = ""
        return f"{users[uid]}:{groups[gid]}"

    return name


def tally(path: str, patterns: Sequence[str] = ()) -> dict[str, Any]:
    """What lies at a path: {"kind", "mode", "owner", "files", "folders", "others", "bytes",
    "owners"}. Sizes are in bytes, of regular files only. Raise OSError."""
    name = owner_names()
    skip = excluded(patterns)
    top = os.lstat(path)
    kind = "folder" if (top.st_mode & 0o170000) == 0o040000 else "file"
    owners = {(top.st_uid, top.st_gid)}
    files = folders = others = size = 0
    if kind == "file":
        files, size = 1, top.st_size
    todo = [path] if kind == "folder" else []
    while todo:
        here = todo.pop()
        try:
            entries = os.scandir(here)
        except FileNotFoundError:
            continue  # it went away while we looked
        with entries:
            for entry in entries:
                if patterns and skip(entry.path):
                    continue
                try:
                    about = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                owners.add((about.st_uid, about.st_gid))
                shape = about.st_mode & 0o170000
                if shape == 0o100000:
                    files += 1
                    size += about.st_size
                elif shape == 0o040000:
                    folders += 1
                    todo.append(entry.path)
                elif shape != 0o140000:  # sockets are in no archive
                    others += 1
    return {
        "kind": kind,
        "mode": top.st_mode & 0o7777,
        "owner": name(top.st_uid, top.st_gid),
        "files": files,
        "folders": folders,
        "others": others,
        "bytes": size,
        "owners": {f"{u}:{g}": name(u, g) for u, g in sorted(owners)},
    }


# --- backup ----------------------------------------------------------------------------------


class Part:
    """One service during a run: what was found out, and what went wrong."""

    def __init__(self, name: str, plan: Mapping[str, Any]) -> None:
        self.name, self.plan = name, plan
        self.manifest: dict[str, Any] = {"role": plan.get("role"), "dumps": {}, "paths": {}}
        self.errors: list[str] = []

    def fail(self, text: str) -> None:
        self.errors.append(text)
        say(f"{self.name}: {text}")


def _plant(part: Part, run_id: str) -> None:
    canary = part.plan.get("canary")
    part.manifest["canary"] = None
    if canary:
        at = iso()
        done = run([*canary["plant"], run_id, at], timeout=180)
        if done.code != 0:
            raise Failed(f"its canary could not be planted: {done.said()}")
        part.manifest["canary"] = {"run": run_id, "at": at}


def _ask(part: Part, what: str) -> dict[str, Any]:
    argv = part.plan.get(what)
    found = json_of(argv, f"its {what} cannot be told") if argv else {}
    if not isinstance(found, dict):
        raise Failed(f"its {what} are not one JSON object")
    return found


def _dump(at: Root, part: Part, dump: Mapping[str, Any], still: Still) -> None:
    """One database into its file. The file of an earlier run never stands in for a failed one."""
    folder = at.v("stage", part.name)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = f"{folder}/{dump['name']}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            done = run(dump["save"], stdout=file, timeout=6 * 3600, tick=still.watch)
            if done.code != 0:
                raise Failed(f"its database {dump['name']} could not be saved: {done.said()}")
            file.flush()
            os.fsync(file.fileno())
        part.manifest["dumps"][dump["name"]] = {
            "sha256": file_sha256(path),
            "bytes": os.path.getsize(path),
        }
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        if isinstance(error, OSError):
            raise Failed(
                f"its database {dump['name']} could not be saved: {error.strerror} ({folder} has "
                f"{human(free_bytes(folder))} free)"
            ) from None
        raise


def free_bytes(path: str) -> int:
    """Bytes that are still free for everybody where `path` (or its nearest parent) lies."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    about = os.statvfs(path)
    return about.f_bavail * about.f_frsize


def _prepare(at: Root, part: Part, run_id: str, still: Still) -> None:
    """Canary, counts, quiet, dumps, tallies of one service. Errors stay in `part`."""
    steps: list[Callable[[], None]] = []

    def versions() -> None:
        part.manifest["versions"] = _ask(part, "versions")

    def counts() -> None:
        part.manifest["counts"] = _ask(part, "counts")

    def counts_after() -> None:
        part.manifest["counts_after"] = _ask(part, "counts")

    def hold() -> None:
        for number, quiesce in enumerate(part.plan.get("quiesce", ())):
            still.hold(part.name, number, quiesce)

    def dumps() -> None:
        for dump in part.plan.get("dumps", ()):
            _dump(at, part, dump, still)

    def paths() -> None:
        for path in part.plan["paths"]:
            try:
                part.manifest["paths"][path] = tally(path, part.plan.get("excludes", ()))
            except OSError as error:
                raise Failed(f"{path} cannot be read: {error.strerror}") from None

    steps = [lambda: _plant(part, run_id), versions, counts, hold, dumps, counts_after, paths]
    for step in steps:
        try:
            step()
        except Failed as error:
            part.fail(str(error))
        still.watch()


def _restic_backup(
    at: Root,
    source: Mapping[str, Any],
    paths: Sequence[str],
    extra: Sequence[str],
    still: Still,
    around: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[str], int]:
    """Save paths. Return restic's summary, the items it could not read, and its exit code.

    `around` runs restic, with what it gathered added. Raise Failed when no snapshot was made.
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

    argv = restic_argv(source, own_epoch(at), "backup", "--json", *extra, "--", *paths)
    if around:
        argv = [*around["argv"], "--", *argv]
    complaints = bytearray()

    def keep(raw: bytes) -> None:
        if not raw.startswith(b"{"):
            complaints.extend(raw[:2000] + b"\n")
            del complaints[:-65536]
        line(raw)

    try:
        done = run(argv, timeout=24 * 3600, tick=tick, on_line=keep)
    except Failed as error:
        if str(error) != "stalled":
            raise
        text = complaints.decode(errors="replace")
        raise Failed(
            f"nothing was saved: {reason(text)}. restic had tried for {STALL_S} s; the next run "
            "starts afresh and sends only what is missing"
        ) from None
    if done.code not in (0, 3) or not summary.get("snapshot_id"):
        restic_failed(done, "nothing was saved")
    return summary, unreadable, done.code


def new_run_id(host: str) -> str:
    """A run's id: when, where, and something nobody can guess."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{host}-{os.urandom(3).hex()}"


def need_repository(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    source = plan.get("repository")
    if not source:
        raise Failed(
            f"{plan['host']} has no repository in the inventory: it cannot be saved. Give it one "
            "(hosts.*.repository) and deploy."
        )
    return dict(source)


def refuse_when_fenced(at: Root) -> None:
    notice = read_json(at.v("fenced"))
    if notice is not None or os.path.exists(at.v("fenced")):
        raise Failed(
            "this host has been replaced by another machine (epoch "
            f"{(notice or {}).get('epoch', '?')}) and must neither serve nor save. What was "
            "written here since then is in no copy: fetch it by hand if it matters."
        )


def backup(at: Root, plan: Mapping[str, Any], run_id: str | None = None) -> dict[str, Any]:
    """Save this host. The lock is held by the caller. Return the receipt; `ok` says whether all
    of it was saved. Raise Failed when nothing was."""
    refuse_when_fenced(at)
    source = need_repository(plan)
    began = time.time()
    run_id = run_id or new_run_id(plan["host"])
    if not _RUN.fullmatch(run_id):
        raise Failed("a run's id is made of letters, digits and . _ -")
    parts = [Part(name, p) for name, p in plan["services"].items()]
    parts += [Part(f"_{name}", p) for name, p in plan.get("duties", {}).items()]
    still = Still(at)
    receipt: dict[str, Any] = {
        "run": run_id,
        "host": plan["host"],
        "epoch": own_epoch(at),
        "started": iso(began),
        "agent": VERSION,
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
            **{k: receipt[k] for k in ("run", "host", "epoch", "started", "agent")},
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
        summary, unreadable, _ = _restic_backup(at, source, every, extra, still, around)
        receipt["snapshot"] = summary["snapshot_id"]
        receipt["bytes"] = summary.get("total_bytes_processed")
        receipt["bytes_added"] = summary.get("data_added")
        receipt["files"] = summary.get("total_files_processed")
        _blame(parts, unreadable, at, around)
        if around:
            _claim(parts, read_json(around["results"]))
    except OSError as problem:
        error = Failed(f"nothing was saved: {problem.strerror} ({problem.filename or at.var})")
    except Failed as problem:
        error = problem
    finally:
        stuck = still.release()
    for text in stuck:
        say(text)
    for name in dict.fromkeys(still.late):
        part = next((p for p in parts if p.name == name), parts[0])
        part.fail("it had to serve again before its copy was complete (at_most was reached)")
    receipt["services"] = {
        p.name: {
            "ok": not p.errors,
            "errors": p.errors,
            "counts": p.manifest.get("counts", {}),
            "versions": p.manifest.get("versions", {}),
            "canary": p.manifest.get("canary"),
        }
        for p in parts
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
        raise _why(at, plan, source, error)
    return receipt


def mark_serving(at: Root, service: str) -> None:
    """From now on a restore takes what lies here for somebody's work, countable or not."""
    if not os.path.exists(at.v("serving", service)):
        os.makedirs(at.v("serving"), mode=0o700, exist_ok=True)
        write(at.v("serving", service), f"{iso()}\n".encode())


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


def _claim(parts: Sequence[Part], results: Any) -> None:
    """Hold what was gathered against what services need of it. What nobody claims and is not well
    is a failure all the same, of whoever has the first archive."""
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
    for name, trouble in sorted(told.items()):
        if trouble and name not in claimed:
            (holders or list(parts))[-1].fail(f"{name}: {trouble}")


def _keep_receipt(at: Root, source: Mapping[str, Any], receipt: Mapping[str, Any]) -> None:
    """Sign, store, send. A receipt that cannot be sent now goes along with the next one."""
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


def sign(at: Root, data: bytes) -> str:
    """The SSH signature of data with this host's receipt key. Raise Failed."""
    key = f"{at.etc}/receipt-key"
    done = run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "releve-receipt"], give=data)
    if done.code != 0:
        raise Failed(f"the receipt could not be signed with {key}: {done.said()}")
    return done.out.decode()


# --- init ------------------------------------------------------------------------------------


def init(at: Root, plan: Mapping[str, Any], recovery: str | None) -> dict[str, Any]:
    """Make what this host needs before its first backup: folders, receipt key, epoch, restic
    repository, the operators' own key to it. Repeatable. The lock may be held by a deploy."""
    made = []
    key = f"{at.etc}/receipt-key"
    if not os.path.exists(key):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", plan["host"], "-f", key]
        done = run(argv)
        if done.code != 0:
            raise Failed(f"no receipt key could be made: {done.said()}")
        made.append("receipt-key")
    epoch = max(own_epoch(at), int(plan["epoch"]))
    if not os.path.exists(at.v("epoch")) or epoch != own_epoch(at):
        write(at.v("epoch"), f"{epoch}\n".encode())
        made.append("epoch")
    notice = read_json(at.v("fenced"))
    if notice is not None and int(notice.get("epoch", 0)) <= epoch:
        _unfence(at)
        made.append("unfenced")
    source = plan.get("repository")
    if source:
        done = run(restic_argv(source, epoch, "init"), timeout=300)
        text = done.err.decode(errors="replace")
        if done.code == 0:
            made.append("repository")
        elif re.search(r"already (exists|initialized)", text):
            opened = run(restic_argv(source, epoch, "cat", "config", "--no-lock"), timeout=300)
            if opened.code != 0:
                restic_failed(opened, "the repository is there but does not open")
        else:
            restic_failed(done, "the repository could not be made")
        if recovery:
            made += _add_recovery(at, source, epoch, recovery)
    return {"host": plan["host"], "epoch": epoch, "made": made, "receipt_key": receipt_key(at)}


def receipt_key(at: Root) -> str:
    """The public half of this host's receipt key, "TYPE BASE64"."""
    return " ".join(read_text(f"{at.etc}/receipt-key.pub").split()[:2])


def _add_recovery(at: Root, source: Mapping[str, Any], epoch: int, password: str) -> list[str]:
    """Give the operators a restic key of their own, unless theirs already opens."""
    path = f"{at.run}/recovery-password.{os.getpid()}"
    write(path, password.encode())
    try:
        theirs = {
            **source,
            "restic": [
                f"--password-file={path}" if w.startswith("--password-file=") else w
                for w in source["restic"]
            ],
        }
        argv = restic_argv(theirs, epoch, "cat", "config", "--no-lock")
        if run(argv, timeout=300).code == 0:
            return []
        argv = restic_argv(source, epoch, "key", "add", f"--new-password-file={path}")
        done = run(argv, timeout=300)
        if done.code != 0:
            restic_failed(done, "the operators' recovery key could not be added")
        return ["recovery-key"]
    finally:
        os.unlink(path)


# --- restore ---------------------------------------------------------------------------------


class Way:
    """Where one path of a service is on its way: fetched to `new`, the old data in `old`."""

    def __init__(self, at: Root, service: str, number: int, path: str) -> None:
        self.path = path
        home = at.v("restore", service)
        parent = os.path.dirname(path)
        while not os.path.isdir(parent):
            parent = os.path.dirname(parent)
        # A rename is one step, but only within a file system: elsewhere the data waits beside
        # its place.
        near = os.stat(parent).st_dev == os.stat(at.var).st_dev
        base = home if near else f"{parent.rstrip('/')}/.releve-{service}"
        # restic lays the whole path below the folder that it restores to.
        self.tree = f"{base}/new"
        self.new = f"{self.tree}{path}"
        self.old = f"{base}/{number}.old"
        self.base = base


def move(source: str, target: str) -> None:
    """Move a file or folder to a place where nothing lies. What cannot be renamed (a mount point,
    a lower layer of an overlay) is copied, and the source removed only when that is complete."""
    try:
        os.rename(source, target)
        return
    except OSError as error:
        import errno

        if error.errno not in (errno.EXDEV, errno.EBUSY):
            raise
    part = f"{target}.part"
    remove_tree(part)
    done = run(["cp", "-a", "--", source, part], timeout=24 * 3600)
    if done.code != 0:
        remove_tree(part)
        raise Failed(f"{source} could not be moved to {target}: {done.said()}")
    os.rename(part, target)
    discard(source)


def discard(path: str) -> None:
    """Remove a tree; of a mount point only what is in it."""
    if os.path.ismount(path):
        for name in os.listdir(path):
            remove_tree(f"{path}/{name}")
    else:
        remove_tree(path)


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

    def check_space(self, snapshot: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Is there room before anything is fetched? Raise Failed with the sizes."""
        needs: dict[int, list[Any]] = {}

        def need(path: str, size: int) -> None:
            while not os.path.exists(path):
                path = os.path.dirname(path)
            entry = needs.setdefault(os.stat(path).st_dev, [0, path])
            entry[0] += size

        for way in self.ways():
            about = manifest["paths"].get(way.path)
            if about:
                # Small files take a whole block each.
                need(way.base, about["bytes"] + 4096 * about["files"])
        for about in manifest["dumps"].values():
            # The dump itself, and the database it becomes.
            need(self.home, about["bytes"])
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
        sizes = {}
        for size, path in needs.values():
            free = free_bytes(path)
            sizes[path] = {"needed": size, "free": free}
            if size + 64 * 2**20 > free:
                raise Failed(
                    f"{self.service} needs {human(size)} and a margin of 67 MB on the disk that "
                    f"holds {path}, and {human(free)} are free: nothing was fetched, nothing was "
                    "changed. Make room or take a host with a larger disk."
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
                    self.copy_part(snapshot, self.gathered(name), root, made)
            file.flush()
            os.fsync(file.fileno())

    def copy_part(self, snapshot: str, path: str, root: str, made: Any) -> None:
        """Add one folder of a snapshot to a tar file. Raise Failed."""
        import tarfile
        import threading

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
                    made.addfile(member, stream.extractfile(member) if member.isreg() else None)
                    came["bytes"] += member.size + 512
                    # They would be kept, all of them, to the end.
                    stream.members, made.members = [], []  # type: ignore[attr-defined]
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
        found = {"files": 0, "folders": 0, "others": 0, "bytes": 0}
        problems: list[bytes] = []

        def line(raw: bytes) -> None:
            if not raw.startswith(b"{"):
                problems.append(raw)
                return
            node = json.loads(raw)
            here = node.get("path", "")
            if node.get("struct_type") != "node" or not any(
                here.startswith(f"{path}/") or (here == path and node["type"] == "file")
                for path in paths
            ):
                return
            if node["type"] == "file":
                found["files"] += 1
                found["bytes"] += node.get("size", 0)
            elif node["type"] == "dir":
                found["folders"] += 1
            elif node["type"] != "socket":
                found["others"] += 1

        argv = self.restic("ls", "--json", "--no-lock", "--recursive", snapshot, *paths)
        done = run(argv, timeout=3600, on_line=line)
        if done.code != 0:
            restic_failed(done, f"snapshot {snapshot[:8]} cannot be listed")
        return found

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

    def keep_databases(self) -> None:
        """The databases as they are now, so that a failure can be taken back."""
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
            else:
                os.unlink(f"{target}.part")
                self.messages.append(f"the old {dump['name']} could not be kept: {done.said()}")

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
            low, high = sorted((was, after.get(name, was)))
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


def own_by_name(path: str, owners: Mapping[str, str]) -> None:
    """Give a restored tree to the users and groups of the same *names* as where it was saved.

    `owners`: "UID:GID" there -> "USER:GROUP"; restic restores the numbers, which may be somebody
    else's here. A number that had no name there stays. Nobody but root sees the tree meanwhile.
    """
    import grp
    import pwd

    change: dict[tuple[int, int], tuple[int, int]] = {}
    for ids, names in owners.items():
        uid, gid = (int(n) for n in ids.split(":"))
        user, _, group = names.partition(":")
        here = (
            pwd.getpwnam(user).pw_uid if user else uid,
            grp.getgrnam(group).gr_gid if group else gid,
        )
        if here != (uid, gid):
            change[uid, gid] = here
    if not change:
        return

    def give(one: str, about: os.stat_result) -> None:
        here = change.get((about.st_uid, about.st_gid))
        if here is None:
            return
        link = os.path.islink(one)
        # A change of owner takes these away (chown(2), capabilities(7)).
        kept = {} if link else {n: os.getxattr(one, n) for n in os.listxattr(one)}
        os.lchown(one, *here)
        if not link and about.st_mode & 0o6000:
            os.chmod(one, about.st_mode & 0o7777)
        for name, value in kept.items():
            if name == "security.capability":
                os.setxattr(one, name, value)

    give(path, os.lstat(path))
    todo = [path] if os.path.isdir(path) and not os.path.islink(path) else []
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                give(entry.path, entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)


def find_canaries(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The canaries a service shows, newest first. Raise Failed."""
    found = json_of(part["canary"]["find"], "its canaries cannot be looked for")
    if not isinstance(found, list):
        raise Failed("its canaries are not a JSON list")
    return sorted(found, key=lambda c: str(c.get("at")), reverse=True)


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
) -> dict[str, Any]:
    """Bring one service's data back. The lock is held by the caller. Return what was done.

    Raise Failed: with the old data in place again, unless the message says otherwise.
    """
    if wanted != "latest" and not _SNAPSHOT.fullmatch(wanted):
        raise Failed("a snapshot is named by at least eight hexadecimal digits, or `latest`")
    refuse_when_fenced(at)
    if not os.path.exists(at.v("epoch")):
        # A blank host that takes over: `init` comes with `configure`, after the data.
        write(at.v("epoch"), f"{int(plan['epoch'])}\n".encode())
    began = time.time()
    it = Restoring(at, plan, service, source or need_repository(plan))
    os.makedirs(it.home, mode=0o700, exist_ok=True)
    state = it.load()
    if state is not None and state["step"] != "fetch" and not dry:
        same = wanted == "latest" or state["snapshot"].startswith(wanted)
        if not same or state["source"] != it.source["host"]:
            raise Failed(
                f"a restore of {service} from snapshot {state['snapshot'][:8]} was broken off "
                f"half-way: run it again with --snapshot {state['snapshot'][:8]} first"
            )
        say(f"continuing the restore of {service} that was broken off ({state['step']})")
        return _finish(it, state, began)
    it.tell("choose")
    guess: dict[str, Any] = {}
    guessing = None
    if wanted == "latest" and until is None:
        # Opening a repository takes half a second of deliberate work: guess that the latest is
        # what will be chosen, and read its manifest at the same time.
        import threading

        guessing = threading.Thread(target=it.guess, args=(guess,), daemon=True)
        guessing.start()
    chosen, previous = choose(
        snapshots(it.source, it.epoch), service, wanted, until, time.time(), it.warn
    )
    say(f"{service}: snapshot {chosen['id'][:8]} of {chosen['time'][:19]}, run {chosen['run']}")
    if guessing is not None:
        guessing.join()
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
        _clear(it)
    sizes = it.check_space(chosen["id"], manifest)
    if not it.archives:
        it.check_owners(manifest)
    live = it.holds_data()
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
    if dry:
        return {**result, "dry_run": True, "ok": True}
    if live and unless_live:
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
        _clear(it)
        raise Failed(
            f"{service}: {error.strerror} ({error.filename}); nothing was changed"
        ) from None
    except Busy:
        raise
    except Failed as error:
        _clear(it)
        raise Failed(
            f"{error}. What is here was not changed. {_offer(service, previous)}"
        ) from None
    state["step"] = "fetched"
    it.save(state)
    return {**result, **_finish(it, state, began)}


def _offer(service: str, previous: Mapping[str, Any] | None) -> str:
    if previous is None:
        return f"There is no earlier snapshot of {service}."
    return (
        f"The one before it is {previous['id'][:8]} of {previous['time'][:16]}: "
        f"restore with --snapshot {previous['id'][:8]}."
    )


def _clear(it: Restoring) -> None:
    """Remove what was fetched; old data set aside is never touched here."""
    for way in it.ways():
        remove_tree(way.tree)
        remove_tree(f"{way.old}.part")
        if way.base != it.home:
            with contextlib.suppress(OSError):
                os.rmdir(way.base)
    for name in ("new", "before", "state.json"):
        remove_tree(f"{it.home}/{name}")


def _finish(it: Restoring, state: dict[str, Any], began: float) -> dict[str, Any]:
    """From "all is fetched and verified" to "the service has accepted it"."""
    manifest = state["manifest"]
    try:
        if state["step"] == "fetched":
            it.tell("stop")
            it.keep_databases()
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
        _clear(it)
        after = "" if state.get("broken") else " What was here before is in place again."
        raise Failed(f"{error}.{after}") from None
    it.tell("judge")
    verdict = it.judge(manifest, state["run"])
    for way in it.ways():
        remove_tree(way.old)
    _clear(it)
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


# --- the epoch -------------------------------------------------------------------------------


def verified(at: Root, plan: Mapping[str, Any], data: bytes) -> int | None:
    """The epoch in a notice, or None unless it is about this host and its MAC is right."""
    import hashlib
    import hmac

    key = read_text(f"{at.etc}/fence-key").strip()
    try:
        notice = json.loads(data)
        epoch, host = int(notice["epoch"]), str(notice["host"])
        mac = str(notice["mac"])
    except (ValueError, KeyError, TypeError):
        return None
    text = f"releve-epoch\n{host}\n{epoch}\n".encode()
    right = hmac.new(key.encode(), text, hashlib.sha256).hexdigest()
    if not key or host != plan["host"] or not hmac.compare_digest(mac.encode(), right.encode()):
        return None
    return epoch


def guard(at: Root, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Has this host been replaced? If that is certain, stop serving; in doubt do nothing."""
    source = plan.get("repository")
    mine = own_epoch(at)
    answer: dict[str, Any] = {"epoch": mine, "noticed": None, "fenced": False}
    if os.path.exists(at.v("fenced")):
        fence(at, plan, read_json(at.v("fenced")) or {})
        return {**answer, "fenced": True}
    if not source:
        return answer
    try:
        data = gate(source, "epoch")
    except Failed as error:
        say(f"whether this host has been replaced cannot be asked now: {error}")
        return {**answer, "unknown": str(error)}
    if not data.strip() or data.strip() == b"{}":
        return answer
    epoch = verified(at, plan, data)
    if epoch is None:
        say("the repository's epoch notice for this host does not verify and is not obeyed")
        return {**answer, "unknown": "the notice does not verify"}
    answer["noticed"] = epoch
    if epoch > mine:
        fence(at, plan, {"host": plan["host"], "epoch": epoch, "at": iso()})
        answer["fenced"] = True
    return answer


def fence(at: Root, plan: Mapping[str, Any], notice: Mapping[str, Any]) -> dict[str, Any]:
    """Stop serving, saving and sending, for good: units cannot start while the file is there."""
    first = not os.path.exists(at.v("fenced"))
    if first:
        write_json(at.v("fenced"), dict(notice))
    units = sorted({u for s in plan["services"].values() for u in s.get("units", ())})
    for unit in units:
        folder = f"{at.units}/{unit}.d"
        os.makedirs(folder, exist_ok=True)
        text = f"[Unit]\nConditionPathExists=!{at.v('fenced')}\n"
        if read_text(f"{folder}/releve-fenced.conf") != text:
            write(f"{folder}/releve-fenced.conf", text.encode(), 0o644)
    held = at.v("cron-held")
    os.makedirs(held, mode=0o700, exist_ok=True)
    for name in os.listdir(at.cron) if os.path.isdir(at.cron) else ():
        if name.startswith("releve-") and name != "releve-guard":
            import shutil

            shutil.move(f"{at.cron}/{name}", f"{held}/{name}")
    run(["systemctl", "daemon-reload"])
    failed = []
    for unit in units:
        done = run(["systemctl", "stop", "--", unit], timeout=180)
        if done.code != 0 and b"not loaded" not in done.err:
            failed.append(f"{unit}: {done.said()}")
    if os.path.exists("/usr/sbin/postsuper"):
        run(["systemctl", "stop", "postfix.service"], timeout=180)
        run(["/usr/sbin/postsuper", "-h", "ALL"])
    if first:
        say(
            f"this host has been replaced (epoch {notice.get('epoch')} is elsewhere, this is "
            f"{own_epoch(at)}): services, cron jobs and outgoing mail are stopped. Nothing was "
            "deleted."
        )
    if failed:
        raise Failed("this host must not serve, but: " + "; ".join(failed))
    return {"fenced": True, "units": units, "epoch": notice.get("epoch")}


def _unfence(at: Root) -> None:
    """An operator has deployed this host with the newest epoch: it may serve again."""
    for name in os.listdir(at.units) if os.path.isdir(at.units) else ():
        drop = f"{at.units}/{name}/releve-fenced.conf"
        if os.path.exists(drop):
            os.unlink(drop)
            with contextlib.suppress(OSError):
                os.rmdir(f"{at.units}/{name}")
    remove_tree(at.v("cron-held"))
    os.unlink(at.v("fenced"))
    run(["systemctl", "daemon-reload"])


# --- status ----------------------------------------------------------------------------------


def disks() -> list[dict[str, Any]]:
    """Every file system that keeps things, once, in bytes and inodes."""
    kinds = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "vfat", "overlay", "jfs"}
    found: dict[int, dict[str, Any]] = {}
    for line in read_text("/proc/self/mounts").splitlines():
        fields = line.split()
        # /run/host: what a container's machine lends it.
        if len(fields) < 3 or fields[2] not in kinds or fields[1].startswith("/run/host"):
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1])
        try:
            device, about = os.stat(mount).st_dev, os.statvfs(mount)
        except OSError:
            continue
        if not about.f_blocks or (device in found and len(found[device]["mount"]) <= len(mount)):
            continue
        # What everybody may use: blocks reserved for root are counted as used, as df does.
        found[device] = {
            "mount": mount,
            "bytes_total": (about.f_blocks - about.f_bfree + about.f_bavail) * about.f_frsize,
            "bytes_free": about.f_bavail * about.f_frsize,
            "inodes_total": about.f_files,
            "inodes_free": about.f_favail,
        }
    return sorted(found.values(), key=lambda d: str(d["mount"]))


def memory() -> dict[str, int]:
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB", read_text("/proc/meminfo"), re.M))
    return {
        "total": int(values.get("MemTotal", 0)) * 1024,
        "available": int(values.get("MemAvailable", 0)) * 1024,
    }


def updates(at: Root) -> dict[str, Any]:
    """Security updates that wait; apt is asked again only when its lists or packages changed."""

    def changed(path: str) -> float:
        try:
            return os.stat(path).st_mtime
        except OSError:
            return 0.0

    lists = changed("/var/lib/apt/lists")
    stamp = [lists, changed("/var/lib/dpkg/status")]
    cached = read_json(at.v("updates.json")) or {}
    security = cached.get("security") if cached.get("stamp") == stamp else None
    if security is None:
        argv = ["apt-get", "-s", "-qq", "-o", "Debug::NoLocking=1", "dist-upgrade"]
        with contextlib.suppress(Failed):
            done = run(argv, timeout=30)
            if done.code == 0:
                lines = done.out.decode(errors="replace").splitlines()
                security = sum(x.startswith("Inst ") and "Debian-Security" in x for x in lines)
                with contextlib.suppress(OSError):
                    write_json(at.v("updates.json"), {"stamp": stamp, "security": security})
    checked = changed("/var/lib/apt/periodic/update-success-stamp") or lists
    return {
        "security": security,
        "reboot": os.path.exists("/run/reboot-required"),
        "checked_at": iso(checked) if checked else None,
    }


def failed_units() -> list[str]:
    with contextlib.suppress(Failed):
        argv = ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"]
        lines = run(argv, timeout=15).out.decode(errors="replace").splitlines()
        return [line.split()[0] for line in lines if line.split()]
    return []


def clock() -> bool | None:
    """Whether something keeps the clock right; None when that is not known, or not up to this
    host: a container has its machine's clock (systemd writes this file in one)."""
    if os.path.exists("/run/systemd/container"):
        return None
    with contextlib.suppress(Failed):
        argv = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
        said = run(argv, timeout=10).out.strip()
        return {b"yes": True, b"no": False}.get(said)
    return None


def newest_receipts(at: Root, count: int = 3) -> list[Any]:
    folder = at.v("receipts")
    if not os.path.isdir(folder):
        return []
    names = sorted(n for n in os.listdir(folder) if n.endswith(".json"))
    found = [read_json(f"{folder}/{n}") for n in reversed(names[-count:])]
    return [r for r in found if r is not None]


def probe(argv: Sequence[str], timeout: float) -> dict[str, Any]:
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            cwd="/",
            env=environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"exit": 124, "stdout": ""}
    except OSError:
        return {"exit": 127, "stdout": ""}
    return {"exit": done.returncode, "stdout": done.stdout[:65536].decode(errors="replace")}


def status(at: Root, plan: Mapping[str, Any]) -> dict[str, Any]:
    """How this host is. Read-only; probes run at the same time."""
    import threading

    probes: dict[str, dict[str, Any]] = {}
    facts: dict[str, Any] = {}

    def answer(group: str, name: str, about: Mapping[str, Any]) -> None:
        probes[group][name] = probe(about["argv"], about["timeout"])

    def fact(name: str, ask: Callable[[], Any]) -> None:
        facts[name] = ask()

    threads = []
    for group, named in plan.get("probes", {}).items():
        probes[group] = {}
        for name, about in named.items():
            threads.append(threading.Thread(target=answer, args=(group, name, about)))
    asked = (("failed_units", failed_units), ("clock", clock), ("updates", lambda: updates(at)))
    threads += [threading.Thread(target=fact, args=pair) for pair in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    applied = read_json(at.v("applied.json")) or {}
    lock = holder(at)
    return {
        "agent": VERSION,
        "host": plan["host"],
        "epoch": own_epoch(at),
        "fenced": os.path.exists(at.v("fenced")),
        "now": iso(),
        "digest": applied.get("digest"),
        "uptime_s": int(float(read_text("/proc/uptime").split()[0] or 0)),
        "disk": disks(),
        "memory": memory(),
        "load": list(os.getloadavg()),
        "cpus": os.cpu_count(),
        "failed_units": facts.get("failed_units", []),
        "updates": facts.get("updates", {"security": None, "reboot": False, "checked_at": None}),
        "clock": {"synchronized": facts.get("clock")},
        "probes": probes,
        "receipts": newest_receipts(at),
        "receipt_key": receipt_key(at),
        "lock": {"verb": lock.get("verb"), "since": lock.get("since")} if lock else None,
    }


# --- the command line ------------------------------------------------------------------------


def load_plan(at: Root) -> dict[str, Any]:
    path = f"{at.etc}/plan.json"
    plan = read_json(path)
    if not isinstance(plan, dict):
        raise Failed(f"{path} is missing or cannot be read. Run `releve deploy` (as root here).")
    if plan.get("format") != 1:
        raise Failed(f"{path} is of another version than this agent ({VERSION}): deploy again")
    return plan


def load_source(path: str) -> dict[str, Any]:
    """A repository that was lent for one restore. Raise Failed."""
    found = read_json(path)
    if not isinstance(found, dict) or not {"host", "restic", "gate"} <= found.keys():
        raise Failed(f"{path} does not describe a repository")
    return found


def service_part(plan: Mapping[str, Any], name: str) -> dict[str, Any]:
    if name not in plan["services"]:
        raise Failed(f"{plan['host']} has no service {name}")
    return dict(plan["services"][name])


def arguments(words: Sequence[str] | None) -> Any:
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.print_usage(sys.stderr)
            say(message)
            raise SystemExit(USAGE)

    parser = Parser(prog="agent.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", default="", help=argparse.SUPPRESS)
    # The name of the program is given so that argparse need not work it out, with libraries that
    # nothing else here needs.
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=Parser, prog=parser.prog)
    it = verbs.add_parser("init")
    it.add_argument("--recovery-password-file")
    it = verbs.add_parser("backup")
    it.add_argument("--run")
    it = verbs.add_parser("restore")
    it.add_argument("--service", required=True)
    it.add_argument("--snapshot", default="latest")
    it.add_argument("--at")
    it.add_argument("--replace", action="store_true")
    it.add_argument("--no-snapshot", action="store_true")
    it.add_argument("--once", action="store_true", help="keep what a finished restore left")
    it.add_argument("--unless-live", action="store_true", help="keep what is in use")
    it.add_argument("--dry-run", action="store_true")
    it.add_argument("--source", help="a file that describes another host's repository")
    for name in ("canaries", "counts"):
        verbs.add_parser(name).add_argument("--service", required=True)
    it = verbs.add_parser("fence")
    it.add_argument("--yes", action="store_true", required=True)
    for name in ("undo", "status", "guard", "version"):
        verbs.add_parser(name)
    args = parser.parse_args(words)
    # argparse of Python 3.11 turns the value "--" into an empty list.
    odd = [name for name, value in vars(args).items() if isinstance(value, list)]
    if odd:
        parser.error(f"-- is no value for --{odd[0]}")
    return args


def perform(at: Root, args: Any) -> tuple[Any, bool]:
    """Do what was asked. Return what to print, and whether all is well."""
    if args.verb == "version":
        return {"agent": VERSION}, True
    make_folders(at)
    if args.verb == "undo":
        return undo(at), True
    plan = load_plan(at)
    if args.verb == "status":
        return status(at, plan), True
    if args.verb == "counts":
        argv = service_part(plan, args.service)["counts"]
        return (json_of(argv, args.service) if argv else {}), True
    if args.verb == "canaries":
        part = service_part(plan, args.service)
        return (find_canaries(part) if part.get("canary") else []), True
    if args.verb == "guard":
        return guard(at, plan), True
    if args.verb == "fence":
        notice = {"host": plan["host"], "epoch": own_epoch(at) + 1, "at": iso()}
        return fence(at, plan, notice), True
    if args.verb == "init":
        return init(at, plan, _recovery(at, args.recovery_password_file)), True
    with locked(at, args.verb):
        undo(at)
        if args.verb == "backup":
            receipt = backup(at, plan, args.run)
            return receipt, bool(receipt["ok"])
        try:
            until = parse_iso(args.at) if args.at else None
        except ValueError:
            raise Failed(f"{args.at!r} is not a time: write 2026-11-23T20:15:00Z") from None
        if args.once and not args.dry_run:
            part = plan["services"].get(args.service, {})
            before = restored_before(at, part, args.service)
            if before is not None:
                return before, True
        result = restore(
            at,
            plan,
            args.service,
            wanted=args.snapshot,
            until=until,
            replace=args.replace,
            dry=args.dry_run,
            no_snapshot=args.no_snapshot,
            unless_live=args.unless_live,
            source=load_source(args.source) if args.source else None,
        )
        return result, bool(result["ok"])


def _recovery(at: Root, path: str | None) -> str | None:
    """The operators' password: from the file named, or from where a deploy left it on tmpfs. It
    is read once and removed."""
    usual = f"{at.run}/recovery-password"
    chosen = path or (usual if os.path.exists(usual) else None)
    if chosen is None:
        return None
    password = read_text(chosen).strip()
    if chosen == usual:
        os.unlink(usual)
    if not password:
        raise Failed(f"{chosen} holds no password")
    return password


def _end(*_: Any) -> NoReturn:
    raise SystemExit(143)


def main(words: Sequence[str] | None = None) -> int:
    os.umask(0o077)
    args = arguments(words)
    at = Root(args.root)
    # A polite end must pass through every `finally`.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        answer, well = perform(at, args)
    except Busy as error:
        say(str(error))
        print(json.dumps({"ok": False, "busy": True, "error": str(error)}))
        return BUSY
    except Failed as error:
        say(str(error))
        print(json.dumps({"ok": False, "error": str(error)}))
        return FAILED
    except PermissionError as error:
        say(f"{error.filename}: not allowed. The agent runs as root.")
        return FAILED
    except OSError as error:
        say(f"{error.strerror}: {error.filename or at.var}")
        print(json.dumps({"ok": False, "error": f"{error.strerror}: {error.filename}"}))
        return FAILED
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(answer, ensure_ascii=False))
        sys.stdout.flush()
    return 0 if well else FAILED


if __name__ == "__main__":
    raise SystemExit(main())
