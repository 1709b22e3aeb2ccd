"""Throwaway Debian hosts on this machine, in a network of their own.

`from lab import Lab, LabError`. Both are loaded when first asked for, because
`python3 -m lab.requirements` must run before anything else is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.errors import LabError
    from lab.lab import Lab

__all__ = ["Lab", "LabError"]


def __getattr__(name: str) -> object:
    if name == "Lab":
        from lab.lab import Lab

        return Lab
    if name == "LabError":
        from lab.errors import LabError

        return LabError
    raise AttributeError(name)
