"""Whatever an inventory may hold, no value becomes shell text, a line of its own, or an option.

Everything that leaves this machine is gathered for an inventory full of hostile values, and for
one of plain values: what a host runs (the agent's plan, steps, operations) and what lies there
(files). Fixed scripts are the same for both; values are words and nothing else.
"""

# ruff: noqa: S314 (the XML is our own)
from __future__ import annotations

import datetime
import json
import subprocess
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import roles
from agent.plan import render
from backup import lend
from deploy import connector
from inventories.model import Inventory
from inventories.problems import InventoryError
from inventories.secrets import Secrets
from platforms import ops
from platforms.debian import steps
from tests.unit.deploy.queued import Queued, queued
from tools import shell, ssh, words
from tools.toml import dumps

# Made in it: a file that only a value that was run could have made.
FOLDER = Path(tempfile.mkdtemp(prefix="releve-hostile-"))
CANARY = FOLDER / "canary"
RUN = f": >{CANARY}"
WORST = f"--rf=$({RUN})`{RUN}`'; {RUN}; '\"; {RUN}; \"|{RUN}&\\ é %s %n * {{}} # ]]> <b>"
TARGET = WORST.replace("/", "|")  # of a link: a path keeps no "//"
WORST_URL = f"$({RUN})`{RUN}`';{RUN};'&%0a".replace(" ", "")
SHORT = st.sampled_from(
    [
        f"$({RUN})",
        f"`{RUN}`",
        f"';{RUN};'",
        f'";{RUN};"',
        "-rf",
        "--",
        "\\",
        "*",
        "é\u0301",
        "%",
        "~",
    ]
)
# What the model takes as one line for people.
LINES = st.one_of(
    st.text(
        st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"]), min_size=1, max_size=60
    ),
    st.lists(SHORT, min_size=1, max_size=4).map(" ".join),
    st.sampled_from(["x" * 500, "é" * 500, WORST]),
)
URLS = st.one_of(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60),
    st.just(WORST_URL),
)
MANY = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK3uMX1wH9PNeftBT1wPKMPtPY8R2wsSKlVxWm/vExaK"


@pytest.fixture(autouse=True)
def _nothing_was_run() -> Iterator[None]:
    yield
    assert not CANARY.exists()


def document(text: str, url: str) -> dict[str, Any]:
    """An inventory with every role, and with these values wherever it takes any text."""
    key = f"{_KEY} {text}"
    place = {"provider": text, "address": "192.0.2.1", "host_key": key, "repository": "safe"}
    at = "https://{}.atelier.example".format
    app = {
        "id": "my_webapp",
        "label": text,
        "args": {"a": text},
        "panel": {"a.b.c": f"{text}\n{text}"},
    }
    home = {
        "main_domain": "atelier.example",
        "installer": {"url": f"https://x.example/{url}", "sha256": "0" * 64},
        "settings": {"a.b": text},
        "firewall": {"1/tcp": {"comment": text}},
        "operators": {"one": {"person": "one", "fullname": text}},
        "mailboxes": {"forum": {"fullname": text}},
    }
    return {
        "schema": 1,
        "organisation": {"name": text, "contact": "a.b+c-d_e@atelier.example",
                         "health_data": True},
        "people": {"one": {"mail": "a@atelier.example", "keys": [key],
                           "duties": ["deploy", "restore"]}},
        "hosts": {
            "web": {**place, "platform": "debian", "datacenter": text[:400]},
            "post": {**place, "platform": "debian", "datacenter": text[:400],
                     "address": "192.0.2.4"},
            "home": {**place, "platform": "yunohost", "datacenter": "h", "address": "192.0.2.5",
                     "yunohost": home},
            "safe": {"provider": text, "datacenter": "s", "platform": "debian",
                     "address": "192.0.2.2", "host_key": key, "roles": ["repository"]},
            "eye": {"provider": text, "datacenter": "e", "platform": "debian",
                    "address": "192.0.2.3", "host_key": key, "roles": ["watch"]},
        },
        "repositories": {"safe": {"provider": text, "datacenter": "s", "host": "safe",
                                  "url": "ssh-append://keep@safe.example/org"}},
        "domains": {"atelier.example": {}},
        "services": {
            "site": {"role": "wordpress", "host": "web", "url": at("www"),
                     "settings": {"title": text}},
            "pad": {"role": "etherpad", "host": "web", "url": at("pad"),
                    "settings": {"title": text, "welcome": text}},
            "mail": {"role": "mail", "host": "post", "url": at("mail"), "settings": {
                "spf": f"v=spf1 {text}"[:500],
                "relay": {"host": "r.example", "user": text, "password": "secret:relay"},
                "mailboxes": {"x@atelier.example": {"name": text}}}},
            "blog": {"role": "wordpress", "host": "home", "url": at("blog") + "/_~.-a/b",
                     "settings": {"title": text}},
            "note": {"role": "etherpad", "host": "home", "url": at("note"),
                     "settings": {"title": text}},
            "boxes": {"role": "mail", "host": "home", "url": at("boxes")},
            "forum": {"role": "discourse", "host": "home", "url": at("forum"),
                      "settings": {"title": text, "mailbox": "forum"}},
            "cloud": {"role": "nextcloud", "host": "home", "url": at("cloud"),
                      "settings": {"quota": "5 GB"}},
            "crypt": {"role": "cryptpad", "host": "home", "url": at("crypt")},
            "more": {"role": "app", "host": "home", "url": at("more"), "app": app},
        },
        "external": {"a": {"name": text, "provider": text, "note": text,
                           "url": "https://a.example"}},
        "alerts": {"a": {"url": f"json://x.example/{url}"}},
        "watch": {"ping": f"https://x.example/{url}"},
        "certificates": {"directory": f"https://acme.example/{url}"},
        "acknowledge": [{"rule": "hds", "by": "one", "date": datetime.date(2026, 1, 1),
                         "reason": text}],
    }  # fmt: skip


@cache
def secrets() -> Secrets:
    """Made once: keys take long."""
    return Secrets(FOLDER / "none.toml", {"relay": "$(id)"})


def built(text: str, url: str) -> tuple[Path, Inventory]:
    file = FOLDER / "inventory.toml"
    file.write_text(dumps(document(text, url)), encoding="utf-8")
    inventory = roles.load(file)
    wrong = [j for j in roles.judge(inventory, file) if j.level == "error"]
    # "same-host" and the like are about the few places of this inventory, and what is no address
    # of a channel may have been acknowledged.
    assert {j.rule for j in wrong} <= {"repository-place", "same-host", "alert-address"}, wrong
    return file, inventory


DEBIAN = ("web", "post", "safe", "eye")


@cache
def plain() -> tuple[dict[str, Queued], dict[str, Any]]:
    """The same of an inventory of plain values."""
    file, inventory = built("plain", "plain")
    return (
        {host: queued(inventory, host, file, secrets()) for host in DEBIAN},
        {host: render(inventory, host) for host in inventory.hosts},
    )


def commands(plan: Any) -> Iterator[list[str]]:
    """Every argv of an agent's plan."""
    if isinstance(plan, dict):
        for value in plan.values():
            yield from commands(value)
    elif isinstance(plan, list) and plan and all(isinstance(word, str) for word in plan):
        yield plan
    elif isinstance(plan, list):
        for value in plan:
            yield from commands(value)


def through_a_shell(lines: Sequence[str]) -> list[list[str]]:
    """What words a shell makes of each of these lines."""
    script = "".join(f"printf '%s\\0' {line}; printf 'end\\0\\0'\n" for line in lines)
    done = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True)
    assert done.stderr == b""
    return [part.split("\0")[:-1] for part in done.stdout.decode().split("end\0\0")[:-1]]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), SHORT
            ),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=8,
    )
)
@example([["printf", "$(id)", "", "a\nb", "-n", "x" * 100_000]])
def test_a_shell_makes_of_a_line_exactly_the_words(many: list[list[str]]) -> None:
    assert through_a_shell([words.line(argv) for argv in many]) == many
    scripts = [words.script("exit 0", *argv) for argv in many]
    assert through_a_shell(scripts) == [["sh", "-c", "exit 0", "sh", *argv] for argv in many]


def test_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        words.line(["a\0b"])


@MANY
@given(LINES, URLS)
@example(WORST, WORST_URL)
def test_what_the_agent_runs_has_values_as_words_only(text: str, url: str) -> None:
    _, inventory = built(text, url)
    for host, known in plain()[1].items():
        plan = json.loads(json.dumps(render(inventory, host)))
        found, wanted = list(commands(plan)), list(commands(json.loads(json.dumps(known))))
        assert len(found) == len(wanted) > 3
        for argv, same in zip(found, wanted, strict=True):
            assert len(argv) == len(same)
            # The program, its options, and the text of a script do not depend on a value.
            for word, before in zip(argv, same, strict=True):
                assert word == before or not before.startswith("-")
            if argv[:2] == ["sh", "-c"]:
                assert argv[2] == same[2]
        assert through_a_shell([words.line(argv) for argv in found]) == found


@MANY
@given(LINES, URLS)
@example(WORST, WORST_URL)
def test_what_a_deploy_runs_and_places_holds_values_where_they_are_only_values(
    text: str, url: str
) -> None:
    file, inventory = built(text, url)
    for host, known in plain()[0].items():
        found = queued(inventory, host, file, secrets())
        assert found.loads == known.loads
        assert [(s.check, s.run) for s in found.steps] == [(s.check, s.run) for s in known.steps]
        lines = [line for s in found.steps for line in (s.check_command(), s.run_command())]
        expected = [
            ["sh", "-c", *words]
            for s in found.steps
            for words in (
                (steps.UNLESS_STOPPED + s.check, "sh", s.server, *s.arguments)
                if s.server
                else (s.check, "sh", *s.arguments),
                ("set -eu\n" + s.run, "sh", *s.arguments),
            )
        ]
        assert through_a_shell(lines) == expected
        assert found.files.keys() == known.files.keys()
        for path, content in found.files.items():
            if content != known.files[path]:
                holds_only_values(path, content, known.files[path], inventory)


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


def holds_only_values(path: str, content: bytes, plain: bytes, inventory: Inventory) -> None:
    """A file that depends on hostile values: its own format takes them as such, or it is no file
    that may depend on them."""
    text, before = content.decode(), plain.decode()
    if path.endswith(".json"):
        assert json.loads(text).keys() == json.loads(before).keys()
    elif path.endswith(".toml"):
        assert tomllib.loads(text).keys() == tomllib.loads(before).keys()
    elif path.endswith(".xml"):
        assert [e.tag for e in ET.fromstring(text).iter()] == [
            e.tag for e in ET.fromstring(before).iter()
        ]
    elif path.endswith(".html"):
        assert _Tags(text).found == _Tags(before).found
    elif path == "/etc/dehydrated/conf.d/releve.sh":
        said = subprocess.run(
            ["sh", "-c", f'{text}\nprintf %s "$CA"'], capture_output=True, check=True
        )
        assert said.stdout.decode() == inventory.certificates.directory
        assert len(text.splitlines()) == len(before.splitlines())
    elif path == "/etc/postfix/releve-relay":
        assert text.startswith("[r.example]:587 ")
        assert text.count("\n") == 1
    else:
        raise AssertionError(f"{path} depends on values:\n{text}")


NAMES = st.one_of(
    st.text(
        st.characters(exclude_characters="\0/\n|", exclude_categories=["Cs", "Cc"]),
        min_size=1,
        max_size=60,
    ),
    SHORT.filter(lambda one: "/" not in one),
    st.sampled_from(["$(: >canary)", "`id`", "-n x", "--help", "a'b\"c", "*"]),
).filter(lambda one: one not in (".", ".."))


@settings(max_examples=25, deadline=None)
@given(st.lists(NAMES, min_size=3, max_size=3, unique=True), st.binary(max_size=50))
def test_operations_make_what_they_say_whatever_the_names(names: list[str], content: bytes) -> None:
    def answer(fact: Any, **arguments: Any) -> Any:
        asked = fact().command(**arguments)
        line = asked if isinstance(asked, str) else asked.get_raw_value()
        done = subprocess.run(["sh", "-c", line], capture_output=True, check=False, cwd=FOLDER)
        said = done.stdout.decode(errors="replace").splitlines()
        return fact().process(said) if said else fact.default()

    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "host", SimpleNamespace(get_fact=answer, connector_data={}))
        new, link, old = (f"{folder}/{name}" for name in names)
        Path(old).write_bytes(content)
        mine = Path(old)
        Path(new).write_bytes(content)
        Path(new).chmod(0o600)
        items = (
            ops.File(new, content, 0o640, mine.owner(), mine.group()),
            ops.Link(link, TARGET),
            ops.Gone(old),
            ops.Folder(old, 0o750, mine.owner(), mine.group()),
        )
        for item in items:
            for command in list(ops._changes((item,))):
                line = command.get_raw_value()  # type: ignore[union-attr]
                subprocess.run(["sh", "-c", line], check=True, cwd=FOLDER)
        assert {path.name for path in Path(folder).iterdir()} == set(names)
        assert str(Path(link).readlink()) == TARGET
        assert (Path(new).stat().st_mode & 0o777, Path(new).read_bytes()) == (0o640, content)
        assert (Path(old).is_dir(), Path(old).stat().st_mode & 0o777) == (True, 0o750)
        # What was made is as it must be, with what `stat` can say of a link's target.
        assert list(ops._changes((items[0], items[3]))) == []


@settings(max_examples=25, deadline=None)
@given(NAMES, st.binary(max_size=50))
def test_files_are_written_and_keys_added_whatever_the_names(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        path = f"{folder}/{name}"

        def run(script: str, *arguments: str, given: bytes = b"") -> None:
            line = words.line(("sh", "-c", script, "x", *arguments))
            subprocess.run(["sh", "-c", line], input=given, check=True, cwd=FOLDER)

        run(connector._PUT, path, "640", "", given=content)
        assert (Path(path).read_bytes(), Path(path).stat().st_mode & 0o777) == (content, 0o640)
        run(ssh._WRITE, path, "600", given=content + b"x")
        assert (Path(path).read_bytes(), Path(path).stat().st_mode & 0o777) == (
            content + b"x",
            0o600,
        )
        Path(path).unlink()
        Path(path, ".ssh").mkdir(parents=True)
        run(lend._ADD, path, f"one {WORST}")
        run(lend._ADD, path, "two")
        run(lend._REMOVE, path, WORST)
        assert Path(path, ".ssh/authorized_keys2").read_text() == "two\n"
        run(lend._GONE, path)
        assert list(Path(folder).iterdir()) == []


@settings(max_examples=25, deadline=None)
@given(NAMES, LINES)
def test_a_lock_is_taken_and_told_whatever_is_written_in_it(name: str, who: str) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        path = f"{folder}/{name}/lock"
        line = shell.lock_line(path, {"verb": "deploy", "who": who})
        other = shell.lock_line(path, {"verb": "backup", "who": WORST})
        # The second shell finds it held by the first, and who that is.
        script = f"{line}; echo $?; exec 3>&1; sh >&3 9>&-; :"
        done = subprocess.run(
            ["sh", "-c", script],
            input=f"{other}; echo $?\n".encode(),
            capture_output=True,
            check=True,
        )
        first, holder, second = done.stdout.decode().splitlines()
        assert (first, second) == ("0", "75")
        assert json.loads(holder) == {"verb": "deploy", "who": who}


def taken(file: Path) -> tuple[Inventory | None, InventoryError | None]:
    try:
        return roles.load(file), None
    except InventoryError as error:
        return None, error


TEXTS = st.one_of(
    st.text(max_size=40), st.sampled_from(["a\nb", "\x1b[2J", "a\u202eb", "", "x" * 501, "\0"])
)


@MANY
@given(
    TEXTS, st.sampled_from(["organisation", "provider", "title", "contact", "url", "host", "user"])
)
@example("a\nb; reboot", "organisation")
@example("root;reboot", "user")
def test_what_is_not_taken_is_an_error_that_validate_names(text: str, where: str) -> None:
    values = document("plain", "plain")
    if where in ("organisation", "contact"):
        values["organisation"]["name" if where == "organisation" else "contact"] = text
    elif where in ("provider", "user"):
        values["hosts"]["web"][where] = text
    elif where == "host":
        values["services"]["site"]["host"] = text
    elif where == "url":
        values["services"]["site"]["url"] = f"https://www.atelier.example/{text}"
    else:
        values["services"]["site"]["settings"]["title"] = text
    file = FOLDER / "refused.toml"
    file.write_text(dumps(values), encoding="utf-8", errors="surrogatepass")
    inventory, refused = taken(file)
    if inventory is None:
        assert refused
        assert all(problem.message and problem.remedy for problem in refused.problems)
        assert all(line.isprintable() for line in refused.lines())
        return
    if any(j.level == "error" and j.rule == "url-path" for j in roles.judge(inventory, file)):
        return
    # Taken: then it is harmless.
    found = queued(inventory, "web", file, secrets())
    known = plain()[0]["web"]
    assert [(s.check, s.run) for s in found.steps] == [(s.check, s.run) for s in known.steps]
    json.dumps(render(inventory, "web"))
