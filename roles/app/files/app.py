#!/usr/bin/env python3
"""app.py INSTANCE VERB: what can be said of any app of YunoHost's.

about                {"installed", "version", "folders", "backup"}
counts               {"installed": 1}, and what lies in its data folder
versions             the version of its package
canary-plant RUN AT  a note in the app's data folder, if it has one; the last five stay
canary-find          JSON list of {"run", "at"}
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, "/usr/local/lib/releve/yunohost")
if TYPE_CHECKING:
    from platforms.yunohost.files import apps
else:
    import apps

NOTE = ".releve-canary.json"


def manifest(instance: str) -> str:
    """The version of the package, from its manifest."""
    for name, pattern in (
        ("manifest.toml", r'(?m)^version\s*=\s*"([^"]+)"'),
        ("manifest.json", r'"version"\s*:\s*"([^"]+)"'),
    ):
        try:
            text = Path(f"{apps.APPS}/{instance}/{name}").read_text(encoding="utf-8")
        except OSError:
            continue
        match = re.search(pattern, text)
        if match:
            return match[1]
    return ""


def about(rest: Sequence[str]) -> None:
    instance = rest[0]
    words = apps.remembered(instance)
    folders = {
        name: Path(words[name]).is_dir() for name in ("install_dir", "data_dir") if words.get(name)
    }
    apps.answer(
        {
            "installed": True,
            "version": manifest(instance),
            "folders": folders,
            # Without this script YunoHost skips the app in every archive.
            "backup": Path(f"{apps.APPS}/{instance}/scripts/backup").is_file(),
        }
    )


def counts(rest: Sequence[str]) -> None:
    words = apps.remembered(rest[0])
    found = {"installed": 1}
    data = words.get("data_dir")
    if data and Path(data).is_dir():
        found["files"] = sum(1 for f in Path(data).rglob("*") if f.is_file() and f.name != NOTE)
    apps.answer(found)


def versions(rest: Sequence[str]) -> None:
    apps.remembered(rest[0])
    apps.answer({rest[0]: manifest(rest[0])})


def place(instance: str) -> Path:
    """Where the note lies: with the app's data, or else with its code, or else, for one that has
    neither (a redirection), with its settings, which YunoHost saves whole."""
    words = apps.remembered(instance)
    for name in ("data_dir", "install_dir"):
        if words.get(name) and Path(words[name]).is_dir():
            return Path(words[name]) / NOTE
    return Path(apps.APPS) / instance / NOTE


def find(rest: Sequence[str]) -> None:
    try:
        found = json.loads(place(rest[0]).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = []
    apps.answer([{"run": mark["run"], "at": mark["at"]} for mark in found])


def plant(rest: Sequence[str]) -> None:
    instance, run_id, at = rest
    apps.checked_run(run_id, at)
    file = place(instance)
    try:
        old = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        old = []
    marks = [{"run": run_id, "at": at}, *(m for m in old if m["run"] != run_id)][:5]
    apps.write_file(str(file), json.dumps(marks), 0o600, (0, 0))
    apps.answer(marks[0])


if __name__ == "__main__":
    sys.exit(
        apps.main(
            __doc__,
            {
                "about": (0, about),
                "counts": (0, counts),
                "versions": (0, versions),
                "canary-plant": (2, plant),
                "canary-find": (0, find),
            },
        )
    )
