"""How a verb ends that has nothing to tidy up."""

from __future__ import annotations


class AtOnce(SystemExit):
    """Ends the program with a code, without taking apart what it holds: the system takes it all
    back, in a tenth of the time. Only for a verb that has written what it had to, and whose
    threads may be left wherever they are."""
