"""A resolver as people have one: what it was told once, it says again until the TTL is over."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rrset

from tools.dns import Server


class Resolver:
    """Answers over UDP from what `upstream` said, which it is asked once per TTL."""

    def __init__(self, upstream: Server) -> None:
        self._upstream = upstream
        self._known: dict[tuple[str, int], tuple[float, dns.message.Message]] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((f"127.0.{os.getpid() % 250 + 1}.53", 53))
        self._socket.settimeout(0.2)
        self._closing = threading.Event()
        self.server = Server(self._socket.getsockname()[0])

    def serve(self) -> None:
        """Until `close`."""
        with self._socket:
            while not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    data, guest = self._socket.recvfrom(4096)
                    reply = self._answer(dns.message.from_wire(data))
                    self._socket.sendto(reply.to_wire(), guest)

    def close(self) -> None:
        self._closing.set()

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        (question,) = query.question
        key = (question.name.to_text().lower(), int(question.rdtype))
        said, found = self._known.get(key, (0.0, None))
        age = int(time.monotonic() - said)
        if found is None or age >= min((rrset.ttl for rrset in found.answer), default=0):
            there = (self._upstream.address, self._upstream.port)
            found, _ = dns.query.udp_with_fallback(query, there[0], timeout=5, port=there[1])
            age = 0
            self._known[key] = (time.monotonic(), found)
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(found.rcode())
        reply.authority = found.authority
        for rrset in found.answer:
            aged = dns.rrset.from_rdata_list(rrset.name, rrset.ttl - age, list(rrset))
            reply.answer.append(aged)
        return reply


@contextlib.contextmanager
def remembering(upstream: Server, folder: Path) -> Iterator[tuple[Server, tuple[str, ...]]]:
    """Such a resolver, and the words that begin a command which asks it as this machine's own."""
    resolver = Resolver(upstream)
    threading.Thread(target=resolver.serve, daemon=True).start()
    conf = folder / "resolv.conf"
    conf.write_text(f"nameserver {resolver.server.address}\n")
    mount = 'mount --bind "$0" "$(readlink -f /etc/resolv.conf)"; exec "$@"'
    try:
        yield resolver.server, ("unshare", "--mount", "sh", "-euc", mount, str(conf))
    finally:
        resolver.close()
