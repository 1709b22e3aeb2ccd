"""What could be upgraded, from recorded answers."""

from __future__ import annotations

import json
from pathlib import Path

from platforms.debian import packages
from platforms.yunohost import answers
from platforms.yunohost.answers import Answer, App
from platforms.yunohost.server import ORIGIN
from platforms.yunohost.wanted import WantedApp
from recovery import available
from recovery.available import Available, Held, Mark, Waiting
from recovery.upgraded import plan

RECORDINGS = Path(__file__).parents[2] / "contract/recordings"


def recorded(name: str) -> Answer:
    told = json.loads((RECORDINGS / f"{name}.json").read_text())
    return Answer(tuple(told["argv"]), told["exit_code"], told["stdout"], told["stderr"])


def app(service: str, instance: str, source: str | None = None) -> WantedApp:
    return WantedApp(service, instance, instance, f"{service}.example", "/", source=source)


def test_a_recorded_offer_is_sorted_out() -> None:
    installed = answers.apps(recorded("317-app-list-3"))
    offered = answers.upgrades(recorded("318-tools-update-apps-avail"))
    source = "https://git.example/local_ynh"
    wanted = [
        app("site", "wordpress"),
        app("files", "my_webapp"),
        app("mine", "my_webapp__3", source),
        app("gone", "nextcloud"),
    ]
    waiting, held, others = available.sorted_out(
        wanted, installed, offered, {"my_webapp__3": "1.1~ynh1"}
    )
    assert waiting == (
        Waiting("site", "wordpress", "6.1.9~ynh1", "6.1.9~ynh2"),
        # Nobody noted where it came from.
        Waiting("mine", "my_webapp__3", "1.0~ynh22", "1.1~ynh1", source, exchanged=True),
    )
    assert [one.subject for one in held] == ["gone"]
    assert others == ("my_webapp__2",)


def test_an_app_whose_source_is_gone_from_the_inventory_and_the_catalog_is_held_back() -> None:
    here = App("pad", "Pad", "1", settings={ORIGIN: "https://git.example/pad_ynh"})
    offered = answers.upgrades(recorded("318-tools-update-apps-avail"))
    waiting, held, _ = available.sorted_out([app("pad", "pad")], {"pad": here}, offered, {})
    assert waiting == ()
    assert "write source = 'https://git.example/pad_ynh' again" in held[0].why


def test_what_cannot_be_upgraded_is_held_back_with_a_reason() -> None:
    installed = answers.apps(recorded("317-app-list-3"))
    answer = recorded("318-tools-update-apps-avail")
    asks = answer.stdout.replace('"upgradable"', '"fail_requirements"')
    offered = answers.upgrades(Answer(answer.argv, 0, asks, ""))
    waiting, held, _ = available.sorted_out([app("site", "wordpress")], installed, offered, {})
    assert waiting == ()
    assert "--system" in held[0].why
    told = plan([Available("monts", held=(Held("site", held[0].why),))])
    assert "nothing to upgrade" in told
    assert "held back: site" in told


def test_marks_come_back_as_they_were_written() -> None:
    mark = Mark("site", "wordpress", "1", "2", "f82e", ("site.https",), {"libc6": "2.36"})
    text = json.dumps(
        {
            "service": "site",
            "instance": "wordpress",
            "before": "1",
            "after": "2",
            "snapshot": "f82e",
            "bad": ["site.https"],
            "versions": {"libc6": "2.36"},
        }
    )
    assert available.marks({"/x/site": text}) == (mark,)


SIMULATED = """Reading package lists...
The following NEW packages will be installed:
  linux-image-6.1.0-28-amd64
Inst libc6 [2.36-9+deb12u8] (2.36-9+deb12u9 Debian:12.8/stable [amd64])
Inst linux-image-6.1.0-28-amd64 (6.1.119-1 Debian-Security:12/stable-security [amd64])
Conf libc6 (2.36-9+deb12u9 Debian:12.8/stable [amd64])
"""


def test_what_apt_would_do() -> None:
    assert packages.waiting(SIMULATED) == (
        packages.Package("libc6", "2.36-9+deb12u8", "2.36-9+deb12u9"),
        packages.Package("linux-image-6.1.0-28-amd64", "", "6.1.119-1"),
    )
    assert packages.waiting("Reading package lists...\n") == ()


def test_packages_that_are_there_and_those_half_done() -> None:
    said = "ii \tbash\t5.2\nrc \told\t1\niF \tnginx\t1.22\niU \tphp\t8.2\nii \tbash-doc\t5.2\n"
    found = packages.installed(said)
    assert found.versions == {"bash": "5.2", "nginx": "1.22", "php": "8.2", "bash-doc": "5.2"}
    assert found.unsettled == ("nginx", "php")
    assert packages.changes({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}) == (
        packages.Package("b", "1", "2"),
        packages.Package("c", "1", ""),
        packages.Package("d", "", "1"),
    )
