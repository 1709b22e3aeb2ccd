"""What ends a recovery early. The message says what happened, what it means, what to do next."""

from __future__ import annotations


class RecoveryError(Exception):
    """A recovery cannot go on."""

    exit_code = 1


class UsageError(RecoveryError):
    """What was asked for does not fit the inventory."""

    exit_code = 64


class InUse(RecoveryError):
    """Somebody else is doing the same."""

    exit_code = 75


class NoEvidence(RecoveryError):
    """The folder for evidence cannot be written into."""

    exit_code = 77
