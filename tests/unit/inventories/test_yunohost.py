"""What an inventory says of a YunoHost server: each mistake in our words, and nothing lost."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import roles
from inventories.load import digest, dump
from inventories.problems import InventoryError
from tests.unit.inventories.examples import GOOD
from tests.unit.inventories.test_load import every_place, problems, values
from tools.toml import dumps

TEXT = (
    GOOD.replace('platform = "debian"', 'platform = "yunohost"', 1)
    + """
[hosts.monts.yunohost]
main_domain = "atelier.example"
installer = { url = "https://install.example/now", sha256 = "%s" }
settings = { "security.password.passwordless_sudo" = true, "email.smtp.smtp_relay_port" = 587 }
firewall = { "8448/tcp" = { comment = "Matrix" }, "6881-6889/udp" = { absent = true } }
permissions = { "mail.main" = ["all_users"] }
[hosts.monts.yunohost.domains."forum.atelier.example"]
certificate = "self-signed"
settings = { "feature.mail.mail_in" = 0, "feature.portal.portal_title" = "" }
[hosts.monts.yunohost.operators.claire]
person = "coordination"
[hosts.monts.yunohost.mailboxes.contact]
aliases = ["bonjour@atelier.example"]
quota = "2G"
[hosts.monts.yunohost.groups.equipe]
members = ["claire", "contact"]
[services.site.app]
label = "Site"
access = ["visitors"]
args = { language = "fr_FR", password = "secret:site" }
panel = { "main.php.version" = "8.2" }
"""
    % ("0" * 64)
)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(TEXT)
    inventory = roles.load(file)
    server = inventory.hosts["monts"].yunohost
    assert server is not None
    # True and 1 are two things, and neither is a text.
    assert server.settings == {
        "security.password.passwordless_sudo": True, "email.smtp.smtp_relay_port": 587
    }  # fmt: skip
    assert server.settings["security.password.passwordless_sudo"] is True
    assert server.domains["forum.atelier.example"].settings["feature.mail.mail_in"] is not False
    assert server.groups["equipe"].members == ("claire", "contact")
    assert server.mailboxes["contact"].forward is None
    dump(inventory, tmp_path / "again.toml")
    assert roles.load(tmp_path / "again.toml") == inventory


AT = ("hosts", "monts", "yunohost")


@pytest.mark.parametrize(
    ("steps", "value", "words"),
    [
        ((*AT, "main_domain"), "Not A Domain", "a domain name such as"),
        ((*AT, "main_domian"), "x.example", 'Did you mean "main_domain"?'),
        ((*AT, "installer"), {"url": "https://x.example"}, "sha256: is missing"),
        ((*AT, "installer", "url"), "ftp://install.example", "full address"),
        ((*AT, "installer", "sha256"), "A" * 64, "64 hexadecimal digits"),
        ((*AT, "settings", "no dots here"), 1, "what YunoHost calls it"),
        ((*AT, "settings", "email.pop3.pop3_enabled"), 1.5, "a text in double quotes"),
        ((*AT, "settings", "email.pop3.pop3_enabled"), "secret:../x", "After secret:"),
        ((*AT, "firewall", "8448"), {}, "a port and a protocol"),
        ((*AT, "firewall", "9-8/tcp"), {}, "a port and a protocol"),
        ((*AT, "firewall", "70000/udp"), {}, "a port and a protocol"),
        ((*AT, "domains", "UPPER_case"), {}, "lower-case domain name"),
        ((*AT, "domains", "x.example"), {"certificate": "own"}, '"letsencrypt"'),
        ((*AT, "operators", "claire-marie"), {"person": "coordination"}, "no hyphen"),
        ((*AT, "operators", "claire", "person"), "cordination", 'Did you mean "coordination"?'),
        ((*AT, "operators", "claire"), {}, "person: is missing"),
        ((*AT, "mailboxes", "contact", "quota"), "2 GB", '"2G"'),
        ((*AT, "mailboxes", "contact", "aliases"), ["nobody"], "mail address"),
        ((*AT, "mailboxes", "claire"), {}, "is one of the operators as well"),
        ((*AT, "groups", "equipe", "members"), ["clare"], 'Did you mean "claire"?'),
        ((*AT, "groups", "a.b"), {}, "no hyphen"),
        ((*AT, "permissions", "mail"), ["all_users"], "an app and one of its permissions"),
        (("services", "site", "app", "source"), "https://git.example/x", '"_ynh"'),
        (("services", "site", "app", "branch"), "main", "Branch needs source"),
        (("services", "site", "app", "instance"), "--force", "the app's name on the server"),
        (("services", "site", "app", "args"), {"a b": 1}, "a question in the app's manifest"),
        (("services", "site", "app", "idd"), "x", 'Did you mean "id"?'),
    ],
)
def test_one_mistake_is_one_error_that_says_what_would_be_right(
    tmp_path: Path, steps: tuple[str, ...], value: object, words: str
) -> None:
    document: Any = tomllib.loads(TEXT)
    place = document
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = value
    found = problems(tmp_path / "a.toml", dumps(document, depth=5))
    assert any(words in line for line in found), found
    assert len(found) == 1, found


def test_an_absent_mailbox_is_in_no_group(tmp_path: Path) -> None:
    document: Any = tomllib.loads(TEXT)
    document["hosts"]["monts"]["yunohost"]["mailboxes"]["contact"] = {"absent": True}
    (found,) = problems(tmp_path / "a.toml", dumps(document, depth=5))
    assert "groups.equipe.members[1]" in found


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([p for p in every_place(tomllib.loads(TEXT)) if "yunohost" in p or "app" in p]),
    values,
)
def test_no_value_raises_anything_but_our_error(
    tmp_path: Path, steps: tuple[str, ...], value: object
) -> None:
    document: Any = copy.deepcopy(tomllib.loads(TEXT))
    place = document
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = value
    file = tmp_path / "a.toml"
    file.write_text(dumps(document), encoding="utf-8")
    try:
        inventory = roles.load(file)
    except InventoryError:
        pass
    else:
        roles.judge(inventory)
        dump(inventory, tmp_path / "again.toml")
        assert digest(roles.load(tmp_path / "again.toml")) == digest(inventory)
