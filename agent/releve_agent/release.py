"""Which release of its system a host has, and whether a copy from another one can come back."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Mapping


def parse(text: str) -> dict[str, str]:
    """Given os-release, return {"id", "version"}, each "" when it is not said. Pure."""
    said: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        said[name.strip()] = value.strip().strip("\"'")
    return {"id": said.get("ID", ""), "version": said.get("VERSION_ID", "")}


def too_new(saved: object, here: Mapping[str, str]) -> str:
    """Why a copy that was made on the release `saved` cannot come back on the release `here`, or
    "". Of copies and hosts that do not say theirs, nothing is known. Pure."""
    if not isinstance(saved, dict) or saved.get("id") != here["id"]:
        return ""
    try:
        newer = _number(saved["version"]) > _number(here["version"])
    except (KeyError, ValueError, AttributeError):
        return ""
    if not newer:
        return ""
    was, name = saved["version"], here["id"].capitalize()
    return (
        f"that copy was made on {name} {was}, and this machine has {name} {here['version']}: "
        "databases and programs do not read what newer ones of their kind have written. Take a "
        f"machine with {name} {was}, or bring this one there first"
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
