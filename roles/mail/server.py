"""Mail as a part of a YunoHost server, by pyinfra: our programs, and what the server signs with."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from inventories.model import Inventory, Service
from platforms import ops
from roles.app import deploy as app
from roles.mail import records
from roles.mail import settings as mail


class Keys(FactBase[dict[str, str]]):
    """Domain -> the file that holds the public half of the key that its mails are signed with."""

    def command(self, domains: Sequence[str]) -> StringCommand:
        # $0 before each: which domain the lines after it are about.
        show = 'for d; do echo "; $d"; cat -- "/etc/dkim/$d.mail.txt" 2>/dev/null; done; :'
        return StringCommand("sh", "-c", QuoteString(show), "keys", *map(QuoteString, domains))

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def process(self, output: list[str]) -> dict[str, str]:
        found: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in output:
            if line.startswith("; ") and " " not in line[2:]:
                lines = found.setdefault(line[2:], [])
            else:
                lines.append(line)
        return {domain: "\n".join(lines) for domain, lines in found.items()}


@operation()
def signed(domains: Sequence[str]) -> Generator[Any, None, None]:
    """Change nothing; tell which DNS records make others believe what these domains sign."""
    for domain, text in host.get_fact(Keys, domains=domains).items():
        if value := records.published_key(text):
            name = f"{records.SELECTOR}._domainkey.{domain}"
            ops.note("record", name=name, type="TXT", value=value)
    yield from ()


def install(service: Service, inventory: Inventory) -> None:
    """As for an app."""
    app.install(service, inventory)


def configure(service: Service, inventory: Inventory) -> None:
    """The server's settings are the duty base's; what it signs with belongs into DNS."""
    app.configure(service, inventory)
    signed(domains=mail.domains(service, inventory), name=f"{service.id}: keys")


def activate(service: Service, inventory: Inventory) -> None:
    """Nothing: certificates are the server's."""
