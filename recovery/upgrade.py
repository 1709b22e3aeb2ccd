"""Upgrading services and packages, so that what goes wrong is undone.

For each app: a copy of the host, the upgrade, the role's settings again, all of its checks; when
something is not well that was well before, the copy comes back. YunoHost's own word for success is
never believed: versions are compared. A mark on the host says what is under way, so that whoever
runs this again after an interruption finishes it first.
"""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import roles
from backup import run as backup_run
from backup.errors import BackupError, BusyError
from checks.result import Result
from inventories.access import ssh_target
from inventories.model import Host, Inventory
from platforms.debian import packages
from platforms.debian.packages import Package
from platforms.yunohost import answers, commands, durable, remote
from platforms.yunohost.answers import Answer, App, UnreadableError
from platforms.yunohost.app import options
from platforms.yunohost.converge import noted
from platforms.yunohost.durable import Command, StepError, Task
from platforms.yunohost.errors import YunohostError, checked, classify
from platforms.yunohost.server import Question
from recovery import available, restore, steps
from recovery.available import PACKAGES, Available, Mark, Waiting
from recovery.errors import RecoveryError, UsageError
from recovery.phases import Progress
from recovery.steps import Choice
from recovery.upgraded import ALL, Outcome, named
from tools import ssh
from tools.ssh import SshError

# A copy that is older than this, in seconds, is made anew before the next app: what members wrote
# since then would be lost with a rollback.
FRESH = 600.0
# How long a service may take until it is well again, and how often it is looked at, in seconds.
PATIENCE, PAUSE = 120.0, 10.0
# Seconds that the upgrade of one app, or of YunoHost's packages, may take.
LONGEST = 7200

# What may end one upgrade and must not hide what became of the others.
_EXPECTED = (RecoveryError, BackupError, SshError, StepError, YunohostError, UnreadableError)


def chosen(inventory: Inventory, services: Sequence[str], host: str | None) -> tuple[Host, ...]:
    """The hosts that are meant. Raise UsageError for names that are not there, or do not fit."""
    for what, names, there in (
        ("service", services, inventory.services),
        ("host", [host] if host else [], inventory.hosts),
    ):
        if unknown := [name for name in names if name not in there]:
            raise UsageError(
                f"no {what} is named {', '.join(unknown)}. There is: {', '.join(there)}"
            )
    hosts = dict.fromkeys(inventory.services[name].host for name in services)
    if host and any(name != host for name in hosts):
        raise UsageError(f"not all of these services are on {host}")
    names = list(hosts) or ([host] if host else list(inventory.hosts))
    return tuple(inventory.hosts[name] for name in names)


def look(
    file: Path,
    services: Sequence[str] = (),
    host: str | None = None,
    *,
    system: bool = False,
    progress: Progress = lambda _: None,
) -> tuple[Available, ...]:
    """What an upgrade would do. Refreshes the hosts' lists and changes nothing else.

    What setting up again after an upgrade would refuse is known before anything is changed: a
    mistake in the inventory must not undo an upgrade that went well.

    `services`: only these; none: all of `host`, or of every host. Where several hosts are meant,
    one of which nothing can be upgraded has a `problem`, and the others go on. Raise UsageError,
    and, of a single host, what `available.read` raises and RecoveryError.
    """
    inventory = roles.load(file)
    found = []
    every = chosen(inventory, services, host)
    for one in every:
        if one.platform != "yunohost" and services and not system:
            raise UsageError(
                f"{', '.join(services)}: services on {one.id} come with its packages: "
                f"releve upgrade FILE --host {one.id} --system"
            )
        here = inventory.services_on(one.id)
        meant = [service for service in here if not services or service.id in services]
        for service in meant:
            parts = one.platform == "yunohost" and available.app_of(service, inventory) is None
            if services and parts and not system:
                raise UsageError(
                    f"{service.id} is no app of {one.id} but a part of it: "
                    f"releve upgrade FILE --host {one.id} --system"
                )
        if one.platform != "yunohost" and not system:
            continue
        try:
            there = available.read(inventory, one, meant, system=system, progress=progress)
            if there.anything and (again := set_up_again(inventory, one, there)):
                progress(f"{one.id}: comparing its settings with the inventory")
                there = replace(there, pending=steps.foreseen(file, again))
        except _EXPECTED as error:
            if len(every) == 1:
                raise
            there = Available(one.id, system=system, problem=str(error))
        found.append(there)
    if not found:
        raise UsageError("services on these hosts come with the hosts' packages: add --system")
    return tuple(found)


def set_up_again(inventory: Inventory, host: Host, found: Available) -> tuple[str, ...]:
    """The services (on Debian the host) whose settings are applied again with these upgrades: never
    more than that, or whatever else waits in the inventory would be done unseen. Pure."""
    if host.platform != "yunohost":
        return (host.id,)
    begun = {mark.service for mark in found.unfinished}
    if PACKAGES in begun or (found.system and found.packages):
        return _present(inventory, host)
    return tuple(sorted(begun | {app.service for app in found.apps}))


def _present(inventory: Inventory, host: Host) -> tuple[str, ...]:
    """The services of a host that are meant to be there. Pure."""
    return tuple(s.id for s in inventory.services_on(host.id) if not options(s).absent)


@dataclass
class Upgrade:
    """One run. `outcomes` holds what is known so far, also when it ends by an exception."""

    file: Path
    progress: Progress = lambda _: None
    outcomes: list[Outcome] = field(default_factory=list)
    patience: float = PATIENCE
    pause: float = PAUSE
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._run = random.token_hex(4)
        self._number = 0
        self._saved: dict[str, tuple[float, str]] = {}
        self._there: Mapping[str, str] = {}

    def run(self, found: Sequence[Available]) -> None:
        """Do what `look` found, host by host: what was left half done, apps, packages.

        A host on which something is not well, or could not be undone, is left as it is; the
        others go on. With one host, raise RecoveryError, BusyError, BackupError, SshError when
        the next upgrade cannot begin.
        """
        for one in found:
            if one.problem:
                self._untouched(one.host, one.problem)
                continue
            try:
                self._host(one)
            except _EXPECTED as error:
                if len(found) == 1:
                    raise
                self._untouched(one.host, str(error))

    def _untouched(self, host: str, why: str) -> None:
        remedy = f"releve upgrade {self.file} --host {host}"
        self.outcomes.append(Outcome(host, ALL, "unchanged", why=why, remedy=remedy))

    def _host(self, found: Available) -> None:
        host = roles.load(self.file).hosts[found.host]
        for mark in found.unfinished:
            self.progress(f"{host.id}: {named(mark.service)}: finishing what was cut off")
            if not self._kept(self._finish(host, mark)):
                return
        for app in found.apps:
            if not self._kept(self._app(host, app)):
                return
        cut_off = any(mark.service == PACKAGES for mark in found.unfinished)
        if found.system and found.packages and not cut_off:
            self._kept(self._packages(host, found.packages))

    def _kept(self, outcome: Outcome) -> bool:
        """Keep an outcome; False when nothing more should be done on that host."""
        self.outcomes.append(outcome)
        return outcome.state != "broken"

    # --- one app ------------------------------------------------------------------------------

    def _app(self, host: Host, app: Waiting) -> Outcome:
        began = self.clock()
        self.progress(f"{host.id}: {app.service}: {app.before} -> {app.after}")
        snapshot = self._save(host, (app.service,))
        bad = self._bad((app.service,))
        mark = Mark(
            app.service,
            app.instance,
            app.before,
            app.after,
            snapshot,
            tuple(bad),
            source=app.source,
            exchanged=app.exchanged,
            since=app.since,
        )
        with ssh.session(ssh_target(host)) as connection:
            available.put_mark(connection, mark)
        self.progress(f"  {app.service}: upgrading")
        # The catalog's package may be no newer than that of the source it replaces.
        force = app.exchanged and app.source is None
        argv = commands.app_upgrade(app.instance, source=app.source, force=force)
        task = Task(f"{host.id}: upgrade {app.service}", (Command(argv),), timeout=LONGEST)
        said: Answer | None = None
        problem: Exception | None
        try:
            done = self._perform(host, task)
            said = done.answers[0] if done.answers else None
            problem = durable.failure(done, host.id)
        except (StepError, UnreadableError) as error:
            problem = error
        return self._judge(host, mark, began, said, problem)

    def _finish(self, host: Host, mark: Mark) -> Outcome:
        if mark.service == PACKAGES:
            return self._judge_packages(host, mark, self.clock(), None)
        return self._judge(host, mark, self.clock(), None, None)

    def _judge(
        self,
        host: Host,
        mark: Mark,
        began: float,
        said: Answer | None,
        problem: Exception | None,
    ) -> Outcome:
        """What became of the upgrade of one app; what is not well is rolled back."""
        try:
            there = self._there_now(host, mark.instance)
        except _EXPECTED as error:
            return self._lost(host, mark, began, error)
        now = there.version if there else ""
        changed = now not in ("", mark.before)
        if mark.exchanged and there:
            changed = available.upgraded_at(there) not in ("", mark.since)
        if said is not None and problem is None:
            problem = classify(said, done=changed, host=host.id)
        outcome = Outcome(host.id, mark.service, "upgraded", mark.before, now, 0.0, mark.snapshot)
        wrong = self._noted(host, mark) if changed and mark.exchanged else ""
        wrong = wrong or (self._wrong(mark, settle=changed) if now else "it is gone")
        if wrong:
            why = f"{wrong}; {problem}" if problem else wrong
            outcome = self._roll_back(host, mark, replace(outcome, why=why))
        elif not changed:
            # YunoHost has put it back by itself, or never began.
            why, remedy = _unchanged(problem)
            outcome = replace(outcome, after=mark.after, state="unchanged", why=why, remedy=remedy)
        else:
            notes = () if now == mark.after else (f"it is {now} now, {mark.after} was offered",)
            outcome = replace(outcome, notes=(*notes, *self._still(mark)))
        if outcome.state != "broken":
            with ssh.session(ssh_target(host)) as connection:
                available.clear_mark(connection, mark.service)
        return replace(outcome, seconds=self.clock() - began)

    def _wrong(self, mark: Mark, *, settle: bool) -> str:
        """Apply the role's settings again and check; return what is worse than it was, or ""."""
        try:
            if settle:
                self.progress(f"  {mark.service}: its settings")
                steps.deploy(
                    self.file, ("configure",), [mark.service], self.progress, "Setting it up again"
                )
            self.progress(f"  {mark.service}: checking")
            return self._worse((mark.service,), mark.bad)
        except _EXPECTED as error:
            return str(error)

    def _roll_back(self, host: Host, mark: Mark, outcome: Outcome) -> Outcome:
        """Bring back what was saved before the upgrade."""
        self.progress(f"  {mark.service}: not well: {outcome.why}")
        self.progress(f"  {mark.service}: rolling back to {mark.snapshot[:8]}")
        try:
            aside = self._restore(host, mark, no_snapshot=False)
        except BusyError as error:
            return self._broken(host, mark, outcome, error)
        except BackupError as error:
            # What is half upgraded can often not be saved. It was, before the upgrade.
            self.progress(f"  {mark.service}: {error}")
            try:
                aside = self._restore(host, mark, no_snapshot=True)
            except _EXPECTED as again:
                return self._broken(host, mark, outcome, again)
        except _EXPECTED as error:
            return self._broken(host, mark, outcome, error)
        # The newest copy must not be that of what did not work.
        self._saved.pop(host.id, None)
        notes = []
        if aside:
            notes.append(
                f"what was there, with what members wrote since, is in snapshot {aside[:8]}"
            )
        try:
            self._save(host, (mark.service,))
        except _EXPECTED as error:
            notes.append(f"the copy after the rollback failed, the next night makes one: {error}")
        return replace(
            outcome,
            state="rolled_back",
            notes=tuple(notes),
            remedy="The new version does not work here. Wait for the next one, or try it where "
            "nobody is served.",
        )

    def _restore(self, host: Host, mark: Mark, *, no_snapshot: bool) -> str:
        """Bring the copy back; return the snapshot of what was there until now, if any."""
        choice = Choice(snapshot=mark.snapshot, replace=True, no_snapshot=no_snapshot)
        names = [mark.service]
        found = restore.restore(self.file, names, host.id, choice, self.progress, save=False)
        return found[mark.service].saved_before or ""

    def _broken(self, host: Host, mark: Mark, outcome: Outcome, error: Exception) -> Outcome:
        return replace(
            outcome,
            state="broken",
            why=f"{outcome.why}. And it could not be rolled back: {error}",
            remedy=f"releve restore {self.file} {mark.service} --to {host.id} --snapshot "
            f"{mark.snapshot[:8]} --replace",
        )

    def _lost(self, host: Host, mark: Mark, began: float, error: Exception) -> Outcome:
        return Outcome(
            host.id,
            mark.service,
            "broken",
            mark.before,
            "",
            self.clock() - began,
            mark.snapshot,
            f"nobody could look what became of it: {error}",
            "Run this again: it goes on with looking.",
        )

    def _noted(self, host: Host, mark: Mark) -> str:
        """Note where the package is from now; return what went wrong, or ""."""
        argv = noted(mark.instance, mark.source)
        task = Task(f"{host.id}: note where {mark.service} is from", (Command(argv),))
        try:
            error = durable.failure(self._perform(host, task), host.id)
        except _EXPECTED as raised:
            return str(raised)
        return str(error) if error else ""

    def _there_now(self, host: Host, instance: str) -> App | None:
        """An app as it is now, None when it is not there."""
        with ssh.session(ssh_target(host)) as connection:
            # A step that a lost session left running must end first.
            connection.run(
                (*durable.SETTLE, str(durable.TURN)), timeout=durable.TURN + 60, check=False
            )
            asked = Question("apps", argv=commands.app_list(full=True))
            looked = remote.look(connection, (asked,))
        answer = looked["apps"]
        if not isinstance(answer, Answer):
            raise UnreadableError(f"{host.id} did not say which apps it has")
        return answers.apps(checked(answer, host=host.id)).get(instance)

    # --- a host's packages --------------------------------------------------------------------

    def _packages(self, host: Host, planned: Sequence[Package]) -> Outcome:
        began = self.clock()
        services = tuple(s.id for s in roles.load(self.file).services_on(host.id))
        self.progress(f"{host.id}: {len(planned)} system packages")
        # A host that serves nobody and keeps nothing of its own has nothing to save.
        snapshot = self._save(host, services) if services or host.repository else ""
        bad = self._bad((*services, host.id))
        with ssh.session(ssh_target(host)) as connection:
            there = available.versions(connection)
            mark = Mark(
                PACKAGES,
                before="",
                snapshot=snapshot,
                bad=tuple(bad),
                versions={p.name: there.versions.get(p.name, "") for p in planned},
            )
            available.put_mark(connection, mark)
        try:
            problem = self._upgrade_packages(host)
        except _EXPECTED as error:
            problem = str(error)
        outcome = self._judge_packages(host, mark, began, problem)
        changes = packages.changes(there.versions, self._there)
        return replace(outcome, changed=changes or outcome.changed)

    def _upgrade_packages(self, host: Host) -> str:
        """Do it; return what was said against it."""
        if host.platform == "yunohost":
            argv = commands.system_upgrade()
            task = Task(f"{host.id}: upgrade packages", (Command(argv),), timeout=LONGEST)
            error = durable.failure(self._perform(host, task), host.id)
            return str(error) if error else ""
        with ssh.session(ssh_target(host)) as connection:
            done = connection.run(packages.UPGRADE, timeout=packages.UPGRADE_TIMEOUT, check=False)
        if done.exit_code == 0:
            return ""
        return (
            f"apt-get ended with code {done.exit_code}: on {host.id}, "
            f"journalctl -u {packages.UNIT} says why"
        )

    def _judge_packages(self, host: Host, mark: Mark, began: float, problem: str | None) -> Outcome:
        inventory = roles.load(self.file)
        services = tuple(s.id for s in inventory.services_on(host.id))
        # On YunoHost only the services: see `set_up_again`.
        again = _present(inventory, host) if host.platform == "yunohost" else (host.id,)
        try:
            with ssh.session(ssh_target(host)) as connection:
                self._wait_for_packages(connection)
                there = available.versions(connection)
                reboot = connection.run(("test", "-e", packages.REBOOT), check=False)
        except SshError as error:
            return self._lost(host, mark, began, error)
        self._there = there.versions
        same = [n for n, version in mark.versions.items() if there.versions.get(n, "") == version]
        wrong = [problem] if problem else []
        if same:
            wrong.append(f"still as before: {', '.join(same)}")
        if there.unsettled:
            wrong.append(f"dpkg did not finish {', '.join(there.unsettled)}")
        moved = {n: there.versions.get(n, "") for n in mark.versions}
        outcome = Outcome(
            host.id,
            PACKAGES,
            "upgraded",
            snapshot=mark.snapshot,
            changed=packages.changes(mark.versions, moved),
        )
        try:
            if again:
                self.progress(f"{host.id}: settings")
                steps.deploy(self.file, ("configure",), again, self.progress, "Setting it up again")
            self.progress(f"{host.id}: checking")
            if worse := self._worse((*services, host.id), mark.bad):
                wrong.append(worse)
        except _EXPECTED as error:
            wrong.append(str(error))
        notes = self._still(mark)
        if reboot.exit_code == 0:
            notes = (*notes, "what runs is older than what is installed: restart it at a calm hour")
        if wrong:
            well = len(same) == len(mark.versions) and wrong[-1].startswith("still as before")
            outcome = replace(
                outcome,
                state="unchanged" if well else "broken",
                why="; ".join(wrong),
                remedy=self._mend(host, mark),
            )
        if outcome.state != "broken":
            with ssh.session(ssh_target(host)) as connection:
                available.clear_mark(connection, PACKAGES)
        return replace(outcome, notes=notes, seconds=self.clock() - began)

    def _mend(self, host: Host, mark: Mark) -> str:
        rebuild = (
            f" If that does not help: releve rebuild {self.file} --host NEW --lost {host.id} "
            f"brings the host back on a blank one, from the copy {mark.snapshot[:8]} made before."
            if mark.snapshot
            else ""
        )
        return (
            f"Nothing more was done on {host.id}. Mend there what is named (dpkg --configure -a, "
            f"apt install NAME=VERSION), then run this again: it checks everything anew.{rebuild}"
        )

    def _wait_for_packages(self, connection: ssh.Connection) -> None:
        """An upgrade that an earlier session left running must end first."""
        deadline = self.clock() + packages.UPGRADE_TIMEOUT
        while connection.run(packages.RUNS, check=False).exit_code == 0:
            if self.clock() > deadline:
                raise SshError(f"{connection.target.name}: {packages.UNIT} does not end")
            time.sleep(self.pause)

    # --- what all share -----------------------------------------------------------------------

    def _save(self, host: Host, services: Sequence[str]) -> str:
        """Save the host unless that was just done; return the snapshot. Raise RecoveryError when
        one of `services` was not saved whole: nothing is changed without a copy."""
        if host.repository is None:
            raise RecoveryError(
                f"{host.id} has no repository in the inventory: without copies there is no way "
                "back. Nothing was upgraded."
            )
        moment, snapshot = self._saved.get(host.id, (0.0, ""))
        if snapshot and self.clock() - moment < FRESH:
            return snapshot
        self.progress(f"{host.id}: saving")
        moment = self.clock()
        with ssh.session(ssh_target(host)) as connection:
            saved = backup_run.run(connection, on_progress=self._detail)
        ours = set(roles.load(self.file).services)
        lacking = {
            name: errors
            for name, errors in saved.errors.items()
            # What belongs to the host itself counts for all.
            if errors
            and (name in services or (name not in ours and not backup_run.is_stranger(name)))
        }
        if lacking:
            said = " / ".join(
                f"{backup_run.called(name)}: {'; '.join(errors)}"
                for name, errors in lacking.items()
            )
            raise RecoveryError(
                f"{host.id} was not saved whole, so nothing more is upgraded there: {said}"
            )
        self._saved[host.id] = (moment, saved.snapshot)
        return saved.snapshot

    def _perform(self, host: Host, task: Task) -> durable.Done:
        self._number += 1
        name = durable.name(self._run, self._number, task)
        return remote.perform(ssh_target(host), name, task, self._detail)

    def _detail(self, message: str) -> None:
        self.progress(f"  {message}")

    def _bad(self, subjects: Sequence[str]) -> dict[str, Result]:
        """The checks of these services and hosts that are not well, by their names."""
        found = steps.check(self.file, subjects)
        return {r.id: r for r in found if r.level in ("critical", "unknown")}

    def _worse(self, subjects: Sequence[str], before: Sequence[str]) -> str:
        """What is not well now and was before, "" for nothing. Services get time to start."""
        deadline = self.clock() + self.patience
        while True:
            found = steps.check(self.file, subjects)
            bad = {r.id: r for r in found if steps.not_well(r) and r.id not in before}
            if not bad:
                return ""
            if self.clock() > deadline:
                return "not well: " + " / ".join(f"{r.id}: {r.message}" for r in bad.values())
            time.sleep(self.pause)

    def _still(self, mark: Mark) -> tuple[str, ...]:
        return (f"not well before either: {', '.join(mark.bad)}",) if mark.bad else ()


def _unchanged(problem: Exception | None) -> tuple[str, str]:
    """Why an upgrade came to nothing, and what to do, when all is as it was."""
    again = "Nothing is lost, and it answers as before. "
    if isinstance(problem, YunohostError):
        log = f"On the host, yunohost log show {problem.log} says why. " if problem.log else ""
        return problem.message, f"{again}{log}Tell its packagers, or wait for the next version."
    if isinstance(problem, StepError):
        return problem.message, problem.remedy
    why = str(problem) if problem else "it was cut off before anything was changed"
    return why, f"{again}Run this again."
