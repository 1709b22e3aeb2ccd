"""Who may store what on the repository host. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inventories.model import Inventory

GATE = "/usr/local/lib/releve/repository/gate"


@dataclass(frozen=True)
class Account:
    """A Unix user that keeps repositories: its home, the folders in it, its list of keys."""

    user: str
    home: str
    folders: tuple[str, ...]
    lines: tuple[str, ...]


def accounts(
    inventory: Inventory,
    host: str,
    public: Mapping[str, str],
    retired: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Account, ...]:
    """The accounts on `host`.

    `public`: name of a secret that holds a private key -> its public half, "TYPE BASE64".
    `retired`: host -> public halves of keys that its replaced machines hold; they may ask for the
    epoch. Each protected host may append to its own repository and to nothing else; the watch
    hosts may read the names and dates of snapshots. What is not in the inventory any more is not
    in the result, so a removed host's key is gone after the next deploy.
    """
    found: dict[str, tuple[list[str], list[str]]] = {}
    for repository in inventory.repositories.values():
        if repository.host != host:
            continue
        user, path = repository.url.user, repository.url.path
        folders, lines = found.setdefault(user, ([], []))
        folders.append(f"/srv/releve/{user}/{path}")
        protected = [h.id for h in inventory.hosts.values() if h.repository == repository.id]
        for name in protected:
            key = public[f"host.{name}.append"]
            lines.append(f'restrict,command="{GATE} {path}/{name}" {key} releve-append-{name}')
            for old in (retired or {}).get(name, ()):
                lines.append(
                    f'restrict,command="{GATE} --retired {path}/{name}" {old} releve-retired-{name}'
                )
        for watch in (h.id for h in inventory.hosts.values() if "watch" in h.roles):
            key = public[f"host.{watch}.watch"]
            lines.append(f'restrict,command="{GATE} --watch {path}" {key} releve-watch-{watch}')
    return tuple(
        Account(user, f"/srv/releve/{user}", tuple(folders), tuple(dict.fromkeys(lines)))
        for user, (folders, lines) in found.items()
    )
