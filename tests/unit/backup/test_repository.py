"""What restic complained, in words for a person."""

from __future__ import annotations

import pytest

from backup.errors import BackupError, BusyError, ClosedError, UnreachableError
from backup.repository import explained
from tools.restic import ResticError, explain

_OPEN = "Fatal: unable to open repository at rclone:/srv/x: error talking HTTP to rclone: "
_REFUSED = "rclone: ssh: connect to host 203.0.113.20 port 22: Connection refused"


@pytest.mark.parametrize(
    ("complaint", "why"),
    [
        (f'{_REFUSED}\n{_OPEN}Get "http://localhost/file-1": unexpected EOF', _REFUSED),
        # Where restic ends before it has read what ssh said.
        (f"{_OPEN}context canceled", "context canceled"),
    ],
)
def test_a_keeper_that_does_not_answer_is_named_with_the_reason(complaint: str, why: str) -> None:
    error = explained("monts", "coffre (203.0.113.20)", ResticError(explain(complaint, 1), 1))
    assert isinstance(error, UnreachableError)
    assert "coffre (203.0.113.20), which keeps the copies of monts, cannot be reached" in str(error)
    assert why in str(error)


def test_a_keeper_that_does_not_let_us_in_is_a_matter_of_the_key() -> None:
    said = "rclone: operator@203.0.113.20: Permission denied (publickey)."
    error = explained("monts", "coffre (203.0.113.20)", ResticError(explain(said, 1), 1))
    assert isinstance(error, ClosedError)
    assert error.exit_code == 77
    assert "does not let your key in: rclone: operator@203.0.113.20: Permission" in str(error)
    assert ".." not in str(error)


def test_a_lock_and_a_wrong_password_are_no_lost_connection() -> None:
    locked = explained("monts", "coffre", ResticError("repository is already locked by PID 1", 11))
    assert isinstance(locked, BusyError)
    wrong = explained("monts", "coffre", ResticError("Fatal: wrong password or no key found", 1))
    assert type(wrong) is BackupError
    assert "was the repository made with other secrets?" in str(wrong)
