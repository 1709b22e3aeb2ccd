"""How `make live` makes one inventory of a server that is there and of what it wants of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live.story import Offered, together

FOUND: dict[str, Any] = {
    "people": {"alix": {"mail": "alix@example.org"}},
    "hosts": {"maison": {"yunohost": {"main_domain": "example.org", "groups": {"amis": {}}}}},
    "services": {
        "blog": {"role": "wordpress", "url": "https://example.org"},
        "mine": {"role": "app", "url": "https://live-page.example.org"},
        "sick": {"role": "app", "url": "https://sick.example.org"},
    },
}
OURS: dict[str, Any] = {
    "people": {"live": {}},
    "hosts": {"maison": {"platform": "yunohost", "yunohost": {"groups": {"live": {}}}}},
    "services": {"blog": {"url": "https://live-page.example.org"}},
}


def test_what_is_there_stays_and_what_was_ours_before_is_ours_again() -> None:
    both = together(FOUND, OURS, ("found-sick",))
    assert both["people"].keys() == {"alix", "live"}
    assert both["hosts"]["maison"] == {
        "platform": "yunohost",
        "yunohost": {"main_domain": "example.org", "groups": {"amis": {}, "live": {}}},
    }
    assert {name: one["url"] for name, one in both["services"].items()} == {
        "found-blog": "https://example.org",
        "blog": "https://live-page.example.org",
    }
    assert together({}, OURS) == OURS


def test_what_is_offered_must_be_an_address() -> None:
    with pytest.raises(AssertionError, match="USER@"):
        Offered.parse("root@203.0.113.9:22:22")
