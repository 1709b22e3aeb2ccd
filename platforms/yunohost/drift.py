"""What was changed on a server by hand since the last deploy, and how to keep it. Pure.

A deploy remembers a picture of the server as it left it; the next one compares. The picture holds
what an inventory could say, no secret, and no member.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from platforms.yunohost.adopt import Facts, adopt
from platforms.yunohost.converge import everybody
from platforms.yunohost.server import (
    ALL_USERS,
    DOMAIN_SETTINGS,
    ORIGIN,
    SPECIAL_GROUPS,
    VISITORS,
    Server,
    bare,
)
from platforms.yunohost.steps import Step
from platforms.yunohost.wanted import Wanted
from tools.toml import dumps

# Area → name → what it is, as JSON can hold it.
Picture: TypeAlias = Mapping[str, Mapping[str, Any]]


def picture(server: Server, wanted: Wanted) -> dict[str, dict[str, Any]]:
    """What a server is now, as far as it can be compared later. `wanted` says which accounts are
    operators or role mailboxes; other accounts that are no admins are left out altogether."""
    boxes = wanted.mailboxes.keys() & server.accounts.keys()
    named = wanted.accounts | server.admins
    return {
        "scope": dict.fromkeys(sorted(named), True),
        "main domain": {"": server.main_domain},
        "setting": {k: s.value for k, s in sorted(server.settings.items()) if not s.masked},
        "secret setting": dict(sorted(server.fingerprints.items())),
        "configuration file": dict(sorted(server.edited.items())),
        "port": {k: p.comment for k, p in sorted(server.firewall.items()) if p.open},
        "domain": {
            name: {
                # Certificates of Let's Encrypt come and go by themselves.
                "certificate": "own" if d.certificate in ("self-signed", "none") else "issued",
                **dict(sorted(d.settings.items())),
            }
            for name, d in sorted(server.domains.items())
        },
        "admin": {
            name: sorted(bare(line) for line in server.accounts[name].keys)
            for name in sorted(server.admins)
        },
        "mailbox": {
            name: {
                "fullname": a.fullname,
                "mail": a.mail,
                "aliases": sorted(a.aliases),
                "forward": sorted(a.forward),
                "quota": a.quota,
            }
            for name, a in sorted(server.accounts.items())
            if name in boxes
        },
        "group": {
            name: sorted(g.members & named)
            for name, g in sorted(server.groups.items())
            if name not in SPECIAL_GROUPS
        },
        "permission": {
            name: sorted(everybody(p.allowed)) for name, p in sorted(server.permissions.items())
        },
        "app": {
            name: {
                "id": a.manifest,
                "url": a.url,
                "label": server.permissions[main].label if (main := f"{name}.main") in (
                    server.permissions
                ) else "",
            }
            for name, a in sorted(server.apps.items())
        },
        # Most of what its panel sets.
        "inside": {
            name: {
                key: value
                for key, value in sorted(a.settings.items())
                if key not in _ELSEWHERE and isinstance(value, (str, int, float, bool))
            }
            for name, a in sorted(server.apps.items())
        },
    }  # fmt: skip


# Settings of an app that other areas tell, or that say nothing of it.
_ELSEWHERE = frozenset(
    ("domain", "path", "label", "id", "app", "current_revision", "install_time", ORIGIN)
)
_UPGRADED = "update_time"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was left. None: it was not there, or is not there any more."""

    area: str
    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        if self.area == "configuration file":
            # It is listed as long as it is not as YunoHost wrote it.
            how = "as YunoHost wrote it again" if self.now is None else "changed"
            return f"{self.area} {self.name}: {how}"
        if self.area == "secret setting" and None not in (self.before, self.now):
            return f"{self.area} {self.name}: another one"
        what = f"{self.area} {self.name}".strip()
        if self.before is None:
            return f"{what}: new"
        if self.now is None:
            return f"{what}: gone"
        if isinstance(self.before, dict) and isinstance(self.now, dict):
            keys = sorted(self.before.keys() | self.now.keys())
            parts = [
                f"{key}: {_shown(self.before.get(key))} → {_shown(self.now.get(key))}"
                for key in keys
                if self.before.get(key) != self.now.get(key)
            ]
            return f"{what}: {', '.join(parts)}"
        return f"{what}: {_shown(self.before)} → {_shown(self.now)}"


def _shown(value: Any) -> str:
    if value in (None, "", []):
        return "(nothing)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:99]}…"


def differences(before: Picture, now: Picture) -> tuple[Difference, ...]:
    """What differs between the picture that was remembered (empty: nothing was) and that of now.

    Only what both pictures looked at counts: an account that the inventory names since yesterday
    was not changed by hand.
    """
    if not before:
        return ()
    both = before.get("scope", {}).keys() & now.get("scope", {}).keys()
    out = []
    for area, things in now.items():
        if area == "scope" or area not in before:  # an older picture
            continue
        known = before[area]
        for name in dict.fromkeys((*known, *things)):
            was, is_now = known.get(name), things.get(name)
            if area == "mailbox" and (name not in both or was is None):
                continue
            if area == "group" and was is not None and is_now is not None:
                was, is_now = ([m for m in who if m in both] for who in (was, is_now))
            # Apps come, go, and are upgraded with all that is inside.
            if area == "inside" and (
                was is None or is_now is None or was.get(_UPGRADED) != is_now.get(_UPGRADED)
            ):
                continue
            if was != is_now:
                out.append(Difference(area, name, was, is_now))
    return tuple(out)


_TOUCHES: Mapping[str, Sequence[str]] = {
    "main domain": ("main domain",),
    "setting": ("setting {}",),
    "port": ("port {}",),
    "domain": ("domain {}", "no domain {}", "certificate {}"),
    "admin": ("admin {}", "no admin {}", "account {}", "key of {}", "no key of {}"),
    "mailbox": ("account {}", "no account {}"),
    "group": ("group {}", "no group {}"),
    "permission": ("permission {}",),
    "app": ("app {}", "no app {}"),
}


def is_undone(difference: Difference, steps: Iterable[Step]) -> bool:
    """Whether one of the steps of a deploy is about it."""
    about = [text.format(difference.name).strip() for text in _TOUCHES.get(difference.area, ())]
    return any(step.name == a or step.name.startswith(f"{a} ") for step in steps for a in about)


def is_said(difference: Difference, wanted: Wanted) -> bool:
    """Whether the inventory speaks of it. If no step is about it either, it is as the inventory
    says: what a deploy did that did not come to its end is no change by hand."""
    name, now = difference.name, difference.now
    apps = {app.instance: app for app in wanted.apps}
    match difference.area:
        case "main domain":
            return wanted.main_domain is not None
        case "setting":
            return name in wanted.settings
        case "port":
            return name in wanted.firewall
        case "admin":
            return name in wanted.operators
        case "permission":
            app = apps.get(name.removesuffix(".main"))
            return name in wanted.permissions or (app is not None and app.access is not None)
        case "domain":
            return name in wanted.domains and None in (difference.before, now)
        case "group":
            return name in wanted.groups and None in (difference.before, now)
        case "app" if name in apps:
            return None in (difference.before, now) or apps[name].label == now["label"]
        case "inside" if name in apps:
            # A panel calls its options by more words than the app's settings do.
            said = {key.rpartition(".")[2]: value for key, value in apps[name].panel.items()}
            changed = {key for key in now if now[key] != difference.before.get(key)}
            return changed <= said.keys() and difference.before.keys() <= now.keys()
    return False


def told(
    found: Sequence[Difference], steps: Sequence[Step], server: Server, wanted: Wanted
) -> tuple[str, ...]:
    """Lines for people: each difference, what a deploy does about it, and at the end what to write
    into the inventory to keep all of them, or to undo those that a deploy leaves."""
    found = [one for one in found if is_undone(one, steps) or not is_said(one, wanted)]
    if not found:
        return ()
    lines = [
        f"{one} (a deploy {'undoes it' if is_undone(one, steps) else 'leaves it'})" for one in found
    ]
    kept = keep(found, server, wanted)
    if kept:
        lines += ["to keep it, write into the inventory:"]
        lines += [f"    {line}" for line in kept.splitlines() if line]
    undone = undo([one for one in found if not is_undone(one, steps)], server, wanted)
    if undone:
        lines += ["to undo what a deploy leaves, write instead, and deploy:"]
        lines += [f"    {line}" for line in undone.splitlines() if line]
    if edited := sorted({one.now for one in found if one.area == "configuration file" and one.now}):
        lines.append("to have a configuration file as YunoHost writes it, on the server:")
        lines += [f"    yunohost tools regen-conf {category} --force" for category in edited]
    return tuple(lines)


def undo(found: Sequence[Difference], server: Server, wanted: Wanted) -> str:
    """The part of an inventory, as TOML, with which a deploy takes each difference back: what is
    new goes, what was there before is so again. What is gone altogether cannot come back so."""
    part: dict[str, Any] = {}
    apps: dict[str, Any] = {}
    services = {app.instance: app.service for app in wanted.apps}
    new = [one for one in found if one.area == "app" and one.before is None]
    # Whole, as it is there: a service must be described to be taken away.
    kept = tomllib.loads(keep(new, server, wanted)).get("services", {}) if new else {}
    for name, entry in kept.items():
        entry["app"]["absent"] = True
        apps[name] = entry
    for one in found:
        before, now, area = one.before, one.now, one.area
        if area == "main domain":
            part["main_domain"] = before
        elif area == "setting" and before is not None:
            part.setdefault("settings", {})[one.name] = _value(before)
        elif area == "port":
            value = {"absent": True} if before is None else {"comment": before} if before else {}
            part.setdefault("firewall", {})[one.name] = value
        elif area == "permission" and before is not None:
            groups = [g for g in before if g != ALL_USERS or VISITORS not in before]
            app, _, last = one.name.partition(".")
            if last == "main" and app in services:
                apps.setdefault(services[app], {}).setdefault("app", {})["access"] = groups
            else:
                part.setdefault("permissions", {})[one.name] = groups
        elif area in ("domain", "group") and before is None:
            part.setdefault(_TABLES[area], {})[one.name] = {"absent": True}
        elif area == "group":
            part.setdefault("groups", {})[one.name] = {"members": before}
        elif area == "domain" and now is not None:
            settings = {
                key: before.get(key, default)
                for key, default in DOMAIN_SETTINGS.items()
                if before.get(key) != now.get(key)
            }
            if settings:
                part.setdefault("domains", {})[one.name] = {"settings": settings}
        elif area == "mailbox" and before is not None and now is not None:
            changed = {key: before[key] for key in before if before[key] != now.get(key)}
            changed.pop("mail", None)  # a mailbox has its own name's address
            if changed:
                part.setdefault("mailboxes", {})[one.name] = changed
        elif area == "app" and before is not None and now is not None and one.name in services:
            entry = apps.setdefault(services[one.name], {})
            if before["url"] != now["url"]:
                entry["url"] = before["url"]
            if before["label"] != now["label"]:
                entry.setdefault("app", {})["label"] = before["label"]
    document: dict[str, Any] = {}
    if part:
        document["hosts"] = {wanted.host: {"yunohost": part}}
    if filled := {name: entry for name, entry in apps.items() if entry}:
        document["services"] = filled
    return dumps(document, depth=5) if document else ""


def keep(found: Sequence[Difference], server: Server, wanted: Wanted) -> str:
    """The part of an inventory, as TOML, that says of each difference what is there now."""
    described = adopt(
        server, Facts(wanted.host, "192.0.2.1", ""), {}, mailboxes=wanted.mailboxes
    ).document
    table = described["hosts"][wanted.host]["yunohost"]
    services = {a.instance: a.service for a in wanted.apps}
    adopted = {
        entry["app"].get("instance") or entry["app"]["id"]: (name, entry)
        for name, entry in described.get("services", {}).items()
        if "app" in entry
    }
    part: dict[str, Any] = {}
    people: dict[str, Any] = {}
    apps: dict[str, Any] = {}
    for one in found:
        if one.area == "main domain":
            part["main_domain"] = one.now
        elif one.area == "setting" and one.now is not None:
            value = table.get("settings", {}).get(one.name, _value(one.now))
            part.setdefault("settings", {})[one.name] = value
        elif one.area == "port":
            value = {"absent": True} if one.now is None else {"comment": one.now} if one.now else {}
            part.setdefault("firewall", {})[one.name] = value
        elif one.area == "permission" and one.now is not None:
            app, _, last = one.name.partition(".")
            if last == "main" and app in adopted:
                name = services.get(app, adopted[app][0])
                access = adopted[app][1]["app"].get("access", [])
                apps.setdefault(name, {"app": {}})["app"]["access"] = access
            else:
                part.setdefault("permissions", {})[one.name] = one.now
        elif one.area == "admin" and one.now is not None and one.name in table.get("operators", {}):
            operator = table["operators"][one.name]
            existing = wanted.operators.get(one.name)
            person = existing.person if existing else operator["person"]
            people[person] = {"keys": described["people"][operator["person"]]["keys"]} if (
                existing
            ) else described["people"][operator["person"]]  # fmt: skip
            if existing is None:
                part.setdefault("operators", {})[one.name] = operator
        elif one.area in _TABLES:
            key = _TABLES[one.area]
            entry = dict(table.get(key, {}).get(one.name, {}))
            entry.pop("found", None)  # the inventory knows it already
            part.setdefault(key, {})[one.name] = {"absent": True} if one.now is None else entry
        elif one.area == "app":
            name = services.get(one.name) or (adopted[one.name][0] if one.name in adopted else "")
            if one.now is None and name:
                apps.setdefault(name, {"app": {}})["app"]["absent"] = True
            elif one.name in adopted:
                entry = adopted[one.name][1]
                kept = apps.setdefault(name, {"app": {}})
                if one.name in services:
                    before = one.before or {}
                    if before.get("url") != one.now["url"]:
                        kept["url"] = entry["url"]
                    if before.get("label") != one.now["label"]:
                        kept["app"]["label"] = entry["app"].get("label", "")
                else:
                    kept |= entry
    document: dict[str, Any] = {}
    if people:
        document["people"] = people
    if part:
        document["hosts"] = {wanted.host: {"yunohost": part}}
    if apps:
        document["services"] = apps
    return dumps(document, depth=5) if document else ""


_TABLES = {"domain": "domains", "mailbox": "mailboxes", "group": "groups"}


def _value(text: str) -> Any:
    return {"yes": True, "no": False}.get(text, text)
