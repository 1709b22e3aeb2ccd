"""A host saves itself: with the real agent, restic, rclone and gate."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.programs.agent.conftest import Site


def wait_for(what: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def snapshots(site: Site) -> list[str]:
    folder = site.repository / "snapshots"
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def test_a_run_leaves_a_snapshot_and_a_receipt_that_its_host_signed(site: Site) -> None:
    site.service("forum")
    made = site.agent("init")
    assert site.agent("init")["made"] == []
    receipt = site.agent("backup", "--run", "20260101T000000Z-monts-1")
    assert len(snapshots(site)) == 1
    assert snapshots(site)[0].startswith(receipt["snapshot"])
    assert receipt["services"]["forum"]["counts"] == {"lines": 2}  # the canary is one of them
    stored = site.home / "atelier" / "monts.receipts" / "20260101T000000Z-monts-1.json"
    kept = json.loads(stored.read_text())
    assert kept["receipt"]["manifest"] == receipt["manifest"]
    allowed = site.base / "allowed"
    allowed.write_text(f"monts {made['receipt_key']}\n")
    signature = site.base / "signature"
    signature.write_text(kept["signature"])
    for tampered, code in ((False, 0), (True, 255)):
        body = {**kept["receipt"], **({"ok": False} if tampered else {})}
        data = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        verdict = subprocess.run(
            [
                "ssh-keygen",
                "-Y",
                "verify",
                "-q",
                "-f",
                allowed,
                "-I",
                "monts",
                "-n",
                "releve-receipt",
                "-s",
                signature,
            ],
            input=data.encode(),
            capture_output=True,
            check=False,
        )
        assert verdict.returncode == code


def test_a_canary_that_fails_is_loud_and_the_rest_goes_on(site: Site) -> None:
    site.service("broken", canary={"plant": ["false"], "find": ["false"]})
    site.service("forum")
    site.agent("init")
    receipt = site.agent("backup", code=1)
    assert "canary" in receipt["services"]["broken"]["errors"][0]
    assert receipt["services"]["forum"]["ok"] is True
    assert len(snapshots(site)) == 1


def test_a_dump_that_fails_never_leaves_an_older_one_in_its_place(site: Site) -> None:
    site.service("forum")
    site.agent("init")
    site.agent("backup")
    assert (site.var / "stage" / "forum" / "lines").exists()
    site.plan["services"]["forum"]["dumps"][0]["save"] = ["sh", "-c", "echo half; exit 1"]
    receipt = site.agent("backup", code=1)
    assert any("lines" in e for e in receipt["services"]["forum"]["errors"])
    assert not (site.var / "stage" / "forum" / "lines").exists()


def test_databases_of_a_service_are_saved_at_once(site: Site) -> None:
    site.service("forum")
    wait = 'touch "$1"; until [ -e "$2" ]; do sleep 0.01; done; echo whole'
    site.plan["services"]["forum"]["dumps"] = [
        {
            "name": name,
            "save": ["timeout", "10", "sh", "-c", wait, "save", f"{site.base}/{name}", other],
            "load": ["true"],
        }
        for name, other in (("one", f"{site.base}/two"), ("two", f"{site.base}/one"))
    ]
    site.agent("init")
    site.agent("backup")
    # One that fails, or cannot even be started, is told, and nothing of it stays.
    site.plan["services"]["forum"]["dumps"] = [
        {"name": "half", "save": ["sh", "-c", "echo half; exit 1"], "load": ["true"]},
        {"name": "well", "save": ["sh", "-c", "sleep 0.3; echo whole"], "load": ["true"]},
    ]
    receipt = site.agent("backup", code=1)
    (error,) = receipt["services"]["forum"]["errors"]
    assert "half could not be saved" in error
    site.plan["services"]["forum"]["dumps"][0]["save"] = ["no-such-program"]
    receipt = site.agent("backup", code=1)
    (error,) = receipt["services"]["forum"]["errors"]
    assert "no-such-program cannot be started" in error
    assert not list((site.var / "stage" / "forum").glob("half"))


def test_what_was_held_still_serves_again_after_kill_9(site: Site) -> None:
    flag = site.base / "maintenance"
    folder = site.service(
        "forum",
        quiesce=[
            {"do": ["touch", str(flag)], "undo": ["rm", "-f", str(flag)], "at_most": 60},
        ],
        dumps=[{"name": "slow", "save": ["sleep", "60"], "load": ["true"]}],
    )
    site.agent("init")
    process = site.start("backup")
    wait_for(lambda: flag.exists() and any((site.var / "quiesced").iterdir()))
    # While its maker lives, nobody undoes it: an undo at the wrong moment spoils the copy.
    assert site.agent("undo")["undone"] == []
    assert flag.exists()
    busy = site.agent("backup", code=75)
    assert "backup has held this host's lock since" in busy["said"]
    busy = site.agent("restore", "--service=forum", code=75)
    assert "restore did not start" in busy["error"]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert site.agent("undo")["undone"] == ["forum.0"]
    assert not flag.exists()
    # Nothing of it is left running, and the next run is fine.
    site.plan["services"]["forum"]["dumps"] = []
    assert site.agent("backup")["ok"] is True
    assert (folder / "files" / "page").read_text() == "hello"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts are root's")
def test_a_mirror_is_saved_in_the_place_of_its_folder(site: Site) -> None:
    folder = site.service("mail", excludes=[str(site.base / "srv/mail/files/.mirror")]) / "files"
    copy = folder / ".mirror" / "tree"
    # As somebody renames a file when the mirror was made.
    script = 'rm -rf "$2"; mkdir -p "$2"; cp -al "$1"/page "$2"; mv "$1"/page "$1"/page:2,S'
    make = ["sh", "-c", script, "make", str(folder), str(copy)]
    site.plan["services"]["mail"]["mirrors"] = [
        {"path": str(folder), "copy": str(copy), "make": make}
    ]
    site.agent("init")
    assert site.agent("backup")["ok"] is True
    assert (folder / "page:2,S").exists()
    site.agent("restore", "--service=mail", "--replace", "--no-snapshot")
    assert [file.name for file in folder.iterdir()] == ["page"]
    # Without it something is saved all the same, and it is told.
    site.plan["services"]["mail"]["mirrors"][0]["make"] = ["sh", "-c", "echo no room >&2; exit 1"]
    receipt = site.agent("backup", code=1)
    assert "no room" in receipt["services"]["mail"]["errors"][0]
    (folder / "page").unlink()
    site.agent("restore", "--service=mail", "--replace", "--no-snapshot")
    assert [file.name for file in folder.iterdir()] == ["page"]


def test_a_polite_stop_undoes_at_once(site: Site) -> None:
    flag = site.base / "maintenance"
    site.service(
        "forum",
        quiesce=[{"do": ["touch", str(flag)], "undo": ["rm", "-f", str(flag)], "at_most": 60}],
        dumps=[{"name": "slow", "save": ["sleep", "60"], "load": ["true"]}],
    )
    site.agent("init")
    process = site.start("backup")
    wait_for(flag.exists)
    time.sleep(0.3)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert not flag.exists()


def test_nothing_is_held_still_for_longer_than_allowed(site: Site) -> None:
    flag = site.base / "maintenance"
    still = site.base / "was-still-held-later"
    site.service(
        "forum",
        quiesce=[{"do": ["touch", str(flag)], "undo": ["rm", "-f", str(flag)], "at_most": 1}],
        dumps=[
            {
                "name": "slow",
                "save": ["sh", "-c", f'sleep 3; test ! -e "{flag}" || touch "{still}"; echo x'],
                "load": ["true"],
            }
        ],
    )
    site.agent("init")
    receipt = site.agent("backup", code=1)
    assert not still.exists()
    assert "held still for 1 s only" in receipt["services"]["forum"]["errors"][0]


def test_an_unreachable_repository_is_named_and_the_next_run_is_fine(site: Site) -> None:
    site.service("forum")
    site.agent("init")
    (site.base / "cut").touch()
    failed = site.agent("backup", code=1)
    assert "cannot be reached" in failed["error"]
    # Once is enough to know (twice where restic ends before it has told what ssh said): where
    # nobody answers, each knock takes its time. The receipt does not go there.
    assert "receipt" not in (site.base / "cut").read_text()
    (site.base / "cut").unlink()
    site.agent("backup")
    # The receipt of the failed run was kept and went along with the next one.
    stored = sorted((site.home / "atelier" / "monts.receipts").iterdir())
    # Both may bear the same second, which says nothing of their order.
    assert sorted(json.loads(p.read_text())["receipt"]["ok"] for p in stored) == [False, True]


def test_a_wrong_restic_password_is_named_and_nothing_is_changed(site: Site) -> None:
    flag = site.base / "maintenance"
    held = {"do": ["touch", str(flag)], "undo": ["rm", "-f", str(flag)], "at_most": 60}
    site.service("forum", quiesce=[held])
    site.agent("init")
    site.agent("backup")

    def stored() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in site.repository.rglob("*") if p.is_file()}

    before = stored()
    password = site.base / "etc" / "releve" / "restic-password"
    kept = password.read_text()
    password.write_text("another's")
    failed = site.agent("backup", code=1)
    assert "does not open with this host's restic password" in failed["error"]
    assert stored() == before
    assert not flag.exists()
    opened = site.agent("init", code=1)
    assert "does not open with this host's restic password" in opened["error"]
    restored = site.agent("restore", "--service=forum", "--replace", "--no-snapshot", code=1)
    assert "does not open with this host's restic password" in restored["error"]
    assert stored() == before
    assert (site.base / "srv/forum/files/page").read_text() == "hello"
    password.write_text(kept)
    assert site.agent("backup")["ok"] is True


def test_what_goes_wrong_a_thousand_times_leaves_a_receipt_that_can_be_sent(site: Site) -> None:
    folder = site.service("forum") / "files"
    site.agent("init")
    # Whatever root may read: a folder that no folder can be.
    script = (
        "import json, sys; print(json.dumps({f'forum/{n}': 'x' * 3000 for n in range(1000)}), "
        "file=open(sys.argv[1], 'w'))"
    )
    results = site.base / "results"
    site.plan["around"] = {
        "before": [sys.executable, "-c", script, str(results)],
        "after": ["true"],
        "argv": ["sh", "-c", f'{sys.executable} -c "$0" {results}; shift; exec "$@"', script],
        "results": str(results),
        "root": str(folder),
    }
    site.plan["services"]["forum"]["archives"] = [{"claims": ["forum"], "parts": []}]
    receipt = site.agent("backup", code=1)
    errors = receipt["services"]["forum"]["errors"]
    assert len(errors) == 21
    assert errors[-1] == "and 980 more: the journal of this run names them"
    stored = site.home / "atelier" / "monts.receipts" / f"{receipt['run']}.json"
    assert json.loads(stored.read_text())["receipt"]["services"]["forum"]["errors"] == errors


def test_a_repository_that_has_vanished_is_made_anew_by_the_next_deploy(site: Site) -> None:
    site.service("forum")
    site.agent("init")
    mark = site.var / "initialised"
    mark.touch()
    site.agent("backup")
    assert mark.exists()
    shutil.rmtree(site.repository)
    assert "there is no repository here" in site.agent("backup", code=1)["error"]
    assert not mark.exists()


def test_a_host_that_was_replaced_neither_saves_nor_serves(site: Site) -> None:
    from backup.epoch import notice

    site.service("forum", units=["forum-of-a-test.service"])
    site.agent("init")
    site.agent("backup")
    beside = site.home / "atelier" / "monts.epoch"
    # Somebody who does not hold the key cannot stop it; the gate alone turns it away.
    beside.write_bytes(notice("monts", 2, "another key"))
    assert site.agent("guard")["fenced"] is False
    beside.write_bytes(notice("other", 2, "fence"))
    assert site.agent("guard")["fenced"] is False
    beside.write_bytes(notice("monts", 1, "fence"))
    assert site.agent("guard")["fenced"] is False
    beside.write_bytes(notice("monts", 2, "fence"))
    said = site.agent("backup", code=1)
    assert "taken this host's place" in said["error"]
    assert json.loads((site.var / "fenced").read_text())["epoch"] == 2
    drop = "etc/systemd/system/forum-of-a-test.service.d/releve-fenced.conf"
    assert "ConditionPathExists=!" in (site.base / drop).read_text()
    assert "must neither serve nor save" in site.agent("backup", code=1)["error"]
    # An operator who deploys it with the newest epoch takes that back.
    site.plan["epoch"] = 3
    assert "unfenced" in site.agent("init")["made"]
    assert not (site.base / drop).exists()
    assert site.agent("backup")["epoch"] == 3


def test_no_secret_is_in_a_process_list_and_no_file_is_open_to_others(site: Site) -> None:
    seen = site.base / "seen"
    watching = f'tr "\\0" " " < /proc/$PPID/cmdline > "{seen}"; ps -eo args >> "{seen}"; echo x'
    site.service("forum", dumps=[{"name": "d", "save": ["sh", "-c", watching], "load": ["true"]}])
    site.agent("init")
    site.agent("backup")
    assert "agent.py" in seen.read_text()
    assert "host's own" not in seen.read_text()
    for path in (site.var, *site.var.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, f"{path} is open to others"


def test_a_folder_that_has_gone_is_a_failure_that_names_it(site: Site) -> None:
    folder = site.service("forum")
    site.agent("init")
    (folder / "files").rename(folder / "elsewhere")
    receipt = site.agent("backup", code=1)
    assert f"{folder}/files cannot be read" in receipt["services"]["forum"]["errors"][0]


def test_unchanged_files_are_not_read_again(site: Site) -> None:
    folder = site.service("forum")
    (folder / "files" / "large").write_bytes(os.urandom(4_000_000))
    site.agent("init")
    site.agent("backup")
    assert site.agent("backup")["bytes_added"] < 100_000


def test_status_tells_what_checks_read(site: Site) -> None:
    site.service("forum")
    site.plan["probes"] = {
        "forum": {
            "up": {"argv": ["echo", "yes"], "timeout": 5},
            "slow": {"argv": ["sleep", "30"], "timeout": 1},
        }
    }
    site.agent("init")
    site.agent("backup")
    status = site.agent("status")
    assert status["probes"]["forum"] == {
        "up": {"exit": 0, "stdout": "yes\n"},
        "slow": {"exit": 124, "stdout": ""},
    }
    assert status["lock"] is None
    assert status["receipts"][0]["receipt"]["ok"] is True
    assert status["memory"]["total"] > status["memory"]["available"] > 0
    # Nothing that only the host is asked for, and that takes it long.
    site.plan["probes"] = {
        "forum": {"up": {"argv": ["echo", "yes"], "timeout": 5}},
        "_host": {"long": {"argv": ["sleep", "30"], "timeout": 60}},
    }
    brief = site.agent("status", "--services")
    assert brief["probes"] == {"forum": {"up": {"exit": 0, "stdout": "yes\n"}}}
    assert brief["updates"]["security"] is None
    assert brief["host"] == status["host"]


def test_wrong_usage_is_64_and_a_missing_plan_says_what_to_do(site: Site) -> None:
    process = site.start("backup", "--no-such-option")
    process.communicate(timeout=60)
    assert process.returncode == 64
    (site.base / "etc" / "releve" / "plan.json").unlink()
    ended = subprocess.run(
        [
            "python3",
            "-IS",
            Path(__file__).parents[3] / "agent" / "agent.py",
            f"--root={site.base}",
            "backup",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "releve deploy" in ended.stderr
