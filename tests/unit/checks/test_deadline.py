"""Whoever waits at a watched socket is let go when its time is up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from checks import deadline, http


@pytest.fixture
def ends() -> Iterator[Callable[[socket.socket], None]]:
    """Hang up at the other end after 5 seconds, so that a wait that nobody ends fails its test."""
    timers: list[threading.Timer] = []

    def end(other: socket.socket) -> None:
        timers.append(threading.Timer(5, other.shutdown, (socket.SHUT_RDWR,)))
        timers[-1].daemon = True
        timers[-1].start()

    yield end
    for timer in timers:
        timer.cancel()


def test_a_wait_ends_at_its_deadline_and_a_later_one_goes_on(
    ends: Callable[[socket.socket], None],
) -> None:
    one, other = socket.socketpair(), socket.socketpair()
    ends(one[1])
    began = time.monotonic()
    deadline.watch(one[0], began + 0.2)
    deadline.watch(other[0], began + 30)
    assert one[0].recv(1) == b""
    assert 0.2 <= time.monotonic() - began < 0.2 + 5 * deadline.TICK
    with pytest.raises(TimeoutError):
        deadline.left(began + 0.2)
    other[1].send(b"x")
    assert other[0].recv(1) == b"x"
    # What was closed is forgotten, and the next is watched as the first.
    for sock in (*one, *other):
        sock.close()
    time.sleep(3 * deadline.TICK)
    assert not deadline._watched
    again = socket.socketpair()
    ends(again[1])
    began = time.monotonic()
    deadline.watch(again[0], began + 0.1)
    assert again[0].recv(1) == b""
    assert time.monotonic() - began < 4
    for sock in again:
        sock.close()


def test_many_threads_are_let_go_at_once() -> None:
    pairs = [socket.socketpair() for _ in range(50)]
    due = time.monotonic() + 0.3
    said: list[bytes] = []

    def wait(sock: socket.socket) -> None:
        deadline.watch(sock, due)
        said.append(sock.recv(1))

    threads = [threading.Thread(target=wait, args=(pair[0],), daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, due + 5 - time.monotonic()))
    assert said == [b""] * 50
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_who_does_not_accept_is_left_and_the_next_address_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first:
        # With one connection that nobody takes, the kernel answers no more of them.
        port = full.getsockname()[1]
        first.connect(("127.0.0.1", port))
        more = [socket.socket() for _ in range(3)]
        for sock in more:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            http.connect(("127.0.0.1",), port, began + 0.4)
        assert 0.3 < time.monotonic() - began < 2
        with socket.create_server(("127.0.0.2", port)):
            began = time.monotonic()
            http.connect(("127.0.0.1", "127.0.0.2"), port, began + 0.8).close()
            assert 0.3 < time.monotonic() - began < 0.8
        for sock in more:
            sock.close()
