"""Debian's packages: what could be upgraded, what is there, and the upgrade itself. Pure.

Lists are fetched by apt alone, which can be told to fail when any of them could not be fetched
(apt-get(8), `--error-on=any`); others that call apt may end well all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Argv = tuple[str, ...]

# Seconds that fetching the lists may take, when no mirror answers.
REFRESH_TIMEOUT = 300.0
REFRESH: Argv = (
    "env",
    "LC_ALL=C.UTF-8",
    "apt-get",
    "-q",
    "-o",
    "Acquire::Retries=1",
    "-o",
    "Acquire::http::Timeout=20",
    "-o",
    "Acquire::https::Timeout=20",
    "--error-on=any",
    "update",
)

# What `UPGRADE` would do. It takes no lock.
SIMULATE: Argv = (
    "env",
    "LC_ALL=C.UTF-8",
    "apt-get",
    "-q",
    "-s",
    "-o",
    "Debug::NoLocking=true",
    "--with-new-pkgs",
    "upgrade",
)

# Removes nothing. Configuration files that somebody changed stay. Minutes for dpkg's lock.
_UPGRADE: Argv = (
    "apt-get",
    "-q",
    "-y",
    "-o",
    "DPkg::Lock::Timeout=600",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "--with-new-pkgs",
    "upgrade",
)

# The unit that it runs in, so that no session's end reaches it. Somebody who finds it running
# waits for it.
UNIT = "releve-upgrade"
UPGRADE: Argv = (
    "systemd-run",
    "--quiet",
    "--wait",
    "--collect",
    f"--unit={UNIT}",
    "--setenv=DEBIAN_FRONTEND=noninteractive",
    "--setenv=LC_ALL=C.UTF-8",
    "--",
    *_UPGRADE,
)
RUNS: Argv = ("systemctl", "is-active", "--quiet", UNIT)
# Seconds that an upgrade may take.
UPGRADE_TIMEOUT = 7200

VERSIONS: Argv = ("dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\t${Version}\n")

# There when what runs is older than what is installed.
REBOOT = "/run/reboot-required"


@dataclass(frozen=True)
class Package:
    """One package that could be upgraded. `current` is "" for one that would be new."""

    name: str
    current: str
    new: str


def waiting(stdout: str) -> tuple[Package, ...]:
    """Given what `SIMULATE` printed, return what would be upgraded, in apt's order."""
    found = re.findall(r"(?m)^Inst (\S+)(?: \[(\S+)\])? \((\S+) ", stdout)
    return tuple(Package(*one) for one in found)


@dataclass(frozen=True)
class Installed:
    """`versions`: of all packages that are there; `unsettled`: those that dpkg did not finish."""

    versions: Mapping[str, str]
    unsettled: tuple[str, ...]


def installed(stdout: str) -> Installed:
    """Given what `VERSIONS` printed, return it typed. Removed packages are not among it."""
    versions: dict[str, str] = {}
    unsettled = []
    for line in stdout.splitlines():
        status, _, rest = line.partition("\t")
        name, _, version = rest.partition("\t")
        if len(status) < 2 or status[1] in "nc":
            continue
        versions[name] = version
        if status[1] != "i" or status[2:].strip():
            unsettled.append(name)
    return Installed(versions, tuple(unsettled))


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Package, ...]:
    """What became another version, is new, or is gone (`new` is "")."""
    names = sorted({*before, *after})
    return tuple(
        Package(name, before.get(name, ""), after.get(name, ""))
        for name in names
        if before.get(name) != after.get(name)
    )
