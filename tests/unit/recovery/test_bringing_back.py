"""What is brought back one after another, and what a failure means for the others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backup.errors import BackupError, BusyError
from backup.restore import Together
from recovery import steps
from recovery.steps import Choice

HOST: Any = SimpleNamespace(id="monts", platform="debian")


class Asked(list[str]):
    """The services that were brought back, and the errors of those that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: dict[str, BackupError] = {}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()

    @contextlib.contextmanager
    def session(_: Any) -> Iterator[None]:
        yield None

    def bring(_: Any, service: str, **__: Any) -> str:
        asked.append(service)
        if service in asked.errors:
            raise asked.errors[service]
        return f"{service} is back"

    monkeypatch.setattr(steps.ssh, "session", session)
    monkeypatch.setattr(steps, "ssh_target", lambda host: host)
    monkeypatch.setattr(steps, "restore_service", bring)
    return asked


def restored(*services: str) -> tuple[dict[str, Any], str]:
    """What came back, and what was said at the end."""
    found: dict[str, Any] = {}
    try:
        steps.restore(HOST, services, lambda _: None, Choice(), found)
    except BackupError as error:
        return found, str(error)
    return found, ""


def test_one_that_does_not_come_back_leaves_the_others(asked: Asked) -> None:
    asked.errors = {
        "site": BackupError("its packages are gone"),
        "wiki": BackupError("its disk is full"),
    }
    found, said = restored("_base", "site", "pad", "wiki", "cloud")
    assert list(found) == ["_base", "pad", "cloud"]
    assert said.startswith("monts: site, wiki did not come back, everything else did. ")
    assert "its packages are gone" in said
    assert "its disk is full" in said


YUNOHOST: Any = SimpleNamespace(id="monts", platform="yunohost")


def test_what_lies_ready_is_named_to_those_that_come_back(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[Any] = []

    def at_once(_: Any, services: list[str], **more: Any) -> Together:
        words.append((tuple(services), more["snapshot"], more["source"], more["once"]))
        return Together({}, {}, {"_base": "cafe", "pad": "cafe"})

    monkeypatch.setattr(steps, "restore_together", at_once)
    monkeypatch.setattr(
        steps, "restore_service", lambda _, service, **more: (service, more["snapshot"])
    )

    def taken(platform: str, *services: str, **chosen: Any) -> list[Any]:
        host: Any = SimpleNamespace(id="monts", platform=platform)
        chosen_so = Choice(once=True, **chosen)
        found: Any = steps.restore(host, services, lambda _: None, chosen_so)
        return list(found.values())

    three = ("_base", "site", "pad")
    assert taken("yunohost", *three) == [("_base", "cafe"), ("site", None), ("pad", "cafe")]
    assert words == [(three, None, None, True)]
    for platform, services, chosen in (
        ("debian", three, {}),
        ("yunohost", ("site",), {}),
        ("yunohost", three, {"dry_run": True}),
    ):
        assert {snapshot for _, snapshot in taken(platform, *services, **chosen)} == {None}
    assert len(words) == 1


def test_what_came_back_at_once_is_not_brought_back_again(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    back: Any = {"_base": "the system", "site": "the site"}
    wrong = {"pad": BackupError("its pads cannot be counted")}
    monkeypatch.setattr(steps, "restore_together", lambda *_, **__: Together(back, wrong, {}))
    found: dict[str, Any] = {}
    with pytest.raises(BackupError, match="pad did not come back, everything else did"):
        steps.restore(YUNOHOST, ("_base", "mail", "site", "pad"), lambda _: None, Choice(), found)
    assert found == {"_base": "the system", "mail": "mail is back", "site": "the site"}
    assert asked == ["mail"]
    # What the others stand on ends it here too.
    wrong["_base"] = BackupError("not as it was saved")
    with pytest.raises(BackupError, match="not as it was saved"):
        steps.restore(YUNOHOST, ("_base", "mail"), lambda _: None)
    assert asked == ["mail"]


def test_what_the_others_stand_on_ends_it(asked: Asked) -> None:
    asked.errors = {"_base": BackupError("no archive")}
    found, said = restored("_base", "site")
    assert (found, said, asked) == ({}, "no archive", ["_base"])


def test_a_single_one_says_it_in_its_own_words(asked: Asked) -> None:
    asked.errors = {"site": BackupError("its disk is full")}
    assert restored("site") == ({}, "its disk is full")


def test_a_host_that_is_busy_is_not_asked_again(asked: Asked) -> None:
    asked.errors = {"site": BusyError("a backup runs")}
    with pytest.raises(BusyError):
        steps.restore(HOST, ("site", "pad"), lambda _: None)
    assert asked == ["site"]


INVENTORY = """
schema = 1
[organisation]
name = "L'Atelier"
contact = "contact@atelier.example"
[hosts.monts]
platform = "yunohost"
address = "198.51.100.10"
provider = "Un"
datacenter = "GRA"
[hosts.monts.yunohost.domains."own.atelier.example"]
certificate = "self-signed"
[services.own]
role = "app"
host = "monts"
url = "https://own.atelier.example"
app = { id = "my_webapp" }
[services.site]
role = "app"
host = "monts"
url = "https://site.atelier.example"
app = { id = "wiki" }
"""


def test_who_vouches_for_a_server_that_came_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "atelier.toml"
    file.write_text(INVENTORY)
    seen: list[tuple[list[str], str]] = []

    def check(_: Path, services: Any, **how: Any) -> tuple[()]:
        seen.append((list(services), how.get("trusting", "")))
        return ()

    monkeypatch.setattr(steps, "check", check)
    monkeypatch.setattr(steps, "authority", lambda _, names: f"vouches for {', '.join(names)}")
    # Before the names lead there, nobody else can.
    steps.check_at(file, HOST, ["own"], {"monts": "192.0.2.1"})
    assert seen.pop() == (["own"], "vouches for own.atelier.example")
    # Afterwards only where the inventory wants it so: anything else would warn people off.
    steps.check_under_names(file, HOST, ["own", "site"])
    assert seen == [(["own"], "vouches for own.atelier.example"), (["site"], "")]
