"""Each command the product sends is one that was recorded, and takes any value unharmed."""

from __future__ import annotations

import inspect
import re
import string
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from platforms.yunohost import arguments, commands
from platforms.yunohost.answers import Scalar
from platforms.yunohost.arguments import ArgumentsError, Prompt, Question
from platforms.yunohost.errors import classify
from tests.contract.recorded import recording, typed
from tests.standin import yunohost as standin

Argv = tuple[str, ...]

WEBAPP: dict[str, Scalar] = {
    "domain": "lab.test",
    "path": "/second",
    "with_sftp": False,
    "phpversion": "none",
    "init_main_permission": "all_users",
    "database": "none",
    "custom_error_file": False,
}
ALICE_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAZ3F7Sebr0hEbcsxBsowk5fthE00QakXhEGc+WJOjg ynh-lab"
)
BOB_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB0LabOnlyKeyLabOnlyKeyLabOnlyKeyLabOnlyKeyLa lab"


def pairs(**given: object) -> str:
    return arguments.encoded([(key, str(value)) for key, value in given.items()])


def webapp(**changed: object) -> str:
    whole = {**WEBAPP, **changed}
    order = "domain path with_sftp phpversion init_main_permission database custom_error_file"
    return pairs(
        **{
            key: int(whole[key]) if isinstance(whole[key], bool) else whole[key]  # type: ignore[call-overload]
            for key in order.split()
            if whole[key] is not None
        }
    )


# Recording → the same command, as it is built. All of them writes; questions are in test_answers.
SENT: dict[str, Argv] = {
    "021": commands.domain_add("site.lab.test"),
    "022": commands.domain_add("site.lab.test"),
    "024": commands.domain_add("blog.lab.test"),
    "025": commands.domain_add("other.example"),
    "030": commands.domain_make_main("lab.test"),
    "031": commands.domain_make_main("nope.example"),
    "032": commands.domain_make_main("other.example"),
    "033": commands.domain_make_main("lab.test"),
    "039": commands.domain_config_set("site.lab.test", "feature.mail.mail_out", "0"),
    "040": commands.domain_config_set("site.lab.test", "feature.mail.mail_out", "0"),
    "044": commands.cert_install("site.lab.test", self_signed=True),
    "045": commands.cert_install("site.lab.test"),
    "048": commands.domain_remove("other.example"),
    "049": commands.domain_remove("other.example"),
    "050": commands.domain_remove("lab.test"),
    "052": commands.domain_add("srv.example.net"),
    "055": commands.domain_remove("srv.example.net"),
    "064": commands.user_create("carol", "Carol C", "lab.test"),
    "079": commands.user_update("nobody42", fullname="X"),
    "084": commands.group_create("editors"),
    "087": commands.group_add("editors", ["nobody42"]),
    "088": commands.group_add("nogroup42", ["bob"]),
    "093": commands.group_delete("nogroup42"),
    "094": commands.group_delete("admins"),
    "100": commands.permission_add("nope.main", ["editors"]),
    "102": commands.ssh_key_add("bob", BOB_KEY),
    "105": commands.user_delete("carol"),
    "106": commands.user_delete("carol"),
    "110": commands.app_install("nosuchapp42", args=""),
    "113": commands.app_install(
        "my_webapp",
        args=webapp(
            domain="nope.example",
            path="/",
            init_main_permission="visitors",
            custom_error_file=None,
        ),
    ),
    "115": commands.app_install(
        "hextris",
        args=pairs(domain="site.lab.test", path="/hextris", init_main_permission="visitors"),
    ),
    "121": commands.app_install("my_webapp", args=webapp()),
    "128": commands.app_setting_set("my_webapp", "labkey", "labvalue"),
    "130": commands.app_setting_delete("my_webapp", "labkey"),
    "133": commands.app_install(
        "wordpress",
        args=pairs(
            domain="blog.lab.test",
            path="/",
            init_main_permission="visitors",
            language="en_US",
            admin="alice",
            multisite=0,
        ),
    ),
    "137": commands.domain_remove("blog.lab.test"),
    "164": commands.settings_set("security.password.user_strength", "2"),
    "165": commands.settings_set("security.password.user_strength", "2"),
    "166": commands.settings_set("security.password.user_strength", "banana"),
    "167": commands.settings_set("security.nope.nope", "1"),
    "168": commands.settings_set("security.ssh.ssh_password_authentication", "no"),
    "172": commands.diagnosis_run(["services"]),
    "195": commands.system_upgrade(),
    "198": commands.app_upgrade("my_webapp"),
    "199": commands.app_upgrade("nosuchapp42"),
    "207": commands.firewall_open("8443", "tcp", "lab port"),
    "208": commands.firewall_open("8443", "tcp", "lab port"),
    "212": commands.firewall_close("8443", "tcp"),
    "213": commands.firewall_close("8443", "tcp"),
    "220": commands.app_change_url("my_webapp__2", "lab.test", "/third"),
    "221": commands.app_change_url("my_webapp__2", "lab.test", "/third"),
    "242": commands.backup_create("full1"),
    "246": commands.backup_create("bad1", apps=["nosuchapp42"]),
    "248": commands.backup_create("bad2", system=["nosuchpart"]),
    "258": commands.settings_set("misc.backup.backup_compress_tar_archives", "yes"),
    "260": commands.settings_set("misc.backup.backup_compress_tar_archives", "no"),
    "263": commands.backup_delete("mix1"),
    "264": commands.backup_delete("mix1"),
    "265": commands.app_remove("my_webapp"),
    "266": commands.app_remove("my_webapp"),
    "268": commands.backup_restore("full1", apps=["my_webapp"]),
    "269": commands.backup_restore("full1", apps=["nosuchapp42"]),
    "270": commands.backup_restore("full1", apps=["my_webapp", "nosuchapp42"]),
    "271": commands.backup_restore("nosuch42"),
    "272": commands.backup_restore("full1", system=[]),
    "274": commands.backup_restore("full1", system=["nosuchpart"], force=True),
    "275": commands.app_remove("wordpress", purge=True),
    "280": commands.backup_restore("dr1"),
    "283": commands.backup_restore("dr1", apps=["my_webapp__2"]),
    "301": commands.backup_delete("trunc"),
    "311": commands.app_upgrade("wordpress", force=True, safety_backup=False),
    "315": commands.app_install("/root/my_webapp_ynh", force=True, args=webapp(path="/local")),
    "316": commands.app_install(
        commands.source_url("https://github.com/YunoHost-Apps/my_webapp_ynh"),
        force=True,
        args=webapp(path="/giturl"),
    ),
    "320": commands.app_upgrade("wordpress"),
    "322": commands.app_upgrade("wordpress"),
    "328": commands.backup_restore("dr1", apps=["my_webapp"]),
    "330": commands.backup_restore("dr1", apps=["wordpress"]),
    "332": commands.backup_restore("dr1", apps=["my_webapp"]),
    "333": commands.domain_add("site.lab.test"),
    "334": commands.backup_restore("dr1", apps=["my_webapp"]),
    "335": commands.app_remove("my_webapp"),
    "337": commands.app_remove("wordpress"),
    "338": commands.backup_restore("dr1", apps=["wordpress", "my_webapp__2"]),
    "343": commands.app_upgrade("my_webapp__2"),
    "352": commands.system_upgrade(),
    "357": commands.diagnosis_run(),
    "360": commands.diagnosis_run(),
    "368": commands.app_change_url("my_webapp__2", "site.lab.test", "/"),
    "379": commands.app_upgrade("wordpress", force=True, safety_backup=False),
    "380": commands.app_upgrade("wordpress", force=True, safety_backup=False),
    "381": commands.app_upgrade("wordpress", force=True, safety_backup=False),
    "383": commands.app_upgrade("my_webapp__2"),
    "386": commands.ssh_key_add("alice", ALICE_KEY),
    "391": commands.settings_set("security.password.passwordless_sudo", "yes"),
}

# The same, but for the password, which was typed as an argument and is asked for by the product.
SENT_WITHOUT_PASSWORD: dict[str, Argv] = {
    "058": commands.user_create("bob", "Bob Builder", "lab.test"),
    "059": commands.user_create("bob", "Bob Builder", "lab.test"),
    "063": commands.user_create("carol", "Carol C", "nope.example"),
    "068": commands.user_create("carol", "Carol C", "site.lab.test"),
    "014": commands.postinstall("lab.test", "alice", "Alice Admin"),
    "327": commands.postinstall("other.example", "zoe", "Zoe Z"),
    "355": commands.postinstall("lab.test", "alice", "Alice Admin"),
}


def without_password(argv: Argv) -> Argv:
    at = argv.index("--password")
    return argv[:at] + argv[at + 2 :]


@pytest.mark.parametrize("number", SENT)
def test_a_command_is_the_recorded_one(number: str) -> None:
    answer = recording(number).answer
    assert sorted(typed(SENT[number])) == sorted(typed(answer.argv))
    assert typed(SENT[number])[:3] == typed(answer.argv)[:3]
    assert SENT[number][-2] == "--timeout"
    # What ended well is no failure, unless the server says so afterwards.
    assert answer.exit_code != 0 or classify(answer) is None


@pytest.mark.parametrize("number", SENT_WITHOUT_PASSWORD)
def test_a_command_is_the_recorded_one_but_for_the_password(number: str) -> None:
    recorded = without_password(typed(recording(number).answer.argv))
    assert sorted(typed(SENT_WITHOUT_PASSWORD[number])) == sorted(recorded)


def test_the_installation_of_a_password_leaves_only_it_to_be_asked() -> None:
    """Recording 117 gave all answers, the password among them; here it is a prompt."""
    manifest = arguments.manifest(recording("111").answer)
    given: dict[str, Any] = {
        "domain": "site.lab.test",
        "path": "/",
        "with_sftp": True,
        "password": "secret:service.site.sftp",
        "phpversion": "8.2",
        "init_main_permission": "visitors",
        "database": "mysql",
        "custom_error_file": False,
    }
    checked = arguments.checked("my_webapp", manifest.questions, given)
    recorded = dict(parse_qsl(recording("117").answer.argv[7]))
    del recorded["password"]
    assert dict(parse_qsl(checked.args)) == recorded
    assert checked.prompts == (
        Prompt("password", "Choose an administration password for this app", "service.site.sftp"),
    )
    argv = commands.app_install("my_webapp", label="My site", args=checked.args)
    assert typed(argv)[4:6] == ("--label", "My site")


def test_missing_answers_are_errors_and_not_defaults() -> None:
    """What YunoHost did with no arguments at all (recording 112) is refused before."""
    questions = arguments.manifest(recording("111").answer).questions
    with pytest.raises(ArgumentsError) as caught:
        arguments.checked("my_webapp", questions, {})
    assert len(caught.value.problems) == 7  # all but the optional password
    assert any("its own default is 8.4" in problem for problem in caught.value.problems)
    wrong: tuple[tuple[dict[str, Scalar], str], ...] = (
        ({"phpversion": "9.9"}, "write one of none, 7.4"),  # recording 114
        ({"with_sftp": "perhaps"}, "true or false"),
        ({"password": "Sftp-Passw0rd-1"}, "secret:NAME"),
        ({"domain": "secret:x"}, "no password question"),
        ({"with_stfp": True}, "does not ask for with_stfp"),
        ({"path": "second"}, 'begins with "/"'),
    )
    for given_, said in wrong:
        with pytest.raises(ArgumentsError) as caught:
            arguments.checked("my_webapp", questions, {**WEBAPP, **given_})
        assert said in str(caught.value)
        assert "Sftp-Passw0rd-1" not in str(caught.value)


def test_with_a_prompt_nothing_else_is_left_to_be_asked() -> None:
    questions = (
        Question("name", "string", "Name?", optional=True, default="x"),
        Question("password", "password", "Password?", optional=False, default=None),
        Question("extra", "password", "Extra?", optional=True, default=None),
        Question("later", "string", "Later?", optional=False, default=None, conditional=True),
    )
    checked = arguments.checked("app", questions, {"password": "secret:p"})
    assert checked.args == "name=&extra=&later="
    assert [prompt.question for prompt in checked.prompts] == ["password"]
    assert arguments.checked("app", questions[:1], {}).args == ""


# --- Any value -------------------------------------------------------------------------------

# Everything a program can be given: no zero byte, no half of a character.
ANY = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40
) | st.sampled_from(
    [
        "",
        "-",
        "--",
        "--force",
        "-n",
        "-v=x",
        "--timeout=1",
        "--debug",
        "a&b=c",
        "100%",
        "%26",
        "a+b c",
        "'\"`$(id)",
        "zwei\nZeilen",
        "é中𝄞",
        "@/etc/passwd",
        "=",
        "\\",
    ]
)

# What looks like a name more often than not.
NAMELIKE = st.text("ab0_.-:/@=\n", min_size=1, max_size=12)

# Builders with free text in them → the name that the stand-in, which reads a command line by
# the same rules and library as YunoHost, finds it under.
FREE: dict[str, tuple[Callable[[str], Argv], str]] = {
    "settings": (lambda t: commands.settings_set("a.b.c", t), "value"),
    "domain panel": (lambda t: commands.domain_config_set("a.example", "a.b.c", t), "value"),
    "app panel": (
        lambda t: commands.app_config_set_panel("app", "main", arguments.encoded([("key", t)])),
        "args",
    ),
    "settings part": (
        lambda t: commands.settings_set_part("a.b", arguments.encoded([("key", t)])),
        "args",
    ),
    "part of a domain's panel": (
        lambda t: commands.domain_config_set_part(
            "a.example", "a.b", arguments.encoded([("key", t)])
        ),
        "args",
    ),
    "file with values": (
        lambda t: commands.app_config_set_panel("app", "main", "", t or "f"),
        "args_file",
    ),
    "app setting": (lambda t: commands.app_setting_set("app", "key", t), "value"),
    "install label": (lambda t: commands.app_install("app", args="a=b", label=t), "label"),
    "permission label": (lambda t: commands.permission_update("app.main", label=t), "label"),
    "description": (lambda t: commands.backup_create("x", description=t or "d"), "description"),
    "arguments": (
        lambda t: commands.app_install("app", args=arguments.encoded([("key", t)])),
        "args",
    ),
}
ENCODED = ("arguments", "app panel", "settings part", "part of a domain's panel")
# Free text that stands alone in the command line: nothing can protect a dash there.
ALONE: dict[str, tuple[Callable[[str], Argv], str]] = {
    "comment": (lambda t: commands.firewall_open("80", "tcp", t), "comment"),
}
# What must be of a certain form: anything else is refused.
FORMED: dict[str, Callable[[str], Argv]] = {
    "domain": commands.domain_add,
    "user": lambda t: commands.user_update(t, fullname="A B"),
    "full name": lambda t: commands.user_create("ada", t, "a.example"),
    "new full name": lambda t: commands.user_update("ada", fullname=t),
    "first full name": lambda t: commands.postinstall("a.example", "ada", t),
    "created": lambda t: commands.user_create(t, "A B", "a.example"),
    "group": commands.group_create,
    "member": lambda t: commands.group_add("team", ["ada", t]),
    "granted": lambda t: commands.permission_add("app.main", [t]),
    "permission": lambda t: commands.permission_update(t, label="l"),
    "app": commands.app_remove,
    "apps": lambda t: commands.backup_create("x", apps=["app", t]),
    "parts": lambda t: commands.backup_restore("x", system=[t]),
    "methods": lambda t: commands.backup_create("x", methods=[t]),
    "archive": commands.backup_delete,
    "setting": lambda t: commands.settings_set(t, "value"),
    "port": lambda t: commands.firewall_close(t, "tcp"),
    "protocol": lambda t: commands.firewall_close("80", t),
    "source": lambda t: commands.app_install(t, args=""),
    "package": lambda t: commands.app_install(commands.source_url(t), args=""),
    "branch": lambda t: commands.app_install(
        commands.source_url("https://git.example/x_ynh", t), args=""
    ),
    "url": lambda t: commands.app_change_url("app", "a.example", t),
    "key": lambda t: commands.ssh_key_add("ada", t),
    "alias": lambda t: commands.user_update("ada", add_aliases=["a@b.example", t]),
    "quota": lambda t: commands.user_update("ada", quota=t),
    "field": lambda t: commands.user_list(["username", t]),
    "upgraded from": lambda t: commands.app_upgrade("app", source=t),
    "forgotten key": lambda t: commands.ssh_key_remove("ada", t),
    "mail": lambda t: commands.user_update("ada", mail=t),
    "forward": lambda t: commands.user_update("ada", add_forwards=["a@b.example", t]),
    "no forward": lambda t: commands.user_update("ada", remove_forwards=[t]),
    "part": lambda t: commands.settings_set_part(t, "a=b"),
    "domain part": lambda t: commands.domain_config_set_part("a.example", t, "a=b"),
    "category": lambda t: commands.diagnosis_run([t]),
}


def reached(argv: Argv, name: str) -> object:
    """What the command line says under a name, read by the rules of YunoHost's own parser."""
    options, found = standin.parse(list(argv[1:]))
    assert options.output_as == "json"
    assert (options.debug, options.quiet, options.version) == (False, False, False)
    assert options.timeout in (None, commands.LOCK_TIMEOUT)
    return getattr(found, name)


@pytest.mark.parametrize("which", FREE)
@given(text=ANY)
def test_free_text_arrives_as_it_is(which: str, text: str) -> None:
    build, name = FREE[which]
    encoded = which in ENCODED
    if text == "--" and not encoded:
        with pytest.raises(ValueError, match="--"):
            build(text)
        return
    argv = build(text)
    expected = text
    if encoded:
        assert parse_qsl(str(reached(argv, name)), keep_blank_values=True) == [("key", text)]
        return
    if which == "description":
        expected = text or "d"
    if which == "file with values":
        expected = text or "f"
    assert reached(argv, name) == expected
    # And nothing else of the command depends on it.
    assert len(argv) - len(build("plain")) in (0, -1)


@pytest.mark.parametrize("which", ALONE)
@given(text=ANY)
def test_text_that_stands_alone_arrives_or_is_refused(which: str, text: str) -> None:
    build, name = ALONE[which]
    if text.startswith("-"):
        with pytest.raises(ValueError, match="dash"):
            build(text)
    else:
        assert reached(build(text), name) == text


@pytest.mark.parametrize("which", FORMED)
@given(text=ANY | NAMELIKE)
def test_what_has_a_form_has_it_or_is_refused(which: str, text: str) -> None:
    build = FORMED[which]
    try:
        argv = build(text)
    except ValueError:
        return
    assert not text.startswith("-")
    assert any(text in word for word in argv)
    options, found = standin.parse(list(argv[1:]))
    assert options.output_as == "json"
    # Everything that was read is either a value given here or a switch that was set here.
    assert text in str(vars(found)) or repr(text)[1:-1] in str(vars(found))


@given(
    st.lists(
        st.tuples(
            st.text(string.ascii_lowercase + "_", min_size=1, max_size=8),
            ANY,
        ),
        max_size=6,
        unique_by=lambda pair: pair[0],
    )
)
def test_arguments_decode_to_what_went_in(given_: list[tuple[str, str]]) -> None:
    args = arguments.encoded(given_)
    assert parse_qsl(args, keep_blank_values=True) == given_
    assert args.isascii()
    assert not set(args) & set(" \"'`$;|<>()\n\\")


@given(ANY, st.text(max_size=20))
def test_half_characters_and_zero_bytes_are_refused(text: str, more: str) -> None:
    for broken in (f"{text}\0{more}", f"{text}\ud800"):
        for build, _ in (*FREE.values(), *ALONE.values()):
            encoding = build in [FREE[which][0] for which in ENCODED]
            if encoding and "\ud800" not in broken:
                continue  # a zero byte is encoded
            with pytest.raises(ValueError):
                build(broken)


# YunoHost's own (share/actionsmap.yml of 12.1.25). It takes for ever on a long name that it does
# not take in the end, so it is only asked about short ones.
FULLNAME = r"^([^\W_]{1,30}[ ,.'-]{0,3})+$"


@given(st.text("aé1_ ,.'-\n!", max_size=12))
def test_full_names_are_those_that_yunohost_takes(text: str) -> None:
    taken = re.match(FULLNAME, text) is not None and not text.endswith("\n")
    try:
        commands.user_update("ada", fullname=text)
    except ValueError:
        assert not taken
    else:
        assert taken


def test_a_long_wrong_name_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="full name"):
        commands.user_update("ada", fullname="a" * 5000 + "!")


def test_every_write_waits_for_the_lock_no_longer_than_it_is_told() -> None:
    samples: dict[str, Any] = {
        "name": "abc", "domain": "a.example", "user": "ada", "fullname": "A B", "key": "a.b.c",
        "value": "v", "app": "app", "source": "app", "label": "l", "port": "80", "path": "/x",
        "protocol": "tcp", "comment": "c", "line": BOB_KEY, "users": ["ada"], "who": ["ada"],
        "args": "a=b", "part": "a.b", "panel": "main", "target": "apps", "refresh": True,
    }  # fmt: skip
    seen = 0
    for name, build in inspect.getmembers(commands, inspect.isfunction):
        parameters = inspect.signature(build).parameters
        if name.startswith("_") or "timeout" not in parameters:
            continue
        needed = {
            key: samples[key] if "domain" not in name or key != "name" else "a.example"
            for key, parameter in parameters.items()
            if parameter.default is inspect.Parameter.empty
        }
        if name.startswith("cert"):
            needed["name"] = "a.example"
        argv = build(**needed, timeout=7)
        assert argv[-2:] == ("--timeout", "7"), name
        options, _ = standin.parse(list(argv[1:]))
        assert options.timeout == 7
        with pytest.raises(ValueError):
            build(**needed, timeout=0)
        seen += 1
    assert seen > 35


def test_a_package_at_a_branch() -> None:
    assert (
        commands.source_url("https://git.example/group/x_ynh.git", "testing")
        == "https://git.example/group/x_ynh/tree/testing"
    )
    for url in ("http://git.example/x_ynh", "https://git.example/x", "git@git.example:x_ynh"):
        with pytest.raises(ValueError, match="_ynh"):
            commands.source_url(url)


@given(ANY)
def test_a_list_of_one_text_is_a_mistake(text: str) -> None:
    assume(text)
    with pytest.raises((TypeError, ValueError)):
        commands.group_add("team", text)
