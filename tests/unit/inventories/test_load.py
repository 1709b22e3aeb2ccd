"""Every error at once, in our words, and never a traceback whatever the bytes are."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import roles
from inventories.load import digest, dump
from inventories.problems import InventoryError, printable
from tests.unit.inventories.examples import GOOD, good
from tools.toml import dumps


def problems(path: Path, text: str | bytes) -> list[str]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InventoryError) as caught:
        roles.load(path)
    return list(caught.value.lines())


def spoilt(*steps: str | int, to: object) -> str:
    document: Any = good()
    place = document
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = to
    if to is None:
        del place[steps[-1]]
    return dumps(document)


def test_all_errors_at_once_each_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    text = (
        GOOD.replace('platform = "debian"', 'platform = "debain"', 1)
        .replace('datacenter = "GRA"', 'datacentre = "GRA"')
        .replace('repository = "coffre"', 'repository = "cofre"')
        .replace('role = "wordpress"', 'role = "wordpres"')
        .replace('contact = "contact@atelier.example"', 'contact = "nobody"')
        .replace('name = "', f'name = "{"x" * 5000}', 1)
    )
    found = problems(file, text)

    def line(part: str) -> int:
        return next(n for n, t in enumerate(text.split("\n"), 1) if part in t)

    expected = [
        ("organisation.name", line("xxxx"), "at most 500 characters"),
        ("organisation.contact", line("nobody"), "a mail address such as"),
        ("hosts.monts.platform", line("debain"), 'Did you mean "debian"?'),
        ("hosts.monts.datacentre", line("datacentre"), 'Did you mean "datacenter"?'),
        ("hosts.monts.datacenter", line("[hosts.monts]"), "is missing"),
        ("hosts.monts.repository", line("cofre"), 'Did you mean "coffre"?'),
        ("services.site.role", line("wordpres"), 'Did you mean "wordpress"?'),
    ]
    for path, number, words in expected:
        matching = [f for f in found if f.startswith(f"{file}:{number}: {path}: ")]
        assert len(matching) == 1, (path, found)
        assert words in matching[0]
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("steps", "value", "words"),
    [
        (("schema",), 2, "later version"),
        (("schema",), True, "not a known version"),
        (("hosts", "monts", "address"), "fe80::1%$(reboot)", "an IP address such as"),
        (("hosts", "monts", "address"), 5, "an IP address such as"),
        (("hosts", "monts", "port"), True, "from 1 to 65535"),
        (("hosts", "monts", "port"), 70000, "from 1 to 65535"),
        (("hosts", "monts", "user"), "root; reboot", "a Unix user name"),
        (("hosts", "monts", "host_key"), "ssh-ed25519 AAAAC3NzaC1lZDI1", "cut off"),
        (("hosts", "monts", "roles"), ["wacth"], 'Did you mean "watch"?'),
        (("hosts", "monts", "provider"), "OVH\u202ehcet", "control characters"),
        (("people", "secours", "keys"), ["-----BEGIN OPENSSH PRIVATE KEY-----"], "private key"),
        (("people", "secours", "keys"), ["age1" + "q" * 58], "cut off or changed"),
        (("services", "site", "url"), "https://atelier.example/../x", "a path of letters"),
        (("services", "site", "url"), "https://user:pw@atelier.example", "without a user"),
        (("services", "site", "url"), "http://atelier.example", 'Write "https://atelier.example"'),
        (("services", "site", "host"), "montts", 'Did you mean "monts"?'),
        (("services", "site", "settings"), {"titel": "x"}, 'Did you mean "title"?'),
        (("services", "-rf"), {"role": "wordpress"}, "beginning with a letter"),
        (("services", "site", "id"), "other", "the table's header"),
        (("repositories", "coffre", "url"), "ssh-append://a@b.example/../etc", "ssh-append://"),
        (("repositories", "coffre", "host"), "vigie", "without the role of a repository"),
        (("repositories", "coffre", "host"), None, "the Debian host here that keeps the copies"),
        (("repositories", "coffre", "rpo"), "1 day", '"24h"'),
        (("repositories", "coffre", "rpo"), "9" * 18 + "w", "ten years"),
        (("domains", "atelier.example", "dns"), "rfc2136", "needs server, key and secret"),
        (("alerts",), {"a": {"url": "secret:../x"}}, "After secret: write a name"),
        (("watch",), {"every": "7m"}, "divides an hour"),
        (("watch",), {"ping": "nonsense"}, 'such as "https://ping.example/…"'),
        (("watch",), {"ping": "secret:../x"}, "After secret: write a name"),
        (("certificates",), {"trust": "pki/ca.pem"}, "a file beside the inventory"),
        (("certificates",), {"trust": ".."}, "a file beside the inventory"),
    ],
)
def test_one_wrong_value_is_one_error_that_says_what_would_be_right(
    tmp_path: Path, steps: tuple[str, ...], value: object, words: str
) -> None:
    found = problems(tmp_path / "a.toml", spoilt(*steps, to=value))
    about = [f for f in found if words in f]
    assert about, found
    if steps[:2] != ("services", "-rf"):
        assert len(found) == 1, found


def test_an_address_is_given_once(tmp_path: Path) -> None:
    again = {"role": "wordpress", "host": "monts", "url": "https://ATELIER.example:443/"}
    (found,) = problems(tmp_path / "a.toml", spoilt("services", "other", to=again))
    assert "services.other.url: is also the address of services.site" in found
    elsewhere = {"role": "wordpress", "host": "coffre", "url": "https://atelier.example/wiki"}
    (found,) = problems(tmp_path / "a.toml", spoilt("services", "other", to=elsewhere))
    assert "atelier.example also names services.site, on another host" in found


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfe", "not UTF-8 text (byte 0xff in line 1)"),
        (b"schema = 1\nx =", "a.toml:2: is not TOML: Invalid value"),
        (b"schema = 1\n\n[a\n", "in line 3, column 3"),
        (b"[a.'x y']\n[a.'x y']\n", """: Cannot declare [a."x y"] twice, in line 2"""),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"9" * 5_000, "is not TOML"),
        (b"", "schema: is missing"),
        (b"#" * 1_000_001, "larger than 1 MB"),
    ],
)
def test_what_is_no_inventory_at_all(tmp_path: Path, data: bytes, words: str) -> None:
    (found,) = problems(tmp_path / "a.toml", data)
    assert words in found


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none", "no such file"), (tmp_path, "directory")):
        with pytest.raises(InventoryError, match=words):
            roles.load(path)


scalars = (
    st.text(max_size=30)
    | st.integers()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["$(reboot)", "'; --", "-rf", "a\nb", "\x1b[2J", "é", "x" * 5000, "", "https://["]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def every_place(table: dict[str, Any], at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    places = []
    for key, value in table.items():
        places.append((*at, key))
        if isinstance(value, dict):
            places += every_place(value, (*at, key))
    return places


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [*every_place(good()), ("alerts",), ("watch",), ("acknowledge",), ("external",)]
    ),
    values,
)
@example(("hosts",), {"é\x1b[31m": 5})
def test_no_value_anywhere_raises_anything_but_our_error(
    tmp_path: Path, steps: tuple[str, ...], value: object
) -> None:
    file = tmp_path / "a.toml"
    file.write_text(spoilt(*steps, to=value), encoding="utf-8")
    try:
        inventory = roles.load(file)
    except InventoryError as error:
        for line in error.lines():
            assert "\n" not in line
            assert printable(line) == line
            assert "pydantic" not in line
            assert len(line) < 1500
    else:
        roles.judge(inventory)  # neither may this
        dump(inventory, tmp_path / "again.toml")
        again = roles.load(tmp_path / "again.toml")
        assert again == inventory
        assert digest(again) == digest(inventory)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.lists(
        st.sampled_from([*GOOD.split("\n"), "[[hosts]]", '"', "'''", "[a.b", "= 1", "\0"])
    ).map(lambda lines: "\n".join(lines).encode())
)
def test_no_bytes_raise_anything_but_our_error(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(data)
    with contextlib.suppress(InventoryError):
        roles.load(file)


def test_a_user_may_have_a_dot_in_its_name_as_people_do(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    line = 'address = "198.51.100.10"\n'
    for user, right in (("jo.dupont", True), (".dupont", False), ("jo/../x", False)):
        file.write_text(GOOD.replace(line, f'{line}user = "{user}"\n', 1))
        if right:
            assert roles.load(file).hosts["monts"].user == user
        else:
            with pytest.raises(InventoryError, match="a Unix user name"):
                roles.load(file)


@pytest.mark.parametrize("name", ["lab", "atelier"])
def test_our_own_inventories_survive_being_written(tmp_path: Path, name: str) -> None:
    inventory = roles.load(Path("inventories") / f"{name}.toml")
    assert [j for j in roles.judge(inventory) if j.level == "error"] == []
    dump(inventory, tmp_path / "again.toml")
    assert roles.load(tmp_path / "again.toml") == inventory


def test_the_digest_is_about_the_meaning(tmp_path: Path) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text(GOOD)
    document = good()
    document["hosts"] = dict(reversed(document["hosts"].items()))
    document["organisation"]["locale"] = "fr"  # the default, written out
    second.write_text("# a comment\n" + dumps(dict(reversed(document.items()))))
    assert digest(roles.load(first)) == digest(roles.load(second))
    second.write_text(spoilt("hosts", "monts", "epoch", to=2))
    assert digest(roles.load(first)) != digest(roles.load(second))
