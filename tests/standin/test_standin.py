"""The stand-in falls into the traps the recordings fell into, in their words and exit codes.

Every kind of error that is checked here is checked of the recording too, in tests/contract.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from platforms.yunohost import answers, arguments, commands
from platforms.yunohost.answers import Answer
from platforms.yunohost.errors import checked, classify

VERSIONS = ("yunohost", "tools", "versions", "--output-as", "json")
ARCHIVES = ("yunohost", "backup", "list", "--output-as", "json")
PROGRAM = Path(__file__).parent / "yunohost"
WORDPRESS = arguments.encoded(
    [
        ("domain", "blog.example"),
        ("path", "/"),
        ("init_main_permission", "visitors"),
        ("language", "en_US"),
        ("admin", "ada"),
        ("multisite", "0"),
    ]
)


class Standin:
    """A stand-in with a state of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state.json"
        self.root = folder / "root"
        self.environment = {**os.environ, "YNH_STANDIN_STATE": str(self.state)}

    def run(self, argv: tuple[str, ...], **environment: str) -> Answer:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), *argv[1:]],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Answer(argv, done.returncode, done.stdout, done.stderr)

    def typed(self, argv: tuple[str, ...], *lines: str) -> tuple[int, str]:
        """Run it on a terminal, and type these lines when it asks."""
        master, slave = pty.openpty()
        child = subprocess.Popen(
            [sys.executable, str(PROGRAM), *argv[1:]],
            env=self.environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        shown = b""
        left = list(lines)
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
            if left and shown.rstrip(b" ").endswith(b":"):
                time.sleep(0.05)  # until the echo is off
                os.write(master, left.pop(0).encode() + b"\r")
        os.close(master)
        return child.wait(), shown.decode()

    def change(self, **switches: Any) -> None:
        state = json.loads(self.state.read_text())
        self.state.write_text(json.dumps(state | switches))

    def kind(self, argv: tuple[str, ...], done: bool | None = None) -> str | None:
        error = classify(self.run(argv), done=done)
        return error.kind if error else None


@pytest.fixture
def blank(tmp_path: Path) -> Standin:
    return Standin(tmp_path)


@pytest.fixture
def server(blank: Standin) -> Standin:
    """Set up, with an operator, a second domain, and an app on it."""
    code, shown = blank.typed(
        commands.postinstall("main.example", "ada", "Ada L"), "Adas-Passw0rd-1", "Adas-Passw0rd-1"
    )
    assert code == 0
    assert "Passw0rd" not in shown
    checked(blank.run(commands.domain_add("blog.example")))
    checked(blank.run(commands.app_install("wordpress", args=WORDPRESS, label="Blog")))
    return blank


def test_before_it_is_set_up(blank: Standin) -> None:
    assert blank.kind(commands.domain_list()) == "not_postinstalled"
    assert blank.kind(VERSIONS) is None
    assert answers.archives(blank.run(ARCHIVES)) == {}
    assert blank.kind(commands.postinstall("main.example", "ada", "Ada L")) == "needs_terminal"


def test_what_is_read_is_what_was_written(server: Standin) -> None:
    run = server.run
    assert answers.domains(run(commands.domain_list())).names == ("main.example", "blog.example")
    assert answers.users(run(commands.user_list())) == {
        "ada": answers.User("ada", "Ada L", "ada@main.example")
    }
    assert answers.groups(run(commands.group_list()))["admins"].members == ("ada",)
    app = answers.apps(run(commands.app_list(full=True)))["wordpress"]
    assert (app.url, app.label, app.settings["language"]) == (
        "https://blog.example",
        "Blog",
        "en_US",
    )
    checked(run(commands.firewall_open("8448", "tcp", "Matrix")))
    assert answers.firewall(run(commands.firewall_list()))["8448/tcp"].comment == "Matrix"
    checked(run(commands.settings_set("security.password.passwordless_sudo", "1")))
    settings = answers.settings(run(commands.settings_list()))
    assert answers.same_setting(True, settings["security.password.passwordless_sudo"].value)
    manifest = arguments.manifest(run(commands.app_manifest("wordpress")))
    assert "language" in {question.id for question in manifest.questions}
    assert (server.root / "etc/yunohost/apps/wordpress/settings.yml").exists()
    calls = (server.state.with_suffix(".calls")).read_text()
    assert "Passw0rd" not in calls


def test_failures_that_have_nothing_to_do(server: Standin) -> None:
    assert server.kind(commands.domain_make_main("main.example")) == "nothing_to_do"
    assert server.kind(commands.app_upgrade("wordpress")) == "nothing_to_do"
    assert server.kind(commands.app_change_url("wordpress", "blog.example", "/")) == "nothing_to_do"
    assert server.kind(commands.domain_add("blog.example")) == "domain_exists"
    assert server.kind(commands.domain_remove("blog.example")) == "domain_in_use"
    assert server.kind(commands.app_install("wordpress", args=WORDPRESS)) == "url_taken"


def test_an_upgrade_that_fails_ends_well(server: Standin) -> None:
    state = json.loads(server.state.read_text())
    state["catalog"]["wordpress"]["version"] = "6.2~ynh1"
    server.change(catalog=state["catalog"], broken={"wordpress": ["upgrade"]})
    upgrades = answers.upgrades(server.run(commands.tools_update("apps", refresh=True)))
    assert upgrades.apps["wordpress"].new == "6.2~ynh1"
    assert server.kind(commands.app_upgrade("wordpress")) is None
    version = answers.apps(server.run(commands.app_list()))["wordpress"].version
    assert version == "6.1.9~ynh1"
    assert server.kind(commands.app_upgrade("wordpress"), done=False) == "upgrade_failed"
    server.change(broken={})
    checked(server.run(commands.app_upgrade("wordpress")))
    version = answers.apps(server.run(commands.app_list()))["wordpress"].version
    assert version == "6.2~ynh1"


def test_no_network(server: Standin) -> None:
    server.change(offline=True)
    assert server.kind(commands.tools_update("apps", refresh=True)) == "catalog_offline"
    assert server.kind(commands.app_install("etherpad", args="password=")) == "download_failed"
    assert server.kind(commands.cert_install("blog.example")) is None
    found = answers.certificates(server.run(commands.cert_status()))
    assert found["blog.example"].type == "selfsigned"
    assert server.kind(commands.cert_install("blog.example"), False) == "certificate_not_diagnosed"


def test_a_certificate_after_the_diagnosis(server: Standin) -> None:
    server.change(reachable=["blog.example"])
    assert server.run(commands.diagnosis_run(["dnsrecords"])).exit_code == 0
    told = server.kind(commands.cert_install("blog.example"), False)
    assert told == "certificate_not_diagnosed"
    checked(server.run(commands.diagnosis_run(["ip", "dnsrecords"])))
    assert server.kind(commands.cert_install("main.example")) == "certificate_refused"
    checked(server.run(commands.cert_install("blog.example")))
    found = answers.certificates(server.run(commands.cert_status()))
    assert found["blog.example"].type == "letsencrypt"


def test_a_backup_names_what_is_missing(server: Standin) -> None:
    assert server.kind(commands.backup_create("a", apps=["wordpress", "x"])) == "backup_incomplete"
    assert server.kind(commands.backup_create("b", apps=["x"])) == "backup_failed"
    nothing = commands.backup_create("c", apps=["wordpress"], methods=["releve"])
    assert server.kind(nothing) is None
    assert "c" not in answers.archives(server.run(ARCHIVES))
    assert server.kind(commands.backup_create("a")) == "archive_exists"


def test_a_backup_method_is_called_with_a_folder(server: Standin) -> None:
    hook = server.root / "etc/yunohost/hooks.d/backup_method/50-releve"
    hook.parent.mkdir(parents=True)
    hook.write_text('#!/bin/sh\nif [ "$1" = backup ]; then cp -r "$2" "$0.copy"; fi\n')
    hook.chmod(0o755)
    checked(server.run(commands.backup_create("releve", methods=["releve"])))
    copy = Path(f"{hook}.copy")
    assert json.loads((copy / "info.json").read_text())["apps"].keys() == {"wordpress"}
    assert not (server.root / "home/yunohost.backup/tmp/releve").exists()
    hook.write_text("#!/bin/sh\nexit 1\n")
    assert (
        server.kind(commands.backup_create("releve", methods=["releve"])) == "backup_method_failed"
    )


def test_a_blank_server_comes_back(server: Standin, tmp_path: Path) -> None:
    checked(server.run(commands.backup_create("all")))
    (tmp_path / "new").mkdir()
    new = Standin(tmp_path / "new")
    checked(new.run(ARCHIVES))
    archive = "home/yunohost.backup/archives/all.tar"
    (new.root / archive).write_bytes((server.root / archive).read_bytes())
    only_app = commands.backup_restore("all", apps=["wordpress"])
    assert new.kind(only_app) == "archive_without_system"
    result = answers.backup_result(checked(new.run(commands.backup_restore("all"))))
    assert result.apps == {"wordpress": "Success"}
    assert answers.users(new.run(commands.user_list())).keys() == {"ada"}
    # The trap of a second attempt.
    assert (new.root / "home").stat().st_mode & 0o777 == 0o777


def test_a_missing_domain_leaves_a_ghost(server: Standin) -> None:
    checked(server.run(commands.backup_create("all")))
    restore = commands.backup_restore("all", apps=["wordpress"])
    assert server.kind(restore) == "app_exists"
    checked(server.run(commands.app_remove("wordpress")))
    checked(server.run(commands.domain_remove("blog.example")))
    assert server.kind(restore) == "restore_domain_missing"
    listed = answers.apps(server.run(commands.app_list()))
    permissions = answers.permissions(server.run(commands.permission_list()))
    assert answers.ghosts(listed, permissions) == ("wordpress",)
    checked(server.run(commands.domain_add("blog.example")))
    assert server.kind(restore) == "app_exists"
    checked(server.run(commands.app_remove("wordpress")))
    assert answers.backup_result(checked(server.run(restore))).apps == {"wordpress": "Success"}
    assert server.kind(commands.backup_restore("all", force=True)) == "restore_incomplete"


def test_the_lock(server: Standin) -> None:
    slow = subprocess.Popen(
        [sys.executable, str(PROGRAM), "domain", "add", "slow.example", "--quiet"],
        env=server.environment | {"YNH_STANDIN_DELAYS": "0.15"},
    )
    # It sleeps before it takes the lock: held here for it.
    import fcntl

    slow.wait()
    with server.state.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert server.kind(commands.domain_add("b.example", timeout=1)) == "locked"
        assert "slow.example" in answers.domains(server.run(commands.domain_list())).names
    assert server.kind(commands.domain_add("b.example", timeout=1)) is None


def test_a_password_is_asked_for_on_a_terminal(server: Standin) -> None:
    checked(server.run(commands.domain_add("pad.example")))
    manifest = arguments.manifest(server.run(commands.app_manifest("etherpad")))
    told = arguments.checked(
        "etherpad",
        manifest.questions,
        {
            "domain": "pad.example",
            "path": "/",
            "init_main_permission": "visitors",
            "admin": "ada",
            "password": "secret:service.pad.admin",
        },
    )
    assert [prompt.question for prompt in told.prompts] == ["password"]
    code, shown = server.typed(commands.app_install("etherpad", args=told.args), "Pads-Passw0rd-1")
    assert code == 0, shown
    state = json.loads(server.state.read_text())
    assert state["apps"]["etherpad"]["settings"]["password"] == "Pads-Passw0rd-1"


def test_a_setting_that_another_one_shows_cannot_be_set_alone(server: Standin) -> None:
    part = "email.smtp"
    alone = server.run(commands.settings_set(f"{part}.smtp_relay_host", "relay.example"))
    assert (alone.exit_code, "KeyError" in alone.stderr) == (1, True)
    checked(
        server.run(
            commands.settings_set_part(part, "smtp_relay_enabled=1&smtp_relay_host=relay.example")
        )
    )
    kept = json.loads(server.state.read_text())["settings"]
    assert kept[f"{part}.smtp_relay_host"] == "relay.example"
    assert kept[f"{part}.smtp_relay_enabled"] == "yes"


def test_what_is_set_already_must_be_rubbed_out(server: Standin) -> None:
    key = "email.smtp.smtp_backup_mx_domains"
    checked(server.run(commands.settings_set(key, "old")))
    assert server.typed(commands.settings_ask(key), "new")[0] == 0
    assert json.loads(server.state.read_text())["settings"][key] == "oldnew"
    assert server.typed(commands.settings_ask(key), "\x15new")[0] == 0
    assert json.loads(server.state.read_text())["settings"][key] == "new"


def test_it_is_found_without_an_environment(server: Standin, tmp_path: Path) -> None:
    """Helpers on a host clean theirs: then a file beside the program says where things are."""
    beside = tmp_path / "bin"
    beside.mkdir()
    (beside / "yunohost").symlink_to(PROGRAM)
    (beside / "standin.json").write_text(json.dumps({"state": str(server.state)}))
    done = subprocess.run(
        [str(beside / "yunohost"), "domain", "list", "--output-as", "json"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["main"] == "main.example"
