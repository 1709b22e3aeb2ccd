"""Passwords of accounts: new ones, and whether YunoHost would take a given one. Pure but for
chance."""

from __future__ import annotations

import secrets as random
import string

# What each of YunoHost's four levels asks for: length, digits, lower case, upper case, others
# (src/utils/password.py of 12.1.25).
_LEVELS = ((8, 0, 0, 0, 0), (8, 1, 1, 1, 0), (8, 1, 1, 1, 1), (12, 1, 1, 1, 1))
_LONGEST = 126


def new() -> str:
    """32 characters of every kind that a rule may ask for, none of which means anything to a
    shell, a URL or a CSV file; 192 bits."""
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "-_")
    while True:
        text = "".join(random.choice("".join(kinds)) for _ in range(32))
        # Not a sign at the beginning, where it could be taken for an option.
        if text[0].isalpha() and all(set(text) & set(kind) for kind in kinds):
            return text


def not_in_a_form(password: str) -> str:
    """Why YunoHost would refuse a password as an answer to an app's question or as a setting, or
    "" (src/utils/form.py of 12.1.25)."""
    return "it has { or } in it" if set(password) & set("{}") else ""


def too_weak(password: str, level: int) -> str:
    """Why YunoHost would refuse a password at its `level` (1 to 4), or "". It also knows a list
    of the most used ones, which we do not."""
    length, digits, lower, upper, others = _LEVELS[min(max(level, 1), 4) - 1]
    if len(password) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    if len(password) < length:
        return f"it has fewer than {length} characters"
    lacking = [
        what
        for what, least, number in (
            ("a digit", digits, sum(c.isdigit() for c in password)),
            ("a lower-case letter", lower, sum(c.islower() for c in password)),
            ("an upper-case letter", upper, sum(c.isupper() for c in password)),
            ("a character that is neither letter nor digit", others,
             sum(not c.isalnum() for c in password)),
        )
        if number < least
    ]  # fmt: skip
    return f"it lacks {' and '.join(lacking)}" if lacking else ""
