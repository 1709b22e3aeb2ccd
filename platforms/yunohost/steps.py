"""One change of a server, and what stands in the way of any. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Area: TypeAlias = Literal["settings", "domains", "people", "apps", "system"]
# configure: at once. activate: what needs names that lead here. last: what an app may still be
# using or opening, once all apps are as they must be.
Stage: TypeAlias = Literal["configure", "activate", "last"]

# Seconds that one write may take, waiting for YunoHost's lock included.
USUAL, INSTALL = 1200, 5400


# Stands in an argv for the file with a step's values.
VALUES = "{values}"


@dataclass(frozen=True)
class Step:
    """One command that changes a server.

    `name` is the same in each run for the same change; `text` is what a person reads: + new,
    ~ changed, - taken away. `prompts`: names of secrets to type at a local terminal, in the
    order in which the command asks. `values`: option -> name of a secret, which the command reads
    as YAML in the file VALUES. `timeout` in seconds. `service`: whose app it is about, "" for what
    belongs to the server. `then`: a command that follows once the first one ended well.
    """

    name: str
    text: str
    argv: tuple[str, ...]
    area: Area
    stage: Stage = "configure"
    prompts: tuple[str, ...] = ()
    timeout: int = USUAL
    values: Mapping[str, str] = field(default_factory=dict)
    service: str = ""
    then: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of the secrets it needs, each once."""
        return tuple(dict.fromkeys((*self.prompts, *self.values.values())))


@dataclass(frozen=True)
class Obstacle:
    """Something that cannot be done. `path`: where the inventory asks for it."""

    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}. {self.remedy}."

    def concerns(self, service: str) -> bool:
        """Whether it stands in the way of the app of `service`; "": of the server itself."""
        table, _, rest = self.path.partition(".")
        whose, _, part = rest.partition(".")
        if table == "services":
            return whose == service
        # What is said of a host as a whole concerns everything there.
        return not service or not part


class CannotConverge(Exception):
    """What the inventory asks of a server cannot be done there; nothing was changed."""

    exit_code = 1

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        self.obstacles = tuple(obstacles)
        super().__init__("\n".join(map(str, self.obstacles)))
