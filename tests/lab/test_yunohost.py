"""The deploy of a YunoHost server as a whole, over SSH, onto a throwaway host where the tests'
stand-in is YunoHost. What passes here is no claim about YunoHost: `make live` asks the real one.

The tests follow each other on one server.
"""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import roles
from bench.yunohost import run as bench
from deploy import run as deploying
from deploy import text
from deploy.adopt import adopt
from deploy.report import HostReport
from inventories.access import ssh_target
from lab import Lab
from platforms.yunohost import commands
from tests.lab.conftest import new_name
from tools import ssh
from tools.toml import dumps

pytestmark = pytest.mark.lab

HEAD = """
schema = 1
[organisation]
name = "L'Atelier"
contact = "contact@atelier.test"
[people.bench]
mail = "bench@atelier.test"
keys = ["KEY"]
duties = ["deploy", "restore"]
[hosts.far]
platform = "yunohost"
address = "192.0.2.1"
provider = "one"
datacenter = "FAR"
[hosts.far.yunohost]
main_domain = "atelier.test"
[hosts.far.yunohost.operators.bench]
person = "bench"
fullname = "Le banc"
[hosts.far.yunohost.firewall."8448/tcp"]
comment = "Matrix"
[hosts.far.yunohost.domains."old.atelier.test"]
[services.web]
role = "app"
host = "far"
url = "https://web.atelier.test"
[services.web.app]
id = "my_webapp"
access = ["visitors"]
args = { with_sftp = false, phpversion = "8.2", database = "none", custom_error_file = false }
[services.pad]
role = "app"
host = "far"
url = "https://pad.atelier.test"
[services.pad.app]
id = "etherpad"
args = { admin = "bench", password = "secret:service.pad.admin" }
"""


class Far:
    """The server, and the inventory that describes it."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        plain = folder / "plain.toml"
        plain.write_text(
            'schema = 1\n[organisation]\nname = "B"\ncontact = "contact@atelier.test"\n'
            '[hosts.far]\nplatform = "debian"\naddress = "192.0.2.1"\nprovider = "one"\n'
            'datacenter = "FAR"\n'
        )
        self.host = lab.up(roles.load(plain)).hosts["far"]
        key = subprocess.run(
            ("ssh-keygen", "-y", "-f", str(lab.key_file)),
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        given = folder / "far.toml"
        given.write_text(HEAD.replace("KEY", key))
        lab.up(roles.load(given), hosts=[])
        self.file = lab.inventory_file
        self.document: Any = tomllib.loads(self.file.read_text())
        self.table = self.document["hosts"]["far"]["yunohost"]
        self.web = self.document["services"]["web"]["app"]
        bench.prepare(self.host)
        self.state = bench.HOME + "/state.json"

    def write(self) -> None:
        """Write the inventory as `document` says it."""
        self.file.write_text(dumps(self.document, depth=5))

    def now(self) -> Any:
        """The server's state."""
        with ssh.session(ssh_target(self.host)) as connection:
            return json.loads(connection.run(("cat", self.state)).stdout)

    def change(self, **values: Any) -> None:
        """Change it by hand."""
        with ssh.session(ssh_target(self.host)) as connection:
            there = json.loads(connection.run(("cat", self.state)).stdout)
            connection.write(self.state, json.dumps(there | values).encode())

    def yunohost(self, *words: str) -> None:
        with ssh.session(ssh_target(self.host)) as connection:
            connection.run(("/usr/bin/yunohost", *words))

    def deploy(self, *limit: str, dry: bool = False) -> HostReport:
        report = deploying.run(self.file, limit=limit, dry=dry)
        self.said = text.plan(report) if dry else text.result(report)
        return report.hosts["far"]


@pytest.fixture(scope="module")
def far(_sweep: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    lab = Lab(new_name())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEVE_SSH_KEY", str(lab.key_file))
        patch.setenv("RELEVE_IDENTITY", str(lab.key_file))
        try:
            yield Far(lab, tmp_path_factory.mktemp("far"))
        finally:
            lab.down()


def test_what_no_server_can_become_is_told_before_yunohost_is_set_up(far: Far) -> None:
    pad = far.document["services"]["pad"]
    pad["url"] = "https://web.atelier.test/pad"
    far.write()
    report = far.deploy()
    assert report.error is not None
    assert "services.pad.url: YunoHost cannot have it beside that of web" in report.error
    with ssh.session(ssh_target(far.host)) as connection:
        marker = ("test", "-e", commands.INSTALLED_MARKER)
        assert connection.run(marker, check=False).exit_code == 1
    pad["url"] = "https://pad.atelier.test"
    far.write()


def test_an_app_that_fails_leaves_the_others_and_the_host(far: Far) -> None:
    # A blank server cannot say beforehand that there is no such app.
    far.web["id"] = "nothing_of_that_name"
    far.write()
    report = far.deploy()
    assert report.reached_end, report
    assert list(report.services) == ["web"]
    assert "nothing_of_that_name" in report.services["web"].error
    now = far.now()
    assert set(now["apps"]) == {"etherpad"}
    assert now["firewall"]["8448/tcp"]["open"]
    # What saves the host came along all the same.
    with ssh.session(ssh_target(far.host)) as connection:
        connection.run(("test", "-e", "/usr/local/lib/releve/agent.py"))


def test_a_certificate_that_is_refused_leaves_those_after_it(far: Far) -> None:
    far.web["id"] = "my_webapp"
    far.document["services"]["mail"] = {
        "role": "mail",
        "host": "far",
        "url": "https://atelier.test/yunohost/sso",
    }
    far.write()
    key = b'mail._domainkey IN TXT ( "v=DKIM1; k=rsa; "\n "p=MIIB" ) ;\n'
    with ssh.session(ssh_target(far.host)) as connection:
        connection.run(("mkdir", "-p", "/etc/dkim"))
        connection.write("/etc/dkim/atelier.test.mail.txt", key)
    far.change(reachable=["old.atelier.test", "pad.atelier.test", "web.atelier.test"])
    report = far.deploy()
    assert report.ok, report
    now = far.now()
    assert set(now["apps"]) == {"my_webapp", "etherpad"}
    assert {name: domain["certificate"] for name, domain in now["domains"].items()} == {
        "atelier.test": "selfsigned",
        "old.atelier.test": "letsencrypt",
        "pad.atelier.test": "letsencrypt",
        "web.atelier.test": "letsencrypt",
    }
    # What others need to believe its mails, only the server knows.
    name = "mail._domainkey.atelier.test"
    assert report.records == {(name, "TXT"): "v=DKIM1; k=rsa; p=MIIB"}
    (warning,) = [w for w in report.warnings if "Certificates" in w]
    assert "atelier.test" in warning
    assert "pad.atelier.test" not in warning


def test_a_second_deploy_has_nothing_to_do(far: Far) -> None:
    far.change(reachable=["atelier.test"])
    assert far.deploy().ok
    before = bench.starts(far.host)
    report = far.deploy()
    assert (report.ok, report.changes, report.warnings) == (True, [], [])
    assert report.by_hand == ()
    assert bench.starts(far.host) - before <= bench.STARTS


def test_a_mistake_is_told_before_anything_is_changed(far: Far) -> None:
    before = far.now()
    far.document["services"]["web"]["url"] = "https://pad.atelier.test/web"
    far.write()
    report = far.deploy()
    assert report.state == "refused"
    assert "is taken by etherpad there" in report.error
    # Whoever means the other service alone can still work on it.
    assert far.deploy("pad").ok
    assert far.now() == before
    far.document["services"]["web"]["url"] = "https://web.atelier.test"
    far.write()


def test_a_package_that_is_to_come_from_elsewhere_is_told_and_left_to_an_upgrade(far: Far) -> None:
    far.web["source"] = "https://git.example/my_webapp_ynh"
    far.write()
    plan = far.deploy(dry=True)
    assert plan.changes == []
    (warning,) = plan.warnings
    assert "my_webapp is to come from https://git.example/my_webapp_ynh, and is not" in warning
    assert "releve upgrade FILE --service web" in far.said
    del far.web["source"]
    far.write()


def test_what_is_to_go_waits_for_a_deploy_that_means_it(far: Far) -> None:
    far.web["absent"] = True
    far.table["firewall"]["8448/tcp"] = {"absent": True}
    far.table["domains"]["old.atelier.test"] = {"absent": True}
    far.write()
    before = far.now()
    assert far.deploy("pad").ok
    assert far.now() == before
    plan = far.deploy(dry=True)
    assert plan.ok
    for line in ("- app my_webapp, with its data", "- port 8448/tcp", "- domain old.atelier.test"):
        assert line in far.said
    report = far.deploy()
    assert report.ok, report
    now = far.now()
    assert set(now["apps"]) == {"etherpad"}
    assert "old.atelier.test" not in now["domains"]
    assert not now["firewall"]["8448/tcp"]["open"]


def test_what_was_changed_by_hand_is_named_and_undone(far: Far) -> None:
    far.yunohost("user", "permission", "remove", "etherpad.main", "visitors")
    far.yunohost("app", "change-label", "etherpad", "Notes")
    far.deploy(dry=True)
    assert "(a deploy undoes it)" in far.said.partition("permission etherpad.main: ")[2]
    assert "app etherpad: label: etherpad → Notes (a deploy leaves it)" in far.said


def test_a_server_that_is_adopted_needs_no_change(far: Far) -> None:
    target = ssh_target(far.host)
    inside = b'{\n  "port": 9001,\n  "title": "Nos notes"\n}\n'
    with ssh.session(target) as connection:
        connection.run(("mkdir", "-p", "/var/www/etherpad", "/etc/cron.daily"))
        connection.write("/var/www/etherpad/settings.json", inside)
        connection.write("/etc/cron.daily/dump", b"#!/bin/sh\n", mode=0o755)
        connection.write("/root/notes", b"")
        # As somebody left it who was killed.
        connection.run(("install", "-d", "/var/lib/releve-adopt.killed/app"))
        connection.run(("touch", "-d", "1 hour ago", "/var/lib/releve-adopt.killed"))
    found = adopt(target, name="far")
    for line in (
        'inside etherpad (etherpad): title is "Nos notes"',
        "/etc/cron.daily/dump was put there by hand: YunoHost's backups leave it out",
        "/root/notes belongs to no app: YunoHost's backups leave it out",
    ):
        assert line in found.missing
    with ssh.session(target) as connection:
        left = connection.run(("find", "/var/lib", "-maxdepth", "1", "-name", "releve-adopt.*"))
        assert left.stdout == b""
    far.file.write_text(found.text())
    report = deploying.run(far.file, dry=True).hosts["far"]
    told = [line for change in report.changes for line in change.details]
    assert [line for line in told if line.startswith(("~ ", "- ", "+ "))] == []
