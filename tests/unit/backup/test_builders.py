"""Hostile values never reach a shell unquoted, never become an option, never split."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.releve_agent.contents import excluded, tally
from backup import remote
from backup.epoch import notice
from backup.errors import BackupError
from backup.lend import line
from backup.restore import restore_words
from inventories.model import Repository, RepositoryUrl
from tools import restic

HOSTILE = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80),
    st.sampled_from(
        [
            "$(touch /tmp/x)",
            "`id`",
            "'; id; '",
            '"',
            "a\nb",
            "-rf",
            "--",
            "é \u202e",
            "\\",
            "*",
            "x" * 5000,
        ]
    ),
)


@given(st.lists(HOSTILE, min_size=1, max_size=5))
def test_a_program_for_rclone_is_plain_or_refused(words: list[str]) -> None:
    try:
        text = restic.rclone_program(words)
    except ValueError:
        return
    assert text.split(" ") == words
    assert not set(text) & set("'\"\\$`;&|<>(){}*?\n\t")


@given(HOSTILE, HOSTILE)
def test_values_cannot_become_options_of_restic(url: str, value: str) -> None:
    argv = restic.command(url, Path("/p"), ("snapshots",), options={"a": value})
    assert argv == (
        "restic",
        f"--repo={url}",
        "--password-file=/p",
        f"--option=a={value}",
        "snapshots",
    )


@given(HOSTILE, HOSTILE)
def test_values_cannot_become_options_of_the_agent(service: str, snapshot: str) -> None:
    from agent.releve_agent.main import arguments

    words = restore_words(service, snapshot=snapshot, at=datetime(2026, 1, 1, tzinfo=UTC))
    try:
        args = arguments(words)
    except SystemExit as refused:
        # Before Python 3.13, argparse takes the dashes out of such a value and finds it missing.
        assert "--" in (service, snapshot)
        assert refused.code == 64  # noqa: PT017
        return
    assert (args.service, args.snapshot, args.at) == (service, snapshot, "2026-01-01T00:00:00Z")
    assert args.replace is args.no_snapshot is args.dry_run is False


@given(st.text(max_size=40), st.text(max_size=40))
def test_hostile_repository_addresses_are_refused_or_harmless(user: str, path: str) -> None:
    try:
        url = RepositoryUrl.model_validate(f"ssh-append://{user}@coffre.example/{path}")
    except ValueError:
        return
    repository = Repository(id="coffre", host="coffre", url=url, provider="p", datacenter="d")
    text = line(repository, "monts", "ssh-ed25519 AAAA comment", datetime(2026, 1, 1, tzinfo=UTC))
    assert text.count("\n") == 0
    assert text.count('"') == 4
    assert ".." not in url.path.split("/")
    restic.rclone_program([url.user, url.path])  # must not need quoting


@given(st.integers(1, 10**9))
def test_the_gate_can_read_the_epoch_of_a_notice(epoch: int) -> None:
    import re

    found = re.search(rb'"epoch": *([0-9]+)', notice("monts", epoch, "k"))
    assert found
    assert int(found[1]) == epoch


@pytest.mark.parametrize(
    ("pattern", "path", "hit"),
    [
        ("/srv/a/cache", "/srv/a/cache", True),
        ("/srv/a/cache", "/srv/a/cache/x/y", True),
        ("/srv/a/cache", "/srv/a/cache2", False),
        ("/srv/*/cache", "/srv/a/cache/x", True),
        ("/srv/*/cache", "/srv/a/b/cache", False),
        ("/srv/**/cache", "/srv/a/b/cache", True),
        ("/srv/a/*.log", "/srv/a/x.log", True),
        ("/srv/a/*.log", "/srv/a/b/x.log", False),
    ],
)
def test_excludes_are_counted_as_restic_reads_them(
    pattern: str, path: str, hit: bool, tmp_path: Path
) -> None:
    assert excluded([pattern])(path) is hit


def test_what_is_excluded_is_not_counted(tmp_path: Path) -> None:
    names = (
        "a/tmp/1",
        "a/cur/2",
        "a/cur/tmp",
        "a/x.lock",
        "b/c/d/3",
        "b/c/d/e.lock/4",
        "keep/tmp2",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    def counted(*patterns: str) -> int:
        found: int = tally(str(tmp_path), [f"{tmp_path}/{p}" for p in patterns])["files"]
        return found

    assert counted() == 7
    assert counted("*/tmp") == 6
    assert counted("**/tmp") == 5
    assert counted("**/*.lock") == 5
    assert counted("b/**") == 5
    assert counted("?/c/", "keep") == 4
    assert tally(str(tmp_path / "a"), [str(tmp_path)])["files"] == 0


@pytest.mark.parametrize(
    "said",
    [
        b"Failed to find executable /usr/local/lib/releve/agent.py: No such file or directory",
        b"sh: 1: systemd-run: not found",
    ],
)
def test_a_host_without_an_agent_was_not_deployed_yet(said: bytes) -> None:
    with pytest.raises(BackupError, match="monts has no agent yet: run `releve deploy`"):
        remote.parse("monts", 1, b"", said)


def test_an_agent_that_was_killed_is_told_as_such() -> None:
    with pytest.raises(BackupError, match="stopped from outside"):
        remote.parse("monts", 137, b'{"undone": ["blog.0"]}\n', b"")
    assert remote.parse("monts", 0, b'{"undone": []}\n', b"") == {"undone": []}
