"""One typed error for each way a YunoHost command is known to fail, with what to do about it."""

from __future__ import annotations

from platforms.yunohost.answers import Answer


class YunohostError(Exception):
    """A YunoHost command that did not do what it was for."""

    def __init__(self, kind: str, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.kind = kind
        self.message = message
        self.remedy = remedy


def classify(answer: Answer, *, done: bool | None = None) -> YunohostError | None:
    """The typed error that an answer is, or None."""
    raise NotImplementedError


def checked(answer: Answer) -> Answer:
    """The answer itself. Raise the YunohostError it is."""
    error = classify(answer)
    if error is not None:
        raise error
    return answer
