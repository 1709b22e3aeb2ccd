#!/usr/bin/env python3
"""verify.py FOLDER: are the program files of a WordPress those that were released?

Runs none of its code, so that root may: compares MD5 sums with the list that wordpress.org keeps
for each release, as `wp core verify-checksums` does, and looks for programs in its folders that
no release has. The list of a release never changes and is kept. Prints one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

LIST = "https://api.wordpress.org/core/checksums/1.0/?"
KEPT = Path("/var/cache/releve/wordpress")
# What a site may change or lack: its own content, texts, and an example.
LEFT_OUT = re.compile(r"wp-content/|readme\.html$|license\.txt$|licens\.|wp-config-sample\.php$")


def release(folder: Path) -> tuple[str, str]:
    """Version and language of the code, read as text."""
    text = (folder / "wp-includes/version.php").read_text(encoding="utf-8", errors="replace")
    version = re.search(r"\$wp_version\s*=\s*'([0-9A-Za-z.-]+)'", text)
    local = re.search(r"\$wp_local_package\s*=\s*'([A-Za-z_]+)'", text)
    if version is None:
        raise ValueError("wp-includes/version.php names no version")
    return version[1], local[1] if local else "en_US"


def known(version: str, locale: str) -> dict[str, str]:
    """File -> MD5 of a release. Raise OSError or ValueError when it cannot be had."""
    kept = KEPT / f"{version}-{locale}.json"
    try:
        found: Any = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        query = urllib.parse.urlencode({"version": version, "locale": locale})
        with urllib.request.urlopen(LIST + query, timeout=10) as said:  # noqa: S310 (https above)
            found = json.load(said).get("checksums")
        if not isinstance(found, dict) or "wp-load.php" not in found:
            raise ValueError(f"wordpress.org knows no release {version} in {locale}") from None
        KEPT.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = kept.with_suffix(".new")
        new.write_text(json.dumps(found), encoding="utf-8")
        new.replace(kept)
    return {str(k): str(v) for k, v in found.items()}


def compare(folder: Path, wanted: dict[str, str]) -> dict[str, list[str]]:
    """What differs, sorted by name."""
    wanted = {name: sum_ for name, sum_ in wanted.items() if not LEFT_OUT.match(name)}
    changed, missing = [], []
    for name, right in wanted.items():
        try:
            found = hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            missing.append(name)
            continue
        if found != right:
            changed.append(name)
    unknown = []
    for start in ("wp-admin", "wp-includes"):
        for file in (folder / start).rglob("*"):
            name = file.relative_to(folder).as_posix()
            if name not in wanted and (file.is_file() or file.is_symlink()):
                unknown.append(name)
    unknown += [
        file.name
        for file in folder.glob("wp-*.php")
        if file.name not in wanted and file.name not in ("wp-config.php", "wp-config-sample.php")
    ]
    return {"changed": sorted(changed), "missing": sorted(missing), "unknown": sorted(unknown)}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 64
    folder = Path(arguments[0])
    nothing: dict[str, list[str]] = {"changed": [], "missing": [], "unknown": []}
    try:
        version, locale = release(folder)
    except (OSError, ValueError) as error:
        print(f"verify.py: there is no WordPress in {folder}: {error}", file=sys.stderr)
        return 1
    try:
        wanted = known(version, locale)
    except (OSError, ValueError, urllib.error.URLError) as error:
        why = f"the list of its release could not be had ({error})"
        print(json.dumps({"version": version, "compared": False, "why": why, **nothing}))
        return 0
    print(json.dumps({"version": version, "compared": True, **compare(folder, wanted)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
