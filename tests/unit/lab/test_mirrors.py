"""Apt's own files, read for their Debian entries."""

from __future__ import annotations

from lab import mirrors

ONE_LINE = """
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/x.gpg] http://mirror.example/debian bookworm main contrib # why
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main
deb https://docker.example/linux/debian bookworm stable
deb https://other.example/debian bookworm-pgdg main
"""
STANZAS = """Types: deb deb-src
# a comment
URIs: http://mirror.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: https://node.example/node_20.x
Suites: nodistro
Components: main
"""


def test_only_debians_own_entries_count_each_once() -> None:
    assert mirrors.debian_sources([ONE_LINE, STANZAS], "bookworm") == (
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian-security bookworm-security main",
        "deb http://mirror.example/debian bookworm-updates main",
    )


def test_another_release_comes_from_the_same_mirrors() -> None:
    assert mirrors.debian_sources([STANZAS], "trixie") == (
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
    )


def test_proxies_and_validity_are_taken_over_and_nothing_else() -> None:
    dump = (
        'APT::Architecture "amd64";\nAcquire::http::Proxy "http://proxy.example:3142";\n'
        'Acquire::Check-Valid-Until "false";\nAcquire::http "";\nDPkg::Pre-Invoke "rm";\n'
    )
    assert mirrors.apt_options(dump, {"http_proxy": "http://other", "https_proxy": "http://p"}) == (
        'Acquire::http::Proxy "http://proxy.example:3142";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::https::Proxy "http://p";',
    )


def test_the_npm_registry_comes_without_its_token() -> None:
    npmrc = "//npm.example/:_authToken=s3cret\nregistry = https://npm.example/\n"
    assert mirrors.npm_registry([npmrc], {}) == "https://npm.example/"
    assert mirrors.npm_registry(["cafile=/x"], {}) is None
