"""A service's data comes back, or nothing changes: with the real agent, restic and gate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.programs.agent.conftest import Site


def saved(site: Site) -> tuple[Path, str]:
    """A forum that was saved, then emptied as a blank host would be. Return folder, snapshot."""
    folder = site.service("forum")
    (folder / "files" / "sub").mkdir()
    (folder / "files" / "sub" / "über $(x) 'y'\n").write_text("odd name")
    (folder / "files" / "link").symlink_to("page")
    (folder / "files").chmod(0o750)
    site.agent("init")
    snapshot = site.agent("backup")["snapshot"]
    return folder, snapshot


def blank(folder: Path) -> None:
    subprocess.run(["rm", "-rf", folder / "files"], check=True)
    (folder / "files").mkdir()
    (folder / "database").write_text("")


def contents(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"-> {path.readlink()}"
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_text()
    return found


def test_all_of_it_comes_back_and_is_counted(site: Site) -> None:
    folder, _snapshot = saved(site)
    before = contents(folder)
    blank(folder)
    restored = site.agent("restore", "--service=forum")
    assert contents(folder) == before
    assert (folder / "files").stat().st_mode & 0o7777 == 0o750
    assert restored["counts"] == restored["counts_saved"] == {"lines": 2}
    assert restored["canary"]["run"] == restored["run"]
    assert not (site.var / "restore" / "forum").exists()


def test_a_copy_of_a_newer_debian_is_refused_before_anything_changes(site: Site) -> None:
    os_release = site.base / "etc" / "os-release"
    os_release.write_text('ID=debian\nVERSION_ID="13"\n')
    folder, _snapshot = saved(site)
    os_release.write_text('ID=debian\nVERSION_ID="12"\n')
    before = contents(folder)
    for words in ([], ["--dry-run"], ["--replace"]):
        refused = site.agent("restore", "--service=forum", *words, code=1)
        assert "made on Debian 13, and this machine has Debian 12" in refused["said"]
        assert "Nothing was changed" in refused["said"]
    assert contents(folder) == before
    # What is in use and is to be left alone is no reason to refuse.
    assert site.agent("restore", "--service=forum", "--unless-live")["kept"]
    # The other way round is the usual one.
    os_release.write_text('ID=debian\nVERSION_ID="14"\n')
    blank(folder)
    assert site.agent("restore", "--service=forum")["ok"]


def test_what_somebody_writes_while_it_is_saved_is_no_damage(site: Site) -> None:
    folder, _ = saved(site)
    # It is saved after the forum was counted, before the forum was copied.
    write = 'mkdir -p "$1/new/deep"; echo "$1" > "$1/new/deep/page"; cat "$2"'
    later = site.service("later")
    site.plan["services"]["later"]["dumps"][0]["save"] = [
        *("sh", "-c", write, "save", str(folder / "files"), str(later / "database"))
    ]
    site.agent("backup")
    before = contents(folder)
    assert "files/new/deep/page" in before
    blank(folder)
    restored = site.agent("restore", "--service=forum")
    assert contents(folder) == before
    assert "was being written to while it was saved" in restored["said"] + str(restored)


def test_a_service_that_is_stopped_while_it_is_saved_is_counted_before(site: Site) -> None:
    folder = site.service("forum")
    forum, down = site.plan["services"]["forum"], site.base / "down"
    # Somebody writes a line after the count; nobody can be asked while it is down.
    stop = 'echo "one more" >> "$1"; touch "$2"'
    forum["quiesce"] = [
        {"do": ["sh", "-c", stop, "stop", str(folder / "database"), str(down)],
         "undo": ["rm", "-f", str(down)], "at_most": 60, "answers": False}
    ]  # fmt: skip
    asked = 'test ! -e "$1" || exit 1; shift; exec "$@"'
    forum["counts"] = ["sh", "-c", asked, "counts", str(down), *forum["counts"]]
    site.agent("init")
    assert site.agent("backup")["services"]["forum"]["errors"] == []
    (folder / "database").write_text("")
    restored = site.agent("restore", "--service=forum")
    assert restored["counts_saved"]["lines"] + 1 == restored["counts"]["lines"] == 3
    # What came back with less than was counted is refused all the same.
    forum["dumps"][0]["load"] = ["sh", "-c", 'tail -n1 > "$1"', "load", str(folder / "database")]
    lost = site.agent("restore", "--service=forum", "--replace", code=1)
    assert "1 are here" in str(lost)


def test_live_data_is_refused_then_saved_then_replaced(site: Site) -> None:
    folder, snapshot = saved(site)
    (folder / "files" / "page").write_text("newer")
    refused = site.agent("restore", "--service=forum", code=1)
    assert "--replace" in refused["error"]
    assert (folder / "files" / "page").read_text() == "newer"
    done = site.agent("restore", "--service=forum", "--replace", f"--snapshot={snapshot}")
    assert (folder / "files" / "page").read_text() == "hello"
    again = site.agent(
        "restore", "--service=forum", "--replace", f"--snapshot={done['saved_before']}"
    )
    assert (folder / "files" / "page").read_text() == "newer"
    assert again["ok"] is True


def test_a_database_in_use_that_cannot_be_kept_is_not_replaced(site: Site) -> None:
    folder, snapshot = saved(site)
    words = ("restore", "--service=forum", "--replace", f"--snapshot={snapshot}")
    (folder / "database").write_text("today's\n")
    dump = site.plan["services"]["forum"]["dumps"][0]
    works, dump["save"] = dump["save"], ["sh", "-c", "echo no room >&2; exit 1"]
    before = contents(folder)
    refused = site.agent(*words, "--no-snapshot", code=1)
    assert "no room" in refused["error"]
    assert "What was here before is in place again" in refused["error"]
    assert contents(folder) == before
    # In a snapshot it is kept as well; what then cannot be put back is not said to be in place.
    dump["save"] = ["sh", "-c", 'test ! -d "$1/before" && exec cat "$2"', "save",
                    str(site.var / "restore/forum"), str(folder / "database")]  # fmt: skip
    loads, dump["load"] = dump["load"], ["sh", "-c", "cat > /dev/null; echo torn >&2; exit 1"]
    failed = site.agent(*words, code=1)
    assert "torn" in failed["error"]
    assert "in place again" not in failed["error"]
    kept = failed["said"].partition("what it held is in snapshot ")[2][:8]
    # One that nobody can read any more is in the way of no copy.
    dump["save"], dump["load"] = ["false"], loads
    (folder / "database").unlink()
    site.agent(*words, "--no-snapshot")
    dump["save"] = works
    site.agent("restore", "--service=forum", "--replace", f"--snapshot={kept}")
    assert contents(folder)["database"].startswith("today's\n")


def test_room_is_asked_for_the_database_of_today_too(site: Site) -> None:
    folder, _ = saved(site)
    live = site.agent("restore", "--service=forum", "--dry-run")
    blank(folder)
    (site.var / "serving/forum").unlink(missing_ok=True)
    empty = site.agent("restore", "--service=forum", "--dry-run")
    (more,) = (s["needed"] for s in live["sizes"].values())
    (less,) = (s["needed"] for s in empty["sizes"].values())
    assert more > less


def test_what_was_saved_once_is_live_even_when_it_cannot_be_counted(site: Site) -> None:
    folder, _ = saved(site)
    site.plan["services"]["forum"]["counts"] = ["false"]
    refused = site.agent("restore", "--service=forum", code=1)
    assert "--replace" in refused["error"]
    assert (folder / "files" / "page").read_text() == "hello"


def test_a_dry_run_changes_nothing(site: Site) -> None:
    folder, _ = saved(site)
    blank(folder)
    answer = site.agent("restore", "--service=forum", "--dry-run")
    assert answer["dry_run"] is True
    assert answer["sizes"]
    assert contents(folder) == {"database": ""}


@pytest.mark.parametrize("where", ["stop", "prepare", "load", "accept"])
def test_killed_at_any_point_it_goes_on_when_run_again(site: Site, where: str) -> None:
    folder, _ = saved(site)
    before = contents(folder)
    blank(folder)
    reached = site.base / "reached"
    hang = ["sh", "-c", f'test -e "{reached}" && exit 0; touch "{reached}"; exec sleep 600']
    part = site.plan["services"]["forum"]
    kept = json.loads(json.dumps(part))
    if where == "load":
        part["dumps"][0]["load"] = hang
    else:
        part["restore"][where] = [hang]
    process = site.start("restore", "--service=forum")
    deadline = time.monotonic() + 120
    while not reached.exists():
        assert time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    site.plan["services"]["forum"] = kept
    site.agent("restore", "--service=forum")
    assert contents(folder) == before
    assert not (site.var / "restore" / "forum").exists()


def test_killed_while_fetching_it_starts_again(site: Site) -> None:
    folder = site.service("forum")
    (folder / "files" / "large").write_bytes(os.urandom(60_000_000))
    site.agent("init")
    site.agent("backup")
    blank(folder)
    process = site.start("restore", "--service=forum")
    new = site.var / "restore" / "forum" / "new"
    deadline = time.monotonic() + 120
    while not list(new.rglob("files")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert list((folder / "files").iterdir()) == []
    site.agent("restore", "--service=forum")
    assert (folder / "files" / "large").stat().st_size == 60_000_000


def test_a_service_that_does_not_accept_gets_its_old_data_back(site: Site) -> None:
    folder, snapshot = saved(site)
    (folder / "files" / "page").write_text("newer")
    before = contents(folder)
    part = site.plan["services"]["forum"]
    part["restore"]["accept"] = [["sh", "-c", f'grep -q newer "{folder}/files/page"']]
    failed = site.agent(
        "restore", "--service=forum", "--replace", "--no-snapshot", f"--snapshot={snapshot}", code=1
    )
    assert "in place again" in failed["error"]
    assert contents(folder) == before


def test_a_damaged_pack_is_loud_and_the_one_before_is_offered(site: Site) -> None:
    folder = site.service("forum")
    site.agent("init")
    first = site.agent("backup")["snapshot"]
    packs = set((site.repository / "data").rglob("*"))
    (folder / "files" / "page").write_bytes(os.urandom(500_000))
    second = site.agent("backup")["snapshot"]
    new = [p for p in set((site.repository / "data").rglob("*")) - packs if p.is_file()]
    largest = max(new, key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[1000:1100] = bytes(100)
    largest.chmod(0o600)
    largest.write_bytes(data)
    blank(folder)
    failed = site.agent("restore", "--service=forum", code=1)
    assert second in failed["error"]
    assert f"--snapshot {first}" in failed["error"]
    assert "not changed" in failed["error"]
    assert contents(folder) == {"database": ""}
    site.agent("restore", "--service=forum", f"--snapshot={first}")
    assert (folder / "files" / "page").read_text() == "hello"


def test_a_snapshot_from_the_future_is_never_the_latest(site: Site) -> None:
    folder, snapshot = saved(site)
    (folder / "files" / "page").write_text("forged")
    argv = [w for w in site.plan["repository"]["restic"] if not w.startswith("--option")]
    forged = subprocess.run(
        [
            *argv,
            f"--option=rclone.program={site.link}",
            "--option=rclone.args=restic 1",
            "backup",
            "--time=2030-01-01 00:00:00",
            "--host=monts",
            "--tag=service=forum",
            "--tag=run=x",
            str(folder / "files"),
        ],
        capture_output=True,
        check=False,
    )
    assert forged.returncode == 0, forged.stderr
    blank(folder)
    restored = site.agent("restore", "--service=forum")
    assert "dated in the future" in restored["said"]
    assert restored["snapshot"].startswith(snapshot)
    assert (folder / "files" / "page").read_text() == "hello"


def test_at_chooses_the_newest_that_is_not_later(site: Site) -> None:
    folder, first = saved(site)
    time.sleep(1.1)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    site.agent("backup")
    blank(folder)
    assert site.agent("restore", "--service=forum", f"--at={moment}")["snapshot"].startswith(first)


def test_the_own_repository_gone_demands_a_clear_word(site: Site) -> None:
    folder, _snapshot = saved(site)
    site.plan["repository"]["gate"] = ["false"]
    lent = dict(site.plan["repository"])
    described = site.base / "source.json"
    described.write_text(json.dumps(lent))
    cut = [*lent["restic"][:-1], "--option=rclone.program=false"]
    site.plan["repository"] = {**lent, "restic": cut}
    words = ["restore", "--service=forum", "--replace", f"--source={described}"]
    failed = site.agent(*words, code=1)
    assert "--no-snapshot" in failed["error"]
    (folder / "files" / "page").write_text("newer")
    site.agent(*words, "--no-snapshot")
    assert (folder / "files" / "page").read_text() == "hello"
