"""From a server just set up to what an inventory wants, by commands that are really run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from platforms.yunohost import arguments
from platforms.yunohost.answers import Answer
from platforms.yunohost.converge import (
    converge,
    install_arguments,
    manifest_question,
    to_install,
)
from platforms.yunohost.errors import YunohostError, checked
from platforms.yunohost.server import QUESTIONS, Server, read
from platforms.yunohost.steps import Step
from platforms.yunohost.wanted import Wanted
from tests.standin.test_standin import Standin, blank, server  # noqa: F401
from tests.unit.platforms.yunohost.test_converge import BASE, loaded, wanted_of

INVENTORY: dict[str, Any] = {
    **copy.deepcopy(BASE),
    "services": {
        "site": {
            "role": "wordpress",
            "host": "monts",
            "url": "https://blog.example",
            "app": {
                "label": "Notre -- site & co",
                "args": {"language": "fr_FR", "admin": "ada", "multisite": False},
            },
        },
        "pad": {
            "role": "app",
            "host": "monts",
            "url": "https://pad.example",
            "app": {
                "id": "etherpad",
                "access": ["all_users"],
                "args": {"admin": "ada", "password": "secret:service.pad.admin"},
            },
        },
    },
}
INVENTORY["hosts"]["monts"]["yunohost"] = {
    "main_domain": "main.example",
    "domains": {"mail.example": {"settings": {"feature.mail.mail_out": 0}}},
    "operators": {
        "ada": {"person": "coordination", "fullname": "Ada L"},
        "bea": {"person": "secours", "fullname": "Béa Le-Goff"},
    },
    "mailboxes": {"contact": {"aliases": ["bonjour@main.example"], "quota": "2G"}},
    "groups": {"equipe": {"members": ["ada", "contact"]}},
    "permissions": {"ssh.main": ["admins", "equipe"]},
    "settings": {"security.password.passwordless_sudo": True, "email.pop3.pop3_enabled": True},
    "firewall": {"8448/tcp": {"comment": "Matrix"}},
}


def look(standin: Standin, wanted: Wanted) -> Server:
    looked: dict[str, Any] = {}
    for question in QUESTIONS:
        if question.files:
            found = standin.root.glob(question.files.removeprefix("/"))
            looked[question.name] = {
                f"/{path.relative_to(standin.root)}": path.read_text() for path in found
            }
        elif question.argv[0] == "yunohost":
            looked[question.name] = standin.run(question.argv)
        else:
            looked[question.name] = Answer(question.argv, 0, "yunohost 12.1.25\n", "")
    return read(looked, wanted.accounts)


def perform(standin: Standin, step: Step) -> None:
    if not step.prompts:
        checked(standin.run(step.argv))
        return
    code, shown = standin.typed(step.argv, *(f"\x15Secret-{name}-1" for name in step.prompts))
    assert "Secret-" not in shown
    checked(Answer(step.argv, code, shown, shown.replace("\r", "")))


def test_a_server_becomes_what_is_wanted_and_stays_so(
    server: Standin,  # noqa: F811
    tmp_path: Path,
) -> None:
    document = copy.deepcopy(INVENTORY)
    want = wanted_of(loaded(tmp_path, document))
    before = look(server, want)
    told = {
        app.instance: install_arguments(
            app, arguments.manifest(checked(server.run(manifest_question(app).argv)))
        )
        for app in to_install(want, before)
    }
    steps = converge(want, before, told)
    assert {step.area for step in steps} == {"settings", "domains", "people", "apps", "system"}
    for step in steps:
        if step.stage == "configure":
            perform(server, step)
    after = look(server, want)
    left = [step for step in converge(want, after) if step.stage == "configure"]
    assert [step.text for step in left] == []
    assert after.apps["etherpad"].url == "https://pad.example"
    assert after.permissions["etherpad.main"].allowed == {"all_users"}
    assert after.accounts["contact"].aliases == ("bonjour@main.example",)
    assert after.groups["equipe"].members == {"ada", "contact"}
    # Nothing secret was on a command line.
    assert "Secret-" not in server.state.with_suffix(".calls").read_text()
    assert server.state.read_text().count("Secret-service.pad.admin-1") >= 1


def test_a_new_server_gets_its_certificates(
    server: Standin,  # noqa: F811
    tmp_path: Path,
) -> None:
    document = copy.deepcopy(BASE)
    described = {"main.example": {"certificate": "letsencrypt"}}
    document["hosts"]["monts"]["yunohost"] = {"main_domain": "main.example", "domains": described}
    want = wanted_of(loaded(tmp_path, document))
    server.change(reachable=["main.example"])
    for step in converge(want, look(server, want)):
        perform(server, step)
    assert look(server, want).domains["main.example"].certificate == "letsencrypt"
    assert converge(want, look(server, want)) == ()


def test_the_network_is_gone_in_the_middle_and_comes_back(
    server: Standin,  # noqa: F811
    tmp_path: Path,
) -> None:
    want = wanted_of(loaded(tmp_path, copy.deepcopy(INVENTORY)))
    before = look(server, want)
    told = {
        app.instance: install_arguments(
            app, arguments.manifest(server.run(manifest_question(app).argv))
        )
        for app in to_install(want, before)
    }
    server.change(offline=True)
    failed = []
    for step in converge(want, before, told):
        if step.stage == "configure":
            try:
                perform(server, step)
            except YunohostError as error:
                failed.append(error.kind)
    # The app, and what was to be done with it.
    assert failed[0] == "download_failed"
    assert set(failed[1:]) <= {"unknown_permission", "unknown_app"}
    server.change(offline=False)
    for step in converge(want, look(server, want), told):
        if step.stage == "configure":
            perform(server, step)
    left = [s for s in converge(want, look(server, want)) if s.stage == "configure"]
    assert [step.text for step in left] == []
