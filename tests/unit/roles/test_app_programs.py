"""Programs of the roles that run on a host: what of them needs no server. The rest is tried on
real ones."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SHARED = Path("platforms/yunohost/files").resolve()


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def apps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The module that the programs share, with a folder of its own for YunoHost's memory."""
    monkeypatch.syspath_prepend(str(SHARED))
    monkeypatch.delitem(sys.modules, "apps", raising=False)
    module: Any = importlib.import_module("apps")
    monkeypatch.setattr(module, "APPS", str(tmp_path))
    yield module
    sys.modules.pop("apps", None)


def remember(folder: Path, instance: str, text: str) -> None:
    (folder / instance).mkdir()
    (folder / instance / "settings.yml").write_text(text, encoding="utf-8")


def test_what_yunohost_remembers_of_an_app_is_read(apps: Any, tmp_path: Path) -> None:
    remember(
        tmp_path,
        "nextcloud__2",
        "php_version: '8.4'\npath: /\nlabel: 'L''Été'\n_permissions:\n  main:\n    url: /\n"
        "db_pwd: a: b\ninstall_dir: \"/var/www/nextcloud__2\"\nempty: ''\n",
    )
    words = apps.remembered("nextcloud__2")
    assert words["php_version"] == "8.4"
    assert words["label"] == "L'Été"
    assert words["db_pwd"] == "a: b"
    assert words["install_dir"] == "/var/www/nextcloud__2"
    assert "url" not in words
    for wrong in ("no", "../nextcloud__2", "-x"):
        with pytest.raises(apps.ToolError):
            apps.remembered(wrong)


def test_settings_are_set_where_they_differ_and_read_back(
    apps: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: dict[str, Any] = {"a": "1", "b": "old", "word": "s3cret"}

    def put(values: Any) -> None:
        kept.update({n: v for n, v in values.items() if n != "stuck"})

    def given(wanted: Any) -> None:
        import io

        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(wanted)))

    def get(names: Any) -> dict[str, Any]:
        return {n: kept.get(n) for n in names}

    apps.settings("get", ['["a", "word"]', '["word"]'], get, put)
    said = capsys.readouterr().out
    assert "s3cret" not in said
    assert json.loads(said)["word"] == apps.fingerprint("word", "s3cret")
    given({"a": 1, "b": "new", "word": "other"})
    apps.settings("set", ['["word"]'], get, put)
    assert json.loads(capsys.readouterr().out) == {"changed": ["b", "word"]}
    assert kept == {"a": "1", "b": "new", "word": "other"}
    given({"stuck": "x"})
    with pytest.raises(apps.ToolError, match="stuck"):
        apps.settings("set", ["[]"], get, put)


def test_json_is_found_behind_warnings(apps: Any) -> None:
    assert apps.last_json('{\n "a": 1\n}') == {"a": 1}
    assert apps.last_json('Deprecated: x\nWarning\n{"a": 1}\n') == {"a": 1}
    with pytest.raises(apps.ToolError):
        apps.last_json("Fatal error")


def test_as_app_runs_nothing_for_an_app_that_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, str(SHARED / "as-app"), "no_such_app", "true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 69
    assert "no_such_app" in done.stderr
    wrong = [sys.executable, str(SHARED / "as-app"), "../x", "true"]
    assert subprocess.run(wrong, capture_output=True, check=False).returncode == 64


PAD_SETTINGS = """{
  /* "title": "in a comment" */
  "title": "Etherpad",
  "favicon": null,
  // "port" : 1,
  "port": 9002,
  "defaultPadText" : "Welcome!\\nA \\"pad\\"",
  "padOptions": { "lang": "fr" },
  "minify": true
}
"""


def test_etherpads_settings_are_changed_and_its_comments_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pad = load("roles/etherpad/files/pad.py")
    file = tmp_path / "settings.json"
    file.write_text(PAD_SETTINGS, encoding="utf-8")
    assert pad.port_in(str(tmp_path)) == 9002
    ours = pad.Etherpad(str(tmp_path), 9002)
    asked = ["title", "defaultPadText", "minify", "nothing"]
    assert pad.get(ours, "etherpad.service", asked) == {
        "title": "Etherpad", "defaultPadText": 'Welcome!\nA "pad"', "minify": True, "nothing": None,
    }  # fmt: skip
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(pad, "systemctl", lambda *words: started.append(words))
    monkeypatch.setattr(pad, "wait", lambda _: None)
    wanted = {"title": 'L\'"Été" \\1', "favicon": "x"}
    assert pad.put(ours, "etherpad.service", wanted)["changed"] == ["favicon", "title"]
    assert started == [("restart", "--", "etherpad.service")]
    text = file.read_text(encoding="utf-8")
    assert '/* "title": "in a comment" */' in text
    assert len(text.splitlines()) == len(PAD_SETTINGS.splitlines())
    assert pad.get(ours, "etherpad.service", list(wanted)) == wanted
    assert pad.put(ours, "etherpad.service", wanted) == {"changed": []}
    assert len(started) == 1
    with pytest.raises(pad.PadError, match="unknown"):
        pad.put(ours, "etherpad.service", {"unknown": "x"})


def test_cryptpads_admins_stand_in_a_line_of_our_own(apps: Any) -> None:
    drive = load("roles/cryptpad/files/drive.py")
    key = "[ana@pad.example/AAAA=]"
    line = f"module.exports.adminKeys = {json.dumps([key])};"
    text = f"module.exports = {{}};\n{drive.BEGIN}\n{line}\n{drive.END}\n"
    assert drive.keys_in(text) == [key]
    assert drive.keys_in("module.exports = { adminKeys: [] };") == []
    assert drive.is_blob("5e" * 24)
    assert not drive.is_blob("5e" * 24 + ".activity")


def test_a_silent_dns_is_not_a_name_that_leads_nowhere(
    apps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(tmp_path, "cryptpad", "domain: pad.example\n")
    drive = load("roles/cryptpad/files/drive.py")
    monkeypatch.setattr(apps, "ask_dns", lambda _, __: None)
    with pytest.raises(apps.ToolError, match=r"sandbox\.pad\.example"):
        drive.sandbox(["cryptpad"])


class Redis:
    """As much of Redis as a forum's lock needs, on the loopback; it keeps what expires."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.keys: dict[str, str] = {}
        self.expires: dict[str, int] = {}
        self.busy = 2
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            link, _ = self.listener.accept()
            file = link.makefile("rb")
            while line := file.readline():
                words = []
                for _ in range(int(line[1:])):
                    size = int(file.readline()[1:])
                    words.append(file.read(size + 2)[:-2].decode())
                link.sendall(self.answer(*words))

    def answer(self, word: str, *rest: str) -> bytes:
        if word == "SET":
            key, value, _, seconds = rest
            self.keys[key] = value
            self.expires[key] = int(seconds)
            return b"+OK\r\n"
        if word == "GET":
            value = self.keys.get(rest[0])
            return b"$-1\r\n" if value is None else f"${len(value)}\r\n{value}\r\n".encode()
        if word == "SMEMBERS":
            return b"*1\r\n$1\r\na\r\n" if rest[0] == "processes" else b"*0\r\n"
        if word == "HLEN":
            self.busy -= rest[0] == "a:work"
            return b":1\r\n" if rest[0] == "a:work" and self.busy > 0 else b":0\r\n"
        if word == "EXISTS":
            return b":%d\r\n" % (rest[0] in self.keys)
        if word == "DEL":
            return b":%d\r\n" % (self.keys.pop(rest[0], None) is not None)
        assert word == "SELECT"
        return b"+OK\r\n"


def test_a_forum_is_held_for_as_long_as_a_copy_may_take(
    apps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(tmp_path, "discourse", "redis_db: '1'\n")
    monkeypatch.setattr(apps, "HELD", str(tmp_path))
    forum, store = load("roles/discourse/files/forum.py"), Redis()
    # Rails would take its quarter of a minute, and its pause ends a minute after it did.
    monkeypatch.setattr(forum, "ruby", None)
    monkeypatch.setattr(forum.Redis, "PORT", store.port)
    forum.hold(["discourse"])
    assert set(store.keys) == {forum.READ_ONLY, forum.PAUSED}
    assert min(store.expires.values()) > 2 * 3600  # what the role lets a copy take
    assert store.busy == 0
    forum.free(["discourse"])
    assert store.keys == {}
    # An administrator's own read-only mode is nobody else's to end.
    store.keys[forum.READ_ONLY] = "1"
    forum.hold(["discourse"])
    forum.free(["discourse"])
    assert store.keys == {forum.READ_ONLY: "1"}


def test_what_nextcloud_is_told_hides_secrets_and_keeps_types(
    apps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = load("roles/nextcloud/files/cloud.py")
    told: list[tuple[tuple[str, ...], str | None]] = []

    def occ(_: str, *words: str, given: str | None = None, **env: str) -> str:
        told.append((words, given))
        return json.dumps({"enabled": {"files": "1"}, "disabled": {"calendar": "5"}})

    monkeypatch.setattr(cloud, "occ", occ)
    cloud.put(
        "nextcloud",
        {"system:default_language": "fr", "system:mail_smtpauth": 1, "app:core:backgroundjobs_mode":
         "cron", "app:x:flag": True, "enabled:calendar": True, "enabled:contacts": True,
         "enabled:weather": False},
    )  # fmt: skip
    words = [w for w, _ in told if w[0] != "app:list"]
    assert words == [
        ("config:app:set", "--value=cron", "--", "core", "backgroundjobs_mode"),
        ("config:app:set", "--value=yes", "--", "x", "flag"),
        ("app:enable", "calendar"), ("app:install", "contacts"), ("app:disable", "weather"),
        ("config:import",),
    ]  # fmt: skip
    assert json.loads(told[-1][1] or "") == {
        "system": {"default_language": "fr", "mail_smtpauth": 1}
    }
    with pytest.raises(apps.ToolError):
        cloud.put("nextcloud", {"enabled:--help": True})


def test_an_app_that_nextcloud_cannot_fetch_holds_up_nothing_else(
    apps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = load("roles/nextcloud/files/cloud.py")
    told: list[str] = []

    def occ(_: str, *words: str, **__: Any) -> str:
        told.append(words[0])
        if words == ("app:install", "calendar"):
            raise apps.ToolError("it was not found on the appstore")
        return json.dumps({"enabled": {}, "disabled": {}})

    monkeypatch.setattr(cloud, "occ", occ)
    wanted = {"enabled:calendar": True, "enabled:contacts": True, "app:a:b": 1, "system:c": "d"}
    with pytest.raises(apps.ToolError, match=r"calendar: it was not found.*cannot reach it"):
        cloud.put("nextcloud", wanted)
    assert (told.count("app:install"), told[-2:]) == (2, ["config:app:set", "config:import"])


def test_nextclouds_complaints_are_not_remembered_for_long(
    apps: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = load("roles/nextcloud/files/cloud.py")
    monkeypatch.setattr(cloud, "RUN", str(tmp_path))
    monkeypatch.setattr(apps, "write_file", lambda path, text, *_: Path(path).write_text(text))
    answers = iter(["error", "success", "warning"])

    def as_app(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        text = json.dumps({"system": {"OCA\\X\\Cron": {"name": None, "severity": next(answers)}}})
        return subprocess.CompletedProcess([], 1, text, "")

    monkeypatch.setattr(apps, "as_app", as_app)

    def asked(hours: float) -> dict[str, list[str]]:
        file = tmp_path / "nextcloud.setupchecks.json"
        if file.exists():
            then = file.stat().st_mtime - hours * 3600
            os.utime(file, (then, then))
        cloud.checks(["nextcloud"])
        found: dict[str, list[str]] = json.loads(capsys.readouterr().out)
        return found

    assert asked(0) == {"error": ["Cron"]}
    assert asked(0.1) == {"error": ["Cron"]}
    assert asked(0.2) == {"success": ["Cron"]}
    assert asked(11) == {"success": ["Cron"]}
    assert asked(2) == {"warning": ["Cron"]}


@pytest.mark.parametrize("newer", [False, True])
def test_nextcloud_forgets_the_previews_that_no_copy_holds(
    apps: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, newer: bool
) -> None:
    cloud = load("roles/nextcloud/files/cloud.py")
    monkeypatch.setattr(apps, "HELD", str(tmp_path))
    remember(tmp_path, "nextcloud", f"install_dir: {tmp_path}\ndata_dir: /d\n")
    (tmp_path / "config").mkdir()
    text = "<?php\n$CONFIG = array (\n  'datadirectory' => '/d/data/',\n  'instanceid' => 'oc1x',\n"
    (tmp_path / "config/config.php").write_text(text)
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(cloud, "occ", lambda _, *words: told.append(words))
    monkeypatch.setattr(cloud, "query", lambda *_: [["oc_previews"]] if newer else [])

    def as_app(_: str, *argv: str) -> subprocess.CompletedProcess[str]:
        told.append(argv)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(apps, "as_app", as_app)
    cloud.back(["nextcloud"])
    assert told == [
        ("maintenance:mode", "--off"),
        ("mkdir", "-p", "--", "/d/data/appdata_oc1x/preview"),
        ("files:scan-app-data", "preview"),
        *([("preview:cleanup",)] if newer else []),
        ("maintenance:data-fingerprint",),
    ]


def test_a_half_made_account_of_ours_is_switched_off(
    apps: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cloud = load("roles/nextcloud/files/cloud.py")
    (tmp_path / cloud.FOLDER).mkdir()
    monkeypatch.setattr(cloud, "home", lambda *_: tmp_path)
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(cloud, "occ", lambda _, *words, **__: told.append(words))
    for enabled in (True, False):
        said = subprocess.CompletedProcess([], 0, json.dumps({"enabled": enabled}), "")
        monkeypatch.setattr(apps, "as_app", lambda *_, said=said: said)
        cloud.account("nextcloud")
        assert told == ([("user:disable", "releve")] if enabled else [])
        told.clear()


def test_why_a_program_of_php_failed_is_told_without_where(apps: Any) -> None:
    text = "Error: Failed opening 'x.php' in y:8\nStack trace:\n" + "#0 /a/b.php(1): c()\n" * 40
    with pytest.raises(apps.ToolError, match=r"occ \(exit 1\): Error: Failed opening .* y:8$"):
        apps.must(subprocess.CompletedProcess([], 1, text, ""), "occ")


def test_somebody_elses_maintenance_mode_stays(
    apps: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(apps, "HELD", str(tmp_path))
    cloud = load("roles/nextcloud/files/cloud.py")
    now = {"on": True}

    def occ(_: str, *words: str, **__: Any) -> str:
        if words[0] == "maintenance:mode":
            now["on"] = words[1] == "--on"
        return json.dumps({"maintenance": now["on"]})

    monkeypatch.setattr(cloud, "occ", occ)
    cloud.hold(["nextcloud"])
    cloud.free(["nextcloud"])
    assert now["on"]
    now["on"] = False
    cloud.hold(["nextcloud"])
    assert now["on"]
    cloud.hold(["nextcloud"])
    cloud.free(["nextcloud"])
    assert not now["on"]


def test_changed_missing_and_foreign_program_files_are_told(tmp_path: Path) -> None:
    verify = load("roles/wordpress/files/verify.py")
    for name in ("wp-includes/version.php", "wp-login.php", "wp-cron.php", "wp-content/x.php"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("<?php $wp_version = '6.9';", encoding="utf-8")
    assert verify.release(tmp_path) == ("6.9", "en_US")
    sums = {
        file.relative_to(tmp_path).as_posix(): hashlib.md5(file.read_bytes()).hexdigest()  # noqa: S324
        for file in tmp_path.rglob("*.php")
    }
    assert verify.compare(tmp_path, sums) == {"changed": [], "missing": [], "unknown": []}
    (tmp_path / "wp-login.php").write_text("<?php evil();", encoding="utf-8")
    (tmp_path / "wp-cron.php").unlink()
    (tmp_path / "wp-includes/shell.php").write_text("", encoding="utf-8")
    (tmp_path / "wp-config.php").write_text("", encoding="utf-8")
    (tmp_path / "wp-conf1g.php").write_text("", encoding="utf-8")
    (tmp_path / "wp-content/x.php").write_text("mine", encoding="utf-8")
    assert verify.compare(tmp_path, sums) == {
        "changed": ["wp-login.php"], "missing": ["wp-cron.php"],
        "unknown": ["wp-conf1g.php", "wp-includes/shell.php"],
    }  # fmt: skip
