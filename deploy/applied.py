"""What a host remembers of the deploys it has had: `/var/lib/releve/applied.json`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

PATH = "/var/lib/releve/applied.json"
LOCK = "/var/lib/releve/lock"

# Digests kept to recognise an older inventory. A deploy a day for most of a year.
_HISTORY = 300


@dataclass(frozen=True)
class Applied:
    """The last deploy (`digest`, `at`, `who`, `releve`), the digests before it, and the SHA-256 of
    each file as deployed. `picture`: what the platform was left like, in its own words (only
    YunoHost has any). Empty for a host that never had one."""

    digest: str = ""
    at: str = ""
    who: str = ""
    releve: str = ""
    history: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    picture: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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
            files={str(path): str(digest) for path, digest in value["files"].items()},
            picture={str(area): dict(things) for area, things in value.get("picture", {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(
            f"{PATH} cannot be read ({type(error).__name__}). Without it this host cannot tell an "
            "older inventory from a newer one. If a deploy here is right all the same, remove that "
            "file on the host and deploy again."
        ) from None


def render(applied: Applied) -> str:
    """The text of the file."""
    value = {
        "schema": 1,
        "digest": applied.digest,
        "at": applied.at,
        "who": applied.who,
        "releve": applied.releve,
        "history": list(applied.history),
        "files": dict(sorted(applied.files.items())),
        **({"picture": applied.picture} if applied.picture else {}),
    }
    return json.dumps(value, indent=1) + "\n"


def is_older(digest: str, applied: Applied) -> bool:
    """Whether the inventory with this digest was applied before the one that is applied now."""
    return digest != applied.digest and digest in applied.history


def drift(
    applied: Applied, found: Mapping[str, str], wanted: Mapping[str, str] | None = None
) -> tuple[tuple[str, str], ...]:
    """What was changed by hand: (path, "changed" or "removed"), sorted.

    `found`: path -> SHA-256 now; a file that is gone is not in it. `wanted`: path -> SHA-256 of
    what a deploy is about to place; what is so already is no news.
    """
    wanted = wanted or {}
    changes = []
    for path, digest in sorted(applied.files.items()):
        if path not in found:
            changes.append((path, "removed"))
        elif found[path] not in (digest, wanted.get(path)):
            changes.append((path, "changed"))
    return tuple(changes)


def after(
    before: Applied,
    *,
    digest: str,
    at: str,
    who: str,
    releve: str,
    placed: Mapping[str, str],
    found: Mapping[str, str],
    picture: Mapping[str, Mapping[str, Any]] | None = None,
) -> Applied:
    """What to remember after a deploy; `before` itself when nothing is new.

    `placed`: path -> SHA-256 of what this deploy saw to; `found`: what the files of `before`
    were when it began. A file that is gone and that nothing placed again is forgotten.
    `picture`: what the platform is like now; None: nobody looked.
    """
    files = {path: old for path, old in before.files.items() if path in found}
    files.update(placed)
    seen = before.picture if picture is None else picture
    same = (digest, files, releve, seen) == (
        before.digest,
        dict(before.files),
        before.releve,
        before.picture,
    )
    if same:
        return before
    history = [old for old in before.history if old != digest]
    if before.digest and before.digest != digest and before.digest not in history:
        history.append(before.digest)
    return replace(
        before,
        digest=digest,
        at=at,
        who=who,
        releve=releve,
        history=tuple([*history, digest][-_HISTORY:]),
        files=files,
        picture=seen,
    )
