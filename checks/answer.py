"""Read one HTTP/1 answer to a GET, of which the end and the size are bounded. Pure.

RFC 9112: status line, fields, then a body by chunks, by length, or until the other side closes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_HEAD = 65536
_STATUS = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


class Broken(Exception):
    """What came is no complete HTTP answer; the message says in what way."""


class _Input:
    """Bytes as they come; `receive` returns b"" at the end."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self.held = b""

    def more(self) -> bool:
        new = self._receive()
        self.held += new
        return bool(new)

    def until(self, mark: bytes, at_most: int) -> bytes:
        while mark not in self.held:
            if len(self.held) > at_most:
                raise Broken(
                    f"sends more than {at_most // 1024} KiB where it should end: not HTTP?"
                )
            if not self.more():
                raise Broken("hangs up in the middle of an answer" if self.held else NOTHING)
        found, _, self.held = self.held.partition(mark)
        return found


NOTHING = "hangs up without an answer"


def read(receive: Callable[[], bytes], max_body: int) -> tuple[int, dict[str, str], bytes]:
    """Return status, fields (names in lower case, repeated ones joined by commas) and at most
    `max_body` bytes of the body. `receive` returns the next bytes, b"" at the end, and may
    raise. Raise Broken when this is not HTTP or ends early."""
    came = _Input(receive)
    for _ in range(5):  # interim answers (1xx) come before the real one
        lines = came.until(b"\r\n\r\n", MAX_HEAD).decode("latin-1").split("\r\n")
        match = _STATUS.fullmatch(lines[0])
        if match is None:
            raise Broken("does not answer in HTTP: is this the right port?")
        status = int(match[1])
        if status >= 200:
            break
    else:
        raise Broken("sends interim answers only")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        raw, separator, value = line.partition(":")
        name = raw.strip().lower()
        if not separator or not name:
            continue
        said = value.strip()
        fields[name] = f"{fields[name]}, {said}" if name in fields else said
    if status in (204, 304):
        return status, fields, b""
    if fields.get("transfer-encoding", "").lower().endswith("chunked"):
        return status, fields, _chunks(came, max_body)
    length = fields.get("content-length")
    if length is not None and not _LENGTH.fullmatch(length):
        raise Broken(f"names an impossible length ({length[:40]!r})")
    wanted = max_body if length is None else min(int(length), max_body)
    parts, size = [came.held], len(came.held)
    while size < wanted:
        new = receive()
        if not new:
            if length is not None:
                raise Broken(f"hangs up after {size} of {length} bytes")
            break
        parts.append(new)
        size += len(new)
    return status, fields, b"".join(parts)[:wanted]


def _chunks(came: _Input, max_body: int) -> bytes:
    body = bytearray()
    while len(body) < max_body:
        size_text = came.until(b"\r\n", 4096).partition(b";")[0].strip()
        if not _SIZE.fullmatch(size_text):
            raise Broken("sends malformed chunks")
        size = int(size_text, 16)
        if size == 0:
            break
        rest = size
        while rest and len(body) < max_body:
            if not came.held and not came.more():
                raise Broken("hangs up in the middle of a chunk")
            taken = came.held[: min(rest, max_body - len(body))]
            came.held = came.held[len(taken) :]
            body += taken
            rest -= len(taken)
        if not rest and came.until(b"\r\n", 2):
            raise Broken("sends malformed chunks")
    return bytes(body)
