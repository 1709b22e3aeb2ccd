"""What is wanted comes about, nothing else changes, and the second time there is nothing to do."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventories.load import load
from inventories.model import Inventory, Settings
from platforms.yunohost.adopt import ROLE_NAMES, Facts, adopt, fits
from platforms.yunohost.arguments import Manifest
from platforms.yunohost.converge import converge, install_arguments
from platforms.yunohost.obstacles import from_the_start, strangers, strayed, unsaved
from platforms.yunohost.server import Server
from platforms.yunohost.steps import CannotConverge
from platforms.yunohost.wanted import Wanted, wanted, wanted_app
from roles.mail.settings import MailSettings
from tests.unit.platforms.yunohost.pretend import Pretended
from tools.toml import dumps

KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK3uMX1wH9PNeftBT1wPKMPtPY8R2wsSKlVxWm/vExaK",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHu7KIPnHQ72cFCJBsGhmrUfO8paC26Wb+IzXjVr7XFB",
)
FACTS = Facts("monts", "198.51.100.10", KEYS[0])
ROLES = {"wordpress": "wordpress"}
MODELS = {"wordpress": Settings, "app": Settings, "mail": MailSettings}


def wanted_of(inventory: Inventory, host: str = "monts") -> Wanted:
    apps = [
        wanted_app(service, None if service.role == "app" else service.role)
        for service in inventory.services_on(host)
        if service.role != "mail"
    ]
    return wanted(inventory, host, apps)


def loaded(folder: Path, document: dict[str, Any]) -> Inventory:
    file = folder / "inventory.toml"
    file.write_text(dumps(document, depth=5))
    return load(file, MODELS)


def test_who_means_one_service_does_nothing_to_the_rest(tmp_path: Path) -> None:
    document = copy.deepcopy(BASE)
    gone = {"absent": True}
    document["hosts"]["monts"]["yunohost"] = {
        "main_domain": "other.example",
        "domains": {"lab.test": gone, "blog.lab.test": {"certificate": "self-signed"}},
        "operators": {"alice": {"person": "one", **gone}},
        "mailboxes": {"contact": gone, "forum": {}, "info": {}},
        "groups": {"ca": gone, "equipe": {"members": ["forum"]}},
        "permissions": {"ssh.main": ["ca"], "wordpress.admin": ["admins"], "pad.x": ["admins"]},
        "settings": {"email.pop3.pop3_enabled": True, "security.ssh.ssh_port": 2222},
        "firewall": {"25/tcp": gone},
    }
    document["people"] = {"one": {"mail": "one@lab.test"}}
    blog = {"role": "wordpress", "host": "monts", "url": "https://blog.lab.test"}
    document["services"] = {
        "blog": {**blog, "app": {"access": ["equipe"]}},
        "old": {**blog, "role": "app", "url": "https://lab.test", "app": {"id": "pad", **gone}},
    }
    whole = wanted_of(loaded(tmp_path, document))
    part = whole.part(["blog"], settings=["email.pop3.pop3_enabled"], mailboxes=["forum"])
    assert [app.service for app in part.apps] == ["blog"]
    assert (part.main_domain, part.operators, part.firewall) == (None, {}, {})
    assert list(part.domains) == ["blog.lab.test"]
    assert list(part.settings) == ["email.pop3.pop3_enabled"]
    assert list(part.mailboxes) == ["forum"]
    # It is made when it is not there; who is in it is none of the service's business.
    assert {name: group.members for name, group in part.groups.items()} == {"equipe": None}
    assert list(part.permissions) == ["wordpress.admin"]
    assert whole.part([]) == Wanted("monts")


# --- random servers -----------------------------------------------------------------------------

DOMAINS = ("lab.test", "site.lab.test", "blog.lab.test", "other.example")
NAMES = ("alice", "bob", "contact", "info", "zoe.b", "tresorerie", "x_1")
GROUPS = ("editors", "ca", "equipe")
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
words = st.text("abcdefghij éè&%'\"=\\#-", min_size=1, max_size=12)
SETTINGS = {
    "security.password.admin_strength": st.sampled_from("1234"),
    "security.password.passwordless_sudo": st.sampled_from(("yes", "no")),
    "security.ssh.ssh_port": st.just("22"),
    "email.smtp.smtp_relay_host": text,
    "email.smtp.smtp_relay_port": st.sampled_from(("587", "465")),
    "email.smtp.smtp_relay_password": st.just("**************"),
    "misc.unheard.of": text,
}


@st.composite
def servers(draw: st.DrawFn) -> Pretended:
    domains = draw(st.lists(st.sampled_from(DOMAINS), min_size=1, unique=True))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    groups = draw(st.lists(st.sampled_from(GROUPS), unique=True))
    some = st.lists(st.sampled_from(names), unique=True)
    server = Pretended(
        main=draw(st.sampled_from(domains)),
        domains={
            d: draw(st.sampled_from(("self-signed", "letsencrypt", "other"))) for d in domains
        },
        users={
            name: {
                "username": name,
                "fullname": draw(words),
                "mail": draw(
                    st.sampled_from((f"{name}@{domains[0]}", f"other.{name}@{domains[0]}"))
                ),
                "mail-alias": draw(st.lists(st.just(f"alias.{name}@{domains[0]}"), max_size=1)),
                "mail-forward": draw(st.lists(st.just("+odd+@elsewhere.example"), max_size=1)),
                "mailbox-quota": draw(st.sampled_from(("0", "2G", "700M"))),
            }
            for name in names
        },
        keys={
            name: "\n".join(draw(st.lists(st.sampled_from((*KEYS, f"{KEYS[0]} x", "damaged")))))
            for name in draw(some)
        },
        groups={"admins": draw(some), "visitors": [], **{g: draw(some) for g in groups}},
        settings={key: draw(value) for key, value in SETTINGS.items()},
    )
    for name in draw(st.lists(st.sampled_from(domains), unique=True)):
        server.domain_settings[name] = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "feature.mail.mail_in": st.sampled_from((0, 1)),
                    "feature.portal.portal_title": text,
                    "feature.app.default_app": st.sampled_from(("_none", "wordpress")),
                },
            )
        )
    for protocol, port in draw(
        st.lists(st.sampled_from((("tcp", 22), ("tcp", 25), ("tcp", 8448), ("udp", "60-70"))))
    ):
        server.firewall[protocol][port] = {
            "open": draw(st.booleans()),
            "comment": draw(text),
            "upnp": False,
        }
    allowed = st.lists(st.sampled_from(("visitors", "all_users", "admins", *groups, *names)))
    for number, (app, path) in enumerate(
        draw(
            st.lists(
                st.tuples(st.sampled_from(("wordpress", "my_webapp")), st.just("/")), max_size=3
            )
        )
    ):
        taken = [a for a in server.apps if a.startswith(app)]
        name = f"{app}__{len(taken) + 1}" if taken else app
        server.apps[name] = {
            "id": app,
            "domain": domains[0],
            "path": f"{path}p{number}",
            "asks": ["language", "n"],
            "settings": {"language": draw(text), "n": draw(st.integers(0, 9)), "db_pwd": "hidden"},
        }
        server.permissions[f"{name}.main"] = {"label": draw(words), "allowed": draw(allowed)}
        server.permissions[f"{name}.admin"] = {"label": draw(words), "allowed": draw(allowed)}
    for name in ("mail.main", "ssh.main", "sftp.main"):
        server.permissions[name] = {"label": name, "allowed": draw(allowed)}
    return server


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(servers())
def test_an_adopted_server_needs_nothing(
    tmp_path_factory: pytest.TempPathFactory, state: Pretended
) -> None:
    folder = tmp_path_factory.mktemp("adopt")
    seen = state.read(ROLE_NAMES)
    adopted = adopt(seen, FACTS, ROLES)
    file = folder / "inventory.toml"
    file.write_text(adopted.text())
    inventory = load(file, MODELS)
    want = wanted_of(inventory)
    now = state.read(want.accounts, want.panels)
    assert [step.text for step in converge(want, now)] == []
    # Members are nowhere in it: neither by name nor by address.
    operators = set(state.groups["admins"])
    for name in set(state.users) - operators - ROLE_NAMES:
        assert name not in adopted.text().replace("TO FILL IN", "")


# --- what is wanted -----------------------------------------------------------------------------

BASE: dict[str, Any] = {
    "schema": 1,
    "organisation": {"name": "x", "contact": "a@b.example"},
    "people": {
        "coordination": {"mail": "c@b.example", "keys": [KEYS[0]]},
        "secours": {"mail": "s@b.example", "keys": [KEYS[1]]},
    },
    "hosts": {
        "monts": {
            "platform": "yunohost",
            "address": "198.51.100.10",
            "provider": "p",
            "datacenter": "d",
        }
    },
}


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, Any]:
    document = copy.deepcopy(BASE)
    domains = draw(st.lists(st.sampled_from(DOMAINS[1:]), unique=True))
    boxes = draw(st.lists(st.sampled_from(("contact", "info", "tresorerie")), unique=True))
    groups = draw(st.lists(st.sampled_from(GROUPS), unique=True))
    absent = st.sampled_from(({}, {}, {"absent": True}))
    table: dict[str, Any] = {
        "main_domain": draw(st.sampled_from(DOMAINS)),
        "operators": {"alice": {"person": "coordination", "fullname": draw(words)}},
        "domains": {
            d: {
                "certificate": draw(st.sampled_from(("letsencrypt", "self-signed"))),
                "settings": {"feature.mail.mail_in": draw(st.booleans())},
            }
            for d in domains
        },
        "mailboxes": {
            b: {
                "aliases": draw(
                    st.lists(st.sampled_from((f"a.{b}@lab.test", f"b.{b}@lab.test")), unique=True)
                ),
                "forward": draw(
                    st.lists(
                        st.sampled_from(("x@elsewhere.example", "y@elsewhere.example")), unique=True
                    )
                ),
                "quota": draw(st.sampled_from(("0", "3G"))),
                **draw(absent),
            }
            for b in boxes
        },
        "groups": {
            g: {
                "members": draw(st.lists(st.sampled_from(("alice", *boxes)), unique=True)),
                **draw(absent),
            }
            for g in groups
        },
        "settings": {
            "security.password.passwordless_sudo": draw(st.booleans()),
            "email.smtp.smtp_relay_port": draw(st.sampled_from((25, 587))),
        },
        "firewall": {
            "8448/tcp": draw(absent),
            "60-70/udp": {"comment": draw(words).strip("- ") or "x"},
        },
        "permissions": {
            "mail.main": draw(st.lists(st.sampled_from(("all_users", "admins")), unique=True))
        },
    }
    for group in table["groups"].values():
        gone = {name for name, box in table["mailboxes"].items() if box.get("absent")}
        group["members"] = [name for name in group["members"] if name not in gone]
    document["hosts"]["monts"]["yunohost"] = table
    document["services"] = {
        name: {
            "role": "app",
            "host": "monts",
            "url": f"https://{draw(st.sampled_from(DOMAINS))}/w{name}",
            "app": {
                "id": "hextris",
                "instance": "hextris" if name == "a" else "hextris__2",
                "label": draw(words),
                "args": {"language": draw(text)},
                "access": draw(
                    st.lists(st.sampled_from(("visitors", "all_users", "admins")), unique=True)
                ),
                **draw(absent),
            },
        }
        for name in draw(st.sampled_from(((), ("a",), ("a", "b"))))
    }
    return document


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(servers(), wishes())
def test_the_second_time_there_is_nothing_to_do(
    tmp_path_factory: pytest.TempPathFactory, state: Pretended, document: dict[str, Any]
) -> None:
    # A name is either an account or a group, as on any server.
    document["hosts"]["monts"]["yunohost"]["groups"].pop("ca", None)
    want = wanted_of(loaded(tmp_path_factory.mktemp("wish"), document))
    described = want.accounts
    try:
        steps = converge(want, state.read(described, want.panels))
    except CannotConverge:
        return
    before = copy.deepcopy(state)
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        state.does(step)  # raises where YunoHost would refuse
    now = state.read(described, want.panels)
    left = converge(want, now)
    assert [step.text for step in left] == []
    _nobody_else_was_touched(before, state, described)


def _nobody_else_was_touched(before: Pretended, after: Pretended, named: frozenset[str]) -> None:
    for name, user in before.users.items():
        if name not in named:
            assert after.users[name] == user
            assert after.keys.get(name) == before.keys.get(name)
    for group, members in before.groups.items():
        if group in after.groups:
            assert [m for m in members if m not in named] == [
                m for m in after.groups[group] if m not in named
            ]
    assert set(before.apps) - {"hextris", "hextris__2"} <= set(after.apps)
    assert set(before.domains) <= set(after.domains)


# --- one by one ---------------------------------------------------------------------------------


def steps(tmp_path: Path, state: Pretended, table: dict[str, Any], **services: Any) -> list[str]:
    document = copy.deepcopy(BASE)
    document["hosts"]["monts"]["yunohost"] = table
    document["services"] = {
        name: {"role": "app", "host": "monts", **service} for name, service in services.items()
    }
    want = wanted_of(loaded(tmp_path, document))
    return [s.text for s in converge(want, state.read(want.accounts, want.panels))]


def obstacles(tmp_path: Path, state: Pretended, table: dict[str, Any], **services: Any) -> str:
    with pytest.raises(CannotConverge) as raised:
        steps(tmp_path, state, table, **services)
    return str(raised.value)


def usual() -> Pretended:
    state = Pretended(
        domains={"lab.test": "letsencrypt", "blog.lab.test": "self-signed"},
        settings={"email.smtp.smtp_relay_host": "", "email.smtp.smtp_relay_password": "****"},
    )
    for name in ("alice", "member"):
        state.users[name] = {
            "username": name,
            "fullname": name,
            "mail": f"{name}@lab.test",
            "mail-alias": [f"secret.{name}@lab.test"],
            "mail-forward": ["x@private.example"],
            "mailbox-quota": "0",
        }
    state.groups["admins"] = ["alice"]
    state.keys["alice"] = f'# laptop\n{KEYS[0]} laptop\nrestrict,command="x" {KEYS[1]} watch\n'
    state.apps["wordpress"] = {
        "id": "wordpress",
        "domain": "blog.lab.test",
        "path": "/",
        "asks": ["language"],
        "settings": {"language": "fr_FR"},
    }
    state.permissions["wordpress.main"] = {
        "label": "Blog",
        "allowed": ["visitors", "all_users", "member"],
    }
    return state


def site(url: str = "https://blog.lab.test", **app: Any) -> dict[str, Any]:
    return {"url": url, "app": {"id": "wordpress", **app}}


def test_a_person_gets_the_keys_of_the_inventory_and_other_accesses_stay(tmp_path: Path) -> None:
    said = steps(tmp_path, usual(), {"operators": {"alice": {"person": "secours"}}})
    assert said == [
        f"+ SSH key of alice: ssh-ed25519 …{KEYS[1][-12:]}",
        f"- SSH key of alice: ssh-ed25519 …{KEYS[0][-12:]} laptop",
    ]


def test_an_operator_who_left_keeps_the_account_and_loses_the_rest(tmp_path: Path) -> None:
    state = usual()
    state.groups["admins"] = ["alice", "member"]
    said = steps(
        tmp_path, state, {"operators": {"alice": {"person": "coordination", "absent": True}}}
    )
    assert said[0] == "- alice (coordination) is an admin"
    assert said[1].startswith("- SSH key of alice")
    assert len(said) == 2


def test_who_may_open_an_app_is_as_written_and_single_members_stay(tmp_path: Path) -> None:
    assert steps(tmp_path, usual(), {}, site=site(access=["all_users"])) == [
        "~ permission wordpress.main: - visitors",
        *CERTIFICATE,
    ]
    assert steps(tmp_path, usual(), {}, site=site(access=["visitors"])) == CERTIFICATE


CERTIFICATE = [
    "  diagnosis of DNS and web for blog.lab.test",
    "~ certificate of blog.lab.test: self-signed → Let's Encrypt",
]


def test_a_certificate_waits_for_names_to_lead_here(tmp_path: Path) -> None:
    document = copy.deepcopy(BASE)
    document["services"] = {"site": {"role": "app", "host": "monts", **site()}}
    want = wanted_of(loaded(tmp_path, document))
    found = converge(want, usual().read(want.accounts))
    assert [(s.stage, s.text) for s in found] == [("activate", text) for text in CERTIFICATE]


def test_a_certificate_that_lacks_a_name_is_asked_for_again(tmp_path: Path) -> None:
    state = Pretended(domains={"lab.test": "self-signed", "site.lab.test": "letsencrypt"})
    own = {"lab.test": {"certificate": "self-signed"}, "site.lab.test": {}}
    document = copy.deepcopy(BASE)
    document["hosts"]["monts"]["yunohost"] = {"domains": own}
    want = replace(
        wanted_of(loaded(tmp_path, document)),
        names={"site.lab.test": ("sandbox.site.lab.test",)},
    )
    state.sandboxes = ("site.lab.test",)
    todo = converge(want, state.read())
    assert [step.text for step in todo] == [
        "  diagnosis of DNS and web for site.lab.test",
        "~ certificate of site.lab.test: + sandbox.site.lab.test",
    ]
    assert {step.stage for step in todo} == {"activate"}
    for step in todo:
        state.does(step)
    assert converge(want, state.read()) == ()
    # What older packages made a domain of its own has a certificate of its own.
    state.domains |= {"site.lab.test": "letsencrypt", "sandbox.site.lab.test": "letsencrypt"}
    assert converge(want, state.read()) == ()


def test_a_new_account_asks_for_its_secret_and_never_carries_it(tmp_path: Path) -> None:
    document = copy.deepcopy(BASE)
    document["hosts"]["monts"]["yunohost"] = {"mailboxes": {"contact": {"quota": "2G"}}}
    want = wanted_of(loaded(tmp_path, document))
    (step,) = converge(want, usual().read(want.accounts))
    assert step.prompts == ("host.monts.ynh.contact",) * 2
    assert "--password" not in step.argv


def test_a_hidden_setting_is_set_with_its_first_neighbour_that_changes(tmp_path: Path) -> None:
    relay = {
        "email.smtp.smtp_relay_host": "relay.example",
        "email.smtp.smtp_relay_password": "secret:relay",
    }
    state = usual()
    assert len(steps(tmp_path, state, {"settings": relay})) == 2
    state.settings["email.smtp.smtp_relay_host"] = "relay.example"
    assert steps(tmp_path, state, {"settings": relay}) == []


def test_what_another_setting_shows_is_set_along_with_that() -> None:
    # Alone, YunoHost 12.1.25 crashes; the password must be the only thing that it asks for.
    where = "email.smtp.smtp_"
    has = {"relay_enabled": "no", "relay_host": "", "relay_user": "é", "relay_password": "****"}
    state = Pretended(settings={f"{where}{key}": value for key, value in has.items()})
    state.settings["email.pop3.pop3_enabled"] = "no"
    asked: dict[str, Any] = {
        f"{where}relay_enabled": True,
        f"{where}relay_host": "a&b=c",
        f"{where}relay_password": "secret:relay",
    }
    done = {s.name: s for s in converge(Wanted("monts", settings=asked), state.read())}
    told = {name.rpartition(".")[2]: step.argv[3:6] for name, step in done.items()}
    assert told["smtp_relay_host"] == (
        "email.smtp", "--args", "smtp_relay_enabled=yes&smtp_relay_host=a%26b%3Dc"
    )  # fmt: skip
    assert told["smtp_relay_password"] == (
        "email.smtp", "--args",
        "smtp_relay_enabled=yes&smtp_relay_host=a%26b%3Dc&smtp_relay_user=%C3%A9",
    )  # fmt: skip
    assert done[f"setting {where}relay_password"].prompts == ("relay",)
    with pytest.raises(CannotConverge, match=r"not taken while email\.smtp\.smtp_relay_enabled is"):
        converge(Wanted("monts", settings={f"{where}relay_host": "x"}), state.read())


def test_panels_are_compared_with_what_the_app_says_else_with_its_settings(tmp_path: Path) -> None:
    state = usual()
    state.apps["wordpress"]["settings"]["with_sftp"] = 1
    service = site(panel={"main.sftp.with_sftp": True})
    assert steps(tmp_path, state, {}, site=service) == CERTIFICATE
    state.panels["wordpress"] = {"main.sftp.with_sftp": "no"}
    assert "~ app wordpress: main.sftp.with_sftp: no → yes" in steps(
        tmp_path, state, {}, site=service
    )
    # What another one shows cannot be set without it: both at once, the secret in a file.
    state.panels["wordpress"] |= {"main.sftp.password": "**************", "other.a.b": "x"}
    panel = {"main.sftp.with_sftp": True, "main.sftp.password": "secret:p", "other.a.b": "y&z"}
    document = copy.deepcopy(BASE)
    document["services"] = {"site": {"role": "app", "host": "monts", **site(panel=panel)}}
    want = wanted_of(loaded(tmp_path, document))
    todo = converge(want, state.read(want.accounts, want.panels))
    one, two = (step for step in todo if step.argv[1:3] == ("app", "config"))
    assert one.argv[4:9] == ("wordpress", "main", "--args", "with_sftp=yes", "--args-file")
    assert (dict(one.values), one.secrets) == ({"password": "p"}, ("p",))
    assert (two.argv[5:8], two.secrets) == (("other", "--args", "b=y%26z"), ())
    state.panels["wordpress"] = {"main.sftp.other": "no"}
    assert "has no such option" in obstacles(tmp_path, state, {}, site=service)


def test_what_a_server_signs_that_came_back_from_a_copy_is_its_own() -> None:
    domains = {"lab.test": "self-signed", "site.lab.test": "brought-back"}
    for shown in ("old", "authority"):
        kinds = [
            d.certificate for d in Pretended(domains=domains, shown=shown).read().domains.values()
        ]
        assert kinds == ["self-signed", "self-signed"]


PANEL = """
version = "1.0"
[main]
name.en = "Site"
    [main.sftp]
    name.en = "SFTP"
        [main.sftp.with_sftp]
        ask.en = "SFTP?"
        type = "boolean"
        [main.sftp.password]
        ask = "Password"
        type = "password"
        [main.sftp.level]
        type = "boolean"
        yes = "high"
        no = "low"
    [main.php]
    bind = ":/etc/php.ini"
        [main.php.memory]
        type = "string"
        [main.php.version]
        type = "select"
        bind = "settings"
"""


@pytest.mark.parametrize(
    ("option", "script", "said"),
    [
        ("sftp.with_sftp", "", "yes"),
        ("sftp.level", "", "no"),  # words of the app's own
        ("php.version", "", "8.2"),
        ("php.version", "get__memory() {", "8.2"),
        ("php.memory", "", None),  # in a file that somebody may have edited
        ("sftp.password", "", None),  # whether there is one does not leave the host
        ("sftp.level", "get__level() {", None),  # the app's own script says it
        ("sftp.with_sftp", "ynh_app_config_show() {", None),
        ("sftp.other", "", None),
    ],
)
def test_a_panel_is_asked_only_for_what_the_settings_do_not_say(
    tmp_path: Path, option: str, script: str, said: str | None
) -> None:
    state = usual()
    state.apps["wordpress"]["settings"] |= {
        "with_sftp": 1,
        "level": "low",
        "version": "8.2",
        "memory": "1G",
        "password": "x",
    }
    state.offered["wordpress"] = (PANEL, script)
    key = f"main.{option}"
    document = copy.deepcopy(BASE)
    document["services"] = {"site": {"role": "app", "host": "monts", **site(panel={key: "z"})}}
    want = wanted_of(loaded(tmp_path, document))
    seen = state.read(want.accounts)
    found = seen.panels["wordpress"].get(key) if "wordpress" in seen.panels else None
    assert (found.value if found else None) == said
    assert want.unsaid(seen.panels) == (() if said is not None else ("wordpress",))


@pytest.mark.parametrize(
    ("table", "services", "said"),
    [
        ({"settings": {"no.such.thing": 1}}, {}, "YunoHost has no such setting"),
        ({"settings": {"email.smtp.smtp_relay_password": "x"}}, {}, "is a password"),
        (
            {"settings": {"email.smtp.smtp_relay_host": "secret:x"}},
            {},
            "none of what YunoHost keeps",
        ),
        ({"domains": {"lab.test": {"absent": True}}}, {}, "is the main domain"),
        ({"domains": {"blog.lab.test": {"absent": True}}}, {}, "is used by wordpress"),
        ({"domains": {"lab.test": {"settings": {"dns.x.y": 1}}}}, {}, "cannot be read back"),
        ({"operators": {"admins": {"person": "secours"}}}, {}, "is the name of a group"),
        ({"mailboxes": {"postmaster": {}}}, {}, "keeps for itself"),
        ({"mailboxes": {"c": {"aliases": ["root@lab.test"]}}}, {}, "belongs to the admins"),
        ({"mailboxes": {"c": {"aliases": ["c@else.test"]}}}, {}, "is no domain of this server"),
        (
            {"operators": {"alice": {"person": "secours", "absent": True}}},
            {},
            "nobody would be admin",
        ),
        ({"groups": {"member": {}}}, {}, "is the name of an account"),
        ({"mailboxes": {"mysql": {}}}, {}, "is an account of the system"),
        ({"permissions": {"nope.main": []}}, {}, "there is no such permission"),
        (
            {"permissions": {"wordpress.nope": []}},
            {"site": {"url": "https://blog.lab.test", "app": {"id": "wordpress"}}},
            "there is no such permission",
        ),
        (
            {},
            {
                "site": {"url": "https://blog.lab.test", "app": {"id": "wordpress"}},
                "x": {"url": "https://lab.test/x", "app": {"id": "wordpress"}},
            },
            "services.x.app.instance: would be the app wordpress, as site is. Name each: instance "
            '= "wordpress__2"',
        ),
        ({"permissions": {"wordpress.main": ["nobody"]}}, {}, "there is no group nobody"),
        ({"firewall": {"22/tcp": {"absent": True}}}, {}, "is how Relève comes in"),
        (
            {},
            {"x": {"url": "https://blog.lab.test/x", "app": {"id": "hextris"}}},
            "taken by wordpress",
        ),
        (
            {},
            {"x": {"url": "https://lab.test/x", "app": {"id": "hextris", "instance": "wordpress"}}},
            "is wordpress there, not hextris",
        ),
        (
            {},
            {
                "x": {
                    "url": "https://lab.test/x",
                    "app": {"id": "hextris", "instance": "hextris__2"},
                }
            },
            "would call the new app hextris, not hextris__2",
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_changes(
    tmp_path: Path, table: dict[str, Any], services: dict[str, Any], said: str
) -> None:
    assert said in obstacles(tmp_path, usual(), table, **services)


@pytest.mark.parametrize(
    ("table", "secrets", "path"),
    [
        ({"mailboxes": {"member": {}}}, (), "mailboxes.member"),
        ({"mailboxes": {"member": {"absent": True}}}, (), "mailboxes.member"),
        ({"operators": {"member": {"person": "secours"}}}, (), "operators.member"),
        ({"mailboxes": {"member": {"found": True}}}, (), None),
        ({"mailboxes": {"member": {}}}, ("host.monts.ynh.member",), None),
        ({"operators": {"member": {"person": "secours", "found": True}}}, (), None),
        ({"operators": {"alice": {"person": "secours"}}}, (), None),  # an admin there
        ({"mailboxes": {"new": {}}}, (), None),
    ],
)
def test_a_members_account_is_taken_over_only_where_the_inventory_says_so(
    tmp_path: Path, table: dict[str, Any], secrets: tuple[str, ...], path: str | None
) -> None:
    document = copy.deepcopy(BASE)
    document["hosts"]["monts"]["yunohost"] = table
    want = wanted_of(loaded(tmp_path, document))
    found = strangers(want, usual().read(want.accounts), secrets)
    assert [one.path for one in found] == ([f"hosts.monts.yunohost.{path}"] if path else [])


def test_an_app_that_is_listed_and_not_there_stands_in_the_way(tmp_path: Path) -> None:
    state = usual()
    del state.permissions["wordpress.main"]
    assert "yunohost app remove wordpress" in obstacles(tmp_path, state, {}, site=site())


@pytest.mark.parametrize(
    ("record", "settings", "said"),
    [
        # A real one, of an installation whose process was killed.
        ("started_at: 2026-11-24 03:03:57.235581\n", {}, True),
        (
            "ended_at: 2026-11-24 03:04:20.1\nstarted_at: 2026-11-24 03:03:57.235581\n",
            {},
            False,
        ),
        # It was finished by an upgrade since.
        ("started_at: 2026-11-24 03:03:57.235581\n", {"update_time": 1795490000}, False),
        # Of another app, long before this one came by a restore.
        ("started_at: 2026-11-24 02:03:57.235581\n", {}, False),
    ],
)
def test_an_installation_that_was_cut_off_is_no_app(
    tmp_path: Path, record: str, settings: dict[str, Any], said: bool
) -> None:
    state = usual()
    state.apps["wordpress"]["settings"] |= {"install_time": 1795489438, **settings}
    state.installations = {"/var/log/yunohost/operations/x-app_install-wordpress.yml": record}
    if said:
        assert "has not ended" in obstacles(tmp_path, state, {}, site=site())
    else:
        assert steps(tmp_path, state, {}, site=site()) == CERTIFICATE


def test_apps_that_yunohost_does_not_tell_about_are_not_installed_again(tmp_path: Path) -> None:
    # Without its catalog `app list` says that there are none, and ends well (seen on 12.1.25).
    state = usual()
    state.untold, state.apps = ("wordpress",), {}
    assert "does not tell about wordpress" in obstacles(tmp_path, state, {}, site=site())


def test_an_app_that_cannot_be_saved_is_named(tmp_path: Path) -> None:
    state = usual()
    document = copy.deepcopy(BASE)
    document["services"] = {"site": {"role": "app", "host": "monts", **site()}}
    want = wanted_of(loaded(tmp_path, document))
    assert unsaved(want, state.read(), "site") == ()
    state.apps["wordpress"]["backs_up"] = False
    assert unsaved(want, state.read(), "pad") == ()
    (said,) = unsaved(want, state.read(), "site")
    assert said.startswith("services.site: wordpress has no backup script")


def test_where_a_package_came_from_is_noted_and_another_source_is_told(tmp_path: Path) -> None:
    def want(**app: str) -> Wanted:
        document = copy.deepcopy(BASE)
        table = {"id": "pad", "args": {"admin": "alice"}, **app}
        url = "https://lab.test/pad"
        document["services"] = {"pad": {"role": "app", "host": "monts", "url": url, "app": table}}
        return wanted_of(loaded(tmp_path, document))

    state = Pretended(users={}, apps={})
    source = "https://git.example/pad_ynh"
    first = want(source=source, branch="testing")
    (step,) = [s for s in converge(first, state.read()) if s.name == "app pad"]
    assert step.argv[3] == f"{source}/tree/testing"
    # The stand-in calls an app as it is told to install it.
    state.apps["pad"] = {
        "id": "pad", "domain": "lab.test", "path": "/pad", "asks": [], "settings": {},
    }  # fmt: skip
    state.permissions["pad.main"] = {"label": "pad", "allowed": ["all_users"]}
    (said,) = strayed(first, state.read(), "pad")
    assert "is to come from https://git.example/pad_ynh/tree/testing, and is not" in said
    state.runs(step.then)
    assert strayed(first, state.read(), "pad") == ()
    assert strayed(first, state.read(), "site") == ()
    (said,) = strayed(want(source=source, branch="main"), state.read(), "pad")
    assert f"from {source}/tree/main, and is from {source}/tree/testing" in said
    assert said.endswith("releve upgrade FILE --service pad")
    (said,) = strayed(want(), state.read(), "pad")
    assert "is to come from the catalog, and is from" in said
    # Whoever adopts the server gets it written down.
    table = adopt(state.read(), FACTS, {}).document["services"]["pad"]["app"]
    assert (table["source"], table["branch"]) == (source, "testing")


def test_another_port_of_ssh_is_to_be_written_down_twice(tmp_path: Path) -> None:
    document = copy.deepcopy(BASE)
    key = "security.ssh.ssh_port"
    document["hosts"]["monts"]["yunohost"] = {"settings": {key: 2222}}
    state = usual()
    state.settings[key] = "22"
    want = wanted_of(loaded(tmp_path, document))
    (text,) = [s.text for s in converge(want, state.read()) if key in s.name]
    assert text.endswith("22 → 2222 (after this deploy write port = 2222 in [hosts.monts])")
    document["hosts"]["monts"]["port"] = 2222
    want = wanted_of(loaded(tmp_path, document))
    (text,) = [s.text for s in converge(want, state.read()) if key in s.name]
    assert text.endswith("22 → 2222")


@pytest.mark.parametrize("sound", [True, False])
def test_an_app_of_which_the_catalog_doubts_is_installed_knowingly(
    tmp_path: Path, sound: bool
) -> None:
    document = copy.deepcopy(BASE)
    wiki = {"id": "wiki", "access": ["visitors"]}
    document["services"] = {
        "wiki": {"role": "app", "host": "monts", "url": "https://wiki.lab.test", "app": wiki}
    }
    want = wanted_of(loaded(tmp_path, document))
    about = Manifest("wiki", "1", (), (), multi_instance=True, sound=sound)
    told = {"wiki": install_arguments(want.apps[0], about)}
    (step,) = [s for s in converge(want, usual().read(), told) if s.name == "app wiki"]
    # Without it YunoHost asks, and there is nobody (recording 314).
    assert ("--force" in step.argv) is not sound
    assert ("does not say that it works" in step.text) is not sound


@pytest.mark.parametrize("version", ["11.2.30", "12.0.9", ""])
def test_an_older_server_is_refused(tmp_path: Path, version: str) -> None:
    state = usual()
    state.version = version
    assert "needs 12.1" in obstacles(tmp_path, state, {})


def test_a_blank_host_is_said_to_be_one() -> None:
    with pytest.raises(CannotConverge, match="not set up"):
        converge(Wanted("monts"), Server(installed=False))


def test_what_no_server_can_become_is_known_without_one(tmp_path: Path) -> None:
    def refused(table: dict[str, Any], **services: Any) -> list[str]:
        document = copy.deepcopy(BASE)
        document["hosts"]["monts"]["yunohost"] = {"main_domain": "lab.test", **table}
        document["services"] = {
            name: {"role": "app", "host": "monts", **service} for name, service in services.items()
        }
        return [o.path for o in from_the_start(wanted_of(loaded(tmp_path, document)))]

    mailbox = {"aliases": ["bonjour@lab.test", "salut@blog.lab.test"]}
    usual = {"domains": {"blog.lab.test": {}}, "mailboxes": {"contact": mailbox}}
    # Settings, ports, permissions and panels are YunoHost's own and the apps' to tell.
    usual |= {"settings": {"email.smtp.x": True}, "permissions": {"mail.main": ["visitors"]}}
    assert refused(usual, site=site(panel={"main.x": "y"})) == []
    assert refused({"mailboxes": {"contact": mailbox}}) == [
        "hosts.monts.yunohost.mailboxes.contact.aliases"
    ]
    beside = {**site(), "url": site()["url"].rstrip("/") + "/more", "app": {"id": "hextris"}}
    assert refused({}, site=site(), more=beside) == ["services.site.url", "services.more.url"]
    assert refused({"mailboxes": {"root": {}}}) == ["hosts.monts.yunohost.mailboxes.root"]


def test_types_of_the_inventory_are_asked_as_they_are() -> None:
    from inventories import model

    assert fits(model.Scalar, True)
    assert fits(model.Scalar, "x\ny")
    assert not fits(model.Scalar, 1.5)
    assert not fits(model.Domain, "UPPER.test")
