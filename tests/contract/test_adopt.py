"""The recorded server, described as an inventory: it says what is there, names no member, and
leaves nothing to do."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest

import roles
from platforms.yunohost.adopt import BESIDE, ROLE_NAMES, Adopted, Facts, adopt, beside
from platforms.yunohost.answers import Answer
from platforms.yunohost.converge import converge
from platforms.yunohost.errors import YunohostError
from platforms.yunohost.server import QUESTIONS, Looked, read
from roles.apps import roles_of_apps, wanted_of
from tests.contract.recorded import recording
from tests.unit.platforms.yunohost.pretend import certificates

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK3uMX1wH9PNeftBT1wPKMPtPY8R2wsSKlVxWm/vExaK"
# Recordings of one server, whose only admin is Alice.
COMMANDS = {
    "domains": "026", "users": "057", "groups": "082", "permissions": "135", "apps": "119",
    "settings": "159",
}  # fmt: skip


def users() -> Answer:
    """`user list` was recorded before Bob, Carol and Dave were there; 082 knows them."""
    said = json.loads(recording("057").answer.stdout)["users"]
    for name in ("bob", "carol", "dave"):
        said[name] = {
            key: json.loads(json.dumps(value).replace("alice", name).replace("Alice", name))
            for key, value in said["alice"].items()
        }
    return dataclasses.replace(recording("057").answer, stdout=json.dumps({"users": said}))


def looked() -> Looked:
    pems = certificates()
    return {
        **{name: recording(number).answer for name, number in COMMANDS.items()},
        "users": users(),
        "installed": {"/etc/yunohost/installed": ""},
        "versions": dataclasses.replace(recording("016").answer, stdout="yunohost 12.1.25\n"),
        # The file is what the raw list prints; JSON is YAML.
        "firewall": {"/etc/yunohost/firewall.yml": recording("211").answer.stdout},
        "domain-settings": {"/etc/yunohost/domains/site.lab.test.yml": "mail_out: 0\n"},
        "certificates": {
            f"/etc/yunohost/certs/{name}/crt.pem": pems["self-signed"]
            for name in ("lab.test", "blog.lab.test", "site.lab.test")
        }
        | {"/etc/yunohost/certs/other.example/crt.pem": pems["letsencrypt"]},
        "authority": {"/etc/ssl/certs/ca-yunohost_crt.pem": pems["authority"]},
        "keys": {"/home/alice/.ssh/authorized_keys": f"{KEY} laptop\n"},
        "installed-apps": {},
        "installations": {},
        "system-accounts": {},
        "changed-files": recording("187").answer,
    }


def adopted() -> Adopted:
    seen = read(looked(), ROLE_NAMES)
    facts = Facts("monts", "198.51.100.10", KEY)
    return adopt(seen, facts, roles_of_apps(), beside=beside(looked(), seen))


def test_it_says_what_is_there() -> None:
    document = tomllib.loads(adopted().text())
    table = document["hosts"]["monts"]["yunohost"]
    assert table["main_domain"] == "lab.test"
    assert table["firewall"] == {
        "8443/tcp": {"comment": "lab port"},
        "8444/tcp": {"comment": "Manually set without comment"},
    }
    assert table["domains"]["other.example"] == {}
    assert table["domains"]["site.lab.test"] == {
        "certificate": "self-signed",
        "settings": {"feature.mail.mail_out": False},
    }
    assert table["operators"] == {"alice": {"person": "alice", "fullname": "Alice Admin"}}
    assert document["people"]["alice"]["keys"] == [f"{KEY} laptop"]
    # Else nobody would know of its mail, nor move its names when it is lost.
    assert document["services"]["mail"] == {
        "role": "mail",
        "host": "monts",
        "url": "https://lab.test/yunohost/sso",
        "settings": {"domains": ["lab.test", "blog.lab.test", "site.lab.test", "other.example"]},
    }
    # A server as it came has no setting to write down.
    assert "settings" not in table
    assert document["services"]["my-webapp"] == {
        "role": "app",
        "host": "monts",
        "url": "https://site.lab.test",
        "app": {
            "id": "my_webapp",
            "label": "My site",
            "access": ["visitors"],
            "args": {
                "with_sftp": 1,
                "phpversion": "8.2",
                "database": "mysql",
                "custom_error_file": 0,
            },
        },
    }


def test_no_member_and_no_secret_is_in_it() -> None:
    text = adopted().text()
    for word in ("bob", "dave", "carol", "Sftp-Passw0rd-1", "REDACTED"):
        assert word not in text.lower(), word
    assert "3 members" in text


def test_a_deploy_of_it_has_nothing_to_do(tmp_path: Path) -> None:
    file = tmp_path / "inventory.toml"
    file.write_text(adopted().text())
    inventory = roles.load(file)
    want = wanted_of(inventory, "monts")
    assert [step.text for step in converge(want, read(looked(), want.accounts))] == []


def test_at_most_six_commands_start_yunohost() -> None:
    starts = [q for q in QUESTIONS if q.argv[:1] == ("yunohost",)]
    assert len(starts) == 6
    assert sum(q.argv[:1] == ("yunohost",) for q in BESIDE) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_question_that_failed_is_an_error_and_no_empty_server(name: str) -> None:
    failed = recording("205").answer  # not as root
    with pytest.raises(YunohostError):
        read({**looked(), name: failed})


def test_an_app_without_a_panel_has_an_empty_one() -> None:
    seen = read({**looked(), "panel:wordpress": recording("367").answer}, ROLE_NAMES)
    assert seen.panels == {"wordpress": {}}


def test_apps_that_the_list_leaves_out_are_known_by_their_folders() -> None:
    listed = read(looked(), ROLE_NAMES).apps
    found = {f"/etc/yunohost/apps/{name}/settings.yml": "" for name in (*listed, "damaged")}
    assert read({**looked(), "installed-apps": found}, ROLE_NAMES).untold == ("damaged",)
