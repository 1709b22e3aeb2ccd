"""Addresses taken apart."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventories.model import clean_https_url
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


@given(
    st.from_regex(
        r"\A(https|http|HTTPS)://[a-zA.-]{0,3}(:[0-9]{0,5})?(/[a/.?#;%]{0,3})?\Z", fullmatch=False
    )
)
def test_what_most_addresses_look_like_is_read_as_any_other(url: str) -> None:
    def parts() -> tuple[object, ...] | None:
        try:
            found = urlsplit(url)
            return (found.scheme, found.hostname or "", found.port, found.path, found.query)
        except ValueError:
            return None

    expected = parts()
    if expected is None:
        with pytest.raises(ValueError):
            urls.split(url)
    else:
        assert urls.split(url) == expected


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://a.example:443", "https://a.example"),
        ("https://a.example:8443", "https://a.example:8443"),
        ("https://a.example:65535/", "https://a.example:65535"),
        ("https://A.example/pads/", "https://a.example/pads"),
    ],
)
def test_the_one_form_of_an_address(written: str, url: str) -> None:
    assert clean_https_url(written) == url
    assert clean_https_url(url) == url


@pytest.mark.parametrize(
    "wrong", ["https://a.example:65536", "https://a", "https://" + "a." * 130 + "example"]
)
def test_what_is_no_address_of_a_service(wrong: str) -> None:
    with pytest.raises(ValueError):
        clean_https_url(wrong)
