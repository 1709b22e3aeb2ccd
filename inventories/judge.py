"""Whether what an inventory says is wise: for instance that copies do not burn with the originals.

An error stops a deploy; a warning is printed. A rule that people decided to live with is
silenced by an `[[acknowledge]]` with a name and a date; that never makes it right, and Relève
never claims that anybody complies with anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from inventories.model import Acknowledgement, Host, Inventory, Repository
from inventories.problems import dotted, shown
from inventories.wording import choice
from tools.age import why_unusable


@dataclass(frozen=True)
class Judgement:
    """What a rule says about one place of an inventory."""

    rule: str
    level: Literal["error", "warning"]
    path: str
    message: str
    remedy: str
    number: int | None = None  # the line of the file, where it is known

    def line(self, file: Path) -> str:
        """As one line for people. `file`: where the inventory lies."""
        at = f"{file}:{self.number}" if self.number else f"{file}"
        place = f"{self.path}: " if self.path else ""
        dot = "" if self.message.endswith("?") else "."
        return f"{at}: {self.level} [{self.rule}] {place}{self.message}{dot} {self.remedy}."


@dataclass(frozen=True)
class Around:
    """What a judgement may know beside the inventory itself."""

    today: date
    platforms: Mapping[str, Collection[str]] | None = None  # service role -> where it can stand
    host_platforms: Mapping[str, Collection[str]] | None = None  # the same for duties of hosts
    secrets_file: bool | None = None  # is there one? None: do not judge
    trust_file: bool | None = None  # the same of the file that certificates.trust names
    # Whether an address is one of a channel to tell people; None: do not judge
    channel: Callable[[str], bool] | None = None


def judge(
    inventory: Inventory,
    *,
    today: date | None = None,
    platforms: Mapping[str, Collection[str]] | None = None,
    host_platforms: Mapping[str, Collection[str]] | None = None,
    secrets_file: bool | None = None,
    trust_file: bool | None = None,
    channel: Callable[[str], bool] | None = None,
) -> tuple[Judgement, ...]:
    """Every judgement that no acknowledgement silences, errors first.

    `platforms` and `host_platforms`: role -> platforms it can be deployed on; None leaves
    that unjudged. `secrets_file`, `trust_file`: whether there is one. `channel`: whether an
    address is one of a channel to tell people. `today` defaults to the machine's.
    """
    around = Around(
        today or date.today(), platforms, host_platforms, secrets_file, trust_file, channel
    )
    found = [judgement for rule in RULES.values() for judgement in rule(inventory, around)]
    valid, complaints = _acknowledgements(inventory, around.today)
    kept = [j for j in found if not any(_covers(a, j) for a in valid)]
    return tuple(sorted([*complaints, *kept], key=lambda j: j.level != "error"))


def _covers(acknowledgement: Acknowledgement, judgement: Judgement) -> bool:
    return acknowledgement.rule == judgement.rule and (
        acknowledgement.path is None
        or judgement.path == acknowledgement.path
        or judgement.path.startswith(acknowledgement.path + ".")
    )


def _acknowledgements(
    inventory: Inventory, today: date
) -> tuple[list[Acknowledgement], list[Judgement]]:
    """Those that hold today, and what is wrong with the others."""
    valid, complaints = [], []
    for number, entry in enumerate(inventory.acknowledge):
        at = ("acknowledge", number)

        def wrong(key: str, message: str, remedy: str, at: tuple[str | int, ...] = at) -> None:
            path = dotted((*at, key))
            complaints.append(Judgement("acknowledgement", "error", path, message, remedy))

        if entry.rule not in RULES:
            wrong("rule", f"{shown(entry.rule)} is not a rule", choice(entry.rule, RULES, "rules"))
        elif entry.date > today:
            wrong("date", f"{entry.date} is in the future", "Write the day of the decision")
        elif entry.until is not None and entry.until < entry.date:
            wrong("until", "ends before it begins", "Write a later date")
        elif entry.until is not None and entry.until < today:
            wrong("until", f"ended on {entry.until}", "Decide again, or mend what it was about")
        else:
            valid.append(entry)
    return valid, complaints


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _protected(inventory: Inventory) -> Iterator[tuple[Host, Repository]]:
    for host in inventory.hosts.values():
        if host.repository and host.repository in inventory.repositories:
            yield host, inventory.repositories[host.repository]


def _with_services(inventory: Inventory) -> tuple[Host, ...]:
    return tuple(h for h in inventory.hosts.values() if inventory.services_on(h.id))


# --- the rules: inventory, what is around it -> judgements -----------------------------------


def _copies_burn_too(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for host, repository in _protected(inventory):
        actual = inventory.hosts.get(repository.host)
        same_host = repository.host == host.id
        places = {repository.datacenter} | ({actual.datacenter} if actual else set())
        if same_host or any(_same(host.datacenter, place) for place in places):
            yield Judgement(
                "repository-place",
                "error",
                f"hosts.{host.id}.repository",
                f"the copies in {repository.id} stand "
                + ("on this very host" if same_host else f"in its datacenter ({host.datacenter})")
                + ": one fire takes both",
                "Use a repository in another datacenter",
            )


def _one_provider(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for host, repository in _protected(inventory):
        if _same(host.provider, repository.provider):
            yield Judgement(
                "repository-provider",
                "warning",
                f"hosts.{host.id}.repository",
                f"{repository.id} is with the same provider ({host.provider}): one closed account "
                "or one bankruptcy takes both",
                "Use a repository with another provider",
            )


def _no_copies(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for host in _with_services(inventory):
        if host.repository is None:
            yield Judgement(
                "no-repository",
                "error",
                f"hosts.{host.id}",
                "has services and no repository: nothing of them would survive its loss",
                "Add repository = with the name of one of repositories",
            )


def _who_decrypts(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    able = [
        person.id
        for person in inventory.people.values()
        if any(why_unusable(key) is None for key in person.keys)
    ]
    yield from _alone(able, "decrypt", "can decrypt the secrets", "Give %s an age key")


def _who_restores(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    able = [p.id for p in inventory.people.values() if "restore" in p.duties]
    yield from _alone(able, "restore", "has the duty to restore", 'Give %s the duty "restore"')


def _alone(able: list[str], rule: str, what: str, remedy: str) -> Iterator[Judgement]:
    if not able:
        yield Judgement(rule, "error", "people", f"nobody {what}", remedy % "at least two people")
    elif len(able) == 1:
        yield Judgement(
            rule,
            "warning",
            f"people.{able[0]}",
            f"only {able[0]} {what}: who does when that person is away?",
            remedy % "a second person",
        )


_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,}")
# Channels of apprise that say nothing secret in their address.
_OPEN_SCHEMES = frozenset(("mailto", "dbus", "syslog"))


def _alert_depends(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    names = {service.domain for service in inventory.services.values()} | set(inventory.domains)
    addresses = {str(a) for host in inventory.hosts.values() for a in host.addresses}
    for alert in inventory.alerts.values():
        if alert.url.startswith("secret:"):
            continue
        try:
            parts = urlsplit(alert.url)
            words = {parts.hostname or "", *re.split(r"[/@?=&,:]", alert.url.lower())}
        except ValueError:
            continue
        for word in sorted(words):
            own = next((n for n in sorted(names) if word == n or word.endswith("." + n)), None)
            if own or word in addresses:
                yield Judgement(
                    "alert-depends",
                    "warning",
                    f"alerts.{alert.id}.url",
                    f"depends on {own or word}, which it should tell about: when that is down, "
                    "nobody is told",
                    "Use a channel that is run by somebody else",
                )
                break


def _alert_address(inventory: Inventory, around: Around) -> Iterator[Judgement]:
    for alert in inventory.alerts.values():
        plain = not alert.url.startswith("secret:")
        if plain and around.channel is not None and not around.channel(alert.url):
            yield Judgement(
                "alert-address",
                "error",
                f"alerts.{alert.id}.url",
                "is no address that the apprise library understands: nobody would be told",
                'Write one of its list, such as "mailto://USER@HOST", or "secret:NAME"',
            )


def _alert_token(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for alert in inventory.alerts.values():
        if alert.url.startswith("secret:"):
            continue
        try:
            parts = urlsplit(alert.url)
            secret = bool(parts.password) or (
                parts.scheme.lower() not in _OPEN_SCHEMES
                and bool(_TOKEN.search(f"{parts.netloc.split('@')[0]} {parts.path} {parts.query}"))
            )
        except ValueError:
            secret = True
        if secret:
            yield Judgement(
                "alert-token",
                "warning",
                f"alerts.{alert.id}.url",
                "seems to hold a password or token, and everybody who reads this file can use it",
                f"Put it into the secrets (releve secrets set FILE alert.{alert.id}) and write "
                f'url = "secret:alert.{alert.id}"',
            )


def _hds(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    if not inventory.organisation.health_data:
        return
    for repository in inventory.repositories.values():
        if not repository.hds:
            yield Judgement(
                "hds",
                "error",
                f"repositories.{repository.id}",
                f"health data would be copied to {repository.provider}, which is not declared as "
                "certified for it (hébergeur de données de santé)",
                "Choose a certified provider and write hds = true, or acknowledge the rule with a "
                "name, a date and the reason",
            )


def _watches(inventory: Inventory) -> tuple[Host, ...]:
    return tuple(h for h in inventory.hosts.values() if "watch" in h.roles)


def _no_watch(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    if inventory.services and not _watches(inventory):
        yield Judgement(
            "no-watch",
            "warning",
            "hosts",
            "no host has the role watch: nobody is told when something breaks",
            'Add roles = ["watch"] to a small host in another datacenter',
        )


def _watch_place(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for watch in _watches(inventory):
        for host in _with_services(inventory):
            if host.id != watch.id and _same(host.datacenter, watch.datacenter):
                yield Judgement(
                    "watch-place",
                    "warning",
                    f"hosts.{watch.id}.datacenter",
                    f"watches {host.id} from the same datacenter: what cuts off one cuts off both",
                    "Put the watch into another datacenter",
                )
            elif host.id == watch.id:
                yield Judgement(
                    "watch-place",
                    "warning",
                    f"hosts.{watch.id}.roles",
                    "watches itself: when it is down, nobody is told",
                    "Put the watch on a host of its own in another datacenter",
                )


def _host_key(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for host in inventory.hosts.values():
        if host.host_key is None:
            yield Judgement(
                "host-key",
                "warning",
                f"hosts.{host.id}",
                "has no host_key: nothing can connect to it, for nobody could tell it from another",
                "Copy the line of /etc/ssh/ssh_host_ed25519_key.pub from its console",
            )


def _host_address(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for host in inventory.hosts.values():
        for key, address in (("address", host.address), ("address6", host.address6)):
            if address is not None and (address.is_loopback or address.is_link_local):
                yield Judgement(
                    "host-address",
                    "error",
                    f"hosts.{host.id}.{key}",
                    f"{address} means whoever asks, and not one machine: DNS would lead people to "
                    "themselves",
                    "Write the address by which others reach it",
                )


def _twice(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    seen: dict[object, Host] = {}
    keys: dict[str, Host] = {}
    for host in inventory.hosts.values():
        for address in host.addresses:
            if other := seen.get((address, host.port)):
                yield Judgement(
                    "same-host",
                    "error",
                    f"hosts.{host.id}.address",
                    f"{address} is the address of {other.id} too: one would be set up over the "
                    "other",
                    "Give each host its own address",
                )
            seen.setdefault((address, host.port), host)
        key = " ".join((host.host_key or "").split()[:2])
        if key and key in keys:
            yield Judgement(
                "same-host",
                "warning",
                f"hosts.{host.id}.host_key",
                f"is that of {keys[key].id} too: either one line was copied twice, or the two were "
                "made from one image, and each can pass for the other",
                "Copy the right line; or remove the keys of one and make new ones: ssh-keygen -A",
            )
        keys.setdefault(key, host)
    for repository in inventory.repositories.values():
        host_of = inventory.hosts.get(repository.host)
        if host_of and not _same(host_of.datacenter, repository.datacenter):
            yield Judgement(
                "same-host",
                "error",
                f"repositories.{repository.id}.datacenter",
                f"is {repository.datacenter}, and its host {host_of.id} stands in "
                f"{host_of.datacenter}: whether copies are far enough away cannot be judged",
                "Write the same datacenter at both",
            )


def _retention(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for repository in inventory.repositories.values():
        keep = repository.keep
        longest = max(
            keep.within,
            timedelta(days=keep.daily),
            timedelta(weeks=keep.weekly),
            timedelta(days=30 * keep.monthly),
        )
        if longest < repository.rpo * 2 or longest < timedelta(days=2):
            yield Judgement(
                "retention",
                "warning",
                f"repositories.{repository.id}.keep",
                f"the oldest copy is {longest.days} days old at most: damage that is noticed later "
                "than that cannot be undone",
                'Keep copies for weeks, such as { within = "7d", weekly = 8 }',
            )


def _zones(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for service in inventory.services.values():
        if inventory.zone_of(service.domain) is None:
            yield Judgement(
                "zone",
                "warning",
                f"services.{service.id}.url",
                f"no domain here holds {service.domain}: nobody knows how its records are changed",
                f'Add [domains."{".".join(service.domain.split(".")[-2:])}"] with dns = "manual"',
            )


def _paths(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for service in inventory.services.values():
        host = inventory.hosts[service.host]
        if host.platform == "debian" and service.path != "/":
            yield Judgement(
                "url-path",
                "error",
                f"services.{service.id}.url",
                f"has the path {service.path}, and on Debian a service has a whole name to itself",
                f"Write https://{service.domain}, or a name below it",
            )


def _ttl(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for zone in inventory.domains.values():
        if zone.ttl > 3600:
            yield Judgement(
                "ttl",
                "warning",
                f'domains."{zone.id}".ttl',
                f"after a move, some people are sent to the old host for {zone.ttl // 60} minutes",
                "Use at most 3600 s",
            )


def _platforms(inventory: Inventory, around: Around) -> Iterator[Judgement]:
    for service in inventory.services.values():
        host = inventory.hosts[service.host]
        can = None if around.platforms is None else around.platforms.get(service.role)
        if can is not None and host.platform not in can:
            yield Judgement(
                "platform",
                "warning",
                f"services.{service.id}",
                f"{service.role} cannot be deployed on {host.platform} yet: it is checked from "
                "outside, and not deployed, saved or restored by Relève",
                f"Keep its own copies going, or move it to: {', '.join(sorted(can)) or 'nowhere'}",
            )
    for host in inventory.hosts.values():
        for role in host.roles:
            can = None if around.host_platforms is None else around.host_platforms.get(role)
            if can is not None and host.platform not in can:
                yield Judgement(
                    "platform",
                    "error",
                    f"hosts.{host.id}.roles",
                    f"{role} cannot be deployed on {host.platform}",
                    f"Use a host with platform: {', '.join(sorted(can))}",
                )


def _only_on_yunohost(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for host in inventory.hosts.values():
        if host.yunohost is not None and host.platform != "yunohost":
            yield Judgement(
                "yunohost",
                "error",
                f"hosts.{host.id}.yunohost",
                f"describes a YunoHost server, and this host runs {host.platform}",
                'Remove it, or write platform = "yunohost"',
            )
    for service in inventory.services.values():
        platform = inventory.hosts[service.host].platform
        if service.app is not None and platform != "yunohost":
            yield Judgement(
                "yunohost",
                "error",
                f"services.{service.id}.app",
                f"describes an app of YunoHost, and {service.host} runs {platform}",
                "Remove it, or use a host that runs YunoHost",
            )


def _instances(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    """Two services that would be one app on the server."""
    for host in inventory.hosts.values():
        seen: dict[str, str] = {}
        for service in inventory.services_on(host.id) if host.platform == "yunohost" else ():
            app = service.app
            instance = (app and (app.instance or app.id)) or service.role
            if instance in seen:
                yield Judgement(
                    "instances",
                    "error",
                    f"services.{service.id}",
                    f"would be the app {instance} on {host.id}, as {seen[instance]} is",
                    f'Name each: app = {{ instance = "{instance}__2" }} for the second one',
                )
            seen.setdefault(instance, service.id)


def _domains_in_use(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for host in inventory.hosts.values():
        table = host.yunohost
        for name, domain in table.domains.items() if table else ():
            used = [
                f"services.{s.id}"
                for s in inventory.services_on(host.id)
                if s.domain == name and not (s.app and s.app.absent)
            ]
            if table and name == table.main_domain:
                used.append("main_domain")
            if domain.absent and used:
                yield Judgement(
                    "domain-in-use",
                    "error",
                    f'hosts.{host.id}.yunohost.domains."{name}"',
                    f"is absent and used by {', '.join(used)}",
                    "Move that first, or keep the domain",
                )


def _mail_unnamed(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for host in inventory.hosts.values():
        if host.platform != "yunohost" or any(
            service.role == "mail" for service in inventory.services_on(host.id)
        ):
            continue
        yield Judgement(
            "mail-unnamed",
            "warning",
            f"hosts.{host.id}",
            "every YunoHost server serves its main domain and mail, and no service says so: their "
            "DNS records are in no plan, nobody checks them, and a rebuild leaves them behind",
            f'Add [services.mail] role = "mail", host = "{host.id}", '
            'url = "https://MAIN-DOMAIN/yunohost/sso"',
        )


def _shut_out(inventory: Inventory, _: Around) -> Iterator[Judgement]:
    for host in inventory.hosts.values():
        if host.yunohost is None or host.platform != "yunohost":
            continue
        people = [
            inventory.people.get(operator.person)
            for operator in host.yunohost.operators.values()
            if not operator.absent
        ]
        if not any(person is not None and person.ssh_keys for person in people):
            yield Judgement(
                "operators",
                "warning",
                f"hosts.{host.id}.yunohost.operators",
                "nobody with an SSH key is an operator: YunoHost lets root in from private "
                "networks only",
                "Name a person with an SSH key",
            )


def _secrets(inventory: Inventory, around: Around) -> Iterator[Judgement]:
    named = [
        *(a.url for a in inventory.alerts.values()),
        *(z.secret for z in inventory.domains.values() if z.secret),
        *([inventory.watch.ping] if inventory.watch.ping else []),
    ]
    names = sorted({n.removeprefix("secret:") for n in named if n.startswith("secret:")})
    if around.secrets_file is False and names:
        yield Judgement(
            "secrets-file",
            "warning",
            "",
            f"names secrets ({', '.join(names)}), and there is no file of secrets beside it",
            f"Add them: releve secrets set FILE {names[0]}",
        )


def _trust(inventory: Inventory, around: Around) -> Iterator[Judgement]:
    if around.trust_file is False:
        yield Judgement(
            "trust-file",
            "error",
            "certificates.trust",
            f"names {inventory.certificates.trust}, and there is no such file beside the inventory",
            "Put the authority's certificate there as PEM; a lab has it beside its inventory",
        )


Rule = Callable[[Inventory, Around], Iterator[Judgement]]

RULES: dict[str, Rule] = {
    "repository-place": _copies_burn_too,
    "repository-provider": _one_provider,
    "no-repository": _no_copies,
    "trust-file": _trust,
    "hds": _hds,
    "decrypt": _who_decrypts,
    "restore": _who_restores,
    "alert-depends": _alert_depends,
    "alert-address": _alert_address,
    "alert-token": _alert_token,
    "watch-place": _watch_place,
    "no-watch": _no_watch,
    "host-key": _host_key,
    "host-address": _host_address,
    "same-host": _twice,
    "retention": _retention,
    "zone": _zones,
    "url-path": _paths,
    "ttl": _ttl,
    "platform": _platforms,
    "yunohost": _only_on_yunohost,
    "instances": _instances,
    "domain-in-use": _domains_in_use,
    "operators": _shut_out,
    "mail-unnamed": _mail_unnamed,
    "secrets-file": _secrets,
}
