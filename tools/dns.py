"""DNS: ask the servers that are in charge, compare with what is wanted, change it with TSIG.

Knows nothing of Relève. What is wanted is given as record sets: a name without the last dot, a
type, and values as in a zone file ("10 mail.example", `0 issue "ca.example"`); the values of
TXT are plain text. No values at all means: this record set must not exist.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.tsig
import dns.update
from dns.rdtypes.ANY.TXT import TXT

ANSWER_SECONDS = 5.0
_IN = dns.rdataclass.IN


class DnsError(Exception):
    """DNS did not do what was asked. The message says which server and name, and what to do."""


class RecordSet(Protocol):
    """What is wanted: any value with these three, such as the roles' `Record`."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def values(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Wanted:
    """A record set. Values may be in any order; an empty tuple: must not exist."""

    name: str
    type: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Server:
    """A DNS server by address; names are never looked up here."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        return self.address if self.port == 53 else f"{self.address} port {self.port}"


@dataclass(frozen=True)
class Key:
    """A TSIG key, hmac-sha256; `secret` is base64 and never shown."""

    name: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Difference:
    """One record set at one server: what is wanted, what it answers."""

    name: str
    type: str
    wanted: tuple[str, ...]
    found: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Values to add, sorted."""
        return tuple(sorted(set(self.wanted) - set(self.found)))

    @property
    def surplus(self) -> tuple[str, ...]:
        """Values to take away, sorted."""
        return tuple(sorted(set(self.found) - set(self.wanted)))


# --- pure -----------------------------------------------------------------------------------


def canonical(type_: str, value: str) -> str:
    """One value as DNS itself writes it, so that two spellings of one value are equal.

    TXT is quoted and cut into strings of 255 bytes (RFC 1035, 3.3). Names in values are
    absolute with or without the last dot. Raise DnsError for a value that the type cannot hold.
    """
    try:
        kind = dns.rdatatype.from_text(type_)
        if kind == dns.rdatatype.TXT:
            data = value.encode()
            parts = [data[i : i + 255] for i in range(0, len(data), 255)] or [b""]
            value = " ".join(_quoted(part) for part in parts)
        text = dns.rdata.from_text(_IN, kind, value, origin=dns.name.root, relativize=False)
        return text.to_text().lower() if kind in _NAMES_ONLY else text.to_text()
    except (dns.exception.DNSException, ValueError) as error:
        raise DnsError(f"{value!r} cannot be the value of a {type_} record: {error}") from None


def plain_text(value: str) -> str:
    """The text of a TXT value in canonical spelling. Raise DnsError when it is not UTF-8."""
    try:
        data = dns.rdata.from_text(_IN, dns.rdatatype.TXT, value)
        return b"".join(data.strings).decode()  # type: ignore[attr-defined]
    except (dns.exception.DNSException, UnicodeDecodeError) as error:
        raise DnsError(f"the TXT value {value} cannot be kept as it is: {error}") from None


_NAMES_ONLY = frozenset(
    {dns.rdatatype.CNAME, dns.rdatatype.MX, dns.rdatatype.NS, dns.rdatatype.PTR, dns.rdatatype.SRV}
)


def _quoted(data: bytes) -> str:
    return '"' + "".join(chr(b) if _plain(b) else f"\\{b:03d}" for b in data) + '"'


def _plain(byte: int) -> bool:
    return 32 <= byte < 127 and byte not in b'"\\'


def compare(
    wanted: Iterable[RecordSet], found: Mapping[tuple[str, str], Sequence[str]]
) -> tuple[Difference, ...]:
    """Given what is wanted and, by (name, type), what a server answers, return what differs.

    A record set that `found` does not hold counts as empty. Order and spelling do not matter.
    """
    out = []
    for record in wanted:
        want = tuple(sorted(canonical(record.type, v) for v in record.values))
        have = tuple(sorted(found.get((record.name.lower(), record.type), ())))
        if set(want) != set(have):
            out.append(Difference(record.name.lower(), record.type, want, have))
    return tuple(out)


def with_other_family(wanted: Iterable[RecordSet]) -> tuple[RecordSet, ...]:
    """Add, to each name that has an A or an AAAA only, the other one as "must not exist".

    A leftover AAAA of an old host sends half of the visitors there after a move.
    """
    records = tuple(wanted)
    there = {(r.name.lower(), r.type) for r in records}
    other = {"A": "AAAA", "AAAA": "A"}
    return records + tuple(
        Wanted(r.name, other[r.type])
        for r in records
        if r.type in other and r.values and (r.name.lower(), other[r.type]) not in there
    )


def fragment(differences: Iterable[Difference], ttl: int) -> str:
    """The differences as lines of a zone file, for whoever changes a zone by hand.

    What must go is a comment that begins with "; remove". `ttl` in seconds.
    """
    lines = []
    for d in differences:
        gone = [f"; remove: {d.name}. IN {d.type} {value}" for value in d.surplus]
        lines += gone + [f"{d.name}. {ttl} IN {d.type} {value}" for value in d.missing]
    return "".join(f"{line}\n" for line in lines)


def said(error: Exception) -> str:
    """What happened, in our words: those of the library are for programmers."""
    if isinstance(error, dns.resolver.NoNameservers):
        # Why each server did not answer; that there is no way to one says more than that.
        tried = [why for _, _, _, why, _ in error.kwargs.get("errors", ())]
        error = next((why for why in tried if isinstance(why, OSError)), error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    for kind, words in (
        (dns.exception.Timeout, "there was no answer in time"),
        (dns.resolver.NXDOMAIN, "the answer was that there is no such name"),
        (dns.resolver.NoAnswer, "the answer was that the name has no such record"),
        (dns.resolver.NoNameservers, "it was refused, or nobody there could find out"),
        (dns.resolver.NoRootSOA, "no zone is known there, not even the root"),
        (dns.resolver.NoResolverConfiguration, "this machine's /etc/resolv.conf names nobody"),
        (dns.query.BadResponse, "the answer was to another question"),
        (dns.exception.FormError, "the answer cannot be read"),
    ):
        if isinstance(error, kind):
            return words
    return type(error).__name__


# --- asking ---------------------------------------------------------------------------------


def ask(server: Server, name: str, type_: str, *, timeout: float = ANSWER_SECONDS) -> Answer:
    """Ask one server, without recursion, over UDP and, if the answer is cut, TCP.

    Return the values in canonical spelling with the TTL in seconds; aliases are not followed.
    `timeout` in seconds. Raise DnsError when it does not answer, or refuses.
    """
    return _ask(server, name, type_, timeout, recursive=False)


def resolve(server: Server, name: str, type_: str, *, timeout: float = ANSWER_SECONDS) -> Answer:
    """Ask a resolver, as a visitor's machine would; aliases are followed. Errors as in `ask`."""
    return _ask(server, name, type_, timeout, recursive=True)


@dataclass(frozen=True)
class Answer:
    """`ttl` in seconds, None when there is no such record set."""

    values: tuple[str, ...]
    ttl: int | None


def _ask(server: Server, name: str, type_: str, timeout: float, recursive: bool) -> Answer:
    qname = dns.name.from_text(name)
    kind = dns.rdatatype.from_text(type_)
    query = dns.message.make_query(qname, kind)
    if not recursive:
        query.flags &= ~dns.flags.RD
    try:
        reply, _ = dns.query.udp_with_fallback(
            query, server.address, timeout=timeout, port=server.port
        )
    except (OSError, dns.exception.DNSException) as error:
        raise DnsError(
            f"The DNS server {server} gave no answer about {name} ({type_}): {said(error)}"
        ) from None
    if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        code = dns.rcode.to_text(reply.rcode())
        raise DnsError(f"The DNS server {server} answers {code} about {name} ({type_})")
    for rrset in reply.answer:
        if rrset.rdtype == kind and (recursive or rrset.name == qname):
            values = sorted(canonical_rdata(rdata) for rdata in rrset)
            return Answer(tuple(values), rrset.ttl)
    return Answer((), None)


def canonical_rdata(rdata: dns.rdata.Rdata) -> str:
    """An answer's value in the spelling of `canonical`."""
    text = rdata.to_text()
    if isinstance(rdata, TXT):
        # A server may have cut the same text elsewhere.
        with contextlib.suppress(UnicodeDecodeError):
            return canonical("TXT", b"".join(rdata.strings).decode())
    return text.lower() if rdata.rdtype in _NAMES_ONLY else text


def authoritative(
    name: str, *, resolver: Server | None = None, timeout: float = ANSWER_SECONDS
) -> tuple[Server, ...]:
    """The servers in charge of the zone that holds `name`, one per address.

    `resolver`: whom to ask who is in charge; None: the machine's own. Raise DnsError when
    nobody is: the domain may not be registered, or not be delegated.
    """
    tried = ""
    try:
        asking = dns.resolver.Resolver(configure=resolver is None)
        if resolver is not None:
            asking.nameservers, asking.port = [resolver.address], resolver.port
        asking.lifetime = timeout
        tried = f", tried {', '.join(str(each) for each in asking.nameservers)}"
        zone = dns.resolver.zone_for_name(name, resolver=asking)
        servers = []
        for ns in asking.resolve(zone, "NS"):
            for family in ("A", "AAAA"):
                answer = asking.resolve(ns.target, family, raise_on_no_answer=False)
                servers += [Server(rdata.address) for rdata in answer.rrset or ()]
    except (OSError, dns.exception.DNSException) as error:
        raise DnsError(
            f"The DNS servers in charge of {name} cannot be found (asked for its SOA and NS"
            f"{tried}): {said(error)}. Does this machine reach DNS, is the domain registered, and "
            "does its registry name your DNS servers?"
        ) from None
    if not servers:
        raise DnsError(f"The DNS servers of {zone.to_text(True)} have no address")
    return tuple(dict.fromkeys(servers))


def look(
    server: Server, wanted: Iterable[RecordSet], *, timeout: float = ANSWER_SECONDS
) -> dict[tuple[str, str], tuple[str, ...]]:
    """What one server answers for every wanted record set, as `compare` takes it."""
    return {
        (r.name.lower(), r.type): ask(server, r.name, r.type, timeout=timeout).values
        for r in wanted
    }


# --- changing -------------------------------------------------------------------------------


def update(
    server: Server,
    zone: str,
    key: Key,
    wanted: Iterable[RecordSet],
    *,
    ttl: int,
    timeout: float = ANSWER_SECONDS,
) -> None:
    """Replace each wanted record set in `zone` by an update signed with TSIG (RFC 2136, 8945).

    All of it happens or nothing. Repeatable. `ttl` and `timeout` in seconds. Raise DnsError.
    """
    try:
        base64.b64decode(key.secret, validate=True)
    except (binascii.Error, ValueError):
        raise DnsError(f"The secret of the TSIG key {key.name} is not base64") from None
    ring = dns.tsig.Key(key.name, key.secret, dns.tsig.HMAC_SHA256)
    message = dns.update.UpdateMessage(zone, keyring=ring)
    for record in wanted:
        owner = dns.name.from_text(record.name)
        if not owner.is_subdomain(dns.name.from_text(zone)):
            raise DnsError(f"{record.name} is not in the zone {zone}; nothing was changed")
        message.delete(owner, record.type)
        for value in record.values:
            message.add(owner, ttl, record.type, canonical(record.type, value))
    try:
        reply = dns.query.tcp(message, server.address, timeout=timeout, port=server.port)
    except dns.tsig.PeerBadTime:
        raise DnsError(
            f"The DNS server {server} did not accept the change of {zone}: its clock and this "
            "machine's differ by more than five minutes. Set the clock, then try again"
        ) from None
    except (dns.tsig.PeerError, dns.tsig.BadSignature) as error:
        raise DnsError(
            f"The DNS server {server} refused the update of {zone}: {error}. "
            f"Compare the name and the secret of the TSIG key {key.name} with those at the server"
        ) from None
    except (OSError, dns.exception.DNSException) as error:
        raise DnsError(
            f"The DNS server {server} gave no answer to the update of {zone}: "
            f"{said(error)}. It may or may not have changed; try again"
        ) from None
    if reply.rcode() != dns.rcode.NOERROR:
        code = dns.rcode.to_text(reply.rcode())
        why = {
            "NOTAUTH": f"it does not know the key {key.name}, or is not in charge of {zone}",
            "NOTZONE": f"it is not in charge of {zone}",
            "REFUSED": f"the key {key.name} may not change {zone}",
        }.get(code, "see its log")
        raise DnsError(
            f"The DNS server {server} refused the update of {zone} ({code}): {why}. "
            "Nothing was changed"
        )


def reverse_name(address: str) -> str:
    """The name under which the PTR record of `address` stands, without the last dot."""
    return ipaddress.ip_address(address).reverse_pointer


__all__ = [
    "Answer", "Difference", "DnsError", "Key", "RecordSet", "Server", "Wanted", "ask",
    "authoritative", "canonical", "compare", "fragment", "look", "plain_text", "resolve",
    "reverse_name", "update", "with_other_family",
]  # fmt: skip
