"""Channels to tell people over: the apprise library, which takes a quarter of a second to load."""

from __future__ import annotations

import logging
import threading
from typing import Any

SECONDS = 30.0


def understood(url: str) -> bool:
    """Whether `url` is the address of a channel. Nothing is sent or connected to."""
    return bool(_apprise().Apprise().add(url))


class NotSent(Exception):
    """A message did not get through. The text never holds the channel's address."""


def send(url: str, title: str, body: str) -> None:
    """Send one message over a channel of the apprise library, in at most SECONDS.

    Raise NotSent.
    """
    channel = _apprise().Apprise()
    if not channel.add(url):
        raise NotSent("its address is not one that the apprise library understands")
    outcome: list[bool] = []

    def deliver() -> None:
        outcome.append(bool(channel.notify(title=title, body=body)))

    thread = threading.Thread(target=deliver, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if not outcome:
        raise NotSent(f"no answer in {SECONDS:.0f} s" if thread.is_alive() else "it failed inside")
    if not outcome[0]:
        raise NotSent("the channel refused the message or cannot be reached")


def _apprise() -> Any:
    import apprise

    # Its log lines may hold the address, which often is a secret.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return apprise
