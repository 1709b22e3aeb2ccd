"""What a rehearsal takes along of the real inventory, and what it does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import roles
from inventories.load import dump
from inventories.secrets import Secrets, resolve
from platforms.yunohost.obstacles import strangers
from platforms.yunohost.server import Server
from platforms.yunohost.wanted import wanted
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


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The public half of a key that opens the secrets."""
    key = tmp_path / "key"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key), check=True)
    monkeypatch.setenv("RELEVE_IDENTITY", str(key))
    return key.with_suffix(".pub").read_text().strip()


SERVER = """
[hosts.monts]
platform = "yunohost"
address = "192.0.2.2"
provider = "here"
datacenter = "here"
[hosts.monts.yunohost.operators.chef]
person = "alix"
fullname = "Chef"
[hosts.monts.yunohost.mailboxes.contact]
fullname = "Contact"
[hosts.monts.yunohost.mailboxes.membre]
fullname = "Member"
"""


def test_an_account_that_a_deploy_made_is_no_stranger_when_it_comes_with_the_data(
    tmp_path: Path, public: str
) -> None:
    real, trial = tmp_path / "real.toml", tmp_path / "trial.toml"
    real.write_text(INVENTORY.replace("KEY", public) + SERVER)
    kept = Secrets.open(real)
    kept.set("host.monts.ynh.contact", "geheim")
    kept.set("host.monts.ynh.chef", "geheim")
    inventory = roles.load(real)
    dump(rehearsal.variant(inventory, inventory.hosts["monts"]), trial)
    rehearsal.make_up(trial, kept.names())
    # As they are there before the deploy of the rehearsal, which has secrets of its own.
    server = Server(True, names=frozenset(("chef", "contact", "membre")))
    found = strangers(wanted(roles.load(trial), "monts"), server, Secrets.open(trial))
    assert [one.path for one in found] == ["hosts.monts.yunohost.mailboxes.membre"]
    assert Secrets.open(trial).get("host.monts.ynh.contact") != "geheim"


def test_no_password_of_others_is_taken_along_and_none_is_missing(
    tmp_path: Path, public: str
) -> None:
    real, trial = tmp_path / "real.toml", tmp_path / "trial.toml"
    real.write_text(INVENTORY.replace("KEY", public))
    kept = Secrets.open(real)
    kept.set("relay", "geheim")
    kept.save()
    inventory = roles.load(real)
    dump(rehearsal.variant(inventory, inventory.hosts["poste"]), trial)
    rehearsal.make_up(trial, kept.names())
    relay = mail.settings(roles.load(trial).services["courriel"]).relay
    assert relay is not None
    made = resolve(relay.password or "", Secrets.open(trial))
    assert len(made) > 20
    assert made != "geheim"
    rehearsal.make_up(trial, kept.names())
    assert resolve(relay.password or "", Secrets.open(trial)) == made
