"""Facts about YunoHost that the product rests on, each where it was seen; and every recording
is of use to some test.
"""

from __future__ import annotations

import re

import pytest

from platforms.yunohost import answers, commands
from platforms.yunohost.answers import UnreadableError
from platforms.yunohost.errors import operation_log, said
from tests.contract import test_answers, test_commands, test_failures
from tests.contract.recorded import NAMES, inside, recording, typed

# Recording → what of standard output, the errors included, the product relies on.
FACTS: dict[str, tuple[str, ...]] = {
    # What stands beside the tar is made anew; archives can be read by everybody.
    "241": (r"-rw-r--r-- 1 root root +\d+ .* full1\.tar", r"full1\.info\.json"),
    "261": (r"gz1\.tar -> /home/yunohost\.backup/archives/gz1\.tar\.gz",),
    # The layout of an archive, by which parts of it are streamed.
    "262": (r"apps/wordpress/backup", r"apps/wordpress/settings", r"conf/ldap/", r"info\.json"),
    "252": (r"/home/backup-copy/data/home",),
    "289": (r"644 root:root /mnt/copy3/data/home/alice/marker\.txt",),
    "256": (r"/mnt/bk/tarout\.tar",),
    "287": (r"cannot access '/mnt/bk'",),
    # What a backup method is called with.
    "294": (
        r"args: need_mount /home/yunohost\.backup/tmp/custom1 custom1"
        r" /home/yunohost\.backup/archives 225435256",
        r"args: backup /home/yunohost\.backup/tmp/custom1 custom1",
        r"\(ro,",
    ),
    "313": (r"SUCCESS my_webapp upgraded", r"rc=0"),
    "341": (r'"main": "lab\.test"', r'"bob@lab\.test"'),
    "356": (r"/etc/yunohost/installed", r'"main": "lab\.test"'),
    "387": (r"groups=.*4001\(admins\)", r"(?m)^0022$"),
    "393": (r"permitrootlogin no", r"allowgroups admins"),
    # Options as this version has them.
    "152": (r"\{list,is-open,open,close,delete,",),
    "204": (r"--label LABEL", r"--args ARGS", r"--force"),
    "362": (r"user import csvfile", r"separated", r"existing users are ignored"),
    "370": (r"subcategories",),
    "373": (r"postinstall,update_norefresh,update,upgrade", r"regen-conf,versions,migrations"),
    "372": (r"0 upgraded",),
    # Answers for people, which the product never asks for.
    "017": (r"version: 12\.1\.25",),
    "019": (r"main: lab\.test",),
    "020": (r"#main",),
    "035": (r"special-use",),
    "054": (r"CA_type: selfsigned",),
    "070": (r"limit: No quota",),
    "104": (
        r"\Ausername;firstname;lastname;password;mail;mail-alias;mail-forward;mailbox-quota;groups",
    ),
    "142": (r'"journalctl"',),
    "236": (r"size: 215MB",),
    "239": (r"from_yunohost_version",),
    "351": (r"new_version: 12\.1\.1",),
    "359": (r"\[ERROR\] The server does not seem to be connected",),
}

# Ended well, and are read by nobody: the state afterwards is what counts.
ENDED_WELL = [
    "013",
    "021",
    "024",
    "025",
    "032",
    "033",
    "039",
    "040",
    "044",
    "048",
    "052",
    "055",
    "102",
    "105",
    "117",
    "121",
    "128",
    "130",
    "133",
    "144",
    "146",
    "147",
    "149",
    "150",
    "151",
    "154",
    "156",
    "158",
    "160",
    "164",
    "165",
    "168",
    "169",
    "172",
    "190",
    "191",
    "195",
    "196",
    "207",
    "208",
    "212",
    "213",
    "214",
    "215",
    "217",
    "220",
    "258",
    "260",
    "263",
    "265",
    "275",
    "301",
    "311",
    "315",
    "316",
    "320",
    "327",
    "333",
    "335",
    "337",
    "352",
    "357",
    "360",
    "365",
    "381",
    "386",
    "391",
]


@pytest.mark.parametrize("number", FACTS)
def test_a_fact_the_product_rests_on(number: str) -> None:
    answer = recording(number).answer
    for pattern in FACTS[number]:
        assert re.search(pattern, answer.stdout + answer.stderr), pattern


@pytest.mark.parametrize("number", ["006", "015"])
def test_the_marker_of_the_post_install(number: str) -> None:
    answer = recording(number).answer
    assert answer.argv[2] == commands.INSTALLED_MARKER
    assert (answer.exit_code == 0) == (number == "015")


@pytest.mark.parametrize("number", ENDED_WELL)
def test_what_ended_well_has_no_error(number: str) -> None:
    answer = recording(number).answer
    assert answer.exit_code == 0
    # The operation's log is only named when it failed; error lines may be there all the same.
    assert operation_log(answer) == ""
    if number in ("172", "357", "360"):
        assert said(answer)


@pytest.mark.parametrize("number", ["017", "019", "020", "054", "070", "236", "239", "351"])
def test_what_is_printed_for_people_is_no_answer(number: str) -> None:
    with pytest.raises(UnreadableError):
        answers.value(recording(number).answer)


def test_the_plain_firewall_list_is_refused() -> None:
    """It hides closed ports, comments and UDP."""
    for number in ("151", "156"):
        with pytest.raises(UnreadableError, match="--raw"):
            answers.firewall(recording(number).answer)


def test_what_is_on_a_server_after_a_full_restore_by_force() -> None:
    printed = recording("341").answer.stdout
    line = next(row for row in printed.split("\n") if row.startswith('{"domains"'))
    listed = answers.Answer(("yunohost", "domain", "list"), 0, line, "")
    assert answers.domains(listed).main == "lab.test"


def test_full_settings_tell_types_and_hold_no_password() -> None:
    panels = answers.value(recording("160").answer)["panels"]
    options = {
        option["id"]: option
        for panel in panels
        for section in panel["sections"]
        for option in section["options"]
    }
    assert options["ssh_port"]["type"] == "number"
    assert not options["smtp_relay_password"]["value"]


def test_an_interrupted_session_is_recovered_by_looking() -> None:
    """Without a terminal the command goes on; with one it dies (recordings 379 and 380)."""
    goes_on, dies = recording("379").answer.stdout, recording("380").answer.stdout
    assert re.search(r"t=8s: \d+ python3 /usr/bin/yunohost app upgrade", goes_on)
    assert not re.search(r"t=8s: \d+ python3 /usr/bin/yunohost app upgrade", dies)
    assert '"success": "?"' in dies


def test_an_unknown_method_leaves_nothing() -> None:
    """Recording 249 says that bad3 is made, recording 257 that it is not there."""
    assert answers.backup_result(recording("249").answer).name == "bad3"
    assert "bad3" not in answers.archives(recording("257").answer)


def test_a_session_as_admin_asks_the_same() -> None:
    assert typed(inside("392", "yunohost user list").argv) == typed(commands.user_list())


def test_every_recording_is_of_use() -> None:
    used = (
        test_answers.READ.keys()
        | test_answers.READ_INSIDE.keys()
        | test_failures.FAILED.keys()
        | test_failures.FAILED_UNSEEN.keys()
        | test_failures.FAILED_INSIDE.keys()
        | test_commands.SENT.keys()
        | test_commands.SENT_WITHOUT_PASSWORD.keys()
        | FACTS.keys()
        | set(ENDED_WELL)
        | {"006", "015"}
    )
    assert {name[:3] for name in NAMES} == used
    assert len(NAMES) == 380
