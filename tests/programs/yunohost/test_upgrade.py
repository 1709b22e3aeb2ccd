"""`releve upgrade` against the stand-in: real `ynh` and `look`, YunoHost as it was recorded.

What other rooms do (copies, settings, checks, restores) is stood in for at their doors: a copy is
the stand-in's state, kept; a check asks that state. What passes here is no claim about YunoHost.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backup import run as backup_run
from backup.errors import BackupError
from backup.run import Saved
from checks.result import Result
from platforms.debian import packages
from platforms.yunohost import durable, remote
from recovery import available, restore, steps, upgrade
from recovery.errors import RecoveryError, UsageError
from recovery.upgrade import Upgrade
from recovery.upgraded import Outcome, plan, summary
from tools import ssh
from tools.ssh import SshError

REPO = Path(__file__).parents[3]
STANDIN = REPO / "tests/standin/yunohost.py"
YNH = REPO / "platforms/yunohost/files/ynh"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK3uMX1wH9PNeftBT1wPKMPtPY8R2wsSKlVxWm/vExaK"

INVENTORY = f"""
schema = 1
[organisation]
name = "L'Atelier en Santé"
contact = "contact@atelier.example"
[people.coordination]
mail = "coordination@atelier.example"
keys = ["{KEY} coordination"]
duties = ["deploy", "restore"]
[hosts.monts]
platform = "yunohost"
address = "198.51.100.10"
host_key = "{KEY}"
provider = "Un"
datacenter = "GRA"
repository = "coffre"
[hosts.monts.yunohost]
main_domain = "atelier.example"
[hosts.coffre]
platform = "debian"
address = "203.0.113.20"
provider = "Deux"
datacenter = "NTE"
roles = ["repository"]
[repositories.coffre]
url = "ssh-append://releve@coffre.atelier.example/atelier"
host = "coffre"
provider = "Deux"
datacenter = "NTE"
keep = {{ within = "7d" }}
rpo = "24h"
rto = "4h"
[domains."atelier.example"]
dns = "manual"
[services.site]
role = "wordpress"
host = "monts"
url = "https://atelier.example"
[services.pad]
role = "etherpad"
host = "monts"
url = "https://pad.atelier.example"
"""


def standin() -> Any:
    spec = importlib.util.spec_from_file_location("standin", STANDIN)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Here:
    """A connection to this machine, on which the stand-in is YunoHost."""

    def __init__(self, world: World, target: ssh.Target) -> None:
        self.world, self.target = world, target

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", check: bool = True, **_: Any
    ) -> ssh.Result:
        words = [str(word) for word in argv]
        world = self.world
        if tuple(words) == packages.REFRESH:
            return ssh.Result(100 if world.state["offline"] else 0, b"E: no mirror\n", b"")
        if tuple(words) == packages.VERSIONS:
            told = "".join(f"ii \t{n}\t{v}\n" for n, v in world.versions().items())
            return ssh.Result(0, told.encode(), b"")
        if tuple(words) in (packages.RUNS, ("test", "-e", packages.REBOOT)):
            return ssh.Result(1, b"", b"")
        # Programs are looked for where a server has them; the stand-in is not there.
        ours = json.dumps(str(world.yunohost))
        stdin = stdin.replace(b'"yunohost"', ours.encode())
        words[-1] = words[-1].replace('"yunohost"', ours)
        if words[0] == durable.PROGRAM:
            words = [sys.executable, str(YNH), "--below", str(world.folder), *words[1:]]
            if world.cut > 0 and b'"upgrade"' in stdin:
                # The session dies while the step runs; asked again, it answers.
                world.cut -= 1
                with contextlib.suppress(subprocess.TimeoutExpired):
                    subprocess.run(words, input=stdin, timeout=0.3, capture_output=True)
                raise SshError("monts: the session was lost")
        done = subprocess.run(words, input=stdin, capture_output=True, timeout=60)
        result = ssh.Result(done.returncode, done.stdout, done.stderr)
        if check and done.returncode:
            raise ssh.CommandError("monts", argv, result)
        return result

    def write(self, path: str, data: bytes, **_: Any) -> None:
        Path(path).write_bytes(data)


class World:
    """One server, its copies, and what was asked of the other rooms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self.yunohost = folder / "bin/yunohost"
        self.yunohost.symlink_to(STANDIN)
        self.place = folder / "state.json"
        (folder / "bin/standin.json").write_text(json.dumps({"state": str(self.place)}))
        self.file = folder / "atelier.toml"
        self.file.write_text(INVENTORY)
        self.asked: list[str] = []
        self.copies: list[dict[str, Any]] = []
        self.cut = 0
        # (app, version) pairs with which the app does not work, and apps that never did.
        self.bad: set[tuple[str, str]] = set()
        self.restores = True
        self.refused = ""  # why a deploy would be
        self.saves: dict[str, tuple[str, ...]] = {}
        state = standin().fresh()
        state["installed"] = True
        state["main"] = "atelier.example"
        for app, domain in (("wordpress", ""), ("etherpad", "pad.")):
            state["apps"][app] = {
                "manifest": app,
                "label": app,
                "version": state["catalog"][app]["version"],
                "settings": {"id": app, "domain": f"{domain}atelier.example", "path": "/"},
                "data": "what members wrote",
            }
        self.state = state

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.place.read_text()))

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self.place.write_text(json.dumps(state))

    def change(self, **changes: Any) -> None:
        self.state = {**self.state, **changes}

    def offer(self, **versions: str) -> None:
        state = self.state
        for app, version in versions.items():
            state["catalog"][app]["version"] = version
        self.state = state

    def version(self, app: str) -> str:
        return str(self.state["apps"][app]["version"])

    def versions(self) -> dict[str, str]:
        """The packages that are there: those that wait as they are, else what came of them."""
        waiting = {p["name"]: p["current_version"] for p in self.state["packages"]}
        return {"moulinette": "12.1.1", "libc6": "2.36", **waiting}

    def run(self, *services: str, system: bool = False) -> list[Outcome]:
        found = upgrade.look(self.file, services, "monts", system=system)
        work = Upgrade(self.file, patience=0, pause=0)
        work.run(found)
        return work.outcomes

    def marks(self) -> list[str]:
        folder = Path(available.MARKS)
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


APPS = {"site": "wordpress", "pad": "etherpad"}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)

    @contextlib.contextmanager
    def session(target: ssh.Target, **_: Any) -> Iterator[Here]:
        yield Here(world, target)

    def save(connection: Here, **_: Any) -> Saved:
        world.asked.append("save")
        world.copies.append(world.state)
        errors = {"site": (), "pad": (), **world.saves}
        return Saved("run", "monts", f"{len(world.copies) - 1:08d}", 1, 1, 1.0, errors)

    def deploy(file: Path, stages: Any, limit: Sequence[str], *_: Any) -> None:
        world.asked.append(f"settings {' '.join(limit)}")

    def check(file: Path, services: Sequence[str], **_: Any) -> tuple[Result, ...]:
        state = world.state
        found = []
        for name in services:
            app = state["apps"].get(APPS.get(name, ""))
            well = name not in APPS or (app and (APPS[name], app["version"]) not in world.bad)
            kind, level = ("service", "ok" if well else "critical")
            found.append(Result(f"{name}.https", kind, level, "502"))  # type: ignore[arg-type]
        return tuple(found)

    def back(
        file: Path, names: Sequence[str], to: str, choice: Any, progress: Any, *, save: bool
    ) -> Any:
        assert not save  # the upgrade saves by itself, whatever was put aside
        world.asked.append(f"restore {names[0]} {choice.snapshot} {choice.no_snapshot}")
        if not world.restores:
            raise BackupError("monts: the repository cannot be reached")
        state = world.state
        state["apps"][APPS[names[0]]] = world.copies[int(choice.snapshot)]["apps"][APPS[names[0]]]
        world.state = state
        return {names[0]: SimpleNamespace(saved_before="f82e0123" * 8)}

    monkeypatch.setattr(ssh, "session", session)
    monkeypatch.setattr(remote, "_PAUSE", 0.05)
    monkeypatch.setattr(available, "MARKS", str(tmp_path / "upgrading"))
    monkeypatch.setattr(backup_run, "run", save)

    def foreseen(file: Path, limit: Sequence[str]) -> tuple[str, ...]:
        if world.refused:
            raise RecoveryError(world.refused)
        return tuple(f"~ settings of {name}" for name in limit)

    monkeypatch.setattr(steps, "deploy", deploy)
    monkeypatch.setattr(steps, "foreseen", foreseen)
    monkeypatch.setattr(steps, "check", check)
    monkeypatch.setattr(restore, "restore", back)
    return world


def test_nothing_to_do_changes_nothing(world: World) -> None:
    (found,) = upgrade.look(world.file, host="monts", system=True)
    assert not found.anything
    assert "nothing to upgrade" in plan([found])
    assert world.run(system=True) == []
    assert world.asked == []


def test_each_app_is_saved_upgraded_set_up_and_checked(world: World) -> None:
    world.offer(wordpress="6.2~ynh1", etherpad="2.3~ynh1")
    (found,) = upgrade.look(world.file, host="monts")
    assert [(a.service, a.before, a.after) for a in found.apps] == [
        ("site", "6.1.9~ynh1", "6.2~ynh1"),
        ("pad", "2.2.7~ynh1", "2.3~ynh1"),
    ]
    assert world.asked == []
    outcomes = world.run()
    assert [(o.subject, o.state, o.after) for o in outcomes] == [
        ("site", "upgraded", "6.2~ynh1"),
        ("pad", "upgraded", "2.3~ynh1"),
    ]
    # One fresh copy is enough for both.
    assert world.asked == ["save", "settings site", "settings pad"]
    assert world.marks() == []


def test_only_the_service_that_is_named(world: World) -> None:
    world.offer(wordpress="6.2~ynh1", etherpad="2.3~ynh1")
    assert [o.subject for o in world.run("pad")] == ["pad"]
    assert world.version("wordpress") == "6.1.9~ynh1"
    with pytest.raises(UsageError, match="no service is named wiki"):
        upgrade.look(world.file, ["wiki"])


def test_an_upgrade_that_yunohost_rolls_back_ends_well_and_is_none(world: World) -> None:
    world.offer(wordpress="6.2~ynh1")
    world.change(broken={"wordpress": ["upgrade"]})
    (outcome,) = world.run()
    assert (outcome.state, world.version("wordpress")) == ("unchanged", "6.1.9~ynh1")
    assert outcome.remedy.startswith("Nothing is lost")
    assert "ended well and yet failed" in outcome.why
    # What is as it was needs neither settings nor a copy.
    assert world.asked == ["save"]
    assert "NOT UPGRADED" in summary([outcome])


def test_what_does_not_work_after_its_upgrade_comes_back_from_the_copy(world: World) -> None:
    world.offer(wordpress="6.2~ynh1", etherpad="2.3~ynh1")
    world.bad = {("wordpress", "6.2~ynh1")}
    site, pad = world.run()
    assert site.state == "rolled_back"
    assert "site.https: 502" in site.why
    assert world.version("wordpress") == "6.1.9~ynh1"
    assert "restore site 00000000 False" in world.asked
    assert "is in snapshot f82e0123" in summary([site])
    # The newest copy is that of what works.
    assert world.copies[-1]["apps"]["wordpress"]["version"] == "6.1.9~ynh1"
    # The next one is upgraded all the same.
    assert (pad.state, world.version("etherpad")) == ("upgraded", "2.3~ynh1")


def test_what_was_not_well_before_is_not_the_upgrades_fault(world: World) -> None:
    world.offer(wordpress="6.2~ynh1")
    world.bad = {("wordpress", "6.1.9~ynh1"), ("wordpress", "6.2~ynh1")}
    (outcome,) = world.run()
    assert outcome.state == "upgraded"
    assert outcome.notes == ("not well before either: site.https",)


def test_what_cannot_be_rolled_back_stops_the_host_and_says_how(world: World) -> None:
    world.offer(wordpress="6.2~ynh1", etherpad="2.3~ynh1")
    world.bad = {("wordpress", "6.2~ynh1")}
    world.restores = False
    (site,) = world.run()
    assert site.state == "broken"
    assert "repository cannot be reached" in site.why
    assert "releve restore" in site.remedy
    assert "--snapshot 00000000 --replace" in site.remedy
    # Tried once more without a copy of what is half upgraded.
    assert "restore site 00000000 True" in world.asked
    assert world.version("etherpad") == "2.2.7~ynh1"
    # The mark stays: whoever runs it again finds it.
    assert world.marks() == ["site"]


def test_an_app_that_is_gone_comes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.offer(wordpress="6.2~ynh1")
    perform = Upgrade._perform

    def gone(self: Upgrade, host: Any, task: Any) -> Any:
        done = perform(self, host, task)
        state = world.state
        del state["apps"]["wordpress"]
        world.state = state
        return done

    monkeypatch.setattr(Upgrade, "_perform", gone)
    (outcome,) = world.run()
    assert (outcome.state, world.version("wordpress")) == ("rolled_back", "6.1.9~ynh1")
    assert outcome.why.startswith("it is gone")


def test_without_a_whole_copy_nothing_is_changed(world: World) -> None:
    world.offer(wordpress="6.2~ynh1", etherpad="2.3~ynh1")
    world.saves = {"site": ("its dump failed",)}
    with pytest.raises(RecoveryError, match="site: its dump failed"):
        world.run("site")
    assert world.version("wordpress") == "6.1.9~ynh1"
    # It is no reason to leave another one alone.
    (pad,) = world.run("pad")
    assert pad.ok


def test_an_old_catalog_is_an_error_before_anything(world: World) -> None:
    world.offer(wordpress="6.2~ynh1")
    world.change(offline=True)
    with pytest.raises(Exception, match="catalog"):
        world.run()
    with pytest.raises(RecoveryError, match="apt could not fetch"):
        world.run(system=True)
    assert world.asked == []


def test_a_lost_session_repeats_nothing(world: World) -> None:
    world.offer(wordpress="6.2~ynh1")
    world.cut = 2
    (outcome,) = world.run()
    assert outcome.ok
    calls = world.place.with_suffix(".calls").read_text()
    assert calls.count('["app", "upgrade"') == 1


def test_what_was_cut_off_is_finished(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.offer(wordpress="6.2~ynh1", etherpad="2.3~ynh1")
    world.bad = {("wordpress", "6.2~ynh1")}

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Upgrade, "_judge", stop)
        with pytest.raises(KeyboardInterrupt):
            world.run()
    assert world.version("wordpress") == "6.2~ynh1"
    assert world.marks() == ["site"]
    (found,) = upgrade.look(world.file, host="monts")
    assert "an upgrade was cut off (6.1.9~ynh1 -> 6.2~ynh1): finish it" in plan([found])
    site, pad = world.run()
    # It is checked as it would have been, and goes back to the copy from before.
    assert (site.state, world.version("wordpress")) == ("rolled_back", "6.1.9~ynh1")
    assert pad.ok
    assert world.marks() == []


MOULINETTE = {"name": "moulinette", "current_version": "12.1.0", "new_version": "12.1.1"}


def test_packages_come_after_the_apps_and_only_when_asked_for(world: World) -> None:
    world.offer(wordpress="6.2~ynh1")
    world.change(packages=[MOULINETTE])
    (found,) = upgrade.look(world.file, host="monts")
    assert "1 system packages wait too: add --system" in plan([found])
    site, system = world.run(system=True)
    assert (site.subject, system.state) == ("site", "upgraded")
    assert [(p.name, p.current, p.new) for p in system.changed] == [
        ("moulinette", "12.1.0", "12.1.1")
    ]
    # Of the services and no more: what else waits in the inventory is for a deploy.
    assert world.asked[-1] == "settings site pad"
    assert world.marks() == []


def test_a_mistake_in_the_inventory_is_told_before_anything_is_upgraded(world: World) -> None:
    world.offer(wordpress="6.2~ynh1")
    (found,) = upgrade.look(world.file, host="monts")
    assert "along with that, as the inventory says:\n    ~ settings of site\n" in plan([found])
    world.refused = "services.site.url: is taken by another app there"
    with pytest.raises(RecoveryError, match="is taken by another app"):
        world.run()
    assert world.asked == []
    assert world.version("wordpress") == "6.1.9~ynh1"


def test_a_source_that_is_gone_holds_back_its_own_app(world: World) -> None:
    source = "https://git.elsewhere.example/gone_ynh"
    world.file.write_text(f'{INVENTORY}\n[services.pad.app]\nsource = "{source}"\n')
    world.offer(wordpress="6.2~ynh1")
    (found,) = upgrade.look(world.file, host="monts")
    assert [app.service for app in found.apps] == ["site"]
    assert f"held back: pad: {source} cannot be read: " in plan([found])


def test_another_source_is_taken_whatever_its_version(world: World) -> None:
    source = "https://git.elsewhere.example/etherpad_ynh"
    table = f'[services.pad.app]\nsource = "{source}"\n'
    world.file.write_text(f"{INVENTORY}\n{table}")
    (found,) = upgrade.look(world.file, host="monts")
    (app,) = found.apps
    assert (app.service, app.before, app.source) == ("pad", app.after, source)
    assert f"pad: {app.before} -> {app.before}, from {source}" in plan([found])
    (one,) = world.run()
    assert (one.subject, one.state) == ("pad", "upgraded")
    assert upgrade.look(world.file, host="monts")[0].apps == ()
    # One that fails is as it was, and told again.
    world.file.write_text(f'{INVENTORY}\n{table}branch = "testing"\n')
    world.change(broken={"etherpad": ["upgrade"]})
    (one,) = world.run()
    assert one.state == "unchanged"
    assert [a.source for a in upgrade.look(world.file, host="monts")[0].apps] == [
        f"{source}/tree/testing"
    ]
    # Back to the catalog, whose version is the same.
    world.file.write_text(INVENTORY)
    world.change(broken={})
    (found,) = upgrade.look(world.file, host="monts")
    assert f"pad: {app.before} -> {app.before}, from the catalog again" in plan([found])
    (one,) = world.run()
    assert one.state == "upgraded"
    assert upgrade.look(world.file, host="monts")[0].apps == ()


def test_one_host_that_says_nothing_leaves_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = INVENTORY.partition("[hosts.coffre]")[0].partition("[hosts.monts]")[2]
    second = second.replace("monts", "plaines").replace("198.51.100.10", "198.51.100.11")
    world.file.write_text(f"{INVENTORY}\n[hosts.plaines]{second}")
    world.offer(wordpress="6.2~ynh1")
    read = available.read

    def deaf(inventory: Any, host: Any, *rest: Any, **words: Any) -> Any:
        if host.id == "plaines":
            raise SshError("plaines: no route to host")
        return read(inventory, host, *rest, **words)

    monkeypatch.setattr(available, "read", deaf)
    found = upgrade.look(world.file)
    assert "plaines:\n  NOT POSSIBLE: plaines: no route to host" in plan(found)
    work = Upgrade(world.file, patience=0, pause=0)
    work.run(found)
    assert [(o.host, o.state) for o in work.outcomes] == [
        ("monts", "upgraded"),
        ("plaines", "unchanged"),
    ]


def test_packages_that_fail_are_told_with_what_to_do(world: World) -> None:
    world.change(packages=[MOULINETTE], broken={"system": ["upgrade"]})
    (outcome,) = world.run(system=True)
    assert outcome.state == "unchanged"
    assert "still as before: moulinette" in outcome.why
    assert "releve rebuild" in outcome.remedy
    assert "--lost monts" in outcome.remedy
    assert world.marks() == []


def test_packages_that_stay_half_done_stop_the_host(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssowat = {"name": "ssowat", "current_version": "12.1.0", "new_version": "12.1.1"}
    world.change(packages=[MOULINETTE, ssowat])
    monkeypatch.setattr(Upgrade, "_upgrade_packages", lambda *_: world.change(packages=[ssowat]))
    (outcome,) = world.run(system=True)
    assert outcome.state == "broken"
    assert outcome.why == "still as before: ssowat"
    assert "moulinette: 12.1.0 -> 12.1.1" in summary([outcome])
    assert world.marks() == [available.PACKAGES]


def test_services_that_break_with_the_packages_are_told(world: World) -> None:
    world.change(packages=[MOULINETTE])
    before = world.version("etherpad")
    well = upgrade.look(world.file, host="monts", system=True)
    work = Upgrade(world.file, patience=0, pause=0)
    original = steps.check
    seen: list[int] = []

    def later(file: Path, services: Sequence[str], **_: Any) -> tuple[Result, ...]:
        seen.append(1)
        if len(seen) > 1:
            world.bad = {("etherpad", before)}
        return original(file, services)

    steps.check, kept = later, steps.check
    try:
        work.run(well)
    finally:
        steps.check = kept
    (outcome,) = work.outcomes
    assert outcome.state == "broken"
    assert "pad.https" in outcome.why
    assert "moulinette: 12.1.0 -> 12.1.1" in summary([outcome])
