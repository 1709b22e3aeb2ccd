"""Commands over systemd units, as argv arrays for the agent. Pure; no pyinfra."""

from __future__ import annotations

# Exit code 5 of systemctl(1): a unit that is not there needs no stopping, as on a blank host.
_STOP = 'systemctl stop -- "$@" || [ $? -eq 5 ]'

# Shows certificates that came back with a copy; a host on which nginx does not run yet needs none.
RELOAD_NGINX = (
    "sh",
    "-c",
    "systemctl --quiet is-active nginx.service || exit 0; exec systemctl reload nginx.service",
)


def stop(*units: str) -> tuple[str, ...]:
    """The argv that stops `units`, those of them that exist."""
    return ("sh", "-c", _STOP, "stop", *units)
