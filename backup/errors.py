"""What can go wrong here, each with the exit code of docs/architecture.md."""

from __future__ import annotations


class BackupError(Exception):
    """It did not work. The message says what, where, what it means, what to do next."""

    exit_code = 1


class UsageError(BackupError):
    """What was asked for does not fit the inventory."""

    exit_code = 64


class UnreachableError(BackupError):
    """A host cannot be reached."""

    exit_code = 69


class ClosedError(UnreachableError):
    """A host is there and does not let us in."""

    exit_code = 77


class BusyError(BackupError):
    """Somebody else holds a host's lock, or that of its repository."""

    exit_code = 75
