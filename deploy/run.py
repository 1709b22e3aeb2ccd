"""`run`: the plain `pyinfra` command as a subprocess, and what it did as a `Report`.

A subprocess, because pyinfra replaces Python's sockets and threads by gevent's for the whole
process, and its API mode does not keep hosts apart as its command does. It tells what it does
on a pipe (`deploy.events`); its own log goes to a file that only we can read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import roles
from agent import receipt_key
from deploy import keys
from deploy.applied import STAGES
from deploy.refusal import misplaced
from deploy.report import Change, Failure, HostReport, Report
from inventories import access, identity
from inventories.access import ssh_target
from inventories.model import Host, Inventory
from inventories.secrets import Secrets
from tools import ssh

Listener = Callable[[str, str], None]

# Our own bookkeeping: neither a change of the host nor worth a line.
_REMEMBER = "Remember what was applied"
_SILENT = frozenset((_REMEMBER, "Wait for the other hosts"))

_SILENCE = "it ended with an error and said nothing"

_REMEDY = {
    "unreachable": "Check that it runs and that you reach it, then run this again.",
    "busy": "",  # its message says it
    "refused": "",
    "failed": "Fix that on the host or in the inventory and run this again: it continues there.",
}


class UsageError(Exception):
    """What was asked for is not in the inventory."""

    exit_code = 64


def selection(
    inventory: Inventory, limit: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Given names of hosts and services, return the hosts to visit and the only services to touch
    there (empty: all). No names: every host. Raise UsageError for a name that is neither."""
    unknown = [n for n in limit if n not in inventory.hosts and n not in inventory.services]
    if unknown:
        there = ", ".join([*inventory.hosts, *inventory.services])
        raise UsageError(f"no host or service is named {', '.join(unknown)}. There is: {there}")
    if not limit:
        return tuple(inventory.hosts), ()
    hosts = [n for n in limit if n in inventory.hosts]
    services = [n for n in limit if n in inventory.services]
    only = list(services)
    if only:
        # A host that is named itself gets all of its services.
        only += [s.id for name in hosts for s in inventory.services_on(name)]
    hosts += [inventory.services[n].host for n in services]
    return tuple(dict.fromkeys(hosts)), tuple(dict.fromkeys(only))


def run(
    inventory_file: Path,
    *,
    stages: Sequence[str] = STAGES,
    limit: Sequence[str] = (),
    dry: bool = False,
    older: bool = False,
    retire: bool = False,
    leave: Collection[str] = (),
    on_progress: Listener | None = None,
) -> Report:
    """Bring the hosts to what the inventory says; with `dry`, only find out what that would be.

    `stages`: some of install, configure, activate. `limit`: names of hosts or services; of a host
    that none of them names, only what these services need is touched. `leave`: services that are
    left alone.
    `older`: go back to an inventory that was applied before the last one. `retire`: on hosts that
    are brought to all that the inventory says, switch off what it asks for no more.
    `on_progress(host, message)` is called while it runs, from this thread.
    Raise InventoryError, UsageError, or what opening the secrets raises; what happens to a host
    is in the report, never an exception.
    """
    inventory = roles.load(inventory_file)
    if unknown := set(stages) - set(STAGES):
        raise UsageError(f"there is no stage {', '.join(sorted(unknown))}")
    hosts, only = selection(inventory, limit)
    report = Report(dry=dry, hosts={name: HostReport(name) for name in hosts})
    secrets = Secrets.open(inventory_file)
    access.unlock()
    _insist_new(inventory, keys.missing(inventory, secrets))
    # In a plan they are only named; `deploy.site` fills in some that nobody keeps.
    report.made_secrets = (keys.missing if dry else keys.ensure)(inventory, secrets)
    # Whoever keeps the copies of a new host must learn its key, or it cannot save.
    for name in keys.keepers(inventory, report.made_secrets):
        if name not in report.hosts:
            hosts = (*hosts, name)
            report.hosts[name] = HostReport(name)
    for name, refused in report.hosts.items():
        if error := misplaced(inventory.hosts[name], inventory):
            refused.state, refused.error = "refused", error
    hosts = tuple(name for name in hosts if report.hosts[name].ok)
    if not hosts:
        return report
    started = time.monotonic()
    environment = {
        **os.environ,
        "RELEVE_STAGES": ",".join(stages),
        "RELEVE_SERVICES": ",".join(only),
        "RELEVE_WHOLE": ",".join(name for name in limit if name in inventory.hosts),
        "RELEVE_LEAVE": ",".join(leave),
        "PYINFRA_PROGRESS": "off",
    }
    environment.pop("RELEVE_OLDER", None)
    if older:
        environment["RELEVE_OLDER"] = "1"
    environment.pop("RELEVE_RETIRE", None)
    if retire:
        environment["RELEVE_RETIRE"] = "1"
    _pyinfra(inventory_file, hosts, environment, report, on_progress)
    # Opened again: the run itself may have kept secrets.
    if any(host.receipt_key for host in report.hosts.values()):
        _note_receipt_keys(inventory, report, Secrets.open(inventory_file))
    report.seconds = time.monotonic() - started
    return report


# Opens a host's copies. A deploy makes it once, and it never changes.
_PASSWORD = "/etc/releve/restic-password"  # noqa: S105 (the name of a file)


def _insist_new(inventory: Inventory, lacking: Collection[str]) -> None:
    """Raise UsageError when secrets would be made for a host that has some already: with new ones
    its copies would open no more. Hosts that do not answer are left to the deploy itself."""

    def has_some(host: Host) -> bool:
        try:
            with ssh.session(ssh_target(host)) as session:
                done = session.run(("test", "-e", _PASSWORD), check=False)
                return done.exit_code == 0
        except ssh.SshError:
            return False

    new = [h for h in inventory.hosts.values() if f"host.{h.id}.restic" in lacking]
    with ThreadPoolExecutor(max_workers=8) as pool:
        known = [host.id for host, there in zip(new, pool.map(has_some, new), strict=True) if there]
    if known:
        raise UsageError(
            f"{', '.join(known)}: deployed before, with secrets that are not beside this "
            "inventory. With new ones nobody could open the copies any more. Nothing was changed. "
            "Put the right NAME.secrets.age beside NAME.toml; if it is lost: docs/operations.md, "
            '"A passphrase or a key is lost".'
        )


def _note_receipt_keys(inventory: Inventory, report: Report, secrets: Secrets) -> None:
    """Keep the keys with which hosts that were seen for the first time sign their receipts; warn of
    a host that shows another than before. Its deploy went well all the same: what is in doubt is
    whether its copies are its own, which `releve backup verify` refuses from now on."""
    new = False
    for host in report.hosts.values():
        if not host.receipt_key:
            continue
        name = receipt_key.secret(host.host)
        known = receipt_key.parse(secrets.get(name)) if name in secrets else ()
        epoch = inventory.hosts[host.host].epoch
        try:
            now = receipt_key.seen(known, host.host, epoch, host.receipt_key)
        except receipt_key.ChangedKeyError as error:
            host.warnings.append(str(error))
            continue
        if now is not known:
            secrets.set(name, receipt_key.render(now))
            new = True
    if new:
        secrets.save()


def _pyinfra(
    inventory_file: Path,
    hosts: Iterable[str],
    environment: dict[str, str],
    report: Report,
    on_progress: Listener | None,
) -> None:
    site = Path(__file__).with_name("site.py")
    limits = [word for name in hosts for word in ("--limit", name)]
    argv = [
        *(sys.executable, "-m", "deploy.start", f"@releve/{inventory_file.resolve()}", str(site)),
        *("--json", "--dry" if report.dry else "-y", *limits),
    ]
    reading, writing = os.pipe()
    environment["RELEVE_EVENTS_FD"] = str(writing)
    # It runs in another folder.
    for name in ("RELEVE_SSH_KEY", "RELEVE_IDENTITY"):
        if environment.get(name):
            environment[name] = str(Path(environment[name]).expanduser().absolute())
    with (
        identity.handed_on(environment) as handed,
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as log,
        # In the project's folder: pyinfra runs a config.py of the current one.
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=log,
            env=environment,
            pass_fds=(writing, *handed),
            cwd=site.parent.parent,
        ) as process,
    ):
        os.close(writing)
        diffs: dict[tuple[str, str], list[str]] = {}
        try:
            with os.fdopen(reading, "rb") as events:
                for line in events:
                    _take(json.loads(line), report, diffs, on_progress)
        except BaseException:
            process.terminate()
            raise
        process.wait()
        answer.seek(0)
        log.seek(0)
        _conclude(process.returncode, answer, log, report, diffs)


def _take(
    event: Mapping[str, Any],
    report: Report,
    diffs: dict[tuple[str, str], list[str]],
    on_progress: Listener | None,
) -> None:
    """Write one event into the report."""
    host = report.hosts.get(event.get("host", ""))
    if host is None:
        return
    kind = event["kind"]
    if kind == "diff":
        texts = diffs.setdefault((host.host, event["op"]), [])
        if event["text"] not in texts:
            texts.append(event["text"])
    elif kind == "drift":
        host.drift = tuple((path, what) for path, what in event["files"])
        host.drift_since = event["since"]
    elif kind == "by hand":
        host.by_hand = tuple(event["lines"])
        host.drift_since = event["since"]
    elif kind == "operation":
        name = event["name"].replace(" | ", ": ")
        if not event["ok"] and event["ignored"]:
            host.warnings.append(f"{name}: {event['error']}")
        elif not event["ok"] and event["service"]:
            host.services[event["service"]] = Failure(name, event["error"] or _SILENCE)
        elif not event["ok"]:
            host.operation = name
            host.error = event["error"] or _SILENCE
            host.state = "failed"
            host.remedy = _REMEDY["failed"]
        elif event["changed"] and name not in _SILENT:
            host.changes.append(Change(name, tuple(diffs.get((host.host, event["op"]), ()))))
        if on_progress and name not in _SILENT and (event["changed"] or not event["ok"]):
            on_progress(host.host, name if event["ok"] else f"{name}: {event['error']}")
    elif kind == "warning":
        if event["message"] not in host.warnings:
            host.warnings.append(event["message"])
    elif kind == "record":
        host.records[(event["name"], event["type"])] = event["value"]
    elif kind == "receipt key":
        host.receipt_key = event["key"]
    elif kind == "secret":
        report.made_secrets = (*report.made_secrets, event["name"])
    elif kind == "progress":
        if on_progress:
            on_progress(host.host, event["message"])
    elif kind in _REMEDY:
        host.state = kind
        host.error = event["message"]
        host.remedy = "" if event.get("told") else _REMEDY[kind]
        host.denied = bool(event.get("denied"))
        if on_progress:
            on_progress(host.host, host.error)


def _conclude(
    code: int,
    answer: IO[bytes],
    log: IO[bytes],
    report: Report,
    diffs: Mapping[tuple[str, str], Sequence[str]],
) -> None:
    """Add what only pyinfra's last words say: a plan's operations, hosts that failed silently."""
    try:
        said = json.loads(answer.read())
    except ValueError:
        said = None
    if said is None:
        # "No hosts remaining!" and the like: each host's own event says why. When there is none
        # for any host, pyinfra itself failed, and its log is all we have.
        if all(host.ok for host in report.hosts.values()):
            tail = log.read().decode(errors="replace").strip().splitlines()[-15:]
            for host in report.hosts.values():
                host.state = "failed"
                host.error = f"pyinfra ended with code {code}: " + "\n".join(tail)
                host.remedy = "This is a fault of the program: please report it with that text."
        return
    if report.dry:
        for operation in said["plan"]:
            name = operation["name"].replace(" | ", ": ")
            for name_of_host in operation["hosts_with_change"]:
                host = report.hosts[name_of_host]
                host.unremembered |= name == _REMEMBER
                if name not in _SILENT and host.ok:
                    texts = diffs.get((name_of_host, operation["op_hash"]), ())
                    host.changes.append(Change(name, tuple(texts)))
        return
    for name_of_host in said["results"]["failed_hosts"]:
        host = report.hosts[name_of_host]
        if host.ok:
            host.state = "failed"
            host.error = "pyinfra gave it up, and its log says: " + _of_host(name_of_host, log)
            host.remedy = _REMEDY["failed"]


def _of_host(name: str, log: IO[bytes]) -> str:
    """The last lines of pyinfra's log about a host."""
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    return "\n".join([line.strip() for line in lines if f"[{name}]" in line][-5:]) or "nothing"
