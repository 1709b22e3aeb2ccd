"""The context that is made beforehand verifies as much as any, and serves one caller."""

from __future__ import annotations

import ssl

from checks import authorities


def test_what_was_begun_verifies_and_is_given_out_once() -> None:
    authorities.begin()
    first, second = authorities.context(), authorities.context()
    assert first is not second
    usual = ssl.create_default_context()
    for made in (first, second):
        assert made.verify_mode == ssl.CERT_REQUIRED
        assert made.check_hostname
        assert made.cert_store_stats() == usual.cert_store_stats()
