"""What was changed by hand is named, nothing else is, and what is offered keeps it."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from platforms.yunohost.converge import converge
from platforms.yunohost.drift import (
    Picture,
    differences,
    is_undone,
    keep,
    picture,
    told,
    undo,
)
from platforms.yunohost.wanted import Wanted
from tests.unit.platforms.yunohost.pretend import Pretended
from tests.unit.platforms.yunohost.test_converge import BASE, KEYS, loaded, usual, wanted_of

TABLE: dict[str, Any] = {
    "settings": {"email.smtp.smtp_relay_host": ""},
    "operators": {"alice": {"person": "coordination"}},
    "domains": {"blog.lab.test": {"certificate": "self-signed"}},
    "groups": {"equipe": {"members": ["alice"]}},
}


def built(folder: Path) -> tuple[Pretended, dict[str, Any], Wanted]:
    document = copy.deepcopy(BASE)
    document["hosts"]["monts"]["yunohost"] = copy.deepcopy(TABLE)
    document["services"] = {
        "site": {
            "role": "app",
            "host": "monts",
            "url": "https://blog.lab.test",
            "app": {"id": "wordpress", "label": "Blog", "access": ["visitors"]},
        }
    }
    state = usual()
    state.groups["equipe"] = ["alice"]
    return state, document, wanted_of(loaded(folder, document))


def seen(state: Pretended, want: Wanted) -> Picture:
    # As it is remembered: through JSON.
    found: Picture = json.loads(json.dumps(picture(state.read(want.accounts), want)))
    return found


def test_nothing_by_hand_is_nothing(tmp_path: Path) -> None:
    state, _, want = built(tmp_path)
    assert differences(seen(state, want), seen(state, want)) == ()
    assert differences({}, seen(state, want)) == ()


def test_a_picture_holds_no_member(tmp_path: Path) -> None:
    state, _, want = built(tmp_path)
    state.groups["equipe"].append("member")
    assert "member" not in json.dumps(seen(state, want))
    assert "private.example" not in json.dumps(seen(state, want))


def by_hand(state: Pretended, what: str) -> None:
    if what == "setting":
        state.settings["email.smtp.smtp_relay_host"] = "relay.example"
    elif what == "domain":
        state.domains["new.lab.test"] = "self-signed"
    elif what == "label":
        state.permissions["wordpress.main"]["label"] = "Other"
    elif what == "access":
        state.permissions["wordpress.main"]["allowed"] = ["all_users"]
    elif what == "url":
        state.apps["wordpress"].update(domain="lab.test", path="/blog")
    elif what == "key":
        state.keys["alice"] = f"{KEYS[1]} new\n"
    elif what == "group":
        state.groups["equipe"] = []
    elif what == "port":
        state.firewall["tcp"][8448] = {"open": True, "comment": "Matrix", "upnp": False}
    elif what == "permission":
        state.permissions["ssh.main"] = {"label": "SSH", "allowed": ["all_users"]}


CASES = {
    "setting": ("setting email.smtp.smtp_relay_host: (nothing) → relay.example", True),
    "domain": ("domain new.lab.test: new", False),
    "label": ("app wordpress: label: Blog → Other", True),
    "access": (
        'permission wordpress.main: ["all_users", "visitors"] → ["all_users"]',
        True,
    ),
    "url": (
        "app wordpress: url: https://blog.lab.test → https://lab.test/blog",
        True,
    ),
    "key": (
        f'admin alice: ["{KEYS[0]}"] → ["{KEYS[1]}"]',
        True,
    ),
    "group": ('group equipe: ["alice"] → (nothing)', True),
    "port": ("port 8448/tcp: new", False),
    "permission": ("permission ssh.main: new", False),
}


@pytest.mark.parametrize("what", CASES)
def test_it_is_named_with_what_a_deploy_does_and_can_be_kept(tmp_path: Path, what: str) -> None:
    state, document, want = built(tmp_path)
    before = seen(state, want)
    by_hand(state, what)
    now = state.read(want.accounts)
    (found,) = differences(before, seen(state, want))
    steps = converge(want, now)
    text, undone = CASES[what]
    assert str(found)[:60] == text[:60]
    assert is_undone(found, steps) is undone
    assert told([found], steps, now, want)[0].endswith(
        "(a deploy undoes it)" if undone else "(a deploy leaves it)"
    )
    # What is offered, put over what was written, leaves nothing to do.
    over(document, tomllib.loads(keep([found], now, want)))
    assert [step.text for step in converge(wanted_of(loaded(tmp_path, document)), now)] == []


# The same where the inventory says nothing of it: a deploy leaves it.
@pytest.mark.parametrize("what", [*CASES, "app", "domain setting"])
def test_what_a_deploy_leaves_can_be_undone(tmp_path: Path, what: str) -> None:
    state, document, want = built(tmp_path)
    state.settings["email.smtp.smtp_relay_host"] = "old.example"
    state.groups["equipe"] = ["alice"]
    state.permissions["ssh.main"] = {"label": "SSH", "allowed": ["admins"]}
    table = document["hosts"]["monts"]["yunohost"]
    for key in ("settings", "groups"):
        del table[key]
    for key in ("label", "access"):
        del document["services"]["site"]["app"][key]
    want = wanted_of(loaded(tmp_path, document))
    before = seen(state, want)
    if what == "app":
        state.apps["wordpress__2"] = {**state.apps["wordpress"], "path": "/second"}
        state.apps["wordpress__2"]["domain"] = "lab.test"
        state.permissions["wordpress__2.main"] = {"label": "Second", "allowed": ["visitors"]}
    elif what == "domain setting":
        state.domain_settings["lab.test"] = {"feature.mail.mail_in": 0}
    else:
        by_hand(state, what)
    now = state.read(want.accounts)
    found = [
        one
        for one in differences(before, seen(state, want))
        if one.area != "permission" or (what in ("access", "permission"))
    ]
    assert found
    left = [one for one in found if not is_undone(one, converge(want, now))]
    said = told(found, converge(want, now), now, want)
    assert ("to undo what a deploy leaves, write instead, and deploy:" in said) is bool(left)
    over(document, tomllib.loads(undo(left, now, want)))
    asked = wanted_of(loaded(tmp_path, document))
    steps = converge(asked, state.read(asked.accounts))
    assert [str(one) for one in found if not is_undone(one, steps)] == []


def over(document: dict[str, Any], part: dict[str, Any]) -> None:
    for key, value in part.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict) and key != "equipe":
            over(document[key], value)
        else:
            document[key] = value


def test_what_yunohost_and_apps_keep_in_files_is_compared(tmp_path: Path) -> None:
    state, _, want = built(tmp_path)
    state.apps["wordpress"]["settings"] = {"phpversion": "8.2", "db_pwd": "hidden"}
    state.relay = "aaaa"
    before = seen(state, want)
    assert "hidden" not in json.dumps(before)
    state.edited = {"/etc/nginx/nginx.conf": "nginx"}
    state.relay = "bbbb"
    state.apps["wordpress"]["settings"] = {"phpversion": "8.3"}
    now = state.read(want.accounts)
    lines = told(differences(before, seen(state, want)), converge(want, now), now, want)
    assert lines == (
        "secret setting smtp_relay_password: another one (a deploy leaves it)",
        "configuration file /etc/nginx/nginx.conf: changed (a deploy leaves it)",
        "inside wordpress: phpversion: 8.2 → 8.3 (a deploy leaves it)",
        "to have a configuration file as YunoHost writes it, on the server:",
        "    yunohost tools regen-conf nginx --force",
    )
    # What an upgrade brings along is no change inside; an older picture knew nothing of files.
    state.apps["wordpress"]["settings"]["update_time"] = 1
    found = differences({"scope": {}, "inside": before["inside"]}, seen(state, want))
    assert found == ()


def test_what_the_inventory_names_since_yesterday_was_not_changed_by_hand(tmp_path: Path) -> None:
    state, document, want = built(tmp_path)
    state.users["contact"] = {**state.users["member"], "username": "contact"}
    state.groups["equipe"].append("contact")
    before = seen(state, want)
    document["hosts"]["monts"]["yunohost"]["mailboxes"] = {"contact": {}}
    assert differences(before, seen(state, wanted_of(loaded(tmp_path, document)))) == ()


def test_what_the_inventory_says_by_now_was_not_done_by_hand(tmp_path: Path) -> None:
    # As after a deploy that was cut off: it is there, and nothing of it was remembered.
    state, _, want = built(tmp_path)
    after = seen(state, want)
    before = copy.deepcopy(dict(after))
    for area, name in (("app", "wordpress"), ("permission", "wordpress.main"), ("group", "equipe")):
        before[area] = {key: value for key, value in after[area].items() if key != name}
    found = differences(before, after)
    assert len(found) == 3
    now = state.read(want.accounts)
    assert told(found, converge(want, now), now, want) == ()
