"""What is wanted against what DNS answers, as pure functions; TSIG refusals before any network."""

from __future__ import annotations

import errno
import socket
import threading

import pytest
from dns.message import from_wire, make_query, make_response
from dns.rdata import from_text
from dns.rdtypes.ANY.TXT import TXT
from dns.resolver import NoNameservers
from hypothesis import given
from hypothesis import strategies as st

from tools import dns


def test_spelling_and_order_are_no_difference() -> None:
    wanted = [
        dns.Wanted("Atelier.example", "MX", ("10 MAIL.atelier.example",)),
        dns.Wanted("atelier.example", "AAAA", ("2001:db8:0:0::1", "2001:db8::2")),
        dns.Wanted("atelier.example", "TXT", ("v=spf1 mx -all",)),
        dns.Wanted("atelier.example", "CAA", ('0 issue "ca.example"',)),
    ]
    found = {
        ("atelier.example", "MX"): ("10 mail.atelier.example.",),
        ("atelier.example", "AAAA"): ("2001:db8::2", "2001:db8::1"),
        ("atelier.example", "TXT"): ('"v=spf1 mx -all"',),
        ("atelier.example", "CAA"): ('0 issue "ca.example"',),
    }
    assert dns.compare(wanted, found) == ()


def test_a_move_is_one_value_added_and_one_taken_away() -> None:
    (difference,) = dns.compare(
        [dns.Wanted("pad.example.org", "A", ("192.0.2.2",))],
        {("pad.example.org", "A"): ("192.0.2.1",)},
    )
    assert (difference.missing, difference.surplus) == (("192.0.2.2",), ("192.0.2.1",))
    assert dns.fragment([difference], 300) == (
        "; remove: pad.example.org. IN A 192.0.2.1\npad.example.org. 300 IN A 192.0.2.2\n"
    )


def test_a_leftover_aaaa_is_seen_when_the_new_host_has_none() -> None:
    wanted = dns.with_other_family([dns.Wanted("pad.example.org", "A", ("192.0.2.2",))])
    found = {
        ("pad.example.org", "A"): ("192.0.2.2",),
        ("pad.example.org", "AAAA"): ("2001:db8::1",),
    }
    assert [(d.type, d.surplus) for d in dns.compare(wanted, found)] == [("AAAA", ("2001:db8::1",))]
    both = [dns.Wanted("x.example", "A", ("192.0.2.1",)), dns.Wanted("x.example", "AAAA", ("::1",))]
    assert dns.with_other_family(both) == tuple(both)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_any_text_survives_a_txt_record(text: str) -> None:
    rdata = from_text("IN", "TXT", dns.canonical("TXT", text))
    assert isinstance(rdata, TXT)
    assert b"".join(rdata.strings).decode() == text
    assert dns.canonical_rdata(rdata) == dns.canonical("TXT", text)


@pytest.mark.parametrize(
    ("type_", "value"), [("A", "2001:db8::1"), ("A", "$(id)"), ("MX", "mail"), ("CAA", "x")]
)
def test_a_value_that_the_type_cannot_hold_is_refused(type_: str, value: str) -> None:
    with pytest.raises(dns.DnsError, match="cannot be the value"):
        dns.canonical(type_, value)


def test_an_update_outside_the_zone_or_with_a_broken_key_is_refused_before_sending() -> None:
    nobody = dns.Server("192.0.2.1")
    record = dns.Wanted("other.example", "A", ("192.0.2.2",))
    with pytest.raises(dns.DnsError, match="not in the zone"):
        dns.update(nobody, "atelier.example", dns.Key("k", "AAAA"), [record], ttl=30)
    with pytest.raises(dns.DnsError, match="not base64") as caught:
        dns.update(nobody, "example", dns.Key("k", "p@ss"), [record], ttl=30)
    assert "p@ss" not in str(caught.value)
    assert "p@ss" not in repr(dns.Key("k", "p@ss"))


def test_who_is_in_charge_is_told_in_our_words_when_nobody_knows() -> None:
    """A resolver that knows nothing, and one that is not there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                try:
                    data, who = server.recvfrom(4096)
                    server.sendto(make_response(from_wire(data)).to_wire(), who)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        resolver = dns.Server("127.0.0.1", server.getsockname()[1])
        with pytest.raises(dns.DnsError, match=r"tried 127.0.0.1.*: no zone is known") as caught:
            dns.authoritative("atelier.example", resolver=resolver, timeout=20)
        assert "SOA RR" not in str(caught.value)
    with pytest.raises(dns.DnsError, match=r"tried 127.0.0.1.*: there was no answer in time\. "):
        dns.authoritative("atelier.example", resolver=dns.Server("127.0.0.1", 9), timeout=0.2)


def test_no_way_to_a_server_is_said_as_such() -> None:
    gone = OSError(errno.ENETUNREACH, "Network is unreachable")
    request = make_query("atelier.example.", "A")
    tried = [("192.0.2.1", False, 53, gone, None)]
    assert dns.said(NoNameservers(request=request, errors=tried)) == ("Network is unreachable")
    assert dns.said(NoNameservers(request=request, errors=[])).startswith("it was refused")
