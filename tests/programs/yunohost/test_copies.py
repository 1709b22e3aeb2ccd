"""A YunoHost server is saved and comes back: the real agent, restic, `collect` and `bring-back`,
around a stand-in for YunoHost that binds folders and calls hooks as YunoHost does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from platforms.yunohost import gathering
from tests.programs.yunohost.conftest import House

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="YunoHost binds folders: needs root")


def wait_for(what: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_run_saves_what_yunohost_gathers_and_leaves_nothing(house: House, tmp_path: Path) -> None:
    house.yunohost("backup", "create", "-n", "somebodys")
    kept = house.archives / "somebodys.tar"
    before = kept.read_bytes()
    receipt = house.site.agent("backup")
    assert all(s["ok"] for s in receipt["services"].values()), receipt
    assert set(receipt["services"]) == {"blog", "site", "_base"}
    assert house.clean()
    assert kept.read_bytes() == before
    repository = house.site.plan["repository"]["restic"]
    argv = [*repository, "--option=rclone.args=restic 1", "ls", "--json", "latest"]
    listed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    nodes = {n["path"]: n for n in map(json.loads, listed) if n.get("struct_type") == "node"}
    page = nodes[f"{house.folder}/apps/wordpress/backup/var/www/wordpress/bound/page.php"]
    assert (page["uid"], page["gid"]) == (4713, 4714)
    assert nodes[f"{house.folder}/data/home/bob/letter"]["uid"] == 4711


# Starts restic; when it saves, it first writes down which files anybody could read at that moment.
SPY = """
import os, sys
base, seen, argv = sys.argv[1], sys.argv[2], sys.argv[3:]
if "backup" in argv:
    open_to_all, there = [], 0
    def walk(folder):
        global there
        for one in os.scandir(folder):
            mode = one.stat(follow_symlinks=False).st_mode
            if one.is_dir(follow_symlinks=False):
                if mode & 1: walk(one.path)
                else: there += 1
            elif one.is_file(follow_symlinks=False) and mode & 4:
                open_to_all.append(one.path)
    walk(base)
    open(seen, "w").write("\\n".join(open_to_all))
os.execvp(argv[0], argv)
"""


def test_nobody_else_can_read_what_a_run_gathers(house: House) -> None:
    host = house.site
    seen = host.base / "seen"
    repository = host.plan["repository"]
    spy = [sys.executable, "-c", SPY, str(host.base), str(seen)]
    repository["restic"] = [*spy, *repository["restic"]]
    host.plan["services"]["blog"]["dumps"] = [
        {"name": "members.sql", "save": ["echo", "secret"], "load": ["true"]}
    ]
    assert host.agent("backup")["ok"] is True
    everything = seen.read_text().splitlines()
    # It looked, and at what stands on the server for everybody anyway.
    assert str(house.root / "var/www/wordpress/page.php") in everything
    gathered = [path for path in everything if "yunohost.backup" in path]
    assert gathered == []
    assert [path for path in everything if path.endswith(("members.sql", "gathered.json"))] == []


def test_unchanged_files_are_not_read_again(house: House, tmp_path: Path) -> None:
    restic = ["restic", "--repo", str(tmp_path / "own"), "--no-cache"]
    os.environ["RESTIC_PASSWORD"] = "x"
    subprocess.run([*restic, "init"], check=True, capture_output=True)
    summary: dict[str, Any] = {}
    for _ in range(2):
        house.collect("before")
        out, said = house.start_run([*restic, "backup", "--json"]).communicate(timeout=60)
        assert house.results.exists(), said
        summary = json.loads(out.strip().splitlines()[-1])
    assert summary["files_unmodified"] >= 4  # pages and letters; not what YunoHost writes anew
    assert summary["data_added"] < 1_000_000


def test_an_app_that_was_not_saved_is_a_failure_by_name(house: House) -> None:
    house.change(broken={"wordpress": ["backup"]})
    receipt = house.site.agent("backup", code=1)
    assert receipt["ok"] is False
    [error] = receipt["services"]["blog"]["errors"]
    assert "apps/wordpress" in error
    assert "Error" in error
    assert receipt["services"]["site"]["ok"] is True


def test_an_app_that_nobody_wrote_down_is_told_and_spoils_nothing(house: House) -> None:
    del house.site.plan["services"]["blog"]
    house.change(broken={"wordpress": ["backup"]})
    receipt = house.site.agent("backup")
    assert receipt["ok"] is True
    assert receipt["services"]["_base"]["ok"] is True
    stranger = receipt["services"]["apps/wordpress"]
    assert stranger["ok"] is False
    assert "no service of the inventory" in stranger["errors"][0]


def test_an_app_without_a_backup_script_is_told_so(house: House) -> None:
    house.change(broken={"wordpress": ["no backup script"]})
    receipt = house.site.agent("backup", code=1)
    [error] = receipt["services"]["blog"]["errors"]
    assert error == (
        "apps/wordpress: its package has no backup script, so YunoHost left it out: "
        "WARNING The app 'wordpress' has no backup script. Ignoring."
    )


def test_nothing_gathered_is_nothing_saved(house: House) -> None:
    house.yunohost("backup", "create", "-n", "releve")
    theirs = house.archives / "releve.tar"
    before = theirs.read_bytes()
    refused = house.site.agent("backup", code=1)
    assert f"{theirs} is somebody's own archive" in refused["error"]
    assert "mv -n " in refused["error"]
    assert house.clean()
    assert theirs.read_bytes() == before
    theirs.rename(house.archives / "theirs.tar")
    assert house.site.agent("backup")["ok"] is True


@pytest.fixture
def small(house: House) -> Iterator[list[str]]:
    """YunoHost's own folder has a small disk. The command that fills it."""
    place = house.root / "home/yunohost.backup"
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", place], check=True)
    yield ["sh", "-c", 'cat /dev/zero > "$1/filler" 2>/dev/null; :', "fill", str(place)]
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_gets_full_meanwhile_is_told_as_what_it_is(
    house: House, small: list[str]
) -> None:
    host = house.site
    whole = host.agent("backup")["snapshot"]
    place = house.root / "home/yunohost.backup"
    databases = house.root / "var/lib/mysql"
    databases.mkdir(parents=True)
    (databases / "ibdata1").write_bytes(os.urandom(2_000_000))
    host.plan["services"]["blog"]["quiesce"] = [{"do": small, "undo": ["true"], "at_most": 60}]
    said = host.agent("backup", code=1)["error"]
    assert f"the disk of this host that holds {place} became full" in said
    assert "up to 2.0 MB" in said
    assert "2.0 MB may be missing" in said
    assert "repository" not in said
    (place / "filler").unlink()
    host.plan["services"]["blog"]["quiesce"] = []
    host.plan["services"]["blog"]["restore"]["stop"] = [small]
    failed = host.agent("restore", "--service=blog", f"--snapshot={whole}", "--replace", code=1)
    assert f"the disk of this host that holds {place} became full" in failed["error"]


def test_another_operation_is_waited_for_before_anything_stands_still(house: House) -> None:
    lock = house.root / "var/run/moulinette_yunohost.lock"
    lock.parent.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as other:
        lock.write_text(f"{other.pid}")
        held = house.site.base / "held"
        house.site.plan["services"]["blog"]["quiesce"] = [
            {"do": ["touch", str(held)], "undo": ["true"], "at_most": 60}
        ]
        run = house.site.start("backup")
        time.sleep(3)
        assert run.poll() is None
        assert not held.exists()
        other.kill()
    assert run.wait(60) == 0
    assert held.exists()


@pytest.mark.parametrize("whom", ["copy", "collect", "yunohost"])
def test_whoever_is_killed_nothing_is_left_and_nothing_is_lost(house: House, whom: str) -> None:
    house.collect("before")
    pid = house.site.base / "copying"
    run = house.start_run(["sh", "-c", f'echo $$ > "{pid}.new"; mv "{pid}.new" "{pid}"; sleep 60'])
    wait_for(pid.exists)
    assert house.mounts()
    child = int((house.root / "run/releve/collect.child").read_text().split()[0])
    os.kill({"copy": int(pid.read_text()), "collect": run.pid, "yunohost": child}[whom], 9)
    if whom == "yunohost":
        run.terminate()
    assert run.wait(30) != 0
    house.collect("after")
    assert house.clean()
    assert (house.root / "home/bob/letter").read_text() == "dear bob"
    wait_for(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())
    assert house.site.agent("backup")["ok"] is True


def test_a_polite_end_lets_yunohost_take_its_mounts_away(house: House) -> None:
    house.collect("before")
    reached = house.site.base / "reached"
    run = house.start_run(["sh", "-c", f'touch "{reached}"; exec sleep 60'])
    wait_for(reached.exists)
    run.send_signal(signal.SIGTERM)
    assert run.wait(20) == 143
    assert not house.mounts()
    assert not house.folder.exists()


def test_what_is_mounted_is_never_removed(house: House) -> None:
    precious = house.root / "home/alice"
    target = house.folder / "data/home/alice"
    target.mkdir(parents=True)
    subprocess.run(["mount", "--bind", precious, target], check=True)
    with subprocess.Popen(["sleep", "30"], cwd=target) as busy:
        house.collect("after")
        busy.kill()
    assert house.clean()
    assert (precious / "letter").read_text() == "dear alice"


def test_the_hook_is_idle_for_everybody_else(house: House) -> None:
    house.collect("before")
    argv = [house.program, "backup", "create", "-n", "theirs", "--methods", "releve"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert not house.folder.exists()
    house.yunohost("backup", "create", "-n", "theirs")
    assert (house.archives / "theirs.tar").exists()


def test_one_app_comes_back_alone(house: House) -> None:
    host = house.site
    host.agent("backup")
    house.yunohost("app", "remove", "wordpress")
    house.yunohost("domain", "remove", "blog.lab.test")
    (house.root / "var/www/wordpress/page.php").unlink()
    # What it is given: a file for root alone, with nobody else's data in it.
    spy = "import os,sys,json,tarfile; p=os.path.realpath('/proc/self/fd/0'); json.dump({'mode': "
    spy += "os.stat(p).st_mode & 0o777, 'names': tarfile.open(p).getnames()}, open(sys.argv[1],"
    spy += "'w')); os.execv(sys.argv[2], sys.argv[2:])"
    part = host.plan["services"]["blog"]["archives"][0]
    seen = host.base / "seen.json"
    part["load"] = [sys.executable, "-c", spy, str(seen), *part["load"]]
    restored = host.agent("restore", "--service=blog")
    told = json.loads(seen.read_text())
    assert told["mode"] == 0o600
    assert {n.split("/")[1] for n in told["names"] if n.startswith("apps/")} == {"wordpress"}
    assert not [n for n in told["names"] if n.startswith(("data", "conf"))]
    assert house.now("apps")["wordpress"]["data"] == "data of wordpress"
    page = house.root / "var/www/wordpress/page.php"
    assert page.read_text() == "hello"
    assert page.stat().st_uid == 4713
    assert "blog.lab.test was added" in str(restored["messages"])
    assert not [p for p in house.archives.iterdir() if "restore" in p.name]
    assert not (host.var / "restore" / "blog").exists()


def kept(house: House, service: str) -> set[str]:
    """The apps in what lies ready for a service."""
    archive = house.site.var / "restore" / service / "new/0.tar"
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as made:
        names = made.getnames()
    assert {"info.json", "backup.csv"} < set(names)
    assert len(names) == len(set(names))
    assert not [n for n in names if n.startswith(("data", "conf"))]
    return {n.split("/")[1] for n in names if n.startswith("apps/")}


SITE = "domain=site.lab.test&path=/&init_main_permission=visitors&password=Sftp-Passw0rd-1"
# restic, that loses its connection in the middle of what it prints.
HALF = """
import subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
cut = "--archive=tar" in sys.argv
sys.stdout.buffer.write(done.stdout[:len(done.stdout) // 2] if cut else done.stdout)
sys.exit(cut or done.returncode)
"""


def gone(house: House, *instances: str) -> None:
    for name in instances:
        house.yunohost("app", "remove", name)
        shutil.rmtree(house.root / "var/www" / name, ignore_errors=True)


def ready(done: Mapping[str, Any]) -> dict[str, str]:
    """What lies ready after a call: service -> snapshot, as short as a receipt has it."""
    return {service: snapshot[:8] for service, snapshot in done["ready"].items()}


BOTH = ("--service=blog", "--service=site")
ALL = ("--service=_base", *BOTH)


def archives(house: House) -> dict[str, dict[str, Any]]:
    """Of the system and of each app: what is written in the plan about its archive."""
    plan = house.site.plan
    parts = {**plan["services"], "_base": plan["duties"]["base"]}
    return {name: part["archives"][0] for name, part in parts.items()}


def instead(house: House, key: str, script: str, *words: str) -> None:
    """Let what restores several at once run a script, with the restore itself after the words."""
    for archive in archives(house).values():
        told = json.loads(archive["together"][-1])
        told[key] = ["sh", "-c", script, "sh", *words, *told[key]]
        archive["together"] = [*archive["together"][:-1], json.dumps(told)]


def test_several_apps_are_fetched_at_once_and_come_back_in_their_turn(house: House) -> None:
    host = house.site
    snapshot = host.agent("backup")["snapshot"]
    gone(house, "wordpress", "my_webapp")
    for archive in archives(house).values():
        archive["together"] = []
    # A machine that takes another one's place: the repository asks whose turn it is.
    host.plan["epoch"] = 2
    # What is there already, here the system, is left to its turn. Nothing loads them together.
    done = host.agent("together", *ALL)
    assert ready(done) == {"blog": snapshot, "site": snapshot}
    assert done["back"] == {}
    for name, app in (("blog", "wordpress"), ("site", "my_webapp")):
        assert kept(house, name) == {app}
    assert (host.var / "epoch").read_text() == "2\n"
    # Nothing more is asked of the repository.
    restic = host.plan["repository"]["restic"]
    host.plan["repository"]["restic"] = ["false"]
    for name in ("blog", "site"):
        done = host.agent("restore", f"--service={name}", f"--snapshot={snapshot}")
        assert (done["ok"], done["snapshot"][:8], done["live"]) == (True, snapshot, None)
        assert done["bytes"] > 0
        assert not (host.var / "restore" / name).exists()
    page = house.root / "var/www/wordpress/page.php"
    assert (page.read_text(), page.stat().st_uid) == ("hello", 4713)
    assert house.now("apps")["wordpress"]["data"] == "data of wordpress"
    assert house.now("apps")["my_webapp"]["data"] == "data of my_webapp"
    # Both are in use again: nothing is fetched over their heads.
    host.plan["repository"]["restic"] = restic
    assert host.agent("together", *ALL)["ready"] == {}


def restores(house: House, since: int) -> list[list[str]]:
    """The apps of each `backup restore` since that many calls, "--system" for the system."""
    calls = [c for c in house.calls()[since:] if c[:2] == ["backup", "restore"]]
    known = {"--system", "wordpress", "my_webapp"}
    return [[word for word in call if word in known] for call in calls]


def test_several_apps_come_back_by_one_start_of_yunohost(house: House) -> None:
    host = house.site
    log = house.root / "var/log/wordpress"
    log.mkdir(parents=True)
    log.chmod(0o750)
    snapshot = host.agent("backup")["snapshot"]
    gone(house, "wordpress", "my_webapp")
    log.rmdir()
    house.yunohost("domain", "remove", "blog.lab.test")
    there = archives(house)["site"]["holds"][-1]
    count = f'test ! -e "{there}" || echo \'{{"pages": 4}}\'; test -e "{there}" || echo "{{}}"'
    host.plan["services"]["site"]["counts"] = ["sh", "-c", count]
    before = len(house.calls())
    answer = host.agent("together", *BOTH)
    assert answer["ready"] == {}
    assert list(answer["back"]) == ["blog", "site"]
    assert restores(house, before) == [["wordpress", "my_webapp"]]
    for name, done in answer["back"].items():
        assert (done["ok"], done["snapshot"][:8], done["live"]) == (True, snapshot, None)
        assert done["bytes"] > 0
        assert not (host.var / "restore" / name).exists()
    assert answer["back"]["site"]["counts"] == {"pages": 4}
    told = str(answer["back"]["blog"]["messages"])
    assert "blog.lab.test was added" in told
    assert "open to the app again: /var/log/wordpress" in told
    assert answer["back"]["site"]["messages"] == []
    page = house.root / "var/www/wordpress/page.php"
    assert (page.read_text(), page.stat().st_uid) == ("hello", 4713)
    assert house.now("apps")["wordpress"]["data"] == "data of wordpress"
    assert house.now("apps")["my_webapp"]["data"] == "data of my_webapp"
    assert not [p for p in house.archives.iterdir() if "restore" in p.name]
    # A rebuild that goes on does not bring it back again.
    again = host.agent("restore", "--service=site", "--once")
    assert again["snapshot"][:8] == snapshot
    assert len(restores(house, before)) == 1


def blank(house: House) -> None:
    house.state.unlink()
    subprocess.run(["rm", "-rf", house.root / "etc/yunohost", house.root / "var"], check=True)


def test_a_blank_host_gets_its_system_and_its_apps_by_one_start(house: House) -> None:
    host = house.site
    snapshot = host.agent("backup")["snapshot"]
    users = set(house.now("users"))
    blank(house)
    answer = host.agent("together", *ALL, "--once")
    assert list(answer["back"]) == ["_base", "blog", "site"]
    assert all(done["ok"] for done in answer["back"].values())
    assert restores(house, 0)[-1:] == [["--system", "wordpress", "my_webapp"]]
    assert set(house.now("users")) == users
    assert house.now("apps")["my_webapp"]["data"] == "data of my_webapp"
    commands = len(house.calls())
    assert host.agent("restore", "--service=_base", "--once")["snapshot"][:8] == snapshot
    assert host.agent("together", *ALL, "--once")["back"] == {}
    assert len(house.calls()) == commands


# restic, that writes down what it is asked for.
TOLD = """
import os, sys
log, *argv = sys.argv[1:]
with open(log, "a") as file:
    print(next(word for word in argv[1:] if not word.startswith("-")), file=file)
os.execvp(argv[0], argv)
"""


def test_what_lies_beside_them_comes_back_in_the_same_call(house: House) -> None:
    host = house.site
    folder = host.service("pads")
    snapshot = host.agent("backup")["snapshot"]
    shutil.rmtree(folder / "files")
    (folder / "database").unlink()
    blank(house)
    log = host.base / "restic.log"
    restic = host.plan["repository"]["restic"]
    host.plan["repository"]["restic"] = [sys.executable, "-c", TOLD, str(log), *restic]
    answer = host.agent("together", "--service=_base", "--service=pads", *BOTH, "--once")
    assert set(answer["back"]) == {"_base", "blog", "site", "pads"}
    done = answer["back"]["pads"]
    assert (done["ok"], done["snapshot"][:8]) == (True, snapshot)
    assert (folder / "files/page").read_text() == "hello"
    assert (folder / "database").read_text().startswith("a line\n")
    # Manifest and all that YunoHost gathered; and then the one folder.
    assert log.read_text().split() == ["snapshots", "dump", "ls", "dump", "restore"]
    # What is in use, or was brought back before, is left to its turn.
    again = host.agent("together", "--service=pads", "--service=_base", *BOTH)
    assert again["back"] == {}


def test_a_system_that_does_not_come_back_with_its_apps_comes_first(house: House) -> None:
    host = house.site
    snapshot = host.agent("backup")["snapshot"]
    users = set(house.now("users"))
    blank(house)
    # YunoHost ends in the middle, and says nothing of what is back already.
    instead(house, "restore-all", '"$@" > /dev/null; echo ERROR died >&2; exit 1')
    done = host.agent("together", *ALL, "--once")
    assert done["back"] == {}
    assert ready(done) == dict.fromkeys(("_base", "blog", "site"), snapshot)
    assert "the system was not restored: it printed no results" in done["said"]
    before = len(house.calls())
    for name in ("_base", "blog", "site"):
        assert host.agent("restore", f"--service={name}", f"--snapshot={snapshot}", "--once")["ok"]
    assert restores(house, before) == [["--system"], ["wordpress"], ["my_webapp"]]
    assert set(house.now("users")) == users
    assert set(house.now("apps")) == {"wordpress", "my_webapp"}


def test_apps_wait_for_the_system_that_they_stand_on(house: House) -> None:
    host = house.site
    snapshot = host.agent("backup")["snapshot"]
    gone(house, "wordpress", "my_webapp")
    # It is there, and nobody knows whose it is: its own restore says so before any app comes.
    before = len(house.calls())
    done = host.agent("together", *ALL)
    assert done["back"] == {}
    assert ready(done) == {"blog": snapshot, "site": snapshot}
    assert restores(house, before) == []


def test_one_that_is_broken_takes_no_other_with_it(house: House) -> None:
    host = house.site
    snapshot = host.agent("backup")["snapshot"]
    gone(house, "wordpress", "my_webapp")
    # It ends well all the same, as YunoHost does (recording 340).
    house.change(broken={"wordpress": ["restore"]})
    before = len(house.calls())
    done = host.agent("together", *BOTH)
    assert done["back"]["site"]["ok"]
    assert list(done["back"]) == ["site"]
    assert ready(done) == {"blog": snapshot}
    failed = host.agent("restore", "--service=blog", f"--snapshot={snapshot}", code=1)
    assert "wordpress was not restored: YunoHost says Error" in failed["error"]
    assert set(house.now("apps")) == {"my_webapp"}
    alone = [["wordpress"], ["wordpress"]]
    assert restores(house, before) == [["wordpress", "my_webapp"], *alone]
    house.change(broken={})
    assert host.agent("restore", "--service=blog")["ok"] is True


def test_one_that_does_not_accept_what_came_says_so_beside_the_others(house: House) -> None:
    host = house.site
    host.agent("backup")
    gone(house, "wordpress", "my_webapp")
    host.plan["services"]["blog"]["restore"]["accept"] = [["false"]]
    back = host.agent("together", *BOTH)["back"]
    assert "(accept) failed" in back["blog"]["error"]
    assert back["blog"]["ok"] is False
    assert back["site"]["ok"] is True


def test_one_that_ends_the_whole_leaves_each_to_its_turn(house: House) -> None:
    host = house.site
    snapshot = host.agent("backup")["snapshot"]
    gone(house, "wordpress", "my_webapp")
    # The first attempt finds a domain gone, as if it had been removed meanwhile: YunoHost ends
    # there, with a ghost of the one, and without a word about the other (recording 338).
    without = f'import json; p="{house.state}"; s=json.load(open(p)); '
    without += "del s['domains']['blog.lab.test']; json.dump(s, open(p,'w'))"
    instead(house, "restore", 'python3 -c "$1"; shift; exec "$@"', without)
    done = host.agent("together", *BOTH)
    assert done["back"] == {}
    assert "wordpress is not back with the others" in done["said"]
    assert list(house.now("apps")) == ["wordpress"]  # the ghost
    for name in ("blog", "site"):
        assert host.agent("restore", f"--service={name}", f"--snapshot={snapshot}")["ok"]
    assert house.now("apps")["wordpress"]["data"] == "data of wordpress"
    assert house.now("apps")["my_webapp"]["data"] == "data of my_webapp"


def test_killed_while_they_are_loaded_each_goes_on(house: House) -> None:
    host = house.site
    host.agent("backup")
    gone(house, "wordpress", "my_webapp")
    reached = host.base / "reached"
    right = {name: list(archive["together"]) for name, archive in archives(house).items()}
    instead(house, "restore", f'"$@"; touch "{reached}"; exec sleep 60')
    process = host.start("together", *BOTH)
    wait_for(reached.exists)
    process.kill()
    process.wait(10)
    host.agent("undo")
    # Both in one file for root alone, and nobody else's data in it.
    assert kept(house, "blog") == kept(house, "site") == {"wordpress", "my_webapp"}
    apps = house.now("apps")
    apps["wordpress"]["data"] = "half"
    house.change(apps=apps)
    for name, archive in archives(house).items():
        archive["together"] = right[name]
    # A rebuild that goes on asks again: what was broken off is left to its turn.
    done = host.agent("together", *BOTH)
    assert (done["ready"], done["back"]) == ({}, {})
    for name in ("blog", "site"):
        done = host.agent("restore", f"--service={name}")
        assert "fetched before" in done["said"]
    assert house.now("apps")["wordpress"]["data"] == "data of wordpress"
    assert house.now("apps")["my_webapp"]["data"] == "data of my_webapp"


def test_without_room_for_all_at_once_each_is_loaded_in_its_turn(
    house: House, tmp_path: Path
) -> None:
    host = house.site
    other = house.root / "var/www/my_webapp"
    other.mkdir(parents=True)
    (other / "large").write_bytes(os.urandom(3_000_000))
    snapshot = host.agent("backup")["snapshot"]
    gone(house, "wordpress", "my_webapp")
    place = tmp_path / "place"
    place.mkdir()
    # Beside the margin, room for one of them.
    size = 64 * 2**20 + 4_500_000
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        for name in ("blog", "site"):
            archives(house)[name]["room"] = [str(place)]
        before = len(house.calls())
        done = host.agent("together", *BOTH)
        assert done["back"] == {}
        assert ready(done) == {"blog": snapshot, "site": snapshot}
        assert restores(house, before) == []
        for name in ("blog", "site"):
            assert host.agent("restore", f"--service={name}", f"--snapshot={snapshot}")["ok"]
    finally:
        subprocess.run(["umount", place], check=True)


def test_what_somebody_set_up_meanwhile_is_not_loaded_over(house: House) -> None:
    host = house.site
    snapshot = host.agent("backup")["snapshot"]
    gone(house, "wordpress", "my_webapp")
    house.yunohost("app", "install", "my_webapp", "--args", SITE)
    before = len(house.calls())
    # Seen by the program that loads, at the last moment: nothing was changed.
    for archive in archives(house).values():
        archive["holds"] = ["false"]
    done = host.agent("together", *BOTH)
    assert done["back"] == {}
    assert ready(done) == {"blog": snapshot, "site": snapshot}
    assert "my_webapp is there already" in done["said"]
    assert restores(house, before) == []
    host.plan["services"]["site"]["archives"][0]["holds"] = ["true"]
    refused = host.agent("restore", "--service=site", f"--snapshot={snapshot}", code=1)
    assert "--replace" in refused["error"]
    assert host.agent("restore", "--service=blog", f"--snapshot={snapshot}")["ok"]


def test_what_lies_ready_is_taken_by_its_name_alone(house: House) -> None:
    host = house.site
    older = host.agent("backup")["snapshot"]
    apps = house.now("apps")
    apps["wordpress"]["data"] = "newer"
    house.change(apps=apps)
    newest = host.agent("backup")["snapshot"]
    gone(house, "wordpress", "my_webapp")
    for archive in archives(house).values():
        archive["together"] = []
    found = ready(host.agent("together", *BOTH, f"--snapshot={older}"))
    assert found == {"blog": older, "site": older}
    assert host.agent("restore", "--service=blog")["snapshot"].startswith(newest)
    assert house.now("apps")["wordpress"]["data"] == "newer"
    # Set up meanwhile by somebody else: it is not written over.
    house.yunohost("app", "install", "my_webapp", "--args", SITE)
    refused = host.agent("restore", "--service=site", f"--snapshot={older}", code=1)
    assert "--replace" in refused["error"]


def test_what_cannot_be_fetched_at_once_is_left_to_its_turn(house: House) -> None:
    host = house.site
    snapshot = host.agent("backup")["snapshot"]
    gone(house, "wordpress", "my_webapp")
    restic = host.plan["repository"]["restic"]
    said = {}
    for why, plan in (
        ("unreachable", {"restic": ["false"]}),
        ("broken", {"restic": [sys.executable, "-c", HALF, *restic]}),
    ):
        host.plan["repository"] |= plan
        said[why] = host.agent("together", *BOTH)
        assert (said[why]["ready"], said[why]["back"]) == ({}, {})
        assert not list((host.var / "restore").rglob("*.tar"))
    assert "each in its turn" in said["broken"]["said"]
    host.plan["repository"]["restic"] = restic
    # One alone is fetched as ever; and of one, nothing.
    assert host.agent("together", "--service=blog")["ready"] == {}
    assert host.agent("restore", "--service=blog", f"--snapshot={snapshot}")["ok"]


def test_yunohost_is_not_asked_for_a_domain_that_its_directory_has(house: House) -> None:
    host = house.site
    host.agent("backup")
    argv = host.plan["services"]["blog"]["archives"][0]["load"]
    told = json.loads(argv[-1])
    for lines, asked in (
        ("virtualdomain: other.test\nvirtualdomain: blog.lab.test", 0),
        ("virtualdomain: a.blog.lab.test\nvirtualdomain: blog.lab.test.fr", 1),
    ):
        told["domains-in-directory"] = ["printf", lines + "\n"]
        argv[-1] = json.dumps(told)
        gone(house, "wordpress")
        before = len(house.calls())
        assert host.agent("restore", "--service=blog")["ok"]
        calls = house.calls()[before:]
        assert len([c for c in calls if c[:2] == ["domain", "list"]]) == asked
    told["domains-in-directory"] = ["/nowhere/ldapsearch"]
    argv[-1] = json.dumps(told)
    gone(house, "wordpress")
    assert host.agent("restore", "--service=blog")["ok"]


def test_an_app_in_use_is_saved_before_it_is_replaced(house: House) -> None:
    host = house.site
    first = host.agent("backup")["snapshot"]
    apps = house.now("apps")
    apps["wordpress"]["data"] = "newer"
    house.change(apps=apps)
    refused = host.agent("restore", "--service=blog", code=1)
    assert "--replace" in refused["error"]
    assert house.now("apps")["wordpress"]["data"] == "newer"
    done = host.agent("restore", "--service=blog", "--replace", f"--snapshot={first}")
    assert house.now("apps")["wordpress"]["data"] == "data of wordpress"
    host.agent("restore", "--service=blog", "--replace", f"--snapshot={done['saved_before']}")
    assert house.now("apps")["wordpress"]["data"] == "newer"


def test_a_ghost_is_removed_and_the_app_comes_back(house: House) -> None:
    host = house.site
    host.agent("backup")
    argv = host.plan["services"]["blog"]["archives"][0]["load"]
    told = json.loads(argv[-1])
    # The first attempt finds the domain gone, as if it had been removed meanwhile: a ghost stays.
    once = host.base / "once"
    state = f'import json; p="{house.state}"; s=json.load(open(p)); d=s["domains"]; '
    gone = f"{state}s['hidden']=d.pop('blog.lab.test'); json.dump(s, open(p,'w'))"
    back = f"{state}d.setdefault('blog.lab.test', s.get('hidden')); json.dump(s, open(p,'w'))"
    script = f'if test -e "{once}"; then python3 -c "$2"; else touch "{once}"; python3 -c "$1"; fi;'
    told["restore"] = ["sh", "-c", f'{script} shift 2; exec "$@"', "sh", gone, back]
    told["restore"] += json.loads(argv[-1])["restore"]
    argv[-1] = json.dumps(told)
    house.yunohost("app", "remove", "wordpress")
    host.agent("restore", "--service=blog")
    assert [c[:3] for c in house.calls() if c[0] == "app"][-1] == ["app", "remove", "wordpress"]
    assert house.now("apps")["wordpress"]["data"] == "data of wordpress"


def test_a_partial_restore_that_ends_well_is_a_failure_by_name(house: House) -> None:
    host = house.site
    host.agent("backup")
    house.yunohost("app", "remove", "wordpress")
    house.change(broken={"wordpress": ["restore"]})
    failed = host.agent("restore", "--service=blog", code=1)
    assert "wordpress was not restored: YunoHost says Error" in failed["error"]
    assert "in place again" not in failed["error"]
    assert "wordpress" not in house.now("apps")
    house.change(broken={})
    assert host.agent("restore", "--service=blog")["ok"] is True


def test_what_was_there_comes_back_when_the_copy_is_not_taken(house: House) -> None:
    host = house.site
    first = host.agent("backup")["snapshot"]
    apps = house.now("apps")
    apps["wordpress"]["data"] = "newer"
    house.change(apps=apps)
    host.plan["services"]["blog"]["restore"]["accept"] = [["false"]]
    failed = host.agent("restore", "--service=blog", "--replace", f"--snapshot={first}", code=1)
    assert "What was here before is in place again" in failed["error"]
    assert house.now("apps")["wordpress"]["data"] == "newer"


def test_permissions_are_put_right_and_no_others_touched(house: House) -> None:
    host = house.site
    host.agent("backup")
    (house.hooks / "restore").mkdir(parents=True)
    (house.hooks / "restore/50-own").write_text("somebody's")
    open_before = house.root / "etc/theirs"
    open_before.write_text("x")
    open_before.chmod(0o666)
    house.yunohost("app", "remove", "wordpress")
    restored = host.agent("restore", "--service=blog")
    made = house.root / "etc/cron.daily/app"
    assert stat.S_IMODE(made.stat().st_mode) == 0o644
    assert stat.S_IMODE(open_before.stat().st_mode) == 0o666
    assert "writable for everybody" in str(restored["messages"])
    assert (house.hooks / "restore/50-own").exists()


def test_a_folder_that_yunohost_shut_is_open_to_its_app_again(house: House) -> None:
    log = house.root / "var/log/wordpress"
    log.mkdir(parents=True)
    log.chmod(0o750)
    os.chown(log, 4713, 4714)
    house.site.agent("backup")
    house.yunohost("app", "remove", "wordpress")
    log.rmdir()
    restored = house.site.agent("restore", "--service=blog")
    about = log.stat()
    assert (stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid) == (0o750, 4713, 4714)
    assert "open to the app again: /var/log/wordpress" in str(restored["messages"])


def test_an_empty_hook_folder_does_not_cost_the_umask(house: House) -> None:
    host = house.site
    host.agent("backup")
    (house.hooks / "restore").mkdir(parents=True)
    house.yunohost("app", "remove", "wordpress")
    host.agent("restore", "--service=blog")
    assert not (house.root / "etc/cron.daily/app").exists()


def test_somebody_elses_archive_of_our_name_stays(house: House) -> None:
    host = house.site
    host.agent("backup")
    house.yunohost("app", "remove", "wordpress")
    theirs = house.archives / "releve-restore.tar"
    theirs.write_bytes(b"theirs")
    refused = host.agent("restore", "--service=blog", code=1)
    assert "somebody else's" in refused["error"]
    assert theirs.read_bytes() == b"theirs"


def test_a_blank_host_gets_its_system_then_its_apps(house: House) -> None:
    host = house.site
    host.agent("backup")
    users = set(house.now("users"))
    blank(house)
    early = host.agent("restore", "--service=blog", code=1)
    assert "bring the system back first" in early["error"]
    host.agent("restore", "--service=_base", "--once")
    assert set(house.now("users")) == users
    assert house.now("apps") == {}
    for name in ("blog", "site"):
        host.agent("restore", f"--service={name}", "--once")
    assert set(house.now("apps")) == {"wordpress", "my_webapp"}
    commands = len(house.calls())
    again = host.agent("restore", "--service=_base", "--once")
    assert again["ok"] is True
    assert len(house.calls()) == commands
    kept = host.agent("restore", "--service=_base", "--unless-live")
    assert kept["kept"]
    assert len(house.calls()) == commands


def test_killed_while_it_is_loaded_it_goes_on(house: House) -> None:
    host = house.site
    host.agent("backup")
    house.yunohost("app", "remove", "wordpress")
    part = host.plan["services"]["blog"]["archives"][0]
    right, reached = part["load"], host.base / "reached"
    part["load"] = ["sh", "-c", f'touch "{reached}"; exec sleep 60']
    process = host.start("restore", "--service=blog")
    wait_for(reached.exists)
    process.kill()
    process.wait(10)
    part["load"] = right
    restored = host.agent("restore", "--service=blog")
    assert "continuing" in restored["said"]
    assert house.now("apps")["wordpress"]["data"] == "data of wordpress"


def test_packages_left_half_installed_are_finished_first(house: House) -> None:
    host = house.site
    host.agent("backup")
    house.yunohost("app", "remove", "wordpress")
    half = host.base / "half"
    half.touch()
    argv = host.plan["services"]["blog"]["archives"][0]["load"]
    told = json.loads(argv[-1])
    told["packages"] = ["sh", "-c", 'test ! -e "$1" || echo half', "sh", str(half)]
    told["packages-mend"] = ["rm", str(half)]
    argv[-1] = json.dumps(told)
    restored = host.agent("restore", "--service=blog")
    assert not half.exists()
    assert "half installed" in str(restored["messages"])


def test_a_large_folder_beside_the_archive_comes_back_first(house: House) -> None:
    host = house.site
    data = house.root / "var/www/wordpress"
    part = host.plan["services"]["blog"]
    part["paths"] = [str(data)]
    left_out = f"{house.folder}/apps/wordpress/backup/var/www/wordpress/bound"
    part["excludes"] = [left_out]
    host.agent("backup")
    house.yunohost("app", "remove", "wordpress")
    subprocess.run(["rm", "-rf", data], check=True)
    # The app finds its data in place when its own script runs.
    load = part["archives"][0]["load"]
    part["archives"][0]["load"] = [
        *("sh", "-c", 'test -e "$1/page.php" || exit 1; shift; exec "$@"', "sh", str(data), *load)
    ]
    host.agent("restore", "--service=blog")
    assert (data / "page.php").read_text() == "hello"
    assert (data / "page.php").stat().st_uid == 4713


def test_a_broken_archive_changes_nothing(house: House, tmp_path: Path) -> None:
    tar = tmp_path / "broken.tar"
    with tarfile.open(tar, "w") as made:
        made.add(house.root / "home/bob/letter", "apps/wordpress/settings/settings.yml")
    before = house.calls()
    with tar.open("rb") as file:
        argv = house._here(gathering.bring_back_app("wordpress"))
        done = subprocess.run(argv, stdin=file, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert house.calls() == before
