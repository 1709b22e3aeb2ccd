"""`releve check --watch`: one round of the watch, started by cron on the watch host.

Exit codes: 0 the round did its work (whatever it found: problems are told, not exited with, or
the watch's own unit would count as failed), 1 somebody could not be told or the dead man's
switch could not be reached, 75 the round before is still under way.
"""

from __future__ import annotations

import fcntl
import functools
import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from checks import alerts, history, trend, wording
from checks import run as checks_run
from checks.result import PROBLEMS, Result
from inventories.model import Inventory
from tools import channels

STATE = Path("/var/lib/releve/checks/state.json")
SECRETS = Path("/etc/releve/watch-secrets.toml")
BLIND = "watch.sight"

Send = Callable[[str, str, str], None]


def is_blind(results: Sequence[Result], watches: Collection[str] = ()) -> bool:
    """Whether the watch itself has lost its network, as far as it can tell: every look from
    outside failed, and no server of the DNS answered either.

    When all services are down but DNS still answers, that is a real outage. `watches`: the hosts
    that watch. One reaches itself without any network, and so it proves nothing.
    """
    dns = [r for r in results if r.check == "dns"]
    looks = [
        r
        for r in results
        if r.level != "skipped"
        and (r.kind in ("service", "external") or r.check == "ssh")
        and r.check != "dns"
        and r.subject not in watches
    ]
    return (
        bool(dns)
        and bool(looks)
        and all(r.level == "unknown" for r in dns)
        and all(r.level in ("critical", "unknown") for r in looks)
    )


def run(
    inventory: Inventory,
    file: Path,
    state_file: Path = STATE,
    *,
    at_most: float = checks_run.AT_MOST,
    look: Callable[[], checks_run.Run] | None = None,
    send: Send = channels.send,
) -> int:
    """One round: look, remember, tell what changed, ping. Return the exit code.

    `file` is the inventory's, `state_file` what is remembered. `look` and `send` default to the
    real ones. Raise OSError when the memory cannot be read or written.
    """
    state_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with closing(_Lock(state_file.with_name("lock"))) as lock:
        if not lock.taken:
            print("releve: the round before is still under way; this one ends", file=sys.stderr)
            return 75
        state, damaged = history.load(state_file, datetime.now(UTC))
        if damaged:
            print(f"releve: {damaged}", file=sys.stderr)
        found = (
            look()
            if look
            else checks_run.run(inventory, file.parent, at_most=at_most, as_watch=True)
        )
        now = time.time()
        watches = {host.id for host in inventory.hosts.values() if "watch" in host.roles}
        blind = is_blind(found.results, watches)
        if blind:
            _remember_blindness(state, now)
        else:
            results = [*found.results, *_trends(state, found, now)]
            sight = Result(BLIND, "watch", "ok", "the watch sees")
            history.remember(state, [*results, sight], now)
        # Before anybody is told: a crash while telling may tell twice, never not at all.
        history.save(state_file, state, datetime.now(UTC))
        addresses = _Addresses(file)
        delivered = _tell(inventory, state, addresses, now, send)
        history.save(state_file, state, datetime.now(UTC))
        pinged = True
        if not blind and found.complete and delivered and inventory.watch.ping:
            pinged = _ping(addresses, inventory.watch.ping)
        bad = sum(1 for m in state.checks.values() if m.level in PROBLEMS)
        print(f"{len(found.results)} checks in {found.seconds:.1f} s, {bad} not well")
        return 0 if delivered and pinged else 1


class _Lock:
    """One round at a time; the kernel lets go when a round dies."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.taken = True
        except BlockingIOError:
            self.taken = False

    def close(self) -> None:
        os.close(self._handle)


def _remember_blindness(state: history.State, now: float) -> None:
    """Only that the watch sees nothing: what it knew before stays as it was."""
    message = (
        "the watch cannot see anything, not even DNS: most likely its own network is gone. What "
        "it knew before is unchanged, and nothing new will be told until it sees again."
    )
    lost = Result(BLIND, "watch", "critical", message)
    state.checks[BLIND] = history.counted(state.checks.get(BLIND), lost, now)


def _trends(state: history.State, found: checks_run.Run, now: float) -> list[Result]:
    results: list[Result] = []
    for host, status in found.statuses.items():
        disks = state.disks.setdefault(host, {})
        for mount, free in trend.free_bytes(status).items():
            disks[mount] = trend.keep(disks.get(mount, []), now, free)
        finding = trend.judge(disks)
        if finding:
            results.append(Result(f"{host}.disk-trend", "host", finding.level, finding.message))
    return results


class _Addresses:
    """Turns "secret:NAME" into what it stands for; opens the secrets once, when needed.

    On the watch host they lie in SECRETS (only those of the alerts); elsewhere beside the
    inventory, encrypted.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self, reference: str) -> str:
        """Raise `channels.NotSent` when the secret cannot be had."""
        if not reference.startswith("secret:"):
            return reference
        from inventories import secrets

        name = reference.removeprefix("secret:")
        try:
            if SECRETS.exists():
                return secrets.decode(SECRETS.read_bytes(), str(SECRETS))[name]
            return secrets.Secrets.open(self._file).get(name)
        except KeyError:
            raise channels.NotSent(
                f"the secret {name} is not in {SECRETS}: releve deploy"
            ) from None
        except Exception as error:
            # Whatever keeps the secret away (no key, no file, damage): the text says which.
            raise channels.NotSent(f"the secret {name} cannot be read: {error}") from None


def _tell(
    inventory: Inventory, state: history.State, addresses: _Addresses, now: float, send: Send
) -> bool:
    """Tell every channel its news. Return whether all of it got through; what did not is tried
    again in the next round, because the channel then still does not know it."""
    from roles.registry import SERVICES

    locale = inventory.organisation.locale
    about = functools.partial(wording.about, inventory=inventory, services=SERVICES, locale=locale)
    delivered = True
    for name in [name for name in state.channels if name not in inventory.alerts]:
        del state.channels[name]
    for alert in inventory.alerts.values():
        channel = state.channels.setdefault(alert.id, history.Channel())
        what = alerts.news(state, channel, alert.after, now)
        if not what:
            alerts.told(channel, what, state)
            continue
        title, body = alerts.compose(
            inventory.organisation.name,
            locale,
            what,
            now,
            about=about,
            silent_since=channel.unreachable_since,
        )
        try:
            send(addresses.get(alert.url), title, body)
        except channels.NotSent as error:
            delivered = False
            channel.unreachable_since = channel.unreachable_since or now
            channel.error = str(error)
            print(
                f"releve: nobody could be told over {alert.id}: {error}. It is tried again in the "
                "next round.",
                file=sys.stderr,
            )
        else:
            alerts.told(channel, what, state)
            channel.unreachable_since, channel.error = 0.0, ""
    return delivered


def _ping(addresses: _Addresses, reference: str) -> bool:
    """Tell the dead man's switch that the watch lives. Its address may be a secret: it is
    neither printed nor part of an error."""
    import requests

    try:
        with requests.get(addresses.get(reference), timeout=10, stream=True) as answer:
            if answer.status_code < 400:
                return True
            problem = f"HTTP {answer.status_code}"
    except channels.NotSent as error:
        problem = str(error)
    except (requests.RequestException, ValueError) as error:
        problem = type(error).__name__
    print(f"releve: the dead man's switch could not be reached: {problem}", file=sys.stderr)
    return False
