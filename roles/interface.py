"""The one small interface between services and everything that is done with them.

A role is data. `checks`, `backup`, `deploy` and `recovery` read it and never name a service,
so that a new service is one folder, one line in `roles.registry`, and its tests.

Whatever runs on a host is an argv array. Nothing here is ever handed to a shell as text.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from inventories.judge import Judgement
    from inventories.model import Host, Inventory, Service, Settings
    from platforms.yunohost.app import Needs, Setting
    from platforms.yunohost.wanted import WantedApp

Argv = tuple[str, ...]
Address = IPv4Address | IPv6Address
Level = Literal["ok", "warning", "critical", "unknown"]
T = TypeVar("T")


class ByName(Mapping[str, T], Generic[T]):
    """What is known by name, and made when it is first asked for: most runs are about few roles,
    and reading all of them takes as long as reading an inventory."""

    def __init__(self, names: tuple[str, ...], make: Callable[[str], T]) -> None:
        self._names, self._make = names, make
        self._made: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


@dataclass(frozen=True)
class Absent:
    """An aspect this role does not have, and why. Never left out silently."""

    reason: str


@dataclass(frozen=True)
class Text:
    """One sentence or page for people, in both languages."""

    en: str
    fr: str


@dataclass(frozen=True)
class Finding:
    """What a probe found: a level, and one line that says what, and what to do next."""

    level: Level
    message: str


# --- outside probes: what a person would see -------------------------------------------------
# Name and address are apart everywhere: `address=None` asks DNS, an address probes a host
# that DNS does not name yet.


@dataclass(frozen=True)
class HttpProbe:
    """GET `url`; `judge(status, headers, body)` decides. Certificate and chain are verified.

    Another server does not answer for this one: to send people there is critical, unless its name
    is among `elsewhere`; None: wherever it leads."""

    name: str
    url: str
    judge: Callable[[int, Mapping[str, str], bytes], Finding]
    elsewhere: Collection[str] | None = ()


@dataclass(frozen=True)
class TlsProbe:
    """The certificate that `host`:`port` shows: valid for the name, days left, whole chain. With
    `starttls` it is a mail server's port, which begins without encryption (RFC 3207)."""

    name: str
    host: str
    port: int = 443
    starttls: bool = False


@dataclass(frozen=True)
class TcpProbe:
    """A port that answers; `greeting` is what it must say first, if anything."""

    name: str
    host: str
    port: int
    greeting: bytes = b""


OutsideProbe = HttpProbe | TlsProbe | TcpProbe


@dataclass(frozen=True)
class Record:
    """One DNS record set: fully qualified name without the last dot, type, values."""

    name: str
    type: Literal["A", "AAAA", "CNAME", "MX", "TXT", "CAA", "SRV"]
    values: tuple[str, ...]
    # Only for TXT, when others have texts under the same name: those of ours begin so, and what
    # begins otherwise is not our business. `any`: whatever text begins so will do; ours is for
    # when there is none.
    prefix: str = ""
    any: bool = False


@dataclass(frozen=True)
class SigningKey:
    """A key that signs what a service sends. A deploy makes it, once, and keeps it as the secret
    `secret`; others look for its public half in DNS, under `records` (RFC 6376)."""

    secret: str
    records: tuple[str, ...]


# --- inside probes: what only the host can know ---------------------------------------------


@dataclass(frozen=True)
class InsideProbe:
    """`argv` runs on the host as root, read-only, in at most `timeout` seconds.

    `judge(exit_code, stdout)` is pure and runs where the check runs.
    """

    name: str
    argv: Argv
    judge: Callable[[int, str], Finding]
    timeout: int = 20


# --- what a copy consists of ----------------------------------------------------------------


@dataclass(frozen=True)
class Dump:
    """A database, saved as one file `name` in the service's staging folder.

    `save` writes it to stdout; `load` reads it from stdin into a database that exists and
    may hold older data, and must leave exactly what the dump says.
    """

    name: str
    save: Argv
    load: Argv


@dataclass(frozen=True)
class Quiesce:
    """Something to hold still while copying. `undo` must be harmless when nothing was held:
    it runs after the copy, after a crash, and at boot. `at_most` is in seconds: when the copy
    takes longer, `undo` runs all the same and the run is reported as failed. `answers`: can its
    objects still be counted meanwhile? Not where the service itself is stopped."""

    do: Argv
    undo: Argv
    at_most: int
    answers: bool = True


@dataclass(frozen=True)
class Mirror:
    """A folder whose files get other names and places while it is copied, and a second tree of
    one moment that is saved in its stead, under its name.

    `make` brings the tree `copy` up to date. It runs after the dumps: what was on its way is then
    in a dump, in the tree, or in both. `copy` lies below the folder `path` and stays there from
    run to run; when `make` fails the folder itself is saved, and the run is reported as failed.
    """

    path: str
    copy: str
    make: Argv


@dataclass(frozen=True)
class Around:
    """A program of the platform that gathers what it knows how to save, for one run of a host.

    The run's copy is made by `argv`, then "--", then the command that copies. The program runs
    that command with one more path, the folder `root` (always the same one, so that unchanged
    files are not read again), ends with its exit code, and writes into the file `results` one
    JSON object: what it gathered -> "" or what is wrong with it. `before` and `after` are like
    `Quiesce.do` and `undo`: `after` is repeatable, and runs after a crash and at boot as well.
    """

    argv: Argv
    root: str
    results: str
    before: Argv
    after: Argv


@dataclass(frozen=True)
class Archive:
    """What an `Around` gathers of one service: it comes back as one tar archive.

    `parts` and `lists` are folders and small files below the gathered `root`: all of it, but no
    more, is fetched for a restore. `claims` names the results that speak of it ("system" stands
    for all of "system/…"); they must be there, and well, for the service to count as saved.

    `load` gets the archive as its stdin, a plain file, with names relative to `root`. It replaces
    what is here, is repeatable, prints {"messages": […]}, and exits with 2 when it failed before
    anything was changed. `holds` exits 0 when there is something here that it would replace.
    `room`: folders that need space for all of it once more while it is loaded.

    `together`: where nothing is yet, archives of several services that agree in this command are
    loaded by one start of it: it gets their names (`called`) as last words, and all of them in one
    file as its stdin. It prints {"loaded": {name: [messages]}, "messages": […]}; what it does not
    name there, `load` brings back afterwards, whatever became of it so far.
    """

    parts: tuple[str, ...]
    load: Argv
    holds: Argv
    claims: tuple[str, ...]
    lists: tuple[str, ...] = ()
    room: tuple[str, ...] = ()
    together: Argv = ()
    called: str = ""


@dataclass(frozen=True)
class State:
    """What must survive. Paths are absolute; excludes are restic patterns, absolute too.

    With an `archive`, paths are what is too large for it: they come back first, and get their
    owners when the archive is loaded. `around` is for a duty of the host."""

    paths: tuple[str, ...]
    dumps: tuple[Dump, ...] = ()
    excludes: tuple[str, ...] = ()
    quiesce: tuple[Quiesce, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    archive: tuple[Archive, ...] = ()
    around: Around | None = None
    counts: Argv = ()  # prints one JSON object, name -> whole number
    versions: Argv = ()  # prints one JSON object, name -> text


@dataclass(frozen=True)
class Restore:
    """How data comes back on a host where `install` has run.

    `stop` before data is moved; `prepare` when the files lie in place and before dumps are
    loaded (create the empty database and its user, as the restored files say); `accept` after
    (start again, flush caches). Each is an ordered list of commands; each must be repeatable.

    `let_out`: when names lead here and the machine that had them was told to stop. Until then
    nothing of what came back may reach anybody, such as mails that waited in a queue; a rehearsal
    never comes so far. `leave`: on a host that serves on and that this service moved away from,
    before that; what would otherwise go on reaching others from there.
    """

    stop: tuple[Argv, ...] = ()
    prepare: tuple[Argv, ...] = ()
    accept: tuple[Argv, ...] = ()
    let_out: tuple[Argv, ...] = ()
    leave: tuple[Argv, ...] = ()


@dataclass(frozen=True)
class Canary:
    """A mark such as a user could have made. `plant` gets two more arguments, the run's id and
    the time (ISO 8601, UTC); `find` prints a JSON list of {"run": …, "at": …} it can see.

    `sample` leaves a little of what members leave (accents, files, answers), for a drill to count
    afterwards. It is never run on a host that serves people."""

    plant: Argv
    find: Argv
    sample: Argv


# --- a role ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnPlatform:
    """What depends on what the role stands on. Each callable is pure."""

    # The module with `install`, `configure` and `activate`, loaded by name when a deploy runs,
    # because it imports pyinfra and nothing else should have to.
    deploy: str
    inside: Callable[[Service, Inventory], tuple[InsideProbe, ...]] | Absent
    state: Callable[[Service, Inventory], State] | Absent
    restore: Callable[[Service, Inventory], Restore] | Absent
    canary: Callable[[Service, Inventory], Canary] | Absent
    # systemd units to stop on a host that must not serve any more (see the epoch).
    units: Callable[[Service, Inventory], tuple[str, ...]] | Absent
    # TCP ports that the firewall opens for it, beside those of the web.
    ports: Callable[[Service, Inventory], tuple[int, ...]] | Absent = Absent("the web's alone")
    signing: Callable[[Service, Inventory], SigningKey] | Absent = Absent("it signs nothing")
    # Only where the platform installs apps itself: the app, what it asks of the server, and what
    # is set inside it after every installation and update.
    app: Callable[[Service, Inventory], WantedApp] | Absent = Absent(
        "its software comes as packages"
    )
    needs: Callable[[Service, Inventory], Needs] | Absent = Absent("asks nothing of the server")
    settle: Callable[[Service, Inventory], tuple[Setting, ...]] | Absent = Absent(
        "a deploy writes its configuration"
    )
    # Everything that `settle` may set, each as the package has it: for describing an app that was
    # found. Its `write` is never used.
    tells: Callable[[Service], Setting] | Absent = Absent("nothing is set inside it")


@dataclass(frozen=True)
class Role:
    """A kind of service for people: `wordpress`, `etherpad` …"""

    name: str
    title: Text
    settings: type[Settings]
    outside: Callable[[Service, Inventory], tuple[OutsideProbe, ...]] | Absent
    dns: Callable[[Service, Inventory], tuple[Record, ...]] | Absent
    # What no model of settings can see by itself, because it takes the whole inventory.
    judge: Callable[[Service, Inventory], tuple[Judgement, ...]] | Absent = Absent(
        "each of its settings is right or wrong by itself"
    )
    on: Mapping[str, OnPlatform] = field(default_factory=dict)


def each(package: str, *platforms: str) -> Mapping[str, OnPlatform]:
    """What a role is on each of these platforms: `ON` in the module of that name in its package,
    imported when it is asked for."""

    def ask(platform: str) -> OnPlatform:
        on: OnPlatform = importlib.import_module(f"{package}.{platform}").ON
        return on

    return ByName(platforms, ask)


@dataclass(frozen=True)
class HostOnPlatform:
    """What a duty of a host consists of; it has no address of its own."""

    deploy: str
    inside: Callable[[Host, Inventory], tuple[InsideProbe, ...]] | Absent
    state: Callable[[Host, Inventory], State] | Absent


@dataclass(frozen=True)
class HostRole:
    """A duty of a host rather than a service for people: `base`, `repository`, `watch`."""

    name: str
    title: Text
    on: Mapping[str, HostOnPlatform] = field(default_factory=dict)
