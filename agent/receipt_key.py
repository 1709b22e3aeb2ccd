"""The public halves of the keys with which hosts sign their receipts, as they are kept among the
secrets: `TYPE BASE64 epoch N`, a comma between two. Pure.

Each is noted when it is first seen and trusted from then on. A machine that was replaced still
has the key of its own epoch, which signs nothing of a later one. One without an epoch was written
by hand and counts for all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class ChangedKeyError(Exception):
    """A host shows another receipt key than the one that was noted. The message says what that
    means and what to do."""


@dataclass(frozen=True)
class Known:
    """A receipt key, "TYPE BASE64", and the life of its host in which it signs; None: any."""

    key: str
    epoch: int | None = None


def secret(host: str) -> str:
    """The name under which a host's receipt keys are kept."""
    return f"host.{host}.receipt"


def parse(text: str) -> tuple[Known, ...]:
    """Read what is kept. What is no key is left out."""
    found = []
    for part in re.split(r"[,\n]", text):
        words = part.split()
        if len(words) < 2:
            continue
        epoch = re.fullmatch(r"epoch ([0-9]+)", " ".join(words[2:]))
        found.append(Known(" ".join(words[:2]), int(epoch[1]) if epoch else None))
    return tuple(found)


def render(known: tuple[Known, ...]) -> str:
    """As `parse` reads it."""
    return ", ".join(k.key if k.epoch is None else f"{k.key} epoch {k.epoch}" for k in known)


def of_epoch(known: tuple[Known, ...], epoch: int) -> tuple[str, ...]:
    """The keys that may have signed a receipt of this epoch."""
    return tuple(one.key for one in known if one.epoch in (None, epoch))


def seen(known: tuple[Known, ...], host: str, epoch: int, shown: str) -> tuple[Known, ...]:
    """Given what a host in this epoch shows, return what to know from now on: `known` itself when
    that is no news, more when it was seen for the first time. Raise ChangedKeyError."""
    shown = " ".join(shown.split()[:2])
    noted = of_epoch(known, epoch)
    if shown in noted:
        return known
    earlier = next((one.epoch for one in known if one.key == shown), None)
    if earlier is not None:
        raise ChangedKeyError(
            f"the receipt key it shows is that of its epoch {earlier}, and {host} is in epoch "
            f"{epoch}: this is the machine that was replaced, or a copy of its disk. What it says "
            "of copies counts for nothing. Find out why it answers at this address, and switch it "
            "off."
        )
    if noted:
        raise ChangedKeyError(
            f"the receipt key it shows is not the one that {host} was first seen with: {shown}. "
            "That one never leaves it, so either its system was installed anew, or another machine "
            "answers in its place. Believe no copy it made since then before you know which. If "
            f"you installed it anew: releve secrets edit FILE, and add to the text of "
            f'"{secret(host)}", after a comma: {render((Known(shown, epoch),))}'
        )
    return (*known, Known(shown, epoch))
