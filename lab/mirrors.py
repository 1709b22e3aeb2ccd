"""Where the lab's hosts get packages from: the same place as this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

RELEASES = ("bookworm", "trixie")
_SUITE = re.compile(r"(bookworm|trixie)(-updates|-security)?")
_OPTIONS = re.compile(
    r"(Acquire::https?::(Proxy|[A-Za-z0-9.-]+::Proxy)|Acquire::Check-Valid-Until"
    r"|Acquire::Check-Date|Acquire::Max-ValidTime|Acquire::Retries)"
)


def debian_sources(texts: Iterable[str], release: str) -> tuple[str, ...]:
    """Given the contents of apt's source files, return one-line entries for `release`.

    Only Debian's own suites with the component main count; another Debian release's name is
    replaced. Empty when there is none: this machine is not a Debian, or has no mirror.
    """
    found: dict[str, None] = {}
    for text in texts:
        for uri, suite, components in (*_one_line(text), *_stanzas(text)):
            match = _SUITE.fullmatch(suite)
            if match and "main" in components:
                found[f"deb {uri} {release}{match[2] or ''} main"] = None
    return tuple(found)


def _one_line(text: str) -> Iterable[tuple[str, str, list[str]]]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if match:
            yield match[1], match[2], match[3].split()


def _stanzas(text: str) -> Iterable[tuple[str, str, list[str]]]:
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and last:
                fields[last] += " " + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                last = name.strip().lower()
                fields[last] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield uri, suite, fields.get("components", "").split()


def apt_options(dump: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Given the output of `apt-config dump`, return the lines about proxies and validity.

    A proxy in the environment counts when apt's configuration has none.
    """
    lines = [
        line
        for line in dump.splitlines()
        if (match := re.match(r'(\S+) "[^"]+";$', line)) and _OPTIONS.fullmatch(match[1])
    ]
    for name in ("http", "https"):
        proxy = environment.get(f"{name}_proxy")
        key = f"Acquire::{name}::Proxy"
        if proxy and '"' not in proxy and not any(line.startswith(f"{key} ") for line in lines):
            lines.append(f'{key} "{proxy}";')
    return tuple(lines)


def npm_registry(texts: Iterable[str], environment: Mapping[str, str]) -> str | None:
    """The npm registry this machine is told to use, without any token; None: npm's own."""
    if named := environment.get("npm_config_registry"):
        return named
    for text in texts:
        if match := re.search(r"^\s*registry\s*=\s*(\S+)\s*$", text, re.MULTILINE):
            return match[1]
    return None


def read_all(paths: Iterable[Path]) -> tuple[str, ...]:
    """The text of those files that can be read."""
    out = []
    for path in paths:
        try:
            out.append(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return tuple(out)


def source_files(root: Path = Path("/etc/apt")) -> tuple[Path, ...]:
    """Apt's source files of this machine, in apt's order."""
    folder = root / "sources.list.d"
    return (
        root / "sources.list",
        *sorted(folder.glob("*.list")),
        *sorted(folder.glob("*.sources")),
    )
