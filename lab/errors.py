"""What goes wrong in the lab."""


class LabError(Exception):
    """The lab cannot do it. The message says what happened, where, and what to do."""

    exit_code = 1


class Unknown(LabError):
    """No lab, host or release has that name."""

    exit_code = 64


class Impossible(LabError):
    """A number that cannot be."""

    exit_code = 64


class Busy(LabError):
    """Another process holds the lock."""

    exit_code = 75


class NotAllowed(LabError):
    """Not root."""

    exit_code = 77
