"""A copy that is broken off while it is sent, and prunes that meet copies: with the real agent,
restic, rclone and gate."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from backup.errors import BusyError
from backup.prune import Plan, apply
from backup.repository import Opened
from tests.programs.agent.conftest import Site
from tests.programs.agent.test_backup import snapshots, wait_for

# restic notes what it has sent only now and then: after ten minutes, or 150,000 pieces; in a
# repository of its first version, which is otherwise the same here, after 50,000.
SMALL, SMALL_BYTES = 55_000, 1_000
LARGE_BYTES = 50_000_000
# KiB/s, and little that waits to be sent: what is read is then not far ahead of what is there.
SLOWLY = ("--limit-upload=10000", "--pack-size=4", "--option=rclone.connections=1")


def family(pid: int) -> list[int]:
    """A process and everything that it started."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def power_cut(process: subprocess.Popen[str]) -> None:
    """End a run and all it started on its host at one moment, so that nobody can tidy up there.
    rclone runs on the other host, and notices that nobody speaks to it any more."""
    process.send_signal(signal.SIGSTOP)
    every = family(process.pid)
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in every}
    for pid in reversed(every):
        if names[pid] != "rclone":
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)
    for pid, name in names.items():
        wait_for(lambda pid=pid, name=name: name != "rclone" or not alive(pid))


def alive(pid: int) -> bool:
    """Whether a process still does anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def copied(site: Site) -> float:
    """Which part of the data the run under way has copied, as it tells."""
    try:
        found = json.loads((site.base / "run/releve/progress").read_text())
        return float(found["done"] / found["total"])
    except (OSError, ValueError, KeyError, ZeroDivisionError):
        return 0.0


def files(site: Site, kind: str) -> set[str]:
    return {p.name for p in (site.repository / kind).rglob("*") if p.is_file()}


def restic(site: Site, *verb: str) -> str:
    argv = ["restic", f"--repo={site.repository}", "--no-cache", *verb]
    argv += [f"--password-file={site.base}/etc/releve/restic-password"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def opened(site: Site) -> Opened:
    """The repository as operators open it: they may delete."""
    return Opened(
        "monts", "coffre", str(site.repository), {}, site.base / "etc/releve/restic-password"
    )


def remove(site: Site, *ids: str) -> None:
    """Prune so that all but these stay."""
    every = opened(site).snapshots()
    gone = tuple(s for s in every if s.id.startswith(ids))
    assert len(gone) == len(ids)
    apply(opened(site), Plan(tuple(s for s in every if s not in gone), gone, ()))


def test_killed_at_half_of_the_copy(site: Site) -> None:
    flag = site.base / "maintenance"
    held = {"do": ["touch", str(flag)], "undo": ["rm", "-f", str(flag)], "at_most": 600}
    folder = site.service("forum", quiesce=[held]) / "files"
    shutil.rmtree(site.repository)
    restic(site, "init", "--repository-version=1")
    site.agent("init")
    first = site.agent("backup")["snapshot"]
    noise = os.urandom(SMALL + SMALL_BYTES)
    (folder / "a").mkdir()
    for number in range(SMALL):
        (folder / "a" / str(number)).write_bytes(noise[number : number + SMALL_BYTES])
    (folder / "large").write_bytes(os.urandom(LARGE_BYTES))
    noted = files(site, "index")
    words = site.plan["repository"]["restic"]
    site.plan["repository"]["restic"] = [*words, *SLOWLY]
    process = site.start("backup")
    wait_for(lambda: copied(site) >= 0.5 and files(site, "index") > noted, 120)
    # One at a time goes over: with the next one, what restic noted is there as a whole.
    packs = files(site, "data")
    wait_for(lambda: files(site, "data") > packs)
    assert copied(site) < 1.0
    power_cut(process)
    assert flag.exists()
    assert files(site, "locks")
    # What was held still is let go, what was saved before is whole, and nothing else is a copy.
    assert site.agent("undo")["undone"] == ["forum.0"]
    assert not flag.exists()
    assert [s[:8] for s in snapshots(site)] == [first]
    said = restic(site, "check", "--no-lock", "--read-data")
    assert "no errors were found" in said
    # The next run sends only what restic had not noted yet.
    site.plan["repository"]["restic"] = words
    receipt = site.agent("backup")
    assert receipt["bytes"] > SMALL * SMALL_BYTES + LARGE_BYTES
    assert receipt["bytes_added"] < 0.75 * receipt["bytes"]
    # The lock that the dead left stops no prune, which takes what they had sent in vain too.
    orphans = set(re.findall(r"pack ([0-9a-f]{64}): not referenced", said))
    assert orphans <= files(site, "data")
    remove(site, first)
    assert [s[:8] for s in snapshots(site)] == [receipt["snapshot"]]
    assert files(site, "locks") == set()
    assert not orphans & files(site, "data")
    said = restic(site, "check", "--read-data")
    assert "no errors were found" in said
    assert "not referenced" not in said
    shutil.rmtree(folder / "a")  # pytest keeps the rest for a while


def test_a_copy_that_is_stopped_takes_its_lock_along(site: Site) -> None:
    (site.service("forum") / "files" / "large").write_bytes(os.urandom(16_000_000))
    site.agent("init")
    site.plan["repository"]["restic"] += ["--limit-upload=1000"]
    process = site.start("backup")
    wait_for(lambda: copied(site) > 0, 60)
    assert files(site, "locks")
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert files(site, "locks") == set()


def test_a_prune_and_a_copy_keep_out_of_each_others_way(site: Site) -> None:
    folder = site.service("forum") / "files"
    site.agent("init")
    first = site.agent("backup")["snapshot"]
    (folder / "large").write_bytes(os.urandom(16_000_000))
    words = site.plan["repository"]["restic"]
    site.plan["repository"]["restic"] = [*words, "--limit-upload=4000"]
    process = site.start("backup")
    wait_for(lambda: copied(site) > 0, 60)
    with pytest.raises(BusyError, match="wait until it has ended"):
        remove(site, first)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    second = json.loads(out)["snapshot"]
    assert {s[:8] for s in snapshots(site)} == {first, second}
    site.plan["repository"]["restic"] = words
    # The other way round: whoever prunes is alone.
    argv = ["restic", f"--repo={site.repository}", "--no-cache", "prune"]
    argv += [f"--password-file={site.base}/etc/releve/restic-password"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as pruning:
        # (restic writes it under another name first, which locks nothing)
        wait_for(lambda: any("-tmp-" not in name for name in files(site, "locks")))
        pruning.send_signal(signal.SIGSTOP)
        try:
            busy = site.agent("backup", code=75)
            assert "locked by somebody else (a prune?)" in busy["error"]
            assert {s[:8] for s in snapshots(site)} == {first, second}
        finally:
            pruning.send_signal(signal.SIGCONT)
    assert pruning.returncode == 0
    assert site.agent("backup")["ok"] is True
    remove(site, first, second)
    assert len(snapshots(site)) == 1
    assert "no errors were found" in restic(site, "check", "--read-data")
