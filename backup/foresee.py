"""What a restore would bring, read by an operator from the repository itself: for a host on which
nothing of the service is yet, and which therefore cannot say it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.releve_agent.common import Failed
from agent.releve_agent.repository import choose
from backup.errors import BackupError
from backup.repository import Opened
from backup.restore import Restored, parse
from backup.verify import MANIFEST

# Where the agent keeps what it fetches, and where databases lie.
_FETCHED, _DATABASES = "/var/lib/releve", "/var/lib"
_BLOCK = 4096


@dataclass(frozen=True)
class Coming:
    """The copy of a service that would come back. `needs`: path -> the bytes that it takes there;
    `messages`: what else there is to say of the copy; `system`: the release it was made on, as the
    agent wrote it down, None in copies of earlier agents."""

    service: str
    snapshot: Mapping[str, Any]
    manifest: Mapping[str, Any]
    needs: Mapping[str, int]
    messages: tuple[str, ...]
    system: object = None

    def restored(self, sizes: Mapping[str, Mapping[str, int]]) -> Restored:
        """As a dry run on the host itself would say it. `sizes`: bytes needed and free, by path."""
        return parse(
            {
                "service": self.service,
                "snapshot": self.snapshot["id"],
                "run": self.snapshot["run"],
                "time": self.snapshot["time"],
                "counts_saved": self.manifest.get("counts"),
                "versions_saved": self.manifest.get("versions"),
                "messages": self.messages,
                "sizes": sizes,
            }
        )


def foresee(
    opened: Opened,
    service: str,
    now: datetime,
    *,
    snapshot: str | None = None,
    at: datetime | None = None,
) -> Coming:
    """Which copy of `service` would come back, chosen as a restore chooses it, and what it takes.

    `snapshot`, `at`: as in `backup.restore.restore_service`. Raise BackupError when there is none,
    or when its manifest cannot be read.
    """
    there = [
        {
            "id": one.id,
            "time": one.time.isoformat(),
            "at": one.time.timestamp(),
            "run": next(iter(one.values("run")), None),
            "services": one.values("service"),
        }
        for one in opened.snapshots()
    ]
    messages: list[str] = []
    until = at.timestamp() if at else None
    try:
        chosen, _ = choose(
            there, service, snapshot or "latest", until, now.timestamp(), messages.append
        )
    except Failed as error:
        raise BackupError(f"the copies of {opened.host}: {error}") from None
    said = opened.run("dump", "--no-lock", str(chosen["id"]), MANIFEST)
    try:
        whole = json.loads(said)
        manifest = whole["services"][service]
        needs = _needs(manifest)
    except (ValueError, KeyError, TypeError):
        raise BackupError(
            f"the manifest of snapshot {chosen['id'][:8]} is damaged or lacks {service}"
        ) from None
    if errors := manifest.get("errors"):
        messages.append(f"that copy of {service} was reported incomplete: {'; '.join(errors)}")
    return Coming(service, chosen, manifest, needs, tuple(messages), whole.get("system"))


def _needs(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Path -> bytes, counted as the agent counts before it fetches anything."""
    needs = {
        path: about["bytes"] + _BLOCK * about["files"] for path, about in manifest["paths"].items()
    }
    for about in manifest["dumps"].values():
        # The dump itself, and the database it becomes.
        for path in (_FETCHED, _DATABASES):
            needs[path] = needs.get(path, 0) + about["bytes"]
    return needs
