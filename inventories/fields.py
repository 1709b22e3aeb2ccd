"""What would be right at a place of an inventory, for messages. The reference of all keys is
docs/inventory.md."""

from __future__ import annotations

from collections.abc import Sequence

from inventories.problems import Step

# The tables whose keys are names that people choose.
NAMED = ("people", "hosts", "repositories", "domains", "services", "external", "alerts")

# The same further inside, as patterns; what stands below a pattern that ends with * is chosen.
_NAMED_INSIDE = frozenset(
    f"hosts.*.yunohost.{table}"
    for table in (
        "domains",
        "operators",
        "mailboxes",
        "groups",
        "permissions",
        "settings",
        "firewall",
        "domains.*.settings",
    )
) | frozenset(("services.*.app.args", "services.*.app.panel"))

# What a chosen name must look like, where it is not as anywhere else.
NAMES: dict[str, str] = {
    "domains": "a lower-case domain name such as atelier.example",
    "hosts.*.yunohost.domains": "a lower-case domain name such as atelier.example",
    "hosts.*.yunohost.operators": "at most 31 lower-case letters, digits, _ and . (no hyphen)",
    "hosts.*.yunohost.mailboxes": "at most 31 lower-case letters, digits, _ and . (no hyphen)",
    "hosts.*.yunohost.groups": "at most 31 lower-case letters, digits, _ and . (no hyphen)",
    "hosts.*.yunohost.permissions": 'an app and one of its permissions, such as "mail.main"',
    "hosts.*.yunohost.settings": 'what YunoHost calls it, such as "email.pop3.pop3_enabled"',
    "hosts.*.yunohost.domains.*.settings": 'what YunoHost calls it, such as "feature.mail.mail_in"',
    "hosts.*.yunohost.firewall": 'a port and a protocol, such as "8448/tcp"',
    "services.*.app.args": "the letters, digits and _ of a question in the app's manifest",
    "services.*.app.panel": 'what YunoHost calls it, such as "main.section.option"',
}

_MAIL = 'a mail address such as "contact@atelier.example"'
_USER = 'a Unix user name such as "releve", of lower-case letters, digits, . - and _'
_NAME = "a name of lower-case letters, digits and -"
_SPAN = 'a whole number and a unit, such as "90s", "15m", "24h" or "7d"'
_TEXT = "a text in double quotes"
_URL = 'an address such as "https://forum.atelier.example"'
_IP = 'an IP address such as "198.51.100.10"'
_KEY = 'the one line of a .pub file, such as "ssh-ed25519 AAAA…"'
_ACCOUNT = "a name of lower-case letters, digits, _ and . (no hyphen)"
_SCALAR = 'a text in double quotes, a whole number, true, false, or "secret:NAME"'
_PORT = "a whole number from 1 to 65535"
_PLACE = 'the name that the provider gives to the place, such as "GRA"'

# Path with * for chosen names -> words that follow "Write".
RIGHT: dict[str, str] = {
    "schema": "schema = 1",
    "organisation": "a table [organisation] with name and contact",
    "organisation.name": "the organisation's name in double quotes",
    "organisation.contact": _MAIL,
    "people.*.mail": _MAIL,
    "people.*.keys": 'a list such as ["ssh-ed25519 AAAA…"]',
    "people.*.keys.*": f"{_KEY}, or an age1… key",
    "people.*.duties": 'a list such as ["deploy", "restore"]',
    "hosts.*.platform": 'platform = "debian" or "yunohost"',
    "hosts.*.address": _IP,
    "hosts.*.address6": 'an IPv6 address such as "2001:db8::10"',
    "hosts.*.port": _PORT,
    "hosts.*.user": _USER,
    "hosts.*.host_key": _KEY,
    "hosts.*.provider": "the provider's name in double quotes",
    "hosts.*.datacenter": _PLACE,
    "hosts.*.roles": 'a list such as ["watch"]',
    "hosts.*.roles.*": _NAME,
    "hosts.*.repository": "the name of one of the repositories",
    "hosts.*.epoch": "a whole number from 1",
    "hosts.*.yunohost": "a table [hosts.NAME.yunohost]",
    "hosts.*.yunohost.main_domain": "a domain name such as atelier.example",
    "hosts.*.yunohost.installer": 'a table such as { url = "https://…", sha256 = "…" }',
    "hosts.*.yunohost.installer.url": "the https:// address of the installer",
    "hosts.*.yunohost.installer.sha256": "the 64 hexadecimal digits that sha256sum prints",
    "hosts.*.yunohost.settings.*": _SCALAR,
    "hosts.*.yunohost.firewall.*": 'a table such as { comment = "Matrix" } or { absent = true }',
    "hosts.*.yunohost.domains.*.certificate": 'certificate = "letsencrypt" or "self-signed"',
    "hosts.*.yunohost.domains.*.settings.*": _SCALAR,
    "hosts.*.yunohost.operators.*.person": "the name of one of the people",
    "hosts.*.yunohost.operators.*.fullname": _TEXT,
    "hosts.*.yunohost.operators.*.domain": "a domain name such as atelier.example",
    "hosts.*.yunohost.mailboxes.*.fullname": _TEXT,
    "hosts.*.yunohost.mailboxes.*.domain": "a domain name such as atelier.example",
    "hosts.*.yunohost.mailboxes.*.aliases": f"a list of {_MAIL}",
    "hosts.*.yunohost.mailboxes.*.forward": f"a list of {_MAIL}",
    "hosts.*.yunohost.mailboxes.*.aliases.*": _MAIL,
    "hosts.*.yunohost.mailboxes.*.forward.*": _MAIL,
    "hosts.*.yunohost.mailboxes.*.quota": 'a number and b, k, M, G or T, such as "2G"',
    "hosts.*.yunohost.groups.*.members": "a list of operators and mailboxes of this host",
    "hosts.*.yunohost.groups.*.members.*": _ACCOUNT,
    "hosts.*.yunohost.permissions.*.*": _ACCOUNT,
    "hosts.*.yunohost.permissions.*": 'a list of groups, such as ["all_users"]',
    "repositories.*.url": '"ssh-append://USER@HOST/NAME", NAME of lower-case letters and digits',
    "repositories.*.host": (
        "host = with the name of the Debian host here that keeps the copies, which has "
        'roles = ["repository"]'
    ),
    "repositories.*.address": _IP,
    "repositories.*.provider": "the provider's name in double quotes",
    "repositories.*.datacenter": _PLACE,
    "repositories.*.keep": 'a table such as { within = "7d", weekly = 8, monthly = 12 }',
    "repositories.*.keep.within": _SPAN,
    "repositories.*.keep.daily": "a whole number from 0 to 3650",
    "repositories.*.keep.weekly": "a whole number from 0 to 520",
    "repositories.*.keep.monthly": "a whole number from 0 to 120",
    "repositories.*.rpo": _SPAN,
    "repositories.*.rto": _SPAN,
    "domains.*.server": _IP,
    "domains.*.port": _PORT,
    "domains.*.key": 'the name of the TSIG key, such as "releve"',
    "domains.*.secret": '"secret:NAME", which names a secret beside the inventory',
    "domains.*.ttl": "a whole number of seconds from 30 to 86400",
    "services.*.role": "the name of a role, such as wordpress",
    "services.*.host": "the name of one of the hosts",
    "services.*.url": _URL,
    "services.*.settings": 'a table such as { title = "…" }',
    "services.*.app": 'a table such as { id = "my_webapp" }',
    "services.*.app.id": "what the catalog calls the app, such as my_webapp",
    "services.*.app.instance": "the app's name on the server, such as wordpress__2",
    "services.*.app.source": 'an address such as "https://git.example/app_ynh"',
    "services.*.app.branch": 'the name of a branch, such as "main"',
    "services.*.app.label": _TEXT,
    "services.*.app.access": 'a list of groups, such as ["visitors"]',
    "services.*.app.access.*": _ACCOUNT,
    "services.*.app.args.*": _SCALAR,
    "services.*.app.panel.*": _SCALAR,
    "external.*.name": _TEXT,
    "external.*.provider": "the name of who runs it, in double quotes",
    "external.*.url": _URL,
    "external.*.note": _TEXT,
    "alerts.*.url": 'an address of apprise, or "secret:NAME"',
    "alerts.*.after": "a whole number from 1 to 100",
    "watch.every": 'a number of minutes that divides an hour, such as "5m"',
    "watch.ping": 'an address, or "secret:NAME"',
    "certificates.directory": 'an address such as "https://acme.example/directory"',
    "certificates.trust": "the name of a PEM file beside the inventory",
    "acknowledge": "[[acknowledge]] with rule, by, date and reason",
    "acknowledge.rule": 'the name of a rule, such as "hds"',
    "acknowledge.by": "the name of one of the people",
    "acknowledge.date": "a day such as 2026-01-31, without quotes",
    "acknowledge.until": "a day such as 2026-12-31, without quotes",
    "acknowledge.path": 'a path such as "repositories.coffre"',
    "acknowledge.reason": "a sentence in double quotes",
}


def pattern(path: Sequence[Step]) -> str:
    """Given the steps to a value, return them with * for names that people choose and for
    places in lists, such as `hosts.*.roles.*`."""
    words: list[str] = []
    for number, step in enumerate(path):
        if isinstance(step, int):
            if path[0] != "acknowledge":
                words.append("*")
        else:
            named = (number == 1 and path[0] in NAMED) or ".".join(words) in _NAMED_INSIDE
            words.append("*" if named else step)
    return ".".join(words)


def right_for(path: Sequence[Step]) -> str:
    """Given the steps to a value, return what would be right there; "" when nothing is known."""
    return RIGHT.get(pattern(path), "")


def name_for(path: Sequence[Step]) -> str:
    """Given the steps to a table by its chosen name, return what such a name must be like."""
    usual = "at most 31 lower-case letters, digits and -, beginning with a letter"
    return NAMES.get(pattern(path).removesuffix(".*"), usual)
