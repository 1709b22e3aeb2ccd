"""Services that are apps of YunoHost: what is installed, what is set, what is saved, how answers
are judged."""

from __future__ import annotations

import importlib.util
import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from platforms.yunohost.answers import Answer
from platforms.yunohost.arguments import Manifest, Question
from platforms.yunohost.converge import install_arguments, unfit
from roles.app import common
from roles.app import yunohost as any_app
from roles.app.deploy import Answers, parse_answers
from roles.apps import apps_on, found_inside, lacking, needs_of, settings_of, wanted_of
from roles.cryptpad import probes as cryptpad
from roles.discourse import probes as discourse
from roles.interface import Absent, Finding, OnPlatform, Record, State
from roles.mail import probes as mail
from roles.mail.records import published_key
from roles.mail.server import Keys
from roles.nextcloud import probes as nextcloud
from roles.registry import SERVICES
from roles.wordpress import yunohost as wordpress

# What the packages ask for, by their manifest.toml: name, type, choices.
ASKED: Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "wordpress": (
        ("domain", "domain", ()),
        ("path", "path", ()),
        ("init_main_permission", "group", ()),
        ("language", "select", ("de_DE", "en_US", "es_ES", "fr_FR", "it_IT", "pt_PT", "pt_BR")),
        ("admin", "user", ()),
        ("multisite", "boolean", ()),
    ),
    "nextcloud": (
        ("domain", "domain", ()),
        ("path", "path", ()),
        ("admin", "user", ()),
        ("init_main_permission", "group", ()),
        ("user_home", "boolean", ()),
    ),
    "discourse": (
        ("domain", "domain", ()),
        ("path", "path", ()),
        ("init_main_permission", "group", ()),
        ("admin", "user", ()),
    ),
    "cryptpad": (("domain", "domain", ()), ("init_main_permission", "group", ())),
    "etherpad": (
        ("domain", "domain", ()),
        ("init_main_permission", "group", ()),
        ("language", "select", ("ca", "de", "en", "es", "fr", "gl", "hu", "it", "nl", "pt")),
        ("admin", "user", ()),
        ("password", "password", ()),
    ),
}


def inventory(services: Mapping[str, Mapping[str, Any]]) -> Inventory:
    """A server with these services: name -> {role, settings, app}."""
    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "L'Atelier", "contact": "c@test.example"},
            "people": {"ana": {"mail": "ana@test.example"}},
            "hosts": {
                "monts": {
                    "platform": "yunohost", "address": "192.0.2.1", "provider": "p",
                    "datacenter": "d",
                    "yunohost": {
                        "main_domain": "test.example",
                        "operators": {"ana": {"person": "ana"}},
                        "mailboxes": {"forum": {}, "contact": {"domain": "other.example"}},
                    },
                }
            },
            "services": {
                name: {
                    "role": about["role"],
                    "host": "monts",
                    "url": f"https://{name}.test.example",
                    "settings": SERVICES[about["role"]].settings.model_validate(
                        about.get("settings", {})
                    ),
                    "app": about.get("app"),
                }
                for name, about in services.items()
            },
        }
    )  # fmt: skip


def one(
    role: str, settings: Mapping[str, Any] | None = None, app: Mapping[str, Any] | None = None
) -> tuple[Service, Inventory, OnPlatform]:
    inv = inventory({"it": {"role": role, "settings": settings or {}, "app": app}})
    return inv.services["it"], inv, SERVICES[role].on["yunohost"]


def wanted(role: str, settings: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    service, inv, on = one(role, settings)
    assert not isinstance(on.settle, Absent)
    [setting] = on.settle(service, inv)
    return setting.wanted


def state_of(role: str, settings: Mapping[str, Any] | None = None) -> State:
    service, inv, on = one(role, settings, {"id": "hextris"} if role == "app" else None)
    assert not isinstance(on.state, Absent)
    return on.state(service, inv)


def test_what_wordpress_updates_by_itself_and_who_hears_of_it() -> None:
    kinds = ("minor", "major", "plugins", "themes")
    for said, on in (("all", kinds), ("minor", ("minor",)), ("none", ())):
        asked = wanted("wordpress", {"updates": said})
        assert {kind: asked[f"updates:{kind}"] for kind in kinds} == {
            kind: kind in on for kind in kinds
        }
    plain = wanted("wordpress")
    assert not any(name.startswith("updates:") for name in plain)
    # Without a word of its own, the organisation hears of it.
    _, inv, _ = one("wordpress")
    assert plain["admin_email"] == inv.organisation.contact
    assert wanted("wordpress", {"admin_mail": "web@a.example"})["admin_email"] == "web@a.example"


@pytest.mark.parametrize("role", ["wordpress", "etherpad", "nextcloud", "discourse", "cryptpad"])
def test_whatever_is_set_inside_an_app_can_be_told_of_one_that_was_found(role: str) -> None:
    service, inv, on = one(role, {}, {"found": True})
    assert list(found_inside(inv, service.host)) == ["it"]
    assert not isinstance(on.tells, Absent)
    told, settled = on.tells(service), wanted(role)
    # What only Relève needs, and which apps an admin switches on, are no choice of somebody's.
    assert {n for n in settled if not n.startswith(("interface", "enabled:"))} <= set(told.wanted)
    assert found_inside(one(role)[1], service.host) == {}
    usual = Answer((), 0, json.dumps(dict(told.wanted)), "")
    assert ynh.set_by_somebody(told, usual) == ()
    refused = Answer((), 1, "", "Traceback\ngone\n")
    assert ynh.set_by_somebody(told, refused) == ("it could not be asked: gone",)
    name = next(iter(told.wanted))
    now = Answer((), 0, json.dumps({**told.wanted, name: "other"}), "")
    assert ynh.set_by_somebody(told, now) == (f'{name} is "other"',)


def test_what_was_found_stays_as_it_is_until_something_is_written() -> None:
    for role, needed in (("wordpress", set()), ("etherpad", {"interface"}), ("nextcloud", set())):
        service, inv, _ = one(role, {}, {"found": True})
        assert {n for s in settings_of(service, inv) for n in s.wanted} == needed
    service, inv, _ = one("wordpress", {"title": "Nous"}, {"found": True})
    assert {"blogname", "locale"} <= {n for s in settings_of(service, inv) for n in s.wanted}
    service, inv, _ = one("wordpress")
    assert "locale" in {n for s in settings_of(service, inv) for n in s.wanted}


# --- what is installed -----------------------------------------------------------------------


@pytest.mark.parametrize("role", ASKED)
def test_every_question_of_a_package_is_answered_and_no_other(role: str) -> None:
    service, inv, on = one(role)
    assert not isinstance(on.app, Absent)
    about = Manifest(
        id=role,
        version="1",
        questions=tuple(
            Question(name, kind, name, optional=False, default=None, choices=choices)
            for name, kind, choices in ASKED[role]
        ),
        unmet=(),
        multi_instance=True,
    )
    arguments = install_arguments(on.app(service, inv), about)
    answers = dict(part.split("=", 1) for part in arguments.args.split("&"))
    asked = {name for name, kind, _ in ASKED[role] if kind != "password"}
    assert set(answers) == asked
    assert answers["domain"] == "it.test.example"
    assert answers["init_main_permission"] == "visitors"
    if "admin" in asked:
        assert answers["admin"] == "ana"
    # A password is typed, never an argument.
    assert "password" not in arguments.args


def test_what_only_some_releases_of_a_package_ask_is_answered_where_it_is_asked() -> None:
    service, inv, on = one("etherpad", app={"args": {"language": "fr"}})
    assert not isinstance(on.app, Absent)
    # etherpad_ynh 2.5.3, the last one for YunoHost before 12.1.38.
    more = (("path", "path", ()), ("export", "select", ("none", "libreoffice")))
    asked = [
        Question(name, kind, name, optional=False, default=None, choices=choices)
        for name, kind, choices in (*ASKED["etherpad"], *more)
    ]
    about = Manifest("etherpad", "2.5.3~ynh1", tuple(asked), (), multi_instance=True)
    arguments = install_arguments(on.app(service, inv), about)
    assert "export=none" in arguments.args.split("&")


def test_the_inventory_has_the_last_word_over_a_role() -> None:
    said = {"label": "Site", "access": ["all_users"], "args": {"language": "it_IT"},
            "instance": "wordpress__2"}  # fmt: skip
    service, inv, on = one("wordpress", app=said)
    assert not isinstance(on.app, Absent)
    app = on.app(service, inv)
    assert (app.instance, app.label, app.access) == ("wordpress__2", "Site", ("all_users",))
    assert app.args["language"] == "it_IT"
    assert "/var/www/wordpress__2" in wordpress.program(service, "counts")


def test_an_app_of_the_catalog_must_be_named() -> None:
    service, inv, _ = one("app")
    with pytest.raises(ValueError, match=r"services\.it\.app\.id"):
        any_app.app(service, inv)


def test_what_services_ask_of_the_server_is_taken_together() -> None:
    inv = inventory(
        {
            "courriel": {"role": "mail", "settings": {"domains": ["test.example", "b.example"],
                         "relay": {"host": "relay.example", "user": "u", "password": "secret:r"}}},
            "forum": {"role": "discourse", "settings": {"mailbox": "forum"}},
            "site": {"role": "wordpress"},
        }
    )  # fmt: skip
    needs = needs_of(inv, "monts")
    assert needs.settings["email.pop3.pop3_enabled"] is True
    assert needs.settings["email.smtp.smtp_relay_password"] == "secret:r"
    assert set(needs.domains) == {"test.example", "b.example", "courriel.test.example"}
    assert needs.mailboxes == ("forum",)
    assert lacking(inv) == ()
    del inv.hosts["monts"].yunohost.mailboxes["forum"]  # type: ignore[union-attr]
    (judged,) = lacking(inv)
    assert (judged.level, judged.path) == ("error", "services.forum.settings")
    # Mail is no app; the rest in the order of the registry.
    assert [app.instance for app in apps_on(inv, "monts")] == ["wordpress", "discourse"]


# --- what is set -----------------------------------------------------------------------------


def test_nextcloud_gets_what_its_package_takes_back() -> None:
    found = wanted(
        "nextcloud",
        {
            "apps": ["calendar"],
            "without": ["weather_status"],
            "quota": "5 GB",
            "sender": "cloud@test.example",
            "relay": {"host": "h", "user": "u", "password": "secret:smtp"},
        },
    )
    assert found["system:default_phone_region"] == "FR"
    assert found["system:default_language"] == "fr"
    assert found["app:core:backgroundjobs_mode"] == "cron"
    assert found["system:mail_from_address"] == "cloud"
    assert found["system:mail_domain"] == "test.example"
    assert found["system:mail_smtppassword"] == ynh.Secret("smtp")
    assert found["app:files:default_quota"] == "5 GB"
    assert (found["enabled:calendar"], found["enabled:weather_status"]) == (True, False)


def test_discourse_reads_a_mailbox_of_its_server() -> None:
    found = wanted(
        "discourse",
        {"mailbox": "contact", "new_topics": {"general": "forum@other.example"},
         "mailing_list": True, "chat": False},
    )  # fmt: skip
    assert found["pop3_polling_username"] == "contact"
    assert found["pop3_polling_host"] == "test.example"
    assert found["pop3_polling_password"] == ynh.Secret("host.monts.ynh.contact")
    assert found["reply_by_email_address"] == "contact+%{reply_key}@other.example"
    # Discourse refuses a reply address in the mailbox that it sends as.
    assert found["notification_email"] == "noreply@test.example"
    assert found["category_mail:general"] == "forum@other.example"
    assert (found["email_in"], found["chat_enabled"]) == (True, False)
    assert found["default_email_mailing_list_mode"] is True


def test_discourse_without_a_mailbox_polls_nothing() -> None:
    found = wanted("discourse")
    assert not any(name.startswith(("pop3", "reply")) for name in found)
    assert found["notification_email"] == "noreply@test.example"
    with pytest.raises(ValueError, match="needs mailbox"):
        SERVICES["discourse"].settings.model_validate({"new_topics": {"a": "a@test.example"}})


def test_cryptpad_leaves_alone_what_the_inventory_does_not_say() -> None:
    assert wanted("cryptpad") == {}
    key = f"[ana@pad.test.example/{'A' * 43}=]"
    found = wanted("cryptpad", {"quota": "2 GB", "closed": True, "admins": [key]})
    assert found == {
        "defaultStorageLimit": 2 * 1024**3, "restrictRegistration": True, "adminKeys": [key],
    }  # fmt: skip
    with pytest.raises(ValueError, match="public key"):
        SERVICES["cryptpad"].settings.model_validate({"admins": ["ana"]})


def test_secrets_are_compared_by_fingerprint_and_never_shown() -> None:
    secret = ynh.setting("s", ("p",), {"word": ynh.Secret("x"), "plain": 1})
    kept = {"x": "correct horse"}.__getitem__
    said = json.dumps({"word": ynh.fingerprint("word", "correct horse"), "plain": "1"})
    assert ynh.differences(secret, 0, said, kept) == ()
    wrong = json.dumps({"word": ynh.fingerprint("word", "battery"), "plain": "1"})
    assert ynh.differences(secret, 0, wrong, kept) == ("s: word: secret, not shown",)
    assert ynh.resolved(secret, kept) == {"word": "correct horse", "plain": 1}
    words = " ".join((*secret.read, *secret.write))
    assert "correct horse" not in words
    # Another name, another fingerprint: nobody sees that two passwords are the same.
    assert ynh.fingerprint("other", "correct horse") not in said


def test_what_cannot_be_asked_counts_as_different() -> None:
    setting = ynh.setting("s", ("p",), {"a": 1})
    for code, text in ((127, ""), (0, ""), (0, "Warning"), (0, "[]")):
        assert ynh.differences(setting, code, text, str) == ("s: a (cannot be asked yet)",)
    assert ynh.differences(setting, 0, '{"a": 2}', str) == ("s: a: 2 -> 1",)
    assert ynh.differences(setting, 0, "{}", str) == ("s: a: nothing -> 1",)
    assert ynh.differences(ynh.setting("s", ("p",), {}), 127, "", str) == ()


SAME = [
    (True, "yes", True), (True, "1", True), (False, "", True), (False, "f", True),
    (True, "maybe", False), (False, None, True), (1, "1", True), (1, "1.0", False),
    ("a", "a", True), ("a", None, False), (["b"], ["b"], True), (0, False, True),
]  # fmt: skip


@pytest.fixture(scope="module")
def on_host() -> ModuleType:
    """What the programs on the host share."""
    spec = importlib.util.spec_from_file_location("apps", "platforms/yunohost/files/apps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("right", "here", "expected"), SAME)
def test_values_are_compared_alike_here_and_there(
    right: Any, here: Any, expected: bool, on_host: ModuleType
) -> None:
    assert ynh.same(here, right) is expected
    assert on_host.same(here, right) is expected


def test_fingerprints_are_the_same_here_and_there(on_host: ModuleType) -> None:
    assert on_host.fingerprint("n", "é ☃") == ynh.fingerprint("n", "é ☃")


@pytest.mark.parametrize("kept", ["data_dir", "install_dir", None])
def test_the_note_of_a_copy_lies_where_the_copy_goes(
    kept: str | None, on_host: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apps", on_host)
    monkeypatch.setattr(on_host, "APPS", str(tmp_path))
    program = runpy.run_path("roles/app/files/app.py")
    settings = tmp_path / "redirect"
    settings.mkdir()
    (settings / "settings.yml").write_text(f"id: redirect\n{kept or 'x'}: {tmp_path}/there\n")
    (tmp_path / "there").mkdir()
    place = tmp_path / "there" if kept else settings
    program["plant"](["redirect", "run-1", "2030-01-01T00:00:00Z"])
    assert '"run-1"' in (place / program["NOTE"]).read_text()


def test_answers_of_several_questions_are_told_apart() -> None:
    asked = (("echo", '{"a": 1}'), ("sh", "-c", "printf '5\\nreleve'; exit 3"), ("/no/such",))
    shell = Answers().command(asked)
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert parse_answers(done.stdout.splitlines()) == [
        (0, '{"a": 1}'),
        (3, "5\nreleve"),
        (127, ""),
    ]
    assert done.stderr == ""


# --- what is saved ---------------------------------------------------------------------------


@pytest.mark.parametrize("role", [*ASKED, "app"])
def test_an_app_comes_with_the_archive_and_what_lies_beside_it_does_not(role: str) -> None:
    state = state_of(role)
    [archive] = state.archive
    instance = "hextris" if role == "app" else role
    assert archive.parts == (f"apps/{instance}",)
    for path in state.paths:
        assert f"/home/yunohost.backup/tmp/releve/apps/{instance}/backup{path}" in state.excludes
    assert state.counts
    assert state.versions


def test_what_is_written_while_it_is_copied_is_held_still() -> None:
    cloud, pad, forum = (state_of(r).quiesce[0] for r in ("nextcloud", "etherpad", "discourse"))
    assert (cloud.do[-1], cloud.undo[-1], cloud.at_most) == ("hold", "free", 4 * 3600)
    assert "etherpad.service" in pad.do
    assert "etherpad.service" in pad.undo
    assert (forum.do[-1], forum.undo[-1]) == ("hold", "free")
    assert state_of("nextcloud").paths == ("/home/yunohost.app/nextcloud",)
    # It is started, and waited for, while YunoHost restores it: its pads must come with it.
    assert state_of("etherpad").paths == ()
    assert (pad.answers, forum.answers) == (False, True)


def test_units_of_any_app_stop_only_for_data_beside_it() -> None:
    assert state_of("app", {"units": ["gitea.service"]}).quiesce == ()
    found = state_of("app", {"units": ["gitea.service"], "data": ["/home/yunohost.app/gitea"]})
    assert "gitea.service" in found.quiesce[0].do
    with pytest.raises(ValueError, match=r"\.\."):
        SERVICES["app"].settings.model_validate({"data": ["/home/../etc"]})


def test_mailboxes_are_not_saved_twice() -> None:
    state = state_of("mail")
    assert state.paths == ("/var/mail",)
    assert state.archive == ()
    assert "/home/yunohost.backup/tmp/releve/data/mail" in state.excludes


def test_where_an_app_may_send_people() -> None:
    """`redirect` is nothing but a way to its target; any other is not well elsewhere."""

    def elsewhere(settings: Mapping[str, Any], **app: Any) -> list[str]:
        service, inv, _ = one("app", settings, app)
        return [x for p in any_app.outside(service, inv) for x in getattr(p, "elsewhere", ())]

    target = {"redirect_type": "redirect", "target": "https://Out.example:8443/a"}
    assert elsewhere({}, id="redirect", args=target) == ["out.example"]
    assert elsewhere({"elsewhere": ["b.example"]}, id="redirect", args=target) == [
        "b.example", "out.example"
    ]  # fmt: skip
    assert elsewhere({}, id="redirect", args={"target": "https://[oops"}) == []
    assert elsewhere({}, id="hextris", args=target) == []
    assert elsewhere({"elsewhere": ["b.example"]}, id="hextris") == ["b.example"]


# --- names -----------------------------------------------------------------------------------


def test_cryptpad_needs_its_second_name_too() -> None:
    service, inv, _ = one("cryptpad")
    assert cryptpad.dns(service, inv) == (
        Record("it.test.example", "A", ("192.0.2.1",)),
        Record("sandbox.it.test.example", "A", ("192.0.2.1",)),
    )
    assert "sandbox.it.test.example" in {
        getattr(p, "host", "") for p in cryptpad.outside(service, inv)
    }
    # One certificate for both: YunoHost does not know the second one as a domain.
    want = wanted_of(inv, service.host)
    assert want.names == {"it.test.example": ("sandbox.it.test.example",)}
    assert want.part([service.id]).names == want.names
    assert want.part([]).names == {}


def test_mail_needs_mx_and_the_policy_that_the_inventory_says() -> None:
    service, inv, _ = one(
        "mail", {"domains": ["a.example"], "dmarc": {"policy": "reject", "reports": "r@a.example"}}
    )
    found = mail.dns(service, inv)
    assert Record("a.example", "MX", ("10 test.example",)) in found
    assert (
        Record("_dmarc.a.example", "TXT", ("v=DMARC1; p=reject; rua=mailto:r@a.example",)) in found
    )
    # Others' TXT records share the name with SPF, and stay.
    assert Record("a.example", "TXT", ("v=spf1 a mx -all",), prefix="v=spf1") in found
    plain = mail.dns(*one("mail")[:2])
    # Any policy will do when nobody says which.
    free = Record("_dmarc.test.example", "TXT", ("v=DMARC1; p=none",), prefix="v=DMARC1", any=True)
    assert free in plain
    # The main domain follows its server, too.
    assert Record("test.example", "A", ("192.0.2.1",)) in found
    relayed = mail.dns(*one("mail", {"relay": {"host": "out.example"}})[:2])
    assert [r.values for r in relayed if r.prefix == "v=spf1"] == [("v=spf1 a mx ~all",)]
    sender = {"relay": {"host": "out.example"}, "spf": "v=spf1 a mx include:out.example -all"}
    said = mail.dns(*one("mail", sender)[:2])
    assert [r.values for r in said if r.prefix == "v=spf1"] == [(sender["spf"],)]


def test_what_a_server_signs_with_is_read_from_its_own_file() -> None:
    lines = [
        'mail._domainkey\tIN\tTXT\t( "v=DKIM1; h=sha256; k=rsa; "',
        '\t  "p=MIIB"',
        '\t  "Ig==" )',
    ]
    found = Keys().process(["; a.example", *lines, "; b.example"])
    assert {name: published_key(text) for name, text in found.items()} == {
        "a.example": "v=DKIM1; h=sha256; k=rsa; p=MIIBIg==",
        "b.example": "",
    }


@pytest.mark.parametrize(
    ("spf", "level"),
    [
        ("v=spf1 -all", "critical"),
        ("v=spf1 ?all", "critical"),
        ("v=spf1 -a -all", "critical"),
        ("v=spf1 a mx -all", "ok"),
        ("v=spf1 include:out.example ~all", "ok"),
        ("v=spf1 redirect=out.example", "ok"),
        ("v=spf1 ip4:192.0.2.1 -all", "ok"),
    ],
)
def test_an_spf_record_that_lets_nobody_send_is_none(spf: str, level: str) -> None:
    one_domain = {
        "spf": [spf],
        "dkim": ["v=DKIM1; p=AAA"],
        "dmarc": ["v=DMARC1; p=none"],
        "key": "AAA",
    }
    assert mail.judge_records(0, json.dumps({"a.example": one_domain})).level == level


# --- how answers are judged ------------------------------------------------------------------

Judge = Callable[[int, str], Finding]
STATUS = {"installed": True, "maintenance": False, "needsDbUpgrade": False, "versionstring": "33"}
CLOUD = {"installed": True, "maintenance": False, "needsDbUpgrade": False, "version": "33",
         "jobs_age_s": 60}  # fmt: skip
FORUM = {"queued": 0, "job_age_s": 10, "mailbox_errors": 0, "readonly": False, "held": False}
RECORDS = {
    "a.example": {"spf": ["v=spf1 a mx -all", "other"], "dkim": ["v=DKIM1; p=AAAB"],
                  "dmarc": ["v=DMARC1; p=none"], "key": "AAAB"}
}  # fmt: skip
CODE = {"version": "6.9", "compared": True, "changed": [], "missing": [], "unknown": []}


forum_state = partial(discourse.judge_state, "discourse__2")


@pytest.mark.parametrize(
    ("change", "status", "level"),
    [
        ({}, 200, "ok"), ({"installed": False}, 200, "critical"),
        ({"maintenance": True}, 503, "critical"), ({"needsDbUpgrade": True}, 200, "critical"),
        ({}, 500, "critical"), ({"versionstring": None, "installed": None}, 200, "critical"),
    ],
)  # fmt: skip
def test_nextcloud_status(change: Any, status: int, level: str) -> None:
    body = json.dumps({**STATUS, **change}).encode()
    assert nextcloud.judge_status("nextcloud", status, {}, body).level == level


@pytest.mark.parametrize(
    ("status", "headers", "level"),
    [
        (401, {"WWW-Authenticate": 'Basic realm="Nextcloud"'}, "ok"),
        (302, {"Location": "https://x/yunohost/sso/"}, "critical"),
        (401, {}, "critical"),
        (502, {}, "critical"),
    ],
)
def test_nextcloud_dav(status: int, headers: Any, level: str) -> None:
    assert nextcloud.judge_dav(status, headers, b"").level == level


CLOUDS = partial(nextcloud.judge_state, "nextcloud__2")
CODES = partial(wordpress.judge_code, "wordpress__2")


@pytest.mark.parametrize(
    ("judge", "well", "change", "level"),
    [
        (CLOUDS, CLOUD, {}, "ok"),
        (CLOUDS, CLOUD, {"jobs_age_s": 3600}, "ok"),
        (CLOUDS, CLOUD, {"jobs_age_s": 3601}, "warning"),
        (CLOUDS, CLOUD, {"jobs_age_s": None}, "warning"),
        (CLOUDS, CLOUD, {"maintenance": True}, "warning"),
        (CLOUDS, CLOUD, {"needsDbUpgrade": True}, "critical"),
        (CLOUDS, CLOUD, {"installed": False}, "critical"),
        (forum_state, FORUM, {}, "ok"),
        (forum_state, FORUM, {"queued": 3}, "ok"),
        (forum_state, FORUM, {"queued": 3, "job_age_s": 121}, "critical"),
        (forum_state, FORUM, {"queued": 3, "job_age_s": None}, "critical"),
        (forum_state, FORUM, {"queued": 3, "job_age_s": 900, "held": True}, "ok"),
        (forum_state, FORUM, {"mailbox_errors": 1}, "warning"),
        (forum_state, FORUM, {"readonly": True}, "warning"),
        (forum_state, FORUM, {"readonly": True, "held": True}, "ok"),
        (forum_state, FORUM, {"queued": 100_000}, "warning"),
        (mail.judge_queue, {"waiting": 0, "oldest_s": None, "why": ""}, {}, "ok"),
        (mail.judge_queue, {"waiting": 2, "oldest_s": 60, "why": ""}, {}, "ok"),
        (mail.judge_queue, {"waiting": 2, "oldest_s": 5 * 3600, "why": "x"}, {}, "warning"),
        (mail.judge_queue, {"waiting": 2, "oldest_s": 30 * 3600, "why": "x"}, {}, "critical"),
        (mail.judge_queue, {"waiting": 900, "oldest_s": 60, "why": ""}, {}, "warning"),
        (
            mail.judge_queue,
            {"waiting": 1, "oldest_s": 9, "why": "SASL authentication failed; server x said: 535"},
            {},
            "critical",
        ),
        (mail.judge_reverse, {"name": "m.x", "addresses": {"192.0.2.1": ["m.x"]}}, {}, "ok"),
        (mail.judge_reverse, {"name": "m.x", "addresses": {"192.0.2.1": ["y"]}}, {}, "warning"),
        (mail.judge_reverse, {"name": "m.x", "addresses": {"192.0.2.1": None}}, {}, "warning"),
        (CODES, CODE, {}, "ok"),
        (CODES, CODE, {"changed": ["wp-login.php"]}, "critical"),
        (CODES, CODE, {"unknown": ["wp-includes/x.php"]}, "critical"),
        (CODES, CODE, {"missing": ["wp-cron.php"]}, "critical"),
        (CODES, CODE, {"compared": False}, "warning"),
        (common.judge_installed, {"version": "1~ynh1", "folders": {}, "backup": True}, {}, "ok"),
        (common.judge_installed, {"version": "1", "folders": {"install_dir": False},
                                  "backup": True}, {}, "critical"),
        (common.judge_installed, {"version": "1", "folders": {}, "backup": False}, {}, "warning"),
        (cryptpad.judge_sandbox, {"name": "s", "addresses": ["192.0.2.1"], "tls": "", "days": 60},
         {}, "ok"),
        (cryptpad.judge_sandbox, {"name": "s", "addresses": [], "tls": "", "days": 60}, {},
         "critical"),
        (cryptpad.judge_sandbox, {"name": "s", "addresses": ["192.0.2.1"], "tls": "refused",
                                  "days": 0}, {}, "critical"),
        (cryptpad.judge_sandbox, {"name": "s", "addresses": ["192.0.2.1"], "tls": "", "days": 3},
         {}, "warning"),
    ],
)  # fmt: skip
def test_inside(judge: Judge, well: Any, change: Any, level: str) -> None:
    assert judge(0, json.dumps({**well, **change})).level == level
    assert judge(1, "Traceback").level != "ok"


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, "ok"),
        ({"spf": []}, "critical"),
        ({"spf": ["v=spf1 a -all", "v=spf1 mx -all"]}, "critical"),
        ({"dkim": ["v=DKIM1; p=OTHER"]}, "critical"),
        ({"dkim": []}, "critical"),
        ({"key": ""}, "critical"),
        ({"dmarc": []}, "critical"),
        ({"dmarc": None}, "warning"),
    ],
)
def test_mail_records(change: Any, level: str) -> None:
    said = {"a.example": {**RECORDS["a.example"], **change}}
    assert mail.judge_records(0, json.dumps(said)).level == level


CONFIG = b"""define(function(){;
return {
\t"requireConf": {"waitSeconds": 600},
\t"httpUnsafeOrigin": "https://pad.x.example",
\t"httpSafeOrigin": "https://sandbox.pad.x.example"
};
});"""


@pytest.mark.parametrize(
    ("url", "sandbox", "status", "body", "level"),
    [
        ("https://pad.x.example", "https://sandbox.pad.x.example", 200, CONFIG, "ok"),
        ("https://pad.y.example", "https://sandbox.pad.x.example", 200, CONFIG, "critical"),
        ("https://pad.x.example", "https://other.x.example", 200, CONFIG, "critical"),
        ("https://pad.x.example", "https://sandbox.pad.x.example", 200, b"<html>", "critical"),
        ("https://pad.x.example", "https://sandbox.pad.x.example", 502, b"", "critical"),
    ],
)
def test_cryptpad_config(url: str, sandbox: str, status: int, body: bytes, level: str) -> None:
    assert cryptpad.judge_config(url, sandbox, status, body).level == level


def test_cryptpad_broadcast() -> None:
    quiet = b'define(function(){;\nreturn {\n\t"lastBroadcastHash": ""\n};\n});'
    loud = b'define(function(){;\nreturn {\n\t"maintenance": {"start": 1, "end": 2}\n};\n});'
    assert cryptpad.judge_broadcast(200, {}, quiet).level == "ok"
    assert cryptpad.judge_broadcast(200, {}, loud).level == "warning"
    assert cryptpad.judge_broadcast(200, {}, b"").level == "critical"


@pytest.mark.parametrize(
    ("expect", "contains", "status", "body", "level"),
    [
        ((200,), None, 200, b"", "ok"), ((200,), "Git", 200, b"Git here", "ok"),
        ((200,), "Git", 200, b"nginx", "critical"), ((200,), None, 302, b"", "critical"),
        ((200, 302), "Git", 302, b"", "ok"), ((200, 502), None, 502, b"", "critical"),
    ],
)  # fmt: skip
def test_any_page(
    expect: tuple[int, ...], contains: str | None, status: int, body: bytes, level: str
) -> None:
    assert any_app.judge_page(expect, contains, status, body).level == level


def test_what_to_type_is_said_whole() -> None:
    said = wordpress.judge_code("wordpress__2", 0, json.dumps({**CODE, "changed": ["a.php"]}))
    # Without a name it would upgrade every app there is.
    assert "`yunohost app upgrade --force wordpress__2`" in said.message
    waits = nextcloud.judge_state("nextcloud__2", 0, json.dumps({**CLOUD, "needsDbUpgrade": True}))
    assert f"{ynh.AS_APP} nextcloud__2 {{php}} {{install_dir}}/occ upgrade" in waits.message
    stuck = forum_state(0, json.dumps({**FORUM, "queued": 3, "job_age_s": 900}))
    assert "systemctl restart discourse__2." in stuck.message
    assert "/var/www/discourse__2/discourse/log/production.log" in stuck.message
    never = nextcloud.judge_state("nextcloud__2", 0, json.dumps({**CLOUD, "jobs_age_s": None}))
    assert "/etc/cron.d/nextcloud__2" in never.message
    box = {"name": "sandbox.pad.example", "addresses": ["192.0.2.1"], "tls": "expired", "days": 0}
    refused = cryptpad.judge_sandbox(0, json.dumps(box))
    assert "`releve deploy` asks for a certificate that holds both" in refused.message


def test_an_app_that_cannot_be_there_twice_is_told_beforehand() -> None:
    service, inv, on = one("etherpad", app={"instance": "etherpad__2"})
    assert not isinstance(on.app, Absent)
    about = Manifest("etherpad", "1", (), (), multi_instance=False)
    assert "only once" in unfit(on.app(service, inv), about)[0]
    assert unfit(on.app(service, inv), replace(about, multi_instance=True)) == ()
    first, inv, on = one("etherpad")
    assert not isinstance(on.app, Absent)
    assert unfit(on.app(first, inv), about) == ()
