"""What a restore leaves in the inventory when it cannot end."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import roles
from backup.restore import Restored
from checks.inside import NOT_LOOKED_AT
from checks.result import Result
from recovery import restore
from recovery.errors import RecoveryError, UsageError
from recovery.steps import NEWEST, insist

INVENTORY = """
schema = 1
[organisation]
name = "Essai"
contact = "contact@example.org"
[people.alix]
mail = "alix@example.org"
keys = ["KEY"]
duties = ["deploy", "restore", "dns", "registrar", "contact"]
[hosts.monts]
platform = "yunohost"
address = "127.0.0.1"
port = 1
host_key = "KEY"
provider = "here"
datacenter = "here"
[hosts.monts.yunohost]
main_domain = "example.org"
[hosts.monts.yunohost.domains."site.example.org"]
certificate = "self-signed"
[domains."example.org"]
dns = "manual"
[services.site]
role = "wordpress"
host = "monts"
url = "https://site.example.org"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    key = tmp_path / "key"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key), check=True)
    monkeypatch.setenv("RELEVE_SSH_KEY", str(key))
    monkeypatch.setenv("RELEVE_IDENTITY", str(key))
    path = tmp_path / "inventory.toml"
    public = key.with_suffix(".pub").read_text().strip()
    path.write_text(INVENTORY.replace("KEY", public))
    return path


MAIL = """
[hosts.poste]
platform = "debian"
address = "127.0.0.1"
port = 1
host_key = "KEY"
provider = "here"
datacenter = "here"
[services.courriel]
role = "mail"
host = "poste"
url = "https://mail.example.org"
"""


def test_mails_wait_while_the_host_they_moved_from_might_send_them(file: Path) -> None:
    key = roles.load(file).hosts["monts"].host_key or ""
    file.write_text(file.read_text() + MAIL.replace("KEY", key))
    inventory = roles.load(file)
    before = inventory.hosts["poste"]
    said: list[str] = []
    # Neither answers here: letting mails out would raise.
    restore._leave(restore._Move(file, inventory, ("courriel",), before, before), said.append)
    assert said[0].startswith("courriel could not be stopped on poste: ")
    assert "waits until somebody says" in said[0]
    assert "mailhost.py let-out" in said[0]
    # What nobody sends from there goes on as it did.
    said.clear()
    monts = inventory.hosts["monts"]
    restore._leave(restore._Move(file, inventory, ("site",), monts, before), said.append)
    assert said == [
        "site still runs on monts too, where nobody comes any more; what was written there after "
        "the copy was made is there only."
    ]


def test_what_fails_after_the_data_is_back_says_that_mails_wait(file: Path) -> None:
    key = roles.load(file).hosts["monts"].host_key or ""
    file.write_text(file.read_text() + MAIL.replace("KEY", key))
    inventory = roles.load(file)
    with (
        pytest.raises(RecoveryError, match=r"^Not well\. What courriel .* let-out$"),
        restore._telling_what_waits(inventory, inventory.hosts["poste"], ["courriel"]),
    ):
        raise RecoveryError("Not well.")


def test_an_address_that_a_service_cannot_have_is_not_left_in_the_inventory(file: Path) -> None:
    service = roles.load(file).services["site"]
    said: list[str] = []
    with pytest.raises(RecoveryError, match="monts"):
        restore._move_address(file, service, "https://new.example.org", said.append)
    assert roles.load(file).services["site"].url == "https://site.example.org"
    assert "as before" in said[-1]


OTHERS = """
[hosts.loin]
platform = "yunohost"
address = "127.0.0.1"
provider = "there"
datacenter = "there"
[hosts.coffre]
platform = "debian"
address = "127.0.0.2"
provider = "there"
datacenter = "there"
roles = ["repository"]
[repositories.coffre]
url = "ssh-append://releve@coffre.example.org/essai"
host = "coffre"
provider = "there"
datacenter = "there"
"""


def test_where_an_address_cannot_change_along_it_says_what_to_do_instead(file: Path) -> None:
    key = roles.load(file).hosts["monts"].host_key or ""
    text = file.read_text().replace("[hosts.monts]\n", '[hosts.monts]\nrepository = "coffre"\n')
    file.write_text(text + MAIL.replace("KEY", key) + OTHERS)
    url = "https://new.example.org"
    with pytest.raises(UsageError, match="is on monts: move it first, without --url"):
        restore.restore(file, ["site"], "loin", url=url)
    with pytest.raises(UsageError, match="restore them one after another"):
        restore.restore(file, [], "monts", url=url)
    poste = roles.load(file).hosts["poste"]
    with pytest.raises(UsageError, match="On poste, write the new url into"):
        restore._refuse_address(file, ["courriel"], poste, NEWEST, url)
    assert roles.load(file).services["site"].url == "https://site.example.org"


def test_no_service_moves_to_where_nothing_would_save_it(file: Path) -> None:
    key = roles.load(file).hosts["monts"].host_key or ""
    text = file.read_text().replace("[hosts.monts]\n", '[hosts.monts]\nrepository = "coffre"\n')
    file.write_text(text + MAIL.replace("KEY", key) + OTHERS)
    before = file.read_bytes()
    for choice in (NEWEST, replace(NEWEST, dry_run=True)):
        with pytest.raises(UsageError, match=r"site cannot move to loin: .* changed:\n") as told:
            restore.restore(file, ["site"], "loin", choice)
        assert "[no-repository] hosts.loin: has services and no repository" in str(told.value)
        assert "hosts.poste" not in str(told.value)  # what is so anyhow is no reason
    assert file.read_bytes() == before


def test_what_would_come_is_said_for_people() -> None:
    sizes = {"/var/lib/releve/restore/site": {"needed": 169900, "free": 67300000000}}
    one = Restored(
        "site", "f82e0123", "r", datetime(2026, 11, 23, 21, 23, 46, tzinfo=UTC), 0, {"posts": 5},
        {}, {}, {}, (), (), (), None, None, sizes, 0.0,
    )  # fmt: skip
    assert restore.summary({"site": one}, dry_run=True) == (
        "site: would come back from f82e0123 of 2026-11-23 21:23:46 UTC\n"
        "  it takes 169.9 kB on the disk of the host, where 67.3 GB are free\n"
        "  it holds 5 posts\n"
    )
    assert "takes" not in restore.summary({"site": one})
    used = {"site": replace(one, live="it holds 7 posts")}
    said = restore.summary(used, dry_run=True)
    assert "site is in use here: it holds 7 posts; without --replace nothing would come" in said
    said = restore.summary(used, dry_run=True, replacing=True)
    assert "it holds 7 posts; this goes over it" in said


def test_all_of_another_host_can_be_meant(file: Path) -> None:
    inventory = roles.load(file)
    empty = inventory.hosts["monts"].model_copy(update={"id": "vide"})
    two = inventory.model_copy(update={"hosts": {**inventory.hosts, "vide": empty}})
    assert restore.chosen(two, (), "vide", "monts") == ("site",)
    with pytest.raises(UsageError, match="--all --from HOST"):
        restore.chosen(two, (), "vide")
    with pytest.raises(UsageError, match="nobody is no host"):
        restore.chosen(two, (), "vide", "nobody")


def test_what_could_not_be_looked_at_is_not_well() -> None:
    shut = Result("monts.ssh", "host", "critical", "gave no status in 30 s")
    fine = Result("site.https", "service", "ok", "answers")
    absent = Result("site.inside", "service", "skipped", "nothing can be asked there")
    insist((shut, fine, absent))
    with pytest.raises(RecoveryError, match=r"site\.login: not looked at"):
        insist((shut, fine, Result("site.login", "service", "skipped", NOT_LOOKED_AT)))
