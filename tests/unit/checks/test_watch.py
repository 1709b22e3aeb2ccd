"""The watch: alerts on changes only, over a real HTTP channel, and nothing lost or said twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import alerts, history, watch
from checks import run as checks_run
from checks.result import Level, Result
from cli.check import check
from inventories.model import Inventory
from inventories.problems import InventoryError
from tests.channel import Channel

NAME = "site.test.example"


@pytest.fixture
def channel() -> Iterator[Channel]:
    with Channel() as server:
        yield server


def inventory(channel: Channel, site: int = 443, *, after: int = 2, **alert: str) -> Inventory:
    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "L’Atelier", "contact": "contact@test.example"},
            "certificates": {"trust": "root.pem"},
            "external": {
                "site": {
                    "name": "Le site du village",
                    "provider": "x",
                    "url": f"https://{NAME}:{site}",
                }
            },
            "alerts": {
                "team": {"url": f"json://127.0.0.1:{channel.port}/", "after": after, **alert}
            },
            "watch": {"ping": f"http://127.0.0.1:{channel.port}/alive"},
        }
    )


Round = Callable[..., int]


@pytest.fixture
def rounds(tmp_path: Path, trust: Path) -> Round:
    def one(inv: Inventory, results: list[Result] | None = None) -> int:
        def look() -> checks_run.Run:
            if results is not None:
                return checks_run.Run(tuple(results), 0.1)
            return checks_run.run(inv, trust.parent, addresses={NAME: "127.0.0.1"})

        return watch.run(inv, tmp_path / "inv.toml", tmp_path / "checks" / "state.json", look=look)

    return one


def test_an_outage_is_told_once_and_its_end_as_well(
    serve: Any, talks: SimpleNamespace, root: Any, channel: Channel, rounds: Round
) -> None:
    up = threading.Event()
    up.set()

    def talk(sock: Any) -> None:
        (talks.page(b"hello") if up.is_set() else talks.page(b"no", "500 Oops"))(sock)

    inv = inventory(channel, serve(talk, [root.issue(NAME)]))
    told = []
    for works in (True, False, False, False, True, False, True, True, True):
        up.set() if works else up.clear()
        assert rounds(inv) == 0
        told.append(len(channel.messages))
    # Told at the second failure in a row; one good round between is no recovery; two are.
    assert told == [0, 0, 1, 1, 1, 1, 1, 2, 2]
    assert channel.messages[0]["title"] == "[L’Atelier] 1 problème"
    assert channel.messages[0]["message"].splitlines() == [
        "Problèmes :",
        "- site.https (CRITIQUE, depuis moins d’une minute) : Le site du village, sa page",
        "  Détail et remède (en anglais) : answers HTTP 500",
    ]
    assert channel.messages[1]["title"] == "[L’Atelier] 1 rétabli"
    assert channel.messages[1]["message"].splitlines() == [
        "Rétabli :",
        "- site.https (en panne pendant moins d’une minute) : Le site du village, sa page",
    ]
    assert channel.pings == 9


def bad(*checks: str, level: Level = "critical") -> list[Result]:
    return [Result(check, "service", level, f"{check} broke") for check in checks]


def well(*checks: str) -> list[Result]:
    return [Result(check, "service", "ok", "") for check in checks]


def test_what_could_not_be_told_is_told_later_and_withholds_the_ping(
    channel: Channel, rounds: Round, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inv = inventory(channel, after=1)
    channel.works = False
    assert rounds(inv, bad("site.https", "pads.tls")) == 1
    assert "nobody could be told over team" in capsys.readouterr().err
    memory = json.loads((tmp_path / "checks/state.json").read_text())
    assert memory["channels"]["team"]["error"]
    assert channel.pings == 0
    channel.works = True
    assert rounds(inv, bad("site.https", "pads.tls")) == 0
    [message] = channel.messages  # one for both
    assert "2 problèmes" in message["title"]
    assert "n’ont pas pu être envoyés" in message["message"]
    assert channel.pings == 1


def test_worse_is_news_better_is_not_and_skipped_is_neither(
    channel: Channel, rounds: Round
) -> None:
    inv = inventory(channel, after=1)
    for results, number in (
        (bad("a.tls", level="warning"), 1),
        (bad("a.tls"), 2),
        (bad("a.tls", level="warning"), 2),
        ([Result("a.tls", "service", "skipped", "")], 2),
        (bad("a.tls"), 2),
        (well("a.tls"), 3),
        ([], 3),
    ):
        assert rounds(inv, results) == 0
        assert len(channel.messages) == number


def test_worse_is_news_when_it_held_as_well(channel: Channel, rounds: Round) -> None:
    inv = inventory(channel, after=2)
    levels: tuple[Level, ...] = (
        "warning", "warning", "critical", "warning", "critical", "unknown", "critical", "critical",
    )  # fmt: skip
    numbers = []
    for level in levels:
        assert rounds(inv, bad("a.disk", level=level)) == 0
        numbers.append(len(channel.messages))
    assert numbers == [0, 1, 1, 1, 1, 1, 1, 2]
    assert "CRITIQUE" in channel.messages[1]["message"]


def test_what_is_now_this_bad_and_now_that_bad_is_told_at_what_held(
    channel: Channel, rounds: Round
) -> None:
    inv = inventory(channel, after=3)
    for level in ("critical", "warning", "critical", "warning", "critical"):
        assert rounds(inv, bad("a.disk", level=level)) == 0
    [message] = channel.messages
    assert "avertissement" in message["message"]


def test_a_memory_of_before_levels_were_counted_apart_is_understood(
    channel: Channel, rounds: Round, tmp_path: Path
) -> None:
    inv = inventory(channel, after=3)
    assert rounds(inv, bad("a.disk", level="warning")) == 0
    state = tmp_path / "checks/state.json"
    document = json.loads(state.read_text())
    document["version"] = 1
    for memory in document["checks"].values():
        memory["bad"] = 2 * (memory["level"] == "warning")
    state.write_text(json.dumps(document))
    assert rounds(inv, bad("a.disk", level="warning")) == 0
    assert len(channel.messages) == 1
    assert not list(state.parent.glob("*.damaged-*"))


def test_a_damaged_memory_is_set_aside_and_the_watch_goes_on(
    channel: Channel, rounds: Round, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inv = inventory(channel, after=1)
    assert rounds(inv, well("a.b")) == 0
    state = tmp_path / "checks/state.json"
    for broken in (b'{"version": 1, "che', b"[]", b'{"version": 9}', b"\xff\x00"):
        for old in state.parent.glob("*.damaged-*"):
            old.unlink()
        state.write_bytes(broken)
        assert rounds(inv, bad("a.b")) == 0
        assert "was damaged" in capsys.readouterr().err
        [aside] = state.parent.glob("state.json.damaged-*")
        assert aside.read_bytes() == broken
        assert json.loads(state.read_text())["checks"]["a.b"]["bad"]["critical"] == 1
    assert len(channel.messages) == 4


def test_two_rounds_do_not_overlap(channel: Channel, rounds: Round, tmp_path: Path) -> None:
    codes: list[int] = []
    inv = inventory(channel)
    state = tmp_path / "checks" / "state.json"

    def within() -> checks_run.Run:
        codes.append(rounds(inv, []))
        return checks_run.Run((), 0.1)

    assert watch.run(inv, tmp_path / "inv.toml", state, look=within) == 0
    assert codes == [75]


def test_a_watch_without_network_says_so_once(channel: Channel, rounds: Round) -> None:
    inv = inventory(channel, after=1)
    seen = [*well("a.https", "a.dns", "b.https"), Result("h.ssh", "host", "ok", "")]
    lost = [
        *bad("a.https", "b.https"),
        *bad("a.dns", level="unknown"),
        Result("h.ssh", "host", "critical", "no route"),
        Result("h.disk", "host", "skipped", ""),
    ]
    assert rounds(inv, seen) == 0
    assert channel.pings == 1
    for _ in range(3):
        assert rounds(inv, lost) == 0
    assert [m["title"] for m in channel.messages] == ["[L’Atelier] 1 problème"]
    assert "cannot see anything" in channel.messages[0]["message"]
    assert channel.pings == 1
    assert rounds(inv, seen) == 0
    assert "watch.sight" in channel.messages[1]["message"]
    assert "a.https" not in channel.messages[1]["message"]
    # That it reaches itself is no proof of a network.
    own = [*lost, Result("eye.ssh", "host", "ok", "answers")]
    assert not watch.is_blind(own)
    assert watch.is_blind(own, {"eye"})
    # DNS answers, all else is down: that is an outage, and told as one.
    assert rounds(inv, [*bad("a.https", "b.https"), *well("a.dns")]) == 0
    assert "2 problèmes" in channel.messages[2]["title"]


def test_a_secret_address_comes_from_the_watchs_own_file_and_is_never_printed(
    channel: Channel,
    rounds: Round,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watch, "SECRETS", tmp_path / "watch-secrets.toml")
    watch.SECRETS.write_text(f'"alert.team" = "json://127.0.0.1:{channel.port}/t0ken"\n')
    inv = inventory(channel, after=1, url="secret:alert.team")
    assert rounds(inv, bad("a.b")) == 0
    assert len(channel.messages) == 1
    channel.works = False
    assert rounds(inv, bad("a.b", "a.c")) == 1
    watch.SECRETS.write_text("other = 'x'\n")
    assert rounds(inv, bad("a.b", "a.c")) == 1
    said = capsys.readouterr()
    assert "t0ken" not in said.err + said.out + (tmp_path / "checks/state.json").read_text()
    assert "alert.team is not in" in said.err


levels = st.sampled_from(["ok", "warning", "critical", "unknown", "skipped"])


@given(st.lists(levels, max_size=30), st.integers(1, 4))
def test_nothing_is_told_twice_and_every_end_is_told(found: list[Level], after: int) -> None:
    state, channel = history.State(), history.Channel()
    open_level: Level | None = None
    for turn, level in enumerate([*found, *["ok"] * after]):
        history.remember(state, [Result("a.b", "service", level, "")], turn)  # type: ignore[arg-type]
        what = alerts.news(state, channel, after, turn)
        for item in what.bad:
            assert open_level is None or open_level != item.level
            open_level = item.level
        for _ in what.well:
            assert open_level is not None
            open_level = None
        alerts.told(channel, what, state)
        assert bool(channel.told) == (open_level is not None)
    assert open_level is None


def test_pending_updates_get_a_night_before_anybody_is_told() -> None:
    state, channel = history.State(), history.Channel()
    for hour in range(0, 40):
        history.remember(state, [Result("web1.updates", "host", "warning", "")], 1e6 + hour * 3600)
        assert bool(alerts.news(state, channel, 1, 1e6 + hour * 3600)) == (hour >= 36)


def test_the_jitter_is_another_wait_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    for _ in range(4):
        with pytest.raises(InventoryError, match="none"):
            check.main(
                [str(tmp_path / "none.toml"), "--watch", "--jitter", "20"], standalone_mode=False
            )
    assert len(set(waits)) == 4
    assert all(0 <= wait <= 20 for wait in waits)
