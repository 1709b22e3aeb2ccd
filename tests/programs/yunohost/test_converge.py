"""A whole server from an inventory, command by command, against the stand-in; then described by
`adopt` and deployed again. The stand-in reads options as YunoHost does and fails where it does;
that a real server does the same is what the live tests are for."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from inventories.load import load
from inventories.model import Inventory, Settings
from platforms.yunohost import commands, looking
from platforms.yunohost.adopt import BESIDE, ROLE_NAMES, Facts, adopt, beside
from platforms.yunohost.answers import Answer
from platforms.yunohost.arguments import manifest
from platforms.yunohost.converge import (
    converge,
    install_arguments,
    manifest_question,
    to_install,
)
from platforms.yunohost.drift import differences, picture
from platforms.yunohost.server import QUESTIONS, Question, Server, panel_question, read
from platforms.yunohost.wanted import Wanted, wanted, wanted_app
from roles.mail.settings import MailSettings
from tools.toml import dumps

ROOT = Path(__file__).parents[3]
STANDIN = ROOT / "tests/standin/yunohost"
KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK3uMX1wH9PNeftBT1wPKMPtPY8R2wsSKlVxWm/vExaK",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHu7KIPnHQ72cFCJBsGhmrUfO8paC26Wb+IzXjVr7XFB",
)


class Host:
    """One stand-in with its files, asked by `look` and told one command at a time."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.state = folder / "state.json"
        self.environment = {
            **os.environ,
            "YNH_STANDIN_STATE": str(self.state),
            "YNH_STANDIN_ROOT": str(self.root),
        }

    def look(self, questions: Iterable[Question]) -> looking.Looked:
        """As a host would answer: paths below our root, `yunohost` by its path."""
        here = [
            dataclasses.replace(
                one,
                argv=(str(STANDIN), *one.argv[1:]) if one.argv[:1] == ("yunohost",) else one.argv,
                files=f"{self.root}{one.files}" if one.files else "",
                needs=f"{self.root}{one.needs}" if one.needs else "",
            )
            for one in questions
        ]
        said = subprocess.run(
            (sys.executable, *looking.argv(looking.asked(here))[1:]),
            capture_output=True,
            text=True,
            check=True,
            env=self.environment,
        )
        found = dict(looking.answered(said.stdout))
        found["versions"] = Answer(("dpkg-query",), 0, "yunohost 12.1.25\n", "")
        cut = len(str(self.root))
        return {
            name: answer if isinstance(answer, Answer) else {p[cut:]: t for p, t in answer.items()}
            for name, answer in found.items()
        }

    def read(self, want: Wanted) -> Server:
        panels = [panel_question(name) for name in want.panels]
        return read(self.look([*QUESTIONS, *panels]), want.accounts)

    def does(self, argv: Sequence[str], prompts: int = 0) -> None:
        """Run one command, with a password typed at a terminal as often as it is asked for."""
        assert argv[0] == "yunohost"
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            (str(STANDIN), *argv[1:]),
            stdin=theirs if prompts else subprocess.DEVNULL,
            stdout=theirs if prompts else subprocess.PIPE,
            stderr=theirs if prompts else subprocess.STDOUT,
            env=self.environment,
            start_new_session=True,
        )
        os.close(theirs)
        said = b""
        for _ in range(prompts):
            seen = b""
            while not seen.endswith(b": ") and (part := os.read(ours, 4096)):
                seen += part
            said += seen
            os.write(ours, b"Correct-Horse-9\n")
        if process.stdout:
            said += process.stdout.read()
        else:
            try:
                while part := os.read(ours, 4096):
                    said += part
            except OSError:
                pass  # the other side is gone
        os.close(ours)
        assert process.wait(30) == 0, (argv, said.decode(errors="replace"))


@pytest.fixture
def server(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.does(commands.postinstall("lab.test", "alice", "Alice Admin"), prompts=2)
    return host


DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "organisation": {"name": "x", "contact": "a@b.example"},
    "people": {
        "coordination": {"mail": "c@b.example", "keys": [KEYS[0]]},
        "secours": {"mail": "s@b.example", "keys": [KEYS[1]]},
    },
    "hosts": {
        "monts": {
            "platform": "yunohost",
            "address": "198.51.100.10",
            "provider": "p",
            "datacenter": "d",
            "yunohost": {
                "main_domain": "atelier.example",
                "settings": {
                    "security.password.passwordless_sudo": True,
                    "email.smtp.smtp_relay_enabled": True,
                    "email.smtp.smtp_relay_host": "relay.example",
                },
                "firewall": {"8448/tcp": {"comment": "Matrix"}, "587/tcp": {"absent": True}},
                "domains": {
                    "atelier.example": {"certificate": "self-signed"},
                    "site.lab.test": {"certificate": "self-signed"},
                    "lab.test": {
                        "certificate": "self-signed",
                        "settings": {"feature.mail.mail_in": False},
                    },
                },
                "operators": {
                    "alice": {"person": "coordination"},
                    "zoe": {"person": "secours", "fullname": "Zoé d'Arc", "domain": "lab.test"},
                },
                "mailboxes": {
                    "contact": {
                        "aliases": ["bonjour@lab.test", "hello@atelier.example"],
                        "forward": ["x@elsewhere.example"],
                        "quota": "2G",
                    },
                    "info": {},
                },
                "groups": {"equipe": {"members": ["zoe", "contact"]}, "vide": {}},
                "permissions": {"mail.main": ["equipe"], "ssh.main": ["admins"]},
            },
        }
    },
    "services": {
        "site": {
            "role": "app",
            "host": "monts",
            "url": "https://site.lab.test",
            "app": {
                "id": "my_webapp",
                "label": "Notre site & co",
                "access": ["visitors"],
                "args": {"with_sftp": True, "password": "secret:sftp", "phpversion": "8.2",
                         "database": "none", "custom_error_file": False},
            },
        },
        "second": {
            "role": "app",
            "host": "monts",
            "url": "https://atelier.example/deux",
            "app": {
                "id": "my_webapp",
                "instance": "my_webapp__2",
                "access": ["equipe"],
                "args": {"with_sftp": False, "phpversion": "none", "database": "none",
                         "custom_error_file": False},
            },
        },
    },
}  # fmt: skip


def wanted_from(file: Path) -> Wanted:
    inventory: Inventory = load(file, {"app": Settings, "mail": MailSettings})
    apps = [s for s in inventory.services_on("monts") if s.role == "app"]
    return wanted(inventory, "monts", [wanted_app(service) for service in apps])


def written(folder: Path, document: dict[str, Any]) -> Wanted:
    file = folder / "inventory.toml"
    file.write_text(dumps(document, depth=5))
    return wanted_from(file)


def deploy(server: Host, want: Wanted) -> list[str]:
    """What a deploy does: look, ask what new apps want to know, do it, say it."""
    now = server.read(want)
    new = to_install(want, now)
    said = server.look(dict.fromkeys(manifest_question(app) for app in new))
    arguments = {}
    for app in new:
        answer = said[manifest_question(app).name]
        assert isinstance(answer, Answer)
        arguments[app.instance] = install_arguments(app, manifest(answer))
    steps = converge(want, now, arguments)
    for step in steps:
        server.does(step.argv, len(step.prompts))
    return [step.text for step in steps]


def test_a_server_becomes_what_is_wanted_and_stays_so(server: Host, tmp_path: Path) -> None:
    want = written(tmp_path, DOCUMENT)
    server.does(commands.user_create("member", "A Member", "lab.test"), prompts=2)
    server.does(commands.user_update("member", add_aliases=["mine@lab.test"]))
    assert len(deploy(server, want)) > 15
    assert deploy(server, want) == []

    # Something else is wanted, and things are to go.
    document = copy.deepcopy(DOCUMENT)
    table = document["hosts"]["monts"]["yunohost"]
    table["mailboxes"]["contact"] = {"aliases": ["hello@atelier.example"], "forward": []}
    table["mailboxes"]["info"] = {"absent": True}
    table["operators"]["zoe"]["absent"] = True
    table["groups"] = {"equipe": {"members": ["contact"]}, "vide": {"absent": True}}
    table["firewall"]["8448/tcp"] = {"absent": True}
    document["services"]["site"]["url"] = "https://lab.test/site"
    document["services"]["site"]["app"]["access"] = ["all_users"]
    document["services"]["site"]["app"]["label"] = "-x"
    document["services"]["second"]["app"]["absent"] = True
    table["domains"]["site.lab.test"] = {"absent": True}
    want = written(tmp_path, document)
    deploy(server, want)
    assert deploy(server, want) == []
    now = server.read(want)
    assert now.accounts["zoe"].keys == ()
    assert "info" not in now.names
    member = read(server.look(QUESTIONS), ["member"]).accounts["member"]
    assert (member.mail, member.aliases) == ("member@lab.test", ("mine@lab.test",))


def test_what_was_deployed_is_what_is_adopted(server: Host, tmp_path: Path) -> None:
    want = written(tmp_path, DOCUMENT)
    server.does(commands.user_create("member", "A Member", "lab.test"), prompts=2)
    deploy(server, want)
    looked = server.look([*QUESTIONS, *BESIDE])
    seen = read(looked, ROLE_NAMES)
    found = adopt(seen, Facts("monts", "198.51.100.10", KEYS[0]), {}, beside=beside(looked, seen))
    file = tmp_path / "adopted.toml"
    file.write_text(found.text())
    again = wanted_from(file)
    assert "member@" not in found.text()
    assert deploy(server, again) == []
    assert set(again.mailboxes["contact"].aliases or ()) == {
        "bonjour@lab.test",
        "hello@atelier.example",
    }
    assert again.operators["zoe"].keys == (f"{KEYS[1]} secours",)


def test_changes_by_hand_are_named(server: Host, tmp_path: Path) -> None:
    want = written(tmp_path, DOCUMENT)
    deploy(server, want)
    before = json.loads(json.dumps(picture(server.read(want), want)))
    assert differences(before, picture(server.read(want), want)) == ()
    server.does(commands.settings_set("email.pop3.pop3_enabled", "yes"))
    server.does(commands.permission_add("my_webapp__2.main", ["all_users"]))
    server.does(commands.user_create("somebody", "Some Body", "lab.test"), prompts=2)
    found = differences(before, picture(server.read(want), want))
    assert [(d.area, d.name) for d in found] == [
        ("setting", "email.pop3.pop3_enabled"),
        ("permission", "my_webapp__2.main"),
    ]
