"""Reading HTTP answers, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import answer


def receiver(data: bytes, sizes: list[int]) -> Callable[[], bytes]:
    def pieces() -> Iterator[bytes]:
        rest, turn = data, 0
        while rest:
            size = sizes[turn % len(sizes)]
            yield rest[:size]
            rest, turn = rest[size:], turn + 1

    source = pieces()
    return lambda: next(source, b"")


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1), st.integers(1, 400))
def test_chunks_come_back_whole_and_bounded(body: bytes, cuts: list[int], at_most: int) -> None:
    chunks, rest, turn = b"", body, 0
    while rest:
        size = cuts[turn % len(cuts)]
        part, rest, turn = rest[:size], rest[size:], turn + 1
        chunks += f"{len(part):x};ext=1\r\n".encode() + part + b"\r\n"
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _, read = answer.read(receiver(data + chunks + b"0\r\n\r\n", cuts), at_most)
    assert (status, read) == (200, body[:at_most])


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1), st.booleans())
def test_a_body_ends_by_length_or_by_closing(body: bytes, cuts: list[int], known: bool) -> None:
    length = f"Content-Length: {len(body)}\r\n" if known else ""
    data = f"HTTP/1.0 404 Not Found\r\n{length}X-A: 1\r\nx-a: 2\r\n\r\n".encode() + body
    trailing = b"junk" if known else b""
    status, fields, read = answer.read(receiver(data + trailing, cuts), 1000)
    assert (status, fields["x-a"], read) == (404, "1, 2", body)


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), min_size=1))
def test_garbage_is_broken_and_nothing_else(data: bytes, cuts: list[int]) -> None:
    try:
        answer.read(receiver(data, cuts), 100)
    except answer.Broken:
        return
    assert data.startswith(b"HTTP/1.")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "after 3 of 9 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "impossible length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "malformed chunks"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            "malformed",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab", "middle of a chunk"),
        (b"HTTP/1.1 100 C\r\n\r\n" * 9, "interim answers only"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "should end"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, said: str) -> None:
    with pytest.raises(answer.Broken, match=said):
        answer.read(receiver(data, [7000]), 100)
