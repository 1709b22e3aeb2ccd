"""Each recorded failure is one typed error that says what happened and what to do."""

from __future__ import annotations

import pytest

from platforms.yunohost import commands
from platforms.yunohost.answers import Answer
from platforms.yunohost.errors import YunohostError, classify, without_secrets
from tests.contract.recorded import NAMES, inside, recording

# Failed by its exit code, or by what became of its parts: no look at the server is needed.
FAILED: dict[str, str] = {
    "002": "not_postinstalled",
    "003": "not_postinstalled",
    "005": "not_postinstalled",
    "007": "needs_terminal",
    "008": "weak_password",
    "009": "bad_name",
    "010": "bad_name",
    "011": "bad_name",
    "014": "already_postinstalled",
    "022": "domain_exists",
    "023": "bad_name",
    "028": "unknown_domain",
    "030": "nothing_to_do",
    "031": "unknown_domain",
    "036": "dns_special",
    "043": "unknown_domain",
    "046": "certificate_refused",
    "047": "nothing_to_do",
    "049": "unknown_domain",
    "050": "domain_is_main",
    "059": "user_exists",
    "060": "bad_name",
    "061": "bad_name",
    "062": "weak_password",
    "063": "unknown_domain",
    "064": "needs_terminal",
    "065": "command_unknown",
    "066": "needs_terminal",
    "072": "unknown_user",
    "079": "unknown_user",
    "084": "group_exists",
    "087": "unknown_user",
    "088": "unknown_group",
    "093": "unknown_group",
    "094": "group_protected",
    "100": "unknown_permission",
    "106": "unknown_user",
    "110": "unknown_catalog_app",
    "112": "packages_missing",
    "113": "bad_argument",
    "114": "bad_argument",
    "115": "download_failed",
    "120": "url_taken",
    "124": "unknown_app",
    "131": "unknown_app",
    "137": "domain_in_use",
    "141": "unknown_service",
    "143": "unknown_service",
    "145": "unknown_service",
    "153": "command_unknown",
    "155": "command_unknown",
    "157": "command_unknown",
    "163": "unknown_setting",
    "166": "bad_argument",
    "167": "unknown_setting",
    "174": "bad_argument",
    "184": "unknown_log",
    "197": "command_unknown",
    "198": "nothing_to_do",
    "199": "unknown_app",
    "200": "command_unknown",
    "201": "command_unknown",
    "202": "command_unknown",
    "203": "command_unknown",
    "205": "not_root",
    "206": "unknown_user",
    "218": "command_unknown",
    "219": "command_unknown",
    "221": "nothing_to_do",
    "229": "command_unknown",
    "240": "unknown_archive",
    "242": "archive_exists",
    "246": "backup_failed",
    "247": "backup_incomplete",
    "248": "backup_failed",
    "250": "backup_folder",
    "251": "crashed",
    "253": "backup_folder",
    "254": "backup_folder",
    "264": "unknown_archive",
    "266": "unknown_app",
    "268": "app_exists",
    "269": "archive_lacks",
    "270": "app_exists",
    "271": "unknown_archive",
    "272": "needs_terminal",
    "274": "archive_lacks",
    "277": "crashed",
    "280": "unknown_archive",
    "282": "not_postinstalled",
    "283": "archive_without_system",
    "286": "backup_failed",
    "290": "unknown_archive",
    "314": "needs_terminal",
    "322": "nothing_to_do",
    "328": "restore_domain_missing",
    "330": "restore_domain_missing",
    "332": "app_exists",
    "334": "app_exists",
    "338": "restore_domain_missing",
    "340": "restore_incomplete",
    "353": "catalog_offline",
    "367": "no_panel",
    "368": "url_taken",
    "371": "crashed",
    "379": "interrupted",
    "380": "interrupted",
    "382": "download_failed",
    "384": "catalog_offline",
    "388": "not_root",
    "389": "sudo_password",
}

# Ended well, and the server showed afterwards that it had failed.
FAILED_UNSEEN: dict[str, str] = {
    "012": "postinstall_incomplete",
    "045": "certificate_not_diagnosed",
    "249": "no_archive",
    "343": "upgrade_failed",
    "345": "upgrade_failed",
    "347": "upgrade_failed",
    "354": "mirrors_offline",
    "355": "postinstall_incomplete",
    "383": "upgrade_failed",
}

# Failed inside a shell line that itself ended well.
FAILED_INSIDE: dict[str, tuple[str, str]] = {
    "222": ("yunohost user update", "locked"),
    "295": ("yunohost backup restore", "unknown_archive"),
    "297": ("yunohost backup create", "backup_method_failed"),
    "298": ("yunohost backup info", "archive_corrupt"),
    "299": ("yunohost backup restore", "archive_corrupt"),
    "369": ("yunohost hook add labapp", "crashed"),
    "376": ("yunohost app install", "app_failed"),
    "377": ("yunohost app install", "app_failed"),
}


def useful(error: YunohostError | None) -> YunohostError:
    """What every error owes to whoever reads it."""
    assert error is not None
    assert error.message.endswith((".", "!"))
    assert error.remedy.endswith(".") or "yunohost" in error.remedy
    assert "{log}" not in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 1200
    return error


@pytest.mark.parametrize("number", FAILED)
def test_a_recorded_failure_is_one_typed_error(number: str) -> None:
    answer = recording(number).answer
    error = useful(classify(answer, host="monts"))
    assert error.kind == FAILED[number]
    assert error.message.startswith("On monts, ")
    # What the server shows afterwards is stronger than the exit code.
    assert classify(answer, done=True) is None


@pytest.mark.parametrize("number", FAILED_UNSEEN)
def test_a_failure_that_ended_well_is_seen_by_looking(number: str) -> None:
    answer = recording(number).answer
    assert answer.exit_code == 0
    assert classify(answer) is None
    assert useful(classify(answer, done=False)).kind == FAILED_UNSEEN[number]


@pytest.mark.parametrize("number", FAILED_INSIDE)
def test_a_failure_inside_a_shell_line(number: str) -> None:
    command, kind = FAILED_INSIDE[number]
    answer = inside(number, command)
    assert answer.argv[:3] == tuple(command.split()[:3])
    assert useful(classify(answer, done=False)).kind == kind


def test_nothing_else_failed() -> None:
    """Whatever is in none of the tables ended well: no failure is left without its kind."""
    known = FAILED.keys() | FAILED_UNSEEN.keys() | FAILED_INSIDE.keys()
    # A marker that is not there, which is an answer.
    for name in NAMES:
        if name[:3] not in known | {"006"}:
            assert classify(recording(name).answer) is None, name


def test_missing_parts_are_named() -> None:
    error = classify(recording("247").answer)
    assert error is not None
    assert error.parts == ("nosuchapp42 (Skipped)",)
    assert "nosuchapp42" in error.message
    error = classify(recording("340").answer)
    assert error is not None
    assert error.parts == ("my_webapp (Error)", "wordpress (Error)")


def test_what_an_apps_script_complained_of_is_told() -> None:
    error = classify(recording("343").answer, done=False)
    assert "lab: this upgrade always fails for __2 / Failed to upgrade" in str(error)
    error = classify(inside("377", "yunohost app install"), done=False)
    assert "labfail / Unable to install my_webapp" in str(error)
    error = classify(recording("112").answer)
    assert "Package 'php8.4' has no installation candidate" in str(error)
    # Where else a warning is none of a failure, it is not told with one.
    stderr = "WARNING beside\nERROR wrong"
    assert "beside" not in str(classify(Answer(("yunohost", "domain", "add"), 1, "", stderr)))
    # What a script repeats of its arguments, no message does.
    argv = commands.app_install("a", args="admin_password=Sftp-Passw0rd-1")
    error = classify(Answer(argv, 1, "", "WARNING cannot use Sftp-Passw0rd-1\nERROR failed"))
    assert "cannot use" in str(error)
    assert "Sftp-Passw0rd-1" not in str(error)


# What Let's Encrypt refused, as YunoHost's client says it.
REFUSED = """ERROR Error finalizing order:
Url: https://acme-v02.api.letsencrypt.org/finalize-order/LAjxE7VpxEuOmGHTL0WXVUWPLbYuC2A-yMjMpO
Data: b'{{"protected": "{blob}", "payload": "{blob}", "signature": "{blob}"}}'
Response Code: 403
Response: {{'detail': 'The order includes other names than the request', 'status': 403}}
ERROR Certificate installation for {name} failed !
Exception: Could not sign the new certificate
"""


def test_why_a_certificate_was_refused_is_told_to_its_end() -> None:
    name = "cloud.example.org"
    said = REFUSED.format(blob="eyJ1cmwiOiAi" * 60, name=name)
    error = useful(classify(Answer(commands.cert_install(name), 1, "", said)))
    assert "The order includes other names than the request', 'status': 403}" in str(error)
    assert "Could not sign the new certificate" in str(error)
    assert "eyJ1cmwi" not in str(error)
    assert "port 80 is open" in error.remedy


@pytest.mark.parametrize("number", ["045", "046"])
def test_a_name_that_gets_no_certificate_anywhere_is_said_to_be_one(number: str) -> None:
    error = useful(classify(recording(number).answer, done=False))
    assert 'certificate = "self-signed"' in error.remedy
    assert "port 80" not in str(error)


def test_the_log_is_named() -> None:
    error = classify(recording("343").answer, done=False)
    assert error is not None
    assert error.log == "20261123-181510-app_upgrade-my_webapp__2"
    assert error.log in error.remedy


@pytest.mark.parametrize(
    "number", [n for n, kind in FAILED.items() if recording(n).answer.exit_code == 1]
)
def test_words_never_decide_whether_it_failed(number: str) -> None:
    """The same answer without a word in it, or in another language, is still a failure."""
    answer = recording(number).answer
    for stderr in ("", "ERREUR Quelque chose s'est mal passé\n", "\x1b[31mErreur :\x1b[m non"):
        mute = type(answer)(answer.argv, answer.exit_code, "", stderr)
        useful(classify(mute))
    # And its words make no failure of an answer that ended well and had its effect.
    fine = type(answer)(answer.argv, 0, '{"apps": {}, "system": {}}', answer.stderr)
    if answer.argv[1:2] != ("tools",):
        assert classify(fine) is None


@pytest.mark.parametrize("number", ["009", "010", "014", "058", "063", "068", "077", "117"])
def test_errors_and_logs_hold_no_password(number: str) -> None:
    answer = recording(number).answer
    secrets = {"Bobs-Passw0rd-77", "Bobs-N3w-Passw0rd", "Carols-Passw0rd-77", "Sftp-Passw0rd-1"}
    secrets |= {"Lab-Passw0rd-42"}
    given = {secret for secret in secrets if any(secret in word for word in answer.argv)}
    assert given
    leaking = type(answer)(
        answer.argv, 1, "", "".join(f"ERROR argument value '{word}'\n" for word in given)
    )
    error = classify(leaking)
    assert error is not None
    for secret in given:
        assert secret not in str(error)
        assert secret not in without_secrets(f"a {secret} b", answer.argv)


# What 12.1.25 said in the cases that were met after the recordings were made.
MET = [
    (
        commands.user_create("contact", "Contact", "lab.test"),
        "ERROR Could not create user contact: LDAP attribute 'cn' already exists with value "
        "'contact'",
        "user_exists",
    ),
    (
        commands.app_manifest("https://git.lab.test/apps/foo_ynh"),
        "ERROR Command '['git', 'ls-remote', '--symref', 'https://git.lab.test/apps/foo_ynh', "
        "'HEAD']' returned non-zero exit status 128.\nERROR Could not fetch source files, is the "
        "URL correct?",
        "download_failed",
    ),
]


@pytest.mark.parametrize(("argv", "stderr", "kind"), MET)
def test_a_failure_that_was_met_later(argv: tuple[str, ...], stderr: str, kind: str) -> None:
    error = classify(Answer(argv, 1, "", stderr))
    assert error is not None
    assert error.kind == kind


def test_without_a_log_of_its_own_the_list_of_logs_is_named() -> None:
    error = classify(Answer(("yunohost", "domain", "add", "x.test"), 1, "", "ERROR something new"))
    assert error is not None
    assert error.kind == "refused"
    assert "yunohost log list" in error.remedy
