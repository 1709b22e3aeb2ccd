"""Each recorded answer is read as what it is, and each question is the one that was recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from platforms.yunohost import answers, arguments, commands
from platforms.yunohost.answers import Answer, BackupResult, UnreadableError
from tests.contract.recorded import inside, recording, typed

Argv = tuple[str, ...]
Case = tuple[Argv | None, Callable[[Answer], Any], Callable[[Any], bool]]

ALL_PARTS = {
    "conf_ldap",
    "conf_manually_modified_files",
    "conf_ynh_certs",
    "conf_ynh_settings",
    "data_home",
    "data_mail",
    "data_multimedia",
}
THREE = {"my_webapp", "my_webapp__2", "wordpress"}
FIELDS = (
    "username",
    "fullname",
    "mail",
    "mail-alias",
    "mail-forward",
    "mailbox-quota",
    "groups",
    "shell",
    "home-path",
)
BOB = answers.User(
    "bob",
    "Robert Builder",
    "bob@lab.test",
    "2G",
    ("bobby@lab.test",),
    ("bob@elsewhere.example",),
)
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB0LabOnlyKeyLabOnlyKeyLabOnlyKeyLabOnlyKeyLa lab"


def whole(result: BackupResult) -> bool:
    return not result.failed and set(result.system) == ALL_PARTS and set(result.apps) == THREE


def only(*apps: str) -> Callable[[BackupResult], bool]:
    return lambda result: not result.failed and set(result.apps) == set(apps) and not result.system


def members(*names: str) -> Callable[[answers.Group], bool]:
    return lambda group: set(group.members) == set(names)


def upgradable(*apps: str) -> Callable[[answers.Upgrades], bool]:
    return lambda found: set(found.apps) == set(apps) and not found.system


def app_versions(**versions: str) -> Callable[[Any], bool]:
    return lambda found: {app.id: app.version for app in found.values()} == versions


# Recording → (the question as the product asks it, or None when it never does; who reads it;
# what must be true of it).
READ: dict[str, Case] = {
    "001": (
        None,
        answers.versions,
        lambda v: answers.version_number(v["yunohost"].version) == (12, 1, 25),
    ),
    "004": (None, answers.archives, lambda a: a == {}),
    "016": (
        None,
        answers.versions,
        lambda v: v["ssowat"] == answers.Version("12.0.1", "testing"),
    ),
    "018": (
        commands.domain_list(),
        answers.domains,
        lambda d: d == answers.Domains("lab.test", ("lab.test",)),
    ),
    "026": (
        commands.domain_list(),
        answers.domains,
        lambda d: d.names == ("lab.test", "blog.lab.test", "site.lab.test", "other.example"),
    ),
    "027": (
        None,
        answers.domain_info,
        lambda d: (
            d.certificate.type == "selfsigned"
            and d.certificate.days == 3649
            and d.name == "site.lab.test"
            and not d.apps
        ),
    ),
    "029": (None, answers.main_domain, lambda d: d == "lab.test"),
    "034": (None, answers.dns_records, lambda r: r == ()),
    "037": (
        commands.domain_config_get("site.lab.test"),
        answers.panel,
        lambda p: (
            p["feature.mail.mail_out"].value == "yes"
            and p["feature.app.default_app"].value == "_none"
            and "dns.registrar.infos" not in p
        ),
    ),
    "038": (
        commands.domain_config_get("site.lab.test", "feature.mail.mail_out"),
        answers.setting,
        lambda v: v == 1 and answers.same_setting(True, v) and answers.same_setting("yes", v),
    ),
    "041": (
        commands.cert_status(),
        answers.certificates,
        lambda c: (
            set(c) == {"lab.test", "blog.lab.test", "site.lab.test", "other.example"}
            and c["lab.test"].eligible is None
        ),
    ),
    "042": (
        commands.cert_status(["site.lab.test"], full=True),
        answers.certificates,
        lambda c: c["site.lab.test"].summary == "selfsigned",
    ),
    "051": (None, answers.domains, lambda d: d.names == ("lab.test",)),
    "053": (
        None,
        answers.dns_records,
        lambda r: (
            answers.Record("srv", 3600, "MX", "10 srv.example.net.") in r
            and answers.Record("srv", 3600, "TXT", '"v=spf1 a mx -all"') in r
            and {record.type for record in r} == {"A", "MX", "TXT", "CAA"}
            and len(r) == 7
        ),
    ),
    "056": (
        commands.user_list(),
        answers.users,
        lambda u: u == {"alice": answers.User("alice", "Alice Admin", "alice@lab.test")},
    ),
    "057": (
        commands.user_list(FIELDS),
        answers.users,
        lambda u: u["alice"].groups == ("admins",) and u["alice"].quota == "0",
    ),
    "058": (None, answers.user, lambda u: u.mail == "bob@lab.test"),
    "067": (
        commands.user_create("dave", "Dave D", "lab.test"),
        answers.user,
        lambda u: u == answers.User("dave", "Dave D", "dave@lab.test"),
    ),
    "068": (None, answers.user, lambda u: u.mail == "carol@site.lab.test"),
    "069": (None, answers.user, lambda u: u.quota == "0" and not u.aliases),
    "071": (None, answers.user, lambda u: u.name == "bob"),
    "073": (
        commands.user_update("bob", fullname="Robert Builder"),
        answers.user,
        lambda u: u.fullname == "Robert Builder",
    ),
    "074": (
        commands.user_update("bob", fullname="Robert Builder"),
        answers.user,
        lambda u: u.fullname == "Robert Builder",
    ),
    "075": (
        commands.user_update(
            "bob",
            add_aliases=["bobby@lab.test"],
            add_forwards=["bob@elsewhere.example"],
            quota="2G",
        ),
        answers.user,
        lambda u: u == BOB,
    ),
    "076": (
        commands.user_update("bob", add_aliases=["bobby@lab.test"]),
        answers.user,
        lambda u: u == BOB,
    ),
    "077": (None, answers.user, lambda u: u == BOB),
    "078": (commands.user_update("bob"), answers.user, lambda u: u == BOB),
    "080": (None, answers.user, lambda u: u == BOB),
    "081": (
        commands.group_list(full=False),
        answers.groups,
        lambda g: g["admins"].members == ("alice",) and not g["visitors"].members,
    ),
    "082": (
        commands.group_list(primary=True),
        answers.groups,
        lambda g: g["all_users"].permissions == ("mail.main",) and "bob" in g,
    ),
    "083": (
        commands.group_create("editors"),
        answers.group,
        lambda g: g == answers.Group("editors", ()),
    ),
    "085": (
        commands.group_add("editors", ["bob", "carol"]),
        answers.group,
        lambda g: g.name == "editors" and members("bob", "carol")(g),
    ),
    "086": (commands.group_add("editors", ["bob"]), answers.group, members("bob", "carol")),
    "089": (commands.group_info("editors"), answers.group, members("bob", "carol")),
    "090": (commands.group_remove("editors", ["carol"]), answers.group, members("bob")),
    "091": (commands.group_remove("editors", ["carol"]), answers.group, members("bob")),
    "092": (
        commands.group_add("admins", ["bob"]),
        answers.group,
        lambda g: members("alice", "bob")(g) and "root@lab.test" in g.aliases,
    ),
    "095": (
        commands.permission_list(full=False),
        answers.permissions,
        lambda p: p["mail.main"].allowed == ("all_users",) and p["mail.main"].app == "mail",
    ),
    "096": (
        commands.permission_list(),
        answers.permissions,
        lambda p: p["ssh.main"].protected and p["sftp.main"].allowed == (),
    ),
    "097": (
        commands.permission_add("ssh.main", ["editors"]),
        answers.permission,
        lambda p: p.id == "ssh.main" and p.allowed == ("admins", "editors"),
    ),
    "098": (
        commands.permission_add("ssh.main", ["editors"]),
        answers.permission,
        lambda p: p.allowed == ("admins", "editors"),
    ),
    "099": (
        commands.permission_remove("ssh.main", ["editors"]),
        answers.permission,
        lambda p: p.allowed == ("admins",),
    ),
    "101": (
        None,
        answers.permission,
        lambda p: p.label == "Email" and p.allowed == ("all_users",),
    ),
    "103": (None, answers.ssh_keys, lambda k: k == (SSH_KEY,)),
    "107": (commands.app_list(), answers.apps, lambda a: a == {}),
    "108": (
        None,
        answers.catalog,
        lambda c: c == ("hextris", "my_webapp", "wordpress"),
    ),
    "109": (None, answers.catalog, lambda c: c == ("wordpress",)),
    "111": (
        commands.app_manifest("my_webapp"),
        arguments.manifest,
        lambda m: (
            [question.id for question in m.questions]
            == [
                "domain",
                "path",
                "with_sftp",
                "password",
                "init_main_permission",
                "phpversion",
                "database",
                "custom_error_file",
            ]
            and [question.id for question in m.questions if question.optional] == ["password"]
            and m.questions[6].choices == ("none", "mysql", "postgresql")
            and m.questions[2].type == "boolean"
            and m.sound
            and m.multi_instance
            and m.unmet == ()
        ),
    ),
    "116": (commands.app_list(), answers.apps, lambda a: a == {}),
    "118": (
        commands.app_list(),
        answers.apps,
        lambda a: (
            (a["my_webapp"].domain, a["my_webapp"].path, a["my_webapp"].label)
            == ("site.lab.test", "/", "My site")
        ),
    ),
    "119": (
        commands.app_list(full=True),
        answers.apps,
        lambda a: (
            a["my_webapp"].has_panel
            and a["my_webapp"].backs_up
            and a["my_webapp"].settings["phpversion"] == "8.2"
            and not {"password", "db_pwd", "mysqlpwd"} & set(a["my_webapp"].settings)
            and a["my_webapp"].upgrade
            == answers.AppUpgrade(
                "up_to_date", "1.0~ynh21", "1.0~ynh21", "718ed89ba469ec134c98a45f441ba06c65a8ddd4"
            )
            and a["my_webapp"].declared["main"].show_tile
        ),
    ),
    "122": (
        None,
        answers.app_info,
        lambda a: a.url == "https://site.lab.test" and a.manifest == "my_webapp",
    ),
    "123": (
        None,
        answers.app_info,
        lambda a: (
            a.repository == "https://github.com/YunoHost-Apps/my_webapp_ynh"
            and a.questions[0] == "domain"
        ),
    ),
    "125": (
        None,
        answers.app_map,
        lambda m: m == {"site.lab.test": "My site", "lab.test/second": "My_Webapp__2"},
    ),
    "126": (
        None,
        answers.setting,
        lambda v: v == "site.lab.test",
    ),
    "127": (
        None,
        answers.setting,
        lambda v: v is None,
    ),
    "129": (
        None,
        answers.setting,
        lambda v: v == "labvalue",
    ),
    "132": (
        commands.app_config_get("my_webapp"),
        answers.panel,
        lambda p: (
            p["main.sftp.with_sftp"].value == "yes"
            and p["main.sftp.password"].masked
            and p["main.sftp.password"].value == ""
        ),
    ),
    "134": (
        commands.app_list(),
        answers.apps,
        lambda a: set(a) == THREE and a["my_webapp__2"].manifest == "my_webapp",
    ),
    "135": (
        commands.permission_list(),
        answers.permissions,
        lambda p: (
            p["wordpress.admin"].additional_urls == ("blog.lab.test/wp-admin.php",)
            and p["wordpress.admin"].app == "wordpress"
            and p["my_webapp__2.main"].url == "lab.test/second"
        ),
    ),
    "136": (
        None,
        answers.domain_info,
        lambda d: d.apps == ("wordpress",) and not d.main,
    ),
    "138": (
        None,
        answers.services,
        lambda s: s["nginx"].status == "running" and len(s) > 8,
    ),
    "139": (
        None,
        answers.services,
        lambda s: list(s) == ["nginx"] and s["nginx"].configuration == "valid",
    ),
    "140": (
        None,
        answers.services,
        lambda s: list(s) == ["nginx", "slapd"],
    ),
    "148": (
        None,
        answers.services,
        lambda s: s["opendkim"].status == "dead",
    ),
    "159": (
        commands.settings_list(),
        answers.settings,
        lambda s: (
            s["security.ssh.ssh_port"].value == "22"
            and s["email.smtp.smtp_relay_password"].masked
            and "misc.tls_passthrough.tls_passthrough_explain" not in s
        ),
    ),
    "161": (
        None,
        answers.setting,
        lambda v: v == "1",
    ),
    "162": (
        None,
        answers.setting,
        lambda v: v == 0 and answers.same_setting(False, v) and answers.same_setting("no", v),
    ),
    "170": (None, answers.value, lambda v: "dnsrecords" in v["categories"]),
    "171": (None, answers.diagnosis, lambda d: d == ()),
    "173": (
        None,
        answers.diagnosis,
        lambda d: (
            {finding.category for finding in d} == {"services"}
            and any(finding.status == "ERROR" and finding.details for finding in d)
        ),
    ),
    "175": (None, answers.value, lambda v: v["timestamp"] == -1),
    "176": (None, answers.value, lambda v: v == {"ignore_filters": {}}),
    "177": (None, answers.hooks, lambda h: set(h) == ALL_PARTS),
    "178": (None, answers.hooks, lambda h: set(h) == ALL_PARTS),
    "179": (None, answers.hooks, lambda h: h == ()),
    "180": (None, answers.hooks, lambda h: h == ()),
    "181": (None, answers.value, lambda v: v["name"] == "data_home"),
    "182": (
        None,
        answers.operations,
        lambda o: len(o) == 5 and all(operation.success for operation in o),
    ),
    "183": (None, answers.operations, lambda o: o[-1].name == "20261123-175849-settings_reset"),
    "185": (
        None,
        answers.pending_configuration,
        lambda p: p == {},
    ),
    "186": (None, answers.pending_configuration, lambda p: p == {}),
    "187": (None, answers.pending_configuration, lambda p: p == {}),
    "188": (None, answers.pending_migrations, lambda m: len(m) == 9),
    "189": (None, answers.pending_migrations, lambda m: m == ()),
    "192": (
        commands.tools_update("apps", refresh=True),
        answers.upgrades,
        lambda u: upgradable()(u) and u.catalog_age == 0,
    ),
    "193": (None, answers.upgrades, upgradable()),
    "194": (commands.tools_update("system", refresh=True), answers.upgrades, upgradable()),
    "209": (None, answers.setting, lambda v: v is False),
    "210": (None, answers.setting, lambda v: v is False),
    "211": (
        commands.firewall_list(),
        answers.firewall,
        lambda f: (
            f["8443/tcp"] == answers.FirewallPort("8443", "tcp", True, "lab port", False)
            and f["5353/udp"].open
        ),
    ),
    "216": (
        commands.firewall_list(),
        answers.firewall,
        lambda f: not f["8443/tcp"].open and "8444/tcp" not in f,
    ),
    "226": (
        commands.permission_remove("my_webapp.main", ["visitors"]),
        answers.permission,
        lambda p: p.allowed == ("all_users",) and p.url == "/",
    ),
    "227": (
        commands.permission_add("my_webapp.main", ["visitors"]),
        answers.permission,
        lambda p: p.allowed == ("all_users", "visitors"),
    ),
    "228": (
        commands.permission_add("my_webapp__2.main", ["editors"]),
        answers.permission,
        lambda p: p.allowed == ("all_users", "editors"),
    ),
    "230": (
        commands.permission_update("my_webapp.main", label="My site"),
        answers.permission,
        lambda p: p.label == "My site" and p.show_tile,
    ),
    "231": (None, answers.archives, lambda a: a == {}),
    "232": (
        None,
        answers.backup_sizes,
        lambda s: s["apps/my_webapp"] == 157523726 and s["system/conf_ldap"] == 340,
    ),
    "233": (
        commands.backup_create("full1", description="lab full"),
        answers.backup_result,
        lambda r: whole(r) and r.name == "full1" and r.size == 225425312,
    ),
    "234": (None, answers.archives, lambda a: list(a) == ["full1"]),
    "235": (
        None,
        answers.archives,
        lambda a: (
            a["full1"].size == 225425312
            and a["full1"].path == "/home/yunohost.backup/archives/full1.tar"
        ),
    ),
    "237": (
        None,
        answers.archive,
        lambda a: a.name == "full1" and a.description == "lab full",
    ),
    "238": (
        None,
        answers.archive,
        lambda a: (
            set(a.apps) == THREE and set(a.system) == ALL_PARTS and a.from_version == "12.1.25"
        ),
    ),
    "243": (
        commands.backup_create("apps1", apps=["my_webapp", "wordpress"]),
        answers.backup_result,
        only("my_webapp", "wordpress"),
    ),
    "244": (
        commands.backup_create("sys1", system=[]),
        answers.backup_result,
        lambda r: not r.failed and set(r.system) == ALL_PARTS and not r.apps,
    ),
    "245": (
        commands.backup_create("sys2", system=["conf_ldap", "conf_ynh_settings"]),
        answers.backup_result,
        lambda r: not r.failed and set(r.system) == {"conf_ldap", "conf_ynh_settings"},
    ),
    "247": (
        commands.backup_create("mix1", apps=["my_webapp__2", "nosuchapp42"]),
        answers.backup_result,
        lambda r: r.failed == (("apps", "nosuchapp42", "Skipped"),) and r.missing(["x"]) == ("x",),
    ),
    "249": (
        commands.backup_create("bad3", apps=["my_webapp__2"], methods=["nosuchmethod"]),
        answers.backup_result,
        only("my_webapp__2"),
    ),
    "255": (None, answers.backup_result, only("my_webapp__2")),
    "257": (
        None,
        answers.archives,
        lambda a: "copy1" not in a and "gz1" not in a,
    ),
    "259": (
        commands.backup_create("gz1", apps=["my_webapp__2"]),
        answers.backup_result,
        only("my_webapp__2"),
    ),
    "267": (
        commands.backup_restore("full1", apps=["my_webapp"]),
        answers.backup_result,
        only("my_webapp"),
    ),
    "273": (
        commands.backup_restore("full1", system=["conf_ynh_settings"], force=True),
        answers.backup_result,
        lambda r: not r.failed and list(r.system) == ["conf_ynh_settings"],
    ),
    "276": (
        commands.backup_restore("full1", apps=["wordpress"]),
        answers.backup_result,
        only("wordpress"),
    ),
    "278": (commands.backup_create("dr1"), answers.backup_result, whole),
    "281": (None, answers.archives, lambda a: list(a) == ["dr1"]),
    "284": (commands.backup_restore("dr1"), answers.backup_result, whole),
    "285": (None, answers.archives, lambda a: "bad3" not in a and "dr1" in a),
    "288": (None, answers.backup_result, whole),
    "292": (None, answers.hooks, lambda h: h == ("labmethod",)),
    "293": (
        commands.backup_create("custom1", methods=["labmethod"]),
        answers.backup_result,
        whole,
    ),
    "296": (
        commands.backup_create("both1", apps=["my_webapp__2"], methods=["tar", "labmethod"]),
        answers.backup_result,
        only("my_webapp__2"),
    ),
    "300": (
        None,
        answers.archives,
        lambda a: "trunc" not in a and "full1" in a,
    ),
    "302": (commands.backup_restore("dr1"), answers.backup_result, whole),
    "317": (
        commands.app_list(),
        answers.apps,
        lambda a: len(a) == 5 and a["my_webapp__4"].path == "/giturl",
    ),
    "318": (
        commands.tools_update("apps", refresh=True),
        answers.upgrades,
        lambda u: (
            upgradable("my_webapp__2", "wordpress")(u)
            and u.apps["wordpress"].new == "6.1.9~ynh2"
            and u.apps["wordpress"].current == "6.1.9~ynh1"
        ),
    ),
    "319": (
        None,
        answers.app_info,
        lambda a: a.upgrade.status == "upgradable" and a.settings["language"] == "en_US",
    ),
    "321": (
        None,
        answers.archives,
        lambda a: "wordpress-pre-upgrade1" in a,
    ),
    "329": (commands.app_list(), answers.apps, lambda a: list(a) == ["my_webapp"]),
    "331": (None, answers.app_map, lambda m: m == {}),
    "336": (
        commands.backup_restore("dr1", apps=["my_webapp"]),
        answers.backup_result,
        only("my_webapp"),
    ),
    "339": (commands.app_list(), answers.apps, lambda a: set(a) == {"my_webapp", "wordpress"}),
    "340": (
        commands.backup_restore("dr1", force=True),
        answers.backup_result,
        lambda r: r.failed == (("apps", "my_webapp", "Error"), ("apps", "wordpress", "Error")),
    ),
    "342": (
        commands.tools_update("apps", refresh=True),
        answers.upgrades,
        upgradable("my_webapp", "my_webapp__2"),
    ),
    "344": (
        commands.app_list(),
        answers.apps,
        app_versions(my_webapp="1.0~ynh22", my_webapp__2="1.0~ynh22", wordpress="6.1.9~ynh2"),
    ),
    "346": (
        commands.app_list(),
        answers.apps,
        app_versions(my_webapp="1.0~ynh23", my_webapp__2="1.0~ynh22", wordpress="6.1.9~ynh2"),
    ),
    "348": (None, answers.archives, lambda a: "my_webapp-pre-upgrade1" not in a),
    "349": (
        None,
        answers.operations,
        lambda o: (
            [operation.success for operation in o].count(False) == 2
            and not o[1].success
            and o[1].name == "20261123-181542-app_upgrade-my_webapp__2"
        ),
    ),
    "350": (
        commands.tools_update("system", refresh=True),
        answers.upgrades,
        lambda u: u.system == (answers.PackageUpgrade("moulinette", "12.1.0", "12.1.1"),),
    ),
    "353": (
        commands.tools_update("apps", refresh=True),
        answers.upgrades,
        lambda u: u.catalog_age == 243,
    ),
    "354": (
        commands.tools_update("system", refresh=True),
        answers.upgrades,
        upgradable(),
    ),
    "358": (
        None,
        answers.diagnosis,
        lambda d: any(f.category == "ip" and f.status == "ERROR" for f in d),
    ),
    "361": (
        None,
        answers.services,
        lambda s: s["yunohost-api"].status == "running",
    ),
    "366": (
        commands.app_config_get("my_webapp", "main.php_fpm_config.phpversion"),
        answers.setting,
        lambda v: v == "8.2",
    ),
    "374": (None, answers.setting, lambda v: v is False),
    "375": (None, answers.setting, lambda v: v is False),
    "384": (
        commands.tools_update("apps", refresh=True),
        answers.upgrades,
        lambda u: u.catalog_age == 367,
    ),
}

# The same for questions inside a shell line: recording → (command, who reads it, what is true).
READ_INSIDE: dict[str, tuple[str, Callable[[Answer], Any], Callable[[Any], bool]]] = {
    "223": ("yunohost user update", answers.user, lambda u: u.fullname == "Bob B"),
    "224": ("yunohost user list", answers.users, lambda u: set(u) == {"alice", "bob", "dave"}),
    "225": ("yunohost user update", answers.user, lambda u: u.fullname == "Bob Builder"),
    "279": ("yunohost backup list", answers.archives, lambda a: a == {}),
    "291": ("yunohost backup list", answers.archives, lambda a: "copy3" in a),
    "363": (
        "yunohost user import",
        answers.user_import,
        lambda r: r == answers.ImportResult(1, 1, 0, 0),
    ),
    "364": (
        "yunohost user import",
        answers.user_import,
        lambda r: r == answers.ImportResult(0, 2, 0, 0),
    ),
    "378": ("yunohost user update", answers.user, lambda u: u.fullname == "Bob B"),
    "385": ("yunohost app search", answers.catalog, lambda c: c == ("wordpress",)),
    "390": ("yunohost user list", answers.users, lambda u: list(u) == ["alice"]),
    "392": ("yunohost user list", answers.users, lambda u: list(u) == ["alice"]),
}


@pytest.mark.parametrize("number", READ)
def test_an_answer_is_read(number: str) -> None:
    argv, parse, true = READ[number]
    answer = recording(number).answer
    if argv is not None:
        assert sorted(typed(argv)) == sorted(typed(answer.argv))
        assert typed(argv)[:3] == typed(answer.argv)[:3]
    assert true(parse(answer)), parse(answer)


@pytest.mark.parametrize("number", READ_INSIDE)
def test_an_answer_inside_a_shell_line_is_read(number: str) -> None:
    command, parse, true = READ_INSIDE[number]
    answer = inside(number, command)
    assert answer.argv[:3] == tuple(command.split()[:3])
    assert true(parse(answer)), parse(answer)


@pytest.mark.parametrize("number", READ)
def test_what_is_no_answer_is_refused(number: str) -> None:
    """Cut off, empty or failed, no answer has a value."""
    _, parse, _ = READ[number]
    answer = recording(number).answer
    cut = answer.stdout.rstrip()[:-1]
    if cut.lstrip()[:1] in ("{", "[", '"') or "\n{" in cut:
        with pytest.raises(UnreadableError):
            parse(Answer(answer.argv, 0, cut, ""))
    with pytest.raises(UnreadableError):
        parse(Answer(answer.argv, 1, answer.stdout, ""))
    with pytest.raises(UnreadableError):
        parse(Answer(answer.argv, 0, "SUCCESS It went well\n", ""))


def test_ghosts_are_told_from_apps() -> None:
    known = answers.permissions(recording("135").answer)
    assert answers.ghosts(answers.apps(recording("134").answer), known) == ()
    blank = answers.permissions(recording("096").answer)
    assert answers.ghosts(answers.apps(recording("339").answer), blank) == (
        "my_webapp",
        "wordpress",
    )


def test_no_setting_of_an_app_is_a_secret() -> None:
    for number in ("119", "123", "319"):
        text = (
            repr(answers.apps(recording("119").answer))
            if number == "119"
            else repr(answers.app_info(recording(number).answer))
        )
        assert "Passw0rd" not in text
        assert "REDACTED" not in text


def test_an_operation_that_was_cut_off_has_no_success() -> None:
    after = recording("380").answer.stdout
    start = after.index('{"operation"')
    listed = Answer(("yunohost", "log", "list"), 0, after[start : after.index("\n", start)], "")
    assert [operation.success for operation in answers.operations(listed)][:2] == [True, None]
