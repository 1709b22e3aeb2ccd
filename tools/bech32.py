"""The checksum of bech32 texts (BIP 173), in which age writes its public keys."""

from __future__ import annotations

import re

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            check ^= generator if top >> bit & 1 else 0
    return check


def is_age_recipient(text: str) -> bool:
    """Whether `text` is an age X25519 public key: age1, 52 characters of key, 6 of checksum."""
    match = re.fullmatch(rf"(age)1([{_ALPHABET}]{{58}})", text)
    if match is None:
        return False
    prefix = match[1]
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    return _polymod(expanded + [_ALPHABET.index(c) for c in match[2]]) == 1
