"""What a host remembers of the deploys it has had: `/var/lib/releve/applied.json`. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

PATH = "/var/lib/releve/applied.json"
LOCK = "/var/lib/releve/lock"

# What a deploy does on a host, in this order.
STAGES = ("install", "configure", "activate")

# Digests kept to recognise an older inventory. A deploy a day for most of a year.
_HISTORY = 300


@dataclass(frozen=True)
class Things:
    """What deploys see to on a host: as they left it, as they want it, or as it was found.

    `files`: path -> (SHA-256, "MODE OWNER:GROUP", or "" when nobody noted that). `units`: name ->
    some of the words "enabled running". `packages`: Debian's names of those installed.
    """

    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    packages: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Applied:
    """`digest`: the inventory that all of the host was brought to, empty when none was yet.
    `at`, `who`, `releve`: the last deploy, be it of a part. `history`: every inventory of which
    anything was deployed here, the last one at the end. `begun`: an inventory of which some stages
    ran on all of the host, and which; the others may follow. `left`: how deploys left what they
    see to. `picture`: what the platform was left like, in its own words (only YunoHost has any).
    `unclaimed`: what goes on here and the inventory asks for no more. Empty for a host that never
    had one."""

    digest: str = ""
    at: str = ""
    who: str = ""
    releve: str = ""
    history: tuple[str, ...] = ()
    begun: tuple[str, frozenset[str]] = ("", frozenset())
    left: Things = Things()
    picture: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unclaimed: tuple[str, ...] = ()


class DamagedError(Exception):
    """The file is there and is not what we write."""


def parse(text: str) -> Applied:
    """Read the file's text, empty when there is none. Raise DamagedError."""
    if not text.strip():
        return Applied()
    try:
        value: Any = json.loads(text)
        return Applied(
            digest=str(value["digest"]),
            at=str(value["at"]),
            who=str(value["who"]),
            releve=str(value["releve"]),
            history=tuple(str(digest) for digest in value["history"]),
            begun=_begun(value.get("begun", {})),
            left=_things(value),
            picture={str(area): dict(things) for area, things in value.get("picture", {}).items()},
            unclaimed=tuple(str(name) for name in value.get("unclaimed", ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(
            f"{PATH} cannot be read ({type(error).__name__}). Without it this host cannot tell an "
            "older inventory from a newer one. If a deploy here is right all the same, remove that "
            "file on the host and deploy again."
        ) from None


def _begun(value: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    return str(value.get("digest", "")), frozenset(str(one) for one in value.get("stages", ()))


def _things(value: Mapping[str, Any]) -> Things:
    files = {path: str(noted).partition(" ") for path, noted in value["files"].items()}
    return Things(
        files={str(path): (digest, mode) for path, (digest, _, mode) in files.items()},
        units={str(name): str(words) for name, words in value.get("units", {}).items()},
        packages=frozenset(str(name) for name in value.get("packages", ())),
    )


def render(applied: Applied) -> str:
    """The text of the file."""
    digest, stages = applied.begun
    left = applied.left
    value = {
        "schema": 1,
        "digest": applied.digest,
        "at": applied.at,
        "who": applied.who,
        "releve": applied.releve,
        "history": list(applied.history),
        **({"begun": {"digest": digest, "stages": sorted(stages)}} if stages else {}),
        "files": {path: " ".join(noted).strip() for path, noted in sorted(left.files.items())},
        "units": dict(sorted(left.units.items())),
        "packages": sorted(left.packages),
        **({"picture": applied.picture} if applied.picture else {}),
        **({"unclaimed": applied.unclaimed} if applied.unclaimed else {}),
    }
    return json.dumps(value, indent=1) + "\n"


def is_older(digest: str, applied: Applied) -> bool:
    """Whether of another inventory something was deployed after this one with this digest."""
    return digest in applied.history[:-1]


def drift(applied: Applied, found: Things, wanted: Things) -> tuple[tuple[str, str], ...]:
    """What was changed by hand: (what, how), such as (path, "changed"); files first, each sorted.

    `found`: as it is now; what is gone is not in it. `wanted`: what a deploy is about to see to:
    a file that is so already is no news, nor is a unit or a package that nobody needs any more.
    """
    changes = []
    for path, (digest, mode) in sorted(applied.left.files.items()):
        new_digest, new_mode = wanted.files.get(path, ("", ""))
        if path not in found.files:
            changes.append((path, "removed"))
            continue
        now_digest, now_mode = found.files[path]
        if now_digest not in (digest, new_digest):
            changes.append((path, "changed"))
        elif mode and now_mode not in (mode, new_mode):
            changes.append((path, f"{mode} → {now_mode}"))
    for name, words in sorted(applied.left.units.items()):
        if name in wanted.units:
            lost = set(words.split()) - set(found.units.get(name, "").split())
            said = {"enabled": "disabled", "running": "stopped"}
            if how := [said[word] for word in words.split() if word in lost]:
                changes.append((name, ", ".join(how)))
    for name in sorted((applied.left.packages & wanted.packages) - found.packages):
        changes.append((f"package {name}", "removed"))
    return tuple(changes)


def unclaimed(left: Things, found: Things, wanted: Things, sites: str) -> tuple[str, ...]:
    """What earlier deploys (`left`) set going, what goes on (`found`), and what a deploy of all of
    the host asks for no more (`wanted`): paths of sites, which lie in the folder `sites`, then
    units, each sorted. Files that nobody reads any more do no harm and are not named."""
    here = [path for path in left.files if path.startswith(f"{sites}/") and path in found.files]
    on = [name for name in left.units if found.units.get(name)]
    return (
        *sorted(path for path in here if path not in wanted.files),
        *sorted(name for name in on if name not in wanted.units),
    )


def without(things: Things, names: Collection[str]) -> Things:
    """These things but for files and units with these names."""
    return replace(
        things,
        files={path: seen for path, seen in things.files.items() if path not in names},
        units={name: seen for name, seen in things.units.items() if name not in names},
    )


def after(
    before: Applied,
    *,
    digest: str,
    at: str,
    who: str,
    releve: str,
    placed: Things,
    found: Things,
    stages: Collection[str],
    all_of_it: bool,
    picture: Mapping[str, Mapping[str, Any]] | None = None,
    unclaimed: tuple[str, ...] | None = None,
) -> Applied:
    """What to remember after a deploy of the inventory `digest`; `before` itself when nothing is
    new.

    `stages`: those that this deploy ran. `all_of_it`: it did so with all that the host has, and
    nothing failed. Only when every stage was, in this run or in those before it, is this what the
    host was brought to.
    `placed`: what this deploy saw to; `found`: how what was known before was when it began. What
    is gone and was not brought back is forgotten. `picture`, `unclaimed`: as they are now; None:
    nobody looked.
    """
    old = before.left
    left = Things(
        files={**{p: seen for p, seen in old.files.items() if p in found.files}, **placed.files},
        units={**{n: seen for n, seen in old.units.items() if n in found.units}, **placed.units},
        packages=(old.packages & found.packages) | placed.packages,
    )
    reached = before.begun[1] if before.begun[0] == digest else frozenset()
    reached = reached | frozenset(stages) if all_of_it else reached - frozenset(stages)
    complete = reached == frozenset(STAGES)
    if complete or (before.digest == digest and before.history[-1:] == (digest,)):
        reached = frozenset()
    entry = replace(
        before,
        digest=digest if complete else before.digest,
        releve=releve,
        history=_with(before.history, digest),
        begun=(digest, reached) if reached else ("", frozenset()),
        left=left,
        picture=before.picture if picture is None else picture,
        unclaimed=before.unclaimed if unclaimed is None else unclaimed,
    )
    return before if entry == before else replace(entry, at=at, who=who)


def _with(history: tuple[str, ...], digest: str) -> tuple[str, ...]:
    """The history with this digest as its last."""
    if history[-1:] == (digest,):
        return history
    return (*(old for old in history if old != digest), digest)[-_HISTORY:]
