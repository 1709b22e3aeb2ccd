"""What goes wrong in the lab."""


class LabError(Exception):
    """The lab cannot do it. The message says what happened, where, and what to do."""
