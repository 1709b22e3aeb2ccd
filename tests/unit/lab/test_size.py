"""The size of a host's disk, as people write it."""

from __future__ import annotations

import pytest

from cli.lab import size


def test_whole_numbers_of_two_units() -> None:
    assert size("64M") == 64 * 1024**2
    assert size("500M") == 500 * 1024**2
    assert size("2G") == 2 * 1024**3
    assert size("1024G") == 1024**4


@pytest.mark.parametrize(
    "text", ["", "500", "M", "2 G", "2g", "2GB", "1.5G", "-2G", "63M", "0G", "1025G",
             "9" * 40 + "G", "2G\n", "²G"]
)  # fmt: skip
def test_all_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"from 64M to 1024G, such as 500M or 2G"):
        size(text)
