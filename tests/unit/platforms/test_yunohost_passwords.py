from __future__ import annotations

import re

import pytest

from platforms.yunohost import passwords


def test_a_new_one_is_good_for_every_rule_and_every_place() -> None:
    made = {passwords.new() for _ in range(200)}
    assert len(made) == 200
    for one in made:
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{31}", one)
        assert all(passwords.too_weak(one, level) == "" for level in (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("password", "level", "why"),
    [
        ("seven77", 1, "fewer than 8"),
        ("longenough", 1, ""),
        ("longenough", 2, "a digit and an upper-case letter"),
        ("Longenough1", 2, ""),
        ("Longenough1", 3, "neither letter nor digit"),
        ("Longenough1!", 4, ""),
        ("Longenou1!", 4, "fewer than 12"),
        ("x" * 127, 1, "longer than 126"),
    ],
)
def test_what_yunohost_would_refuse_is_known_before(password: str, level: int, why: str) -> None:
    said = passwords.too_weak(password, level)
    assert why in said
    assert bool(said) is bool(why)
    assert password not in said
