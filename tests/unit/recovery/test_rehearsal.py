"""What a rehearsal takes along of the real inventory, and what it does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import roles
from inventories.load import dump
from inventories.secrets import Secrets, resolve
from recovery import rehearsal
from roles.mail import settings as mail

INVENTORY = """
schema = 1
[organisation]
name = "Essai"
contact = "contact@example.org"
[people.alix]
mail = "alix@example.org"
keys = ["KEY"]
duties = ["deploy", "restore", "dns", "registrar", "contact"]
[hosts.poste]
platform = "debian"
address = "192.0.2.1"
provider = "here"
datacenter = "here"
[domains."example.org"]
dns = "manual"
[services.courriel]
role = "mail"
host = "poste"
url = "https://mail.example.org"
[services.courriel.settings]
relay = { host = "smtp.example.com", user = "us", password = "secret:relay" }
"""


def test_no_password_of_others_is_taken_along_and_none_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key), check=True)
    monkeypatch.setenv("RELEVE_IDENTITY", str(key))
    real, trial = tmp_path / "real.toml", tmp_path / "trial.toml"
    real.write_text(INVENTORY.replace("KEY", key.with_suffix(".pub").read_text().strip()))
    kept = Secrets.open(real)
    kept.set("relay", "geheim")
    kept.save()
    inventory = roles.load(real)
    dump(rehearsal.variant(inventory, inventory.hosts["poste"]), trial)
    rehearsal.make_up(trial)
    relay = mail.settings(roles.load(trial).services["courriel"]).relay
    assert relay is not None
    made = resolve(relay.password or "", Secrets.open(trial))
    assert len(made) > 20
    assert made != "geheim"
    rehearsal.make_up(trial)
    assert resolve(relay.password or "", Secrets.open(trial)) == made
