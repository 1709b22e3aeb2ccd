"""Addresses taken apart."""

from __future__ import annotations

import pytest

from tools import urls


def test_parts_of_an_address() -> None:
    assert urls.split("https://Pad.Atelier.example:8443/p/a?b=1") == (
        "https", "pad.atelier.example", 8443, "/p/a", "b=1"
    )  # fmt: skip
    assert urls.split("https://pad.atelier.example").port is None
    assert urls.split("nothing").name == ""


@pytest.mark.parametrize("wrong", ["https://a:b", "https://a:99999", "https://[a"])
def test_what_is_no_address_is_said_every_time(wrong: str) -> None:
    for _ in range(2):
        with pytest.raises(ValueError):
            urls.split(wrong)
