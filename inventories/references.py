"""References between the tables of an inventory: every name that is used must exist.

This works on the file as it was parsed, not on the models, so that a wrong port somewhere
does not hide a wrong host name elsewhere. Hence the care with types.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from inventories.fields import NAMED
from inventories.model import clean_https_url
from inventories.problems import Problem, Step, dotted, shown
from inventories.wording import choice
from tools import urls

Located = tuple[tuple[Step, ...], Problem]


def references(
    document: Mapping[str, Any], roles: Collection[str], host_roles: Collection[str] | None
) -> list[Located]:
    """Every reference to something that is not there, and every address that is used twice."""
    return [
        *_ids(document),
        *_services(document, roles),
        *_hosts(document, host_roles),
        *_repositories(document),
        *_people(document),
        *_accounts(document),
        *_addresses(document),
    ]


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = document.get(name)
    return table if isinstance(table, dict) else {}


def _entries(document: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, entry in _table(document, name).items():
        if isinstance(entry, dict):
            yield key, entry


def _unknown(
    steps: tuple[Step, ...], value: object, known: Collection[str], what: str
) -> Iterator[Located]:
    # A value of another type is the models' business.
    if isinstance(value, str) and value not in known:
        problem = Problem(
            dotted(steps), f"{shown(value)} is not among the {what}", choice(value, known, what)
        )
        yield steps, problem


def _ids(document: Mapping[str, Any]) -> Iterator[Located]:
    for kind in NAMED:
        for name, entry in _entries(document, kind):
            if "id" in entry:
                steps = (kind, name, "id")
                yield (
                    steps,
                    Problem(
                        dotted(steps),
                        "is not a known key",
                        "Remove it: the name stands in the table's header",
                    ),
                )


def _services(document: Mapping[str, Any], roles: Collection[str]) -> Iterator[Located]:
    hosts = _table(document, "hosts")
    for name, entry in _entries(document, "services"):
        yield from _unknown(("services", name, "role"), entry.get("role"), roles, "service roles")
        yield from _unknown(("services", name, "host"), entry.get("host"), hosts, "hosts")


def _hosts(document: Mapping[str, Any], host_roles: Collection[str] | None) -> Iterator[Located]:
    repositories = _table(document, "repositories")
    for name, entry in _entries(document, "hosts"):
        yield from _unknown(
            ("hosts", name, "repository"), entry.get("repository"), repositories, "repositories"
        )
        roles = entry.get("roles")
        if host_roles is not None and isinstance(roles, list):
            for number, role in enumerate(roles):
                yield from _unknown(
                    ("hosts", name, "roles", number), role, host_roles, "host roles"
                )


def _repositories(document: Mapping[str, Any]) -> Iterator[Located]:
    hosts = _table(document, "hosts")
    for name, entry in _entries(document, "repositories"):
        host = entry.get("host")
        steps: tuple[Step, ...] = ("repositories", name, "host")
        yield from _unknown(steps, host, hosts, "hosts")
        described = hosts.get(host) if isinstance(host, str) else None
        if isinstance(described, dict):
            roles = described.get("roles", [])
            if isinstance(roles, list) and "repository" not in roles:
                yield (
                    steps,
                    Problem(
                        dotted(steps),
                        f"{shown(host)} is a host without the role of a repository",
                        f'Add roles = ["repository"] to {dotted(("hosts", str(host)))}',
                    ),
                )


def _people(document: Mapping[str, Any]) -> Iterator[Located]:
    people = _table(document, "people")
    entries = document.get("acknowledge")
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            yield from _unknown(("acknowledge", number, "by"), entry.get("by"), people, "people")


def _accounts(document: Mapping[str, Any]) -> Iterator[Located]:
    """Accounts of a YunoHost server: whose they are, and who is in a group."""
    people = _table(document, "people")
    for host, entry in _entries(document, "hosts"):
        server = _table(entry, "yunohost")
        at: tuple[Step, ...] = ("hosts", host, "yunohost")
        operators, boxes = _table(server, "operators"), _table(server, "mailboxes")
        for name, operator in _entries(server, "operators"):
            steps: tuple[Step, ...] = (*at, "operators", name, "person")
            yield from _unknown(steps, operator.get("person"), people, "people")
            if name in boxes:
                yield (
                    (*at, "mailboxes", name),
                    Problem(
                        dotted((*at, "mailboxes", name)),
                        "is one of the operators as well",
                        "Keep one of them: an account is somebody's, or a duty and nobody's own",
                    ),
                )
        present = [
            *operators,
            *(n for n, box in boxes.items() if not (isinstance(box, dict) and box.get("absent"))),
        ]
        for name, group in _entries(server, "groups"):
            members = group.get("members")
            for number, member in enumerate(members if isinstance(members, list) else ()):
                steps = (*at, "groups", name, "members", number)
                yield from _unknown(steps, member, present, "operators and mailboxes of this host")


def _addresses(document: Mapping[str, Any]) -> Iterator[Located]:
    """Two services at one address; one name on two hosts, which DNS cannot say."""
    at: dict[str, str] = {}
    named: dict[str, tuple[str, object]] = {}
    for name, entry in _entries(document, "services"):
        written = entry.get("url")
        try:
            url = clean_https_url(written) if isinstance(written, str) else None
        except ValueError:
            continue
        if url is None:
            continue
        steps = ("services", name, "url")
        domain = urls.split(url).name
        if url in at:
            yield (
                steps,
                Problem(
                    dotted(steps),
                    f"is also the address of {dotted(('services', at[url]))}",
                    "Give each service an address of its own",
                ),
            )
        elif domain in named and named[domain][1] != entry.get("host"):
            yield (
                steps,
                Problem(
                    dotted(steps),
                    f"{domain} also names {dotted(('services', named[domain][0]))}, "
                    "on another host",
                    "Give it a name of its own, or put both on one host",
                ),
            )
        at.setdefault(url, name)
        named.setdefault(domain, (name, entry.get("host")))
