"""What an inventory file may say, as typed, frozen values.

The keys are the field's own words. Every model refuses unknown keys, so that a typing
mistake is an error and not a setting that silently does nothing. This module only
describes; reading files is in `inventories.load`, judging the whole in `inventories.judge`.
"""

from __future__ import annotations

import base64
import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializeAsAny,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from inventories.fields import NAMED
from tools import urls
from tools.bech32 import is_age_recipient


def matching(pattern: str, right: str) -> AfterValidator:
    """A validator that lets a text pass which `pattern` matches as a whole. `right`: what would be
    right, as words that follow "write"."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(f"write {right}")
        return text

    return AfterValidator(check)


# Hosts, services, repositories and people are named by these. They end up in file names,
# unit names and SSH key comments, so the alphabet is the narrowest of all of these.
Name = Annotated[str, StringConstraints(pattern=r"\A[a-z][a-z0-9-]{0,30}\Z")]

# RFC 1123 host names, at least two labels, no trailing dot, at most 253 characters.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
Domain = Annotated[
    str,
    StringConstraints(to_lower=True),
    matching(
        rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+", 'a domain name such as "atelier.example"'
    ),
]

# A mailbox, deliberately narrow: what an operator would write, nothing that needs quoting.
Mail = Annotated[
    str,
    StringConstraints(max_length=254),
    matching(
        rf"[A-Za-z0-9_][A-Za-z0-9._+-]{{0,62}}@{_LABEL}(?:\.{_LABEL})+",
        'a mail address such as "contact@atelier.example"',
    ),
]

# The name of somebody's server, also one without a dot.
ServerName = Annotated[str, matching(r"[A-Za-z0-9.-]{1,253}", "the name of a server")]
# As Nextcloud and Discourse call languages.
Language = Annotated[str, matching(r"[a-z]{2,3}(_[A-Z]{2})?", 'a language such as "fr" or "pt_BR"')]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST = timedelta(days=3650)


def parse_duration(text: object) -> timedelta:
    """Given "90s", "15m", "24h", "7d" or "2w", return the time span, ten years at most.

    Raise ValueError with what would be right for anything else.
    """
    if isinstance(text, timedelta):
        return text
    match = re.fullmatch(r"([0-9]{1,18})([smhdw])", text) if isinstance(text, str) else None
    if match is not None and int(match[1]) == 0:
        raise ValueError('write more than 0, such as "7d"')
    if match is None:
        raise ValueError('write a whole number and a unit, such as "90s", "15m", "24h" or "7d"')
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f'write at most "{_LONGEST.days}d", which is ten years')
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """Given a time span of whole seconds, return it as `parse_duration` reads it."""
    seconds = int(span.total_seconds())
    for unit in "wdhm":
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


Duration = Annotated[
    timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)
]


# Controls, line and paragraph separators; Unicode's signs that turn the direction of a text,
# with which a line can be made to read otherwise than it is.
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _no_control_characters(text: str) -> str:
    if _UNSEEN.search(text):
        raise ValueError("remove the line breaks and control characters")
    return text


# One line of text for people. May hold any printable character: quoting is the duty of
# whoever hands it to a program.
Line = Annotated[
    str, StringConstraints(min_length=1, max_length=500), AfterValidator(_no_control_characters)
]


# What most addresses look like, and need not be taken apart for.
_PLAIN_URL = re.compile(
    rf"https://((?:{_LABEL}\.)+{_LABEL})(?::([1-9][0-9]{{0,3}}|[1-5][0-9]{{4}}))?"
)


# Asked for each address by the models and by those who look for one that is used twice.
@lru_cache(maxsize=4096)
def clean_https_url(text: str) -> str:
    """Given the address of a service, return it in its one normal form: lower-case name, no
    default port, no slash at the end. Raise ValueError with what would be right.
    """
    plain = _PLAIN_URL.fullmatch(text)
    if plain and len(plain[1]) <= 253 and plain[2] != "443":
        return text
    try:
        parts: SplitResult = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError('write a full address, such as "https://forum.atelier.example"') from None
    if parts.scheme == "http" and parts.hostname:
        raise ValueError(f'write "https:{text[5:]}": services are served encrypted only')
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError('write a full address, such as "https://forum.atelier.example"')
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("write the address without a user, a question mark or a #")
    if not re.fullmatch(rf"{_LABEL}(?:\.{_LABEL})+", parts.hostname):
        raise ValueError("write a host name with a dot in it, such as forum.atelier.example")
    if parts.hostname.rpartition(".")[2].isdigit():
        raise ValueError("write a name such as forum.atelier.example, and no IP address")
    if len(parts.hostname) > 253:
        raise ValueError("write a host name of at most 253 characters")
    if not re.fullmatch(r"(/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]+)*/?", parts.path):
        raise ValueError("write a path of letters, digits and . _ ~ - only")
    at = "" if port in (None, 443) else f":{port}"
    return f"https://{parts.hostname}{at}{parts.path.rstrip('/')}"


HttpsUrl = Annotated[Line, AfterValidator(clean_https_url)]


def _timezone(name: str) -> str:
    import zoneinfo  # only where somebody names one

    places = [Path(folder) for folder in zoneinfo.TZPATH]
    # A machine without the database of time zones cannot judge a name of the right shape.
    known = any((place / "Europe/Paris").is_file() for place in places)
    shape = re.fullmatch(r"UTC|[A-Z][A-Za-z_]+(/[A-Z][A-Za-z0-9_+-]+){1,2}", name)
    if shape is None or (known and not any((place / name).is_file() for place in places)):
        raise ValueError('write the name of a time zone, such as "Europe/Paris"')
    return name


Timezone = Annotated[str, AfterValidator(_timezone)]

# "secret:NAME" points into the encrypted file beside the inventory.
SecretRef = Annotated[
    str,
    matching(
        r"secret:[a-z][a-z0-9_.-]{0,62}", '"secret:NAME", which names a secret beside the inventory'
    ),
]


def _secret_or_line(text: str) -> str:
    if text.startswith("secret:") and not re.fullmatch(r"secret:[a-z][a-z0-9_.-]{0,62}", text):
        raise ValueError(
            "after secret: write a name of lower-case letters, digits and . _ -, beginning with "
            "a letter"
        )
    return text


def _is_address(text: str) -> bool:
    """Whether it is a full http(s) address without a user."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("https", "http") and parts.hostname and not parts.username
    except ValueError:
        fits = False
    return bool(fits and re.fullmatch(r"[!-~]+", text))


def _secret_or_address(text: str) -> str:
    if text.startswith("secret:"):
        return _secret_or_line(text)
    if not _is_address(text):
        raise ValueError('write a full address, such as "https://ping.example/…", or "secret:NAME"')
    return text


# An http(s) address, or "secret:NAME".
SecretOrAddress = Annotated[Line, AfterValidator(_secret_or_address)]
# An address whose kind a library knows (`inventories.judge` asks it), or "secret:NAME".
SecretOrChannel = Annotated[Line, AfterValidator(_secret_or_line)]

_KINDS = r"(?:sk-)?(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521))(?:@openssh\.com)?"


def _ssh_public_key(line: str) -> str:
    """One line of a .pub file whose base64 part says the same kind of key as its first word."""
    _no_control_characters(line)
    match = re.fullmatch(rf"({_KINDS}) ([A-Za-z0-9+/]+={{0,2}})(?: .*)?", line)
    if match is None:
        raise ValueError('write the one line of a .pub file, such as "ssh-ed25519 AAAA… name"')
    try:
        blob = base64.b64decode(match[2], validate=True)
    except ValueError:
        blob = b""
    kind = match[1].encode()
    whole = len(kind).to_bytes(4, "big") + kind
    # An Ed25519 key has exactly one further field, of 32 bytes.
    if not blob.startswith(whole) or (kind == b"ssh-ed25519" and len(blob) != 51):
        raise ValueError("the key was cut off or changed: copy the whole line of the .pub file")
    return line


def _age_recipient(text: str) -> str:
    if not is_age_recipient(text):
        raise ValueError("the age key was cut off or changed: copy the whole age1… line")
    return text


def _key_of_a_person(line: str) -> str:
    if line.startswith("age1"):
        return _age_recipient(line)
    if line.startswith(("-----BEGIN", "AGE-SECRET-KEY-")):
        raise ValueError("this is a private key, which must never stand here: make a new pair")
    return _ssh_public_key(line)


_Key = Annotated[str, StringConstraints(min_length=1, max_length=16384)]
SshPublicKey = Annotated[_Key, AfterValidator(_ssh_public_key)]
PersonalKey = Annotated[_Key, AfterValidator(_key_of_a_person)]  # SSH or age


def _ip(value: object) -> object:
    if isinstance(value, (IPv4Address, IPv6Address)):
        return value
    # The standard library takes whole numbers, and anything at all after a percent sign.
    right = 'write an IP address such as "198.51.100.10"'
    if not isinstance(value, str) or "%" in value:
        raise ValueError(right)
    try:
        address = ip_address(value)
    except ValueError:
        raise ValueError(right) from None
    future = isinstance(address, IPv4Address) and address.is_reserved
    if address.is_unspecified or address.is_multicast or future:
        raise ValueError(f"{right}, which one machine alone has")
    return address


Address = Annotated[IPv4Address | IPv6Address, BeforeValidator(_ip)]
Address6 = Annotated[IPv6Address, BeforeValidator(_ip)]


def _day(value: object) -> object:
    # Numbers and times of day would pass for dates otherwise. Text: as JSON has it.
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError("write a day such as 2026-01-31, without quotes")


Day = Annotated[date, BeforeValidator(_day)]
Flag = Annotated[bool, Field(strict=True)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]


class Model(BaseModel):
    """The common manners of every table: unknown keys are errors, values do not change."""

    # Python's own regular expressions: the other engine has neither \\Z nor look-ahead.
    model_config = ConfigDict(
        extra="forbid", frozen=True, regex_engine="python-re", defer_build=True
    )


class Settings(Model):
    """What an admin may write under `settings` of a service; each role has its own."""


class Organisation(Model):
    name: Line
    locale: Literal["fr", "en"] = "fr"
    contact: Mail
    health_data: Flag = False


class Person(Model):
    """An operator: somebody with keys to the servers. Members never stand here."""

    id: Name
    mail: Mail
    keys: tuple[PersonalKey, ...] = ()
    duties: tuple[Literal["deploy", "restore", "dns", "registrar", "contact"], ...] = ()

    @property
    def ssh_keys(self) -> tuple[str, ...]:
        """The keys that open an SSH session (age keys do not)."""
        return tuple(k for k in self.keys if not k.startswith("age1"))


# --- hosts that run YunoHost ------------------------------------------------------------------

# What YunoHost takes as a name of an account (and of a group, without the dot); no hyphen.
Account = Annotated[
    str,
    matching(
        r"[a-z0-9_][a-z0-9_.]{0,30}", "a name of lower-case letters, digits, _ and . (no hyphen)"
    ),
]
GroupName = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9_]{1,31}\Z")]
# What it calls its settings and the fields of its panels: "security.ssh.ssh_port".
SettingKey = Annotated[
    str, StringConstraints(pattern=r"\A[A-Za-z0-9_-]{1,60}(\.[A-Za-z0-9_-]{1,60}){0,4}\Z")
]
# "wordpress", "wordpress.main": an app, and one of its permissions.
AppId = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9_-]{0,60}\Z")]
Permission = Annotated[
    str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9_-]{0,60}\.[a-z0-9_.-]{1,60}\Z")
]


def _scalar(value: object) -> object:
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, str) and len(value) <= 10_000 and "\0" not in value:
        return _secret_or_line(value)
    raise ValueError("write a text in double quotes, a whole number, true or false")


# A value that YunoHost or one of its apps knows the type of; "secret:NAME" for what is secret.
Scalar = Annotated[StrictBool | StrictInt | StrictStr, BeforeValidator(_scalar)]


Sha256 = Annotated[
    str, matching(r"[0-9a-f]{64}", "the 64 hexadecimal digits that sha256sum prints")
]


def _source(text: str) -> str:
    # A mirror of one's own may speak plain HTTP: the checksum says what the file must be.
    if not _is_address(text):
        raise ValueError('write a full address, such as "https://install.example/install"')
    return text


Source = Annotated[Line, AfterValidator(_source)]


def _port_and_protocol(text: str) -> str:
    match = re.fullmatch(r"([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?/(tcp|udp)", text)
    if match is None or not int(match[1]) <= int(match[2] or match[1]) <= 65535:
        raise ValueError('write a port and a protocol, such as "8448/tcp" or "6881-6889/udp"')
    return text


PortAndProtocol = Annotated[str, AfterValidator(_port_and_protocol)]


def _quota(text: str) -> str:
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}[bkMGT]", text):
        raise ValueError('write a number and b, k, M, G or T, such as "2G", or "0" for no limit')
    return text


Quota = Annotated[str, AfterValidator(_quota)]


def _package_source(text: str) -> str:
    # What YunoHost takes for a package (src/utils/app_utils.py of 12.1.25).
    if not re.fullmatch(r"https://[A-Za-z0-9_.-]+/[A-Za-z0-9_./~-]+_ynh(\.git)?/?", text):
        raise ValueError('write an https:// address that ends in "_ynh", as packages do')
    return text


PackageSource = Annotated[Line, AfterValidator(_package_source)]
Branch = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")]


class Installer(Model):
    """YunoHost's own installer: where it is, and which file it must be."""

    url: Source
    sha256: Sha256


class YunohostDomain(Model):
    """A domain of the server. Those of its services are there without being written."""

    certificate: Literal["letsencrypt", "self-signed"] = "letsencrypt"
    settings: dict[SettingKey, Scalar] = {}
    absent: Flag = False


class Operator(Model):
    """An account of the group admins, with the SSH keys of one of the inventory's people."""

    person: Name
    fullname: Line | None = None  # None: the name of the account
    domain: Domain | None = None  # of the mail address; None: the main domain
    # The account was there before Relève. Not needed of one that is an admin already.
    found: Flag = False
    absent: Flag = False  # no admin any more; the account stays


class Mailbox(Model):
    """An account that is a duty and nobody's own, such as contact@."""

    fullname: Line | None = None
    domain: Domain | None = None
    # None, here and below: as it is.
    aliases: tuple[Mail, ...] | None = None
    forward: tuple[Mail, ...] | None = None
    quota: Quota | None = None
    found: Flag = False  # it was there before Relève
    absent: Flag = False


class Group(Model):
    """A group. Only operators and role mailboxes are named; other members are data."""

    members: tuple[Account, ...] | None = None
    absent: Flag = False


class FirewallPort(Model):
    comment: Line | None = None
    absent: Flag = False


class YunohostHost(Model):
    """What a server that runs YunoHost must be, beside its services."""

    main_domain: Domain | None = None
    installer: Installer | None = None
    settings: dict[SettingKey, Scalar] = {}
    firewall: dict[PortAndProtocol, FirewallPort] = {}
    domains: dict[Domain, YunohostDomain] = {}
    operators: dict[Account, Operator] = {}
    mailboxes: dict[Account, Mailbox] = {}
    groups: dict[GroupName, Group] = {}
    permissions: dict[Permission, tuple[GroupName, ...]] = {}


class AppOptions(Model):
    """How a service is an app of YunoHost."""

    id: AppId | None = None  # in the catalog; None: the role's own
    instance: AppId | None = None  # such as "wordpress__2"; None: the id
    source: PackageSource | None = None  # another place than the catalog
    branch: Branch | None = None
    label: Line | None = None
    access: tuple[GroupName, ...] | None = None  # groups; None: as the role has it
    args: dict[Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9_]{1,60}\Z")], Scalar] = {}
    panel: dict[SettingKey, Scalar] = {}
    # It was there before Relève: until something is written under `settings`, the app stays
    # inside as it is.
    found: Flag = False
    absent: Flag = False

    @model_validator(mode="after")
    def _branch_of_a_source(self) -> AppOptions:
        if self.branch and not self.source:
            raise ValueError("branch needs source as well: a catalog has no branches")
        return self


class Host(Model):
    id: Name
    platform: Literal["debian", "yunohost"]
    address: Address
    address6: Address6 | None = None
    port: Port = 22
    user: Annotated[str, StringConstraints(pattern=r"\A[a-z_][a-z0-9._-]{0,31}\Z")] = "root"
    host_key: SshPublicKey | None = None
    provider: Line
    datacenter: Line
    roles: tuple[Name, ...] = ()
    repository: Name | None = None
    epoch: Annotated[int, Field(strict=True, ge=1)] = 1
    yunohost: YunohostHost | None = None

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Every address DNS should name, A before AAAA."""
        return (self.address,) + ((self.address6,) if self.address6 else ())


class Keep(Model):
    """Which snapshots outlive a prune. `within` guards against snapshots with a false date."""

    within: Duration = timedelta(days=7)
    daily: Annotated[int, Field(strict=True, ge=0, le=3650)] = 0
    weekly: Annotated[int, Field(strict=True, ge=0, le=520)] = 8
    monthly: Annotated[int, Field(strict=True, ge=0, le=120)] = 12


class RepositoryUrl(Model):
    """`ssh-append://USER@HOST[:PORT]/PATH`, taken apart."""

    user: Annotated[str, StringConstraints(pattern=r"\A[a-z_][a-z0-9_-]{0,31}\Z")]
    host: Annotated[str, StringConstraints(pattern=rf"\A{_LABEL}(\.{_LABEL})*\Z")]
    port: Port = 22
    path: Annotated[str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9._-]{0,62}\Z")]

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        remedy = 'write "ssh-append://USER@HOST/NAME"'
        try:
            parts = urlsplit(value)
            port = parts.port or 22
        except ValueError as error:
            raise ValueError(f"{error}; {remedy}") from None
        if parts.scheme != "ssh-append" or not parts.username or not parts.hostname:
            raise ValueError(remedy)
        if parts.password or parts.query or parts.fragment:
            raise ValueError(remedy)
        return {
            "user": parts.username,
            "host": parts.hostname,
            "port": port,
            "path": parts.path.strip("/"),
        }

    def __str__(self) -> str:
        port = "" if self.port == 22 else f":{self.port}"
        return f"ssh-append://{self.user}@{self.host}{port}/{self.path}"


class Repository(Model):
    """Where copies go: one folder per organisation, one restic repository per host in it."""

    id: Name
    url: Annotated[RepositoryUrl, PlainSerializer(str, return_type=str)]
    host: Name
    address: Address | None = None  # where those who save reach it; None: at its host's
    provider: Line
    datacenter: Line
    hds: Flag = False  # certified "Hébergeur de données de santé", activity 6
    keep: Keep = Field(default_factory=Keep)
    rpo: Duration = timedelta(hours=24)
    rto: Duration = timedelta(hours=4)


class Zone(Model):
    """How the records of a domain get to its authoritative servers."""

    id: Domain
    dns: Literal["manual", "rfc2136"] = "manual"
    server: Address | None = None
    port: Port = 53
    key: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9._-]{1,253}\Z")] | None = None
    secret: SecretRef | None = None  # the TSIG key, base64, hmac-sha256
    ttl: Annotated[int, Field(strict=True, ge=30, le=86400)] = 3600

    @model_validator(mode="after")
    def _complete(self) -> Zone:
        if self.dns == "rfc2136" and not (self.server and self.key and self.secret):
            raise ValueError('dns = "rfc2136" needs server, key and secret as well')
        return self


class Service(Model):
    id: Name
    role: Name
    host: Name
    url: HttpsUrl
    settings: SerializeAsAny[Settings] = Field(default_factory=Settings)
    app: AppOptions | None = None  # on hosts that run YunoHost

    @property
    def domain(self) -> str:
        """The host name in the service's address."""
        return urls.split(self.url).name

    @property
    def port(self) -> int:
        """The port in the service's address, 443 when it names none."""
        return urls.split(self.url).port or 443

    @property
    def path(self) -> str:
        """The path in the service's address, "/" when there is none."""
        return urls.split(self.url).path or "/"


class External(Model):
    """A service somebody else runs for the organisation: written down, checked if it has a url."""

    id: Name
    name: Line
    provider: Line
    url: HttpsUrl | None = None
    note: Line | None = None


class Alert(Model):
    """One channel of the apprise library; its address usually holds a token, hence a secret."""

    id: Name
    url: SecretOrChannel
    # Failures in a row before anybody is told.
    after: Annotated[int, Field(strict=True, ge=1, le=100)] = 2


class Watch(Model):
    """What the watch host does: how often, and whom it tells that it is alive."""

    every: Duration = timedelta(minutes=5)
    ping: SecretOrAddress | None = None  # a dead man's switch, fetched after each good run

    @field_validator("every")
    @classmethod
    def _cron_can_say_it(cls, every: timedelta) -> timedelta:
        seconds = int(every.total_seconds())
        if seconds % 60 or not (60 <= seconds <= 3600) or 3600 % seconds:
            raise ValueError('write a number of minutes that divides an hour, such as "5m"')
        return every


def _acme_directory(text: str) -> str:
    try:
        parts = urlsplit(text)
        bad = parts.scheme != "https" or not parts.hostname or bool(parts.username)
        _ = parts.port
    except ValueError:
        bad = True
    if bad or not re.fullmatch(r"[!-~]+", text):
        raise ValueError('write a full address, such as "https://acme.example/directory"')
    return text


AcmeDirectory = Annotated[Line, AfterValidator(_acme_directory)]


def _beside(text: str) -> str:
    if "/" in text or text in (".", ".."):
        raise ValueError("write the name of a file beside the inventory, without a folder")
    return text


# A file in the folder of the inventory: copies of both are made in other folders.
FileBeside = Annotated[Line, AfterValidator(_beside)]


class Certificates(Model):
    """Where certificates come from. The default is Let's Encrypt."""

    directory: AcmeDirectory = "https://acme-v02.api.letsencrypt.org/directory"
    trust: FileBeside | None = None  # PEM, for a private authority


class Acknowledgement(Model):
    """A judgement that people have read and decided to live with, until a date."""

    rule: Name
    by: Name
    date: Day
    until: Day | None = None
    path: Line | None = None  # only there, such as "repositories.coffre"; None: everywhere
    reason: Line


class Inventory(Model):
    """All that exists. `schema` says which version of this format a file follows."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    organisation: Organisation
    people: dict[Name, Person] = {}
    hosts: dict[Name, Host] = {}
    repositories: dict[Name, Repository] = {}
    domains: dict[Domain, Zone] = {}
    services: dict[Name, Service] = {}
    external: dict[Name, External] = {}
    alerts: dict[Name, Alert] = {}
    watch: Watch = Field(default_factory=Watch)
    certificates: Certificates = Field(default_factory=Certificates)
    acknowledge: tuple[Acknowledgement, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _name_the_tables(cls, value: Any) -> Any:
        """Copy each table's key into its `id`, so that a value knows its own name."""
        if not isinstance(value, dict):
            return value
        value = dict(value)
        for kind in NAMED:
            table = value.get(kind)
            if isinstance(table, dict):
                value[kind] = {
                    key: {**entry, "id": key} if isinstance(entry, dict) else entry
                    for key, entry in table.items()
                }
        return value

    def services_on(self, host: str) -> tuple[Service, ...]:
        """The services of one host, in the order of the file."""
        return tuple(s for s in self.services.values() if s.host == host)

    def zone_of(self, domain: str) -> Zone | None:
        """The most specific declared domain that holds this name, or None."""
        parts = domain.split(".")
        for start in range(len(parts) - 1):
            zone = self.domains.get(".".join(parts[start:]))
            if zone:
                return zone
        return None
