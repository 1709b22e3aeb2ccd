"""How the duties of hosts are judged."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from inventories.model import Inventory
from roles.base import probes as base
from roles.repository import probes as repository
from roles.watch import probes as watch

GATED = (
    'restrict,command="/usr/local/lib/releve/repository/gate atelier/web1" ssh-ed25519 AAAA web1\n'
)
CLOSED = "table inet x {\n\tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n"


@pytest.mark.parametrize(
    ("judge", "code", "said", "level"),
    [
        (base.judge_ssh, 0, "permitrootlogin without-password\npasswordauthentication no\n", "ok"),
        (base.judge_ssh, 0, "permitrootlogin no\npasswordauthentication yes\n", "critical"),
        (base.judge_ssh, 0, "permitrootlogin yes\npasswordauthentication no\n", "warning"),
        (base.judge_ssh, 255, "", "unknown"),
        (base.judge_ssh, 0, "", "critical"),
        (base.judge_firewall, 0, CLOSED, "ok"),
        (base.judge_firewall, 0, CLOSED.replace("policy drop", "policy accept"), "critical"),
        (base.judge_firewall, 0, "", "critical"),
        (base.judge_firewall, 1, "", "unknown"),
        (base.judge_upgrades, 0, 'APT::Periodic::Unattended-Upgrade "1";\n', "ok"),
        (base.judge_upgrades, 0, 'APT::Periodic::Unattended-Upgrade "0";\n', "warning"),
        (base.judge_upgrades, 0, "", "warning"),
        (repository.judge_keys, 0, GATED + "\n# note\n" + GATED, "ok"),
        (repository.judge_keys, 0, GATED + "ssh-ed25519 AAAA thief\n", "critical"),
        (repository.judge_keys, 0, GATED.replace("restrict,", ""), "critical"),
        (repository.judge_keys, 0, GATED.replace("repository/gate", "other"), "critical"),
        (repository.judge_keys, 0, "", "warning"),
        (repository.judge_keys, 1, "", "critical"),
        (repository.judge_server, 0, "rclone v1.60.1-DEV\n", "ok"),
        (repository.judge_server, 127, "", "critical"),
        (watch.judge_recent, 0, "/var/lib/releve/checks/state.json\n", "ok"),
        (watch.judge_recent, 0, "", "critical"),
        (watch.judge_recent, 1, "", "warning"),
    ],
)
def test_judgements(judge: Any, code: int, said: str, level: str) -> None:
    assert judge(code, said).level == level


def inventory() -> Inventory:
    host = {"platform": "debian", "address": "192.0.2.1", "provider": "p", "datacenter": "d"}
    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "T", "contact": "c@test.example"},
            "hosts": {"vault": host, "web1": host},
            "repositories": {
                "main": {
                    "url": "ssh-append://releve@vault.test.example/t", "host": "vault",
                    "provider": "p", "datacenter": "d",
                }
            },
            "watch": {"every": "10m"},
        }
    )  # fmt: skip


def test_a_repository_host_is_asked_about_each_user_it_keeps_copies_under() -> None:
    inv = inventory()
    names = {p.name: p.argv for p in repository.inside(inv.hosts["vault"], inv)}
    assert names["mode-releve"] == ("stat", "--format=%a", "--", "/srv/releve/releve")
    assert set(names) == {"rclone", "keys-releve", "mode-releve"}
    assert [p.name for p in repository.inside(inv.hosts["web1"], inv)] == ["rclone"]
    mode = {p.name: p for p in repository.inside(inv.hosts["vault"], inv)}["mode-releve"].judge
    assert [mode(0, said).level for said in ("700\n", "750\n", "755\n", "707\n")] == [
        "ok", "ok", "warning", "warning",
    ]  # fmt: skip
    assert mode(1, "").level == "critical"


def test_the_watch_probe_tells_a_fresh_file_from_an_old_one(tmp_path: Path) -> None:
    """The argv, run for real on another file: `find` must print exactly when it is recent."""
    inv = inventory()
    [probe] = watch.inside(inv.hosts["web1"], inv)
    assert probe.argv[-1] == "-32"  # three rounds of ten minutes, and two for the jitter
    state = tmp_path / "state.json"

    def ask() -> str:
        argv = [probe.argv[0], str(state), *probe.argv[2:]]
        ended = subprocess.run(argv, capture_output=True, text=True, check=False)
        return probe.judge(ended.returncode, ended.stdout).level

    assert ask() == "warning"
    state.touch()
    assert ask() == "ok"
    import os
    import time

    os.utime(state, (time.time() - 3600, time.time() - 3600))
    assert ask() == "critical"
