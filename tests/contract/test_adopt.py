"""The recorded server, described as an inventory: it says what is there, names no member, and
leaves nothing to do."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        "signer": {},
        "keys": {"/home/alice/.ssh/authorized_keys": f"{KEY} laptop\n"},
        "installed-apps": {},
        "installations": {},
        "system-accounts": {},
        "edited": said("nginx /etc/nginx/nginx.conf\n"),
        "secrets": said(""),
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
    assert not any(q.argv[:1] == ("yunohost",) for q in BESIDE)


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


def told(**more: Answer) -> tuple[str, ...]:
    seen = read(looked(), ROLE_NAMES)
    facts = Facts("monts", "198.51.100.10", KEY)
    return adopt(seen, facts, roles_of_apps(), beside=beside({**looked(), **more}, seen)).missing


def said(stdout: str) -> Answer:
    return Answer(("x",), 0, stdout, "")


def with_permissions(change: Callable[[dict[str, Any]], None]) -> tuple[str, ...]:
    """What is not said of the server once its permissions were changed, and a package declares
    one more as WordPress' does."""
    listed = json.loads(recording("119").answer.stdout)
    brought = listed["apps"][0]["manifest"]["resources"]["permissions"]
    brought["admin"] = {"url": "/login", "show_tile": False, "additional_urls": ["/admin"]}
    known = json.loads(recording("135").answer.stdout)
    known["permissions"]["my_webapp.admin"] = {
        **known["permissions"]["wordpress.admin"],
        "label": "My site (admin)",
        "additional_urls": ["site.lab.test/admin"],
    }
    change(known["permissions"]["my_webapp.admin"])
    said = {
        name: dataclasses.replace(recording(COMMANDS[name]).answer, stdout=json.dumps(document))
        for name, document in (("apps", listed), ("permissions", known))
    }
    seen = read({**looked(), **said}, ROLE_NAMES)
    return adopt(seen, Facts("monts", "198.51.100.10", KEY), roles_of_apps()).missing


def test_what_a_package_brings_is_not_listed() -> None:
    lines = with_permissions(lambda _: None)
    assert not any("my_webapp.admin" in line for line in lines)


def test_what_somebody_chose_for_a_permission_is_listed() -> None:
    def change(mine: dict[str, Any]) -> None:
        mine["label"], mine["show_tile"] = "My site (Rédaction)", True
        mine["additional_urls"].append("site.lab.test/more")
        mine["allowed"].append("dave")

    lines = with_permissions(change)
    for line in (
        "1 accounts that have the permission my_webapp.admin by themselves",
        "the label of the permission my_webapp.admin: My site (Rédaction)",
        "the tile of my_webapp.admin, which is shown",
        "further addresses of my_webapp.admin: site.lab.test/more",
    ):
        assert line in lines
    assert not any("dave" in line for line in lines)


def test_aliases_of_a_group_are_listed_but_not_those_that_admins_have_anyway() -> None:
    own = {"members": [], "mail-aliases": ["root@lab.test", "bureau@lab.test"]}
    argv = ("yunohost", "user", "group", "info", "admins")
    lines = told(**{"group:admins": Answer(argv, 0, json.dumps(own), "")})
    assert "mail aliases of the group admins: bureau@lab.test" in lines
    assert not any("root@" in line for line in lines)


def test_what_is_set_for_a_domain_beside_what_we_know_is_listed_by_name() -> None:
    keys = "auth_token\n/etc/yunohost/domains/lab.test.yml\nmail_in\n"
    # sed prints the name of the file before the key.
    keys = "/etc/yunohost/domains/lab.test.yml\nauth_token\nmail_in\n"
    lines = told(**{"domain-keys": said(keys)})
    assert "what is set for the domain lab.test: auth_token" in lines


def test_what_nobody_saves_is_listed() -> None:
    lines = "\n".join(
        told(
            folders=said("/opt/tool\n/opt/yunohost\n/var/www/my_webapp\n/root/.ssh\n/root/keys\n"),
            others=said("/var/lib/docker\n"),
            files=said("/etc/cron.daily/dump\n/etc/cron.d/releve-backup\n"),
            databases=said("MySQL wiki\nMySQL mysql\nMySQL my_webapp\nPostgreSQL postgres\n"),
        )
    )
    for there in ("/opt/tool", "/root/keys", "/var/lib/docker", "/etc/cron.daily/dump", "wiki"):
        assert there in lines
    for known in (
        "/opt/yunohost",
        "/var/www/my_webapp",
        "/root/.ssh",
        "releve-backup",
        "postgres ",
    ):
        assert known not in lines
    assert "the database my_webapp" not in lines


PANEL = """
version = "1.0"
[main.php.fpm_footprint]
type = "select"
default = "low"
[main.php.fpm_usage]
type = "select"
default = "low"
[main.php.phpversion]
type = "select"
[main.php.db_name]
type = "string"
[main.web.custom_error_file]
type = "boolean"
"""


def test_what_somebody_chose_in_a_panel_is_written_or_listed(tmp_path: Path) -> None:
    listed = json.loads(recording("119").answer.stdout)
    listed["apps"][0]["settings"]["fpm_footprint"] = "high"
    path = "/etc/yunohost/apps/my_webapp"
    more: dict[str, Any] = {
        "apps": dataclasses.replace(recording("119").answer, stdout=json.dumps(listed)),
        "panel-options": {f"{path}/config_panel.toml": PANEL},
        "panel-answers": {f"{path}/scripts/config": ""},
    }
    there: Looked = {**looked(), **more}
    found = adopt(read(there, ROLE_NAMES), Facts("monts", "198.51.100.10", KEY), roles_of_apps())
    app = found.document["services"]["my-webapp"]["app"]
    assert app["panel"] == {"main.php.fpm_footprint": "high"}
    # Without a default nobody knows whether somebody chose it.
    assert "in the panel of my_webapp: main.php.db_name is my_webapp" in found.missing
    # Asked when it is installed: see its answers.
    assert not any("phpversion" in line for line in found.missing)
    file = tmp_path / "inventory.toml"
    file.write_text(found.text())
    want = wanted_of(roles.load(file), "monts")
    assert want.panels == ("my_webapp",)
    assert [step.text for step in converge(want, read(there, want.accounts))] == []
