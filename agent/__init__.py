"""What runs on a service host, and the files it needs there."""

from __future__ import annotations

from agent.bundle import ENABLED, HostFile, cron, files

__all__ = ["ENABLED", "HostFile", "cron", "files"]
