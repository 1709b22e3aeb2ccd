"""Pyinfra operations of a YunoHost server, beside those that every platform shares.

A server is looked at once, in one command, and looked at again only after something was changed.
Every change is a step of `files/ynh`, which no session's end reaches; after the last one the
server is looked at and compared, since YunoHost's own word for success is not enough.
"""

from __future__ import annotations

import json
import secrets as random
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pyinfra.api.command import FunctionCommand, QuoteString, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from inventories.model import Host, Installer
from inventories.secrets import SecretsError
from platforms import ops
from platforms.yunohost import commands, drift, durable, looking, passwords
from platforms.yunohost.answers import Answer, UnreadableError
from platforms.yunohost.arguments import Arguments, ArgumentsError, manifest
from platforms.yunohost.converge import (
    install_arguments,
    manifest_question,
    steps_between,
    to_install,
    unfit,
)
from platforms.yunohost.durable import Command, Done, StepError, Task
from platforms.yunohost.errors import YunohostError, checked, classify
from platforms.yunohost.looking import Looked, Question
from platforms.yunohost.obstacles import from_the_start, obstacles, strangers, strayed, unsaved
from platforms.yunohost.server import PANELS, QUESTIONS, Server, panel_question, read
from platforms.yunohost.steps import VALUES, CannotConverge, Stage, Step
from platforms.yunohost.wanted import Wanted, WantedApp
from tools import words
from tools.age import AgeError

_FILES = Path(__file__).with_name("files")
# Where the installer lies while it runs.
_INSTALLER = "/var/lib/releve/yunohost/installer"
# A slow machine on a slow line; the recorded one took 91 s.
_INSTALL_TIMEOUT = 3600


class NotAsWantedError(Exception):
    """Everything was done without an error, and the server is not as wanted all the same."""

    kind = "not_as_wanted"


class Look(FactBase[str]):
    """What the server answers to questions, as `looking.answered` reads it; one command."""

    def command(self, questions: str) -> StringCommand:
        return StringCommand(*(QuoteString(word) for word in looking.argv(questions)))

    @staticmethod
    def default() -> str:
        return ""

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


class Installed(FactBase[bool]):
    """Whether YunoHost's packages are there."""

    def command(self) -> str:
        # dpkg's word: an installation that was cut off leaves the program, and not "installed".
        return "dpkg-query -W -f '${db:Status-Status}' yunohost 2>/dev/null; :"

    @staticmethod
    def default() -> bool:
        return False

    def process(self, output: list[str]) -> bool:
        return output == ["installed"]


class SetUp(FactBase[bool]):
    """Whether YunoHost was post-installed."""

    def command(self) -> StringCommand:
        return StringCommand("test -e", QuoteString(commands.INSTALLED_MARKER), "&& echo yes; :")

    @staticmethod
    def default() -> bool:
        return False

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


# --- looking ----------------------------------------------------------------------------------


def look(questions: Sequence[Question]) -> Looked:
    """The answers of the current host, asked once per run until something was changed there.
    Raise UnreadableError."""
    asked = looking.asked(questions)
    kept: dict[str, Looked] = host.connector_data.setdefault("releve_looked", {})
    if asked not in kept:
        kept[asked] = looking.answered(host.get_fact(Look, questions=asked))
    return kept[asked]


def _changed(here: Any) -> None:
    """What was seen of this host is not true any more."""
    here.connector_data.pop("releve_looked", None)


# --- changing ---------------------------------------------------------------------------------


def step(task: Callable[[], Task]) -> FunctionCommand:
    """A command that runs a task on the host, wherever the session gets lost. The task is made
    when its turn comes: it may hold secrets that are made then."""
    return FunctionCommand(_perform, (task,), {})


def _perform(state: Any, host: Any, make: Callable[[], Task]) -> bool:  # noqa: ARG001
    title = ""
    try:
        task = make()
        title = task.title
        host.log(title)
        ops.note("progress", message=task.title)
        done = run(host, task)
        # What was said may explain why a server is not as wanted although all ended well.
        host.connector_data.setdefault("releve_said", {})[task.title] = done.answers
        error = durable.failure(done, host.name)
    except (SecretsError, AgeError, StepError, UnreadableError, OSError) as raised:
        why = str(raised)
    except Exception as raised:  # pyinfra would only log it
        why = f"{type(raised).__name__}: {raised}"
    else:
        if error is None:
            return True
        why = str(error)
    host.connector_data.setdefault("releve_not_done", set()).add(title)
    return ops.failed(host, why)


def run(here: Any, task: Task) -> Done:
    """Run a task on a pyinfra host and wait for its end. Raise OSError when the session is lost
    for good, UnreadableError when the answer is none."""
    data = here.connector_data
    data.setdefault("releve_run", random.token_hex(4))
    data["releve_step"] = data.get("releve_step", 0) + 1
    name = durable.name(data["releve_run"], data["releve_step"], task)
    sent = durable.request(name, task)
    _changed(here)
    outlast = getattr(here.connector, "outlast", None)
    if outlast is not None:
        said = outlast(durable.RUN, sent, timeout=durable.seconds(task))
        text = said.stdout.decode(errors="replace")
        if not text.strip():
            raise StepError(
                "failed",
                f"{task.title}: {said.stderr.decode(errors='replace').strip()[-500:]}",
                "A deploy of all stages puts our own programs there first.",
            )
        return durable.result(text)
    # Another connector: its session must hold.
    _, output = here.run_shell_command(
        StringCommand(*durable.RUN), _stdin=[sent.decode()], _timeout=durable.seconds(task)
    )
    return durable.result(output.stdout)


def missing_secrets(names: Sequence[str]) -> tuple[str, ...]:
    """Those of the secrets that nobody has made yet."""
    kept = ops.secrets()
    return tuple(name for name in dict.fromkeys(names) if name not in kept)


def password(name: str, make: Callable[[], str]) -> str:
    """The secret `name`; made and saved first when there is none. Raise what saving raises."""
    kept = ops.secrets()
    if name not in kept:
        kept.set(name, make())
        kept.save()
        ops.note("secret", name=name)
    return kept.get(name)


# --- installing -------------------------------------------------------------------------------


def programs() -> tuple[ops.Item, ...]:
    """What runs steps on the server. The others come along with the agent."""
    content = _FILES.joinpath("ynh").read_bytes()
    return (
        ops.Folder(durable.PROGRAMS),
        ops.File(durable.PROGRAM, content, mode=0o755),
    )


@operation()
def settled() -> Generator[Any, None, None]:
    """Wait for a step that an earlier session left running: what it changes must not be taken
    for what is there."""
    if host.get_fact(ops.Holds, check=f"! test -e {durable.PROGRAM} || {durable.PROGRAM} settle 0"):
        return
    ops.note("diff", path="", text="a step of an earlier session still runs: wait for its end")
    yield StringCommand(*durable.SETTLE, str(durable.TURN), _timeout=durable.TURN + 60)
    yield FunctionCommand(_changed_by_others, (), {})


def _changed_by_others(state: Any, host: Any) -> bool:  # noqa: ARG001
    _changed(host)
    return True


@operation()
def installed(wanted: Host, installer: Installer | None) -> Generator[Any, None, None]:
    """Install YunoHost's packages by its own installer, whose checksum the inventory knows."""
    if host.get_fact(Installed):
        return
    if installer is None:
        raise ops.RefusedError(
            f"{wanted.id} has no YunoHost yet, and the inventory does not say from where. "
            f"Write [hosts.{wanted.id}.yunohost] installer = {{ url = …, sha256 = … }}: fetch the "
            "official script, read it, and take what sha256sum says of it.",
        )
    ops.note("diff", path="", text=f"YunoHost is installed by {installer.url}")
    fetch = (durable.PROGRAM, "fetch", installer.url, installer.sha256, _INSTALLER)
    task = Task(
        f"{wanted.id}: install YunoHost",
        (Command(fetch), Command(("bash", _INSTALLER, "-a"))),
        timeout=_INSTALL_TIMEOUT,
    )
    yield step(lambda: task)
    if state.is_executing and not host.get_fact(Installed):
        raise NotAsWantedError(
            f"{wanted.id}: the installer ended without an error and left no YunoHost. Its log is "
            "the newest /var/log/yunohost-installation_*.log there."
        )


@operation()
def set_up(
    domain: str,
    user: str,
    fullname: str,
    secret: str,
    settings: Mapping[str, str],
    home: Sequence[str] = (),
) -> Generator[Any, None, None]:
    """Post-install YunoHost, with `user` as its first administrator, and set those `settings`
    that our access depends on in the same step: it closes root's door behind itself.

    `secret` names the password, which is made when there is none; `home` is an argv that makes
    over to the new account what was laid into its home before.
    """
    if host.get_fact(SetUp):
        return
    ops.note("diff", path="", text=f"YunoHost is set up: {domain}, first administrator {user}")
    if not missing_secrets([secret]):
        if why := passwords.too_weak(ops.secrets().get(secret), 1):
            raise ops.RefusedError(f"YunoHost would not take the secret {secret}: {why}")
    else:
        ops.note("diff", path="", text=f"a new password for {user}, kept as the secret {secret}")

    def everything() -> Task:
        value = password(secret, passwords.new)
        answers = (value,) * commands.PASSWORD_PROMPTS
        return Task(
            f"set YunoHost up for {domain}",
            (
                Command(commands.postinstall(domain, user, fullname), answers),
                *((Command(tuple(home)),) if home else ()),
                *(Command(commands.settings_set(k, v)) for k, v in settings.items()),
            ),
            hide=(value,),
        )

    yield step(everything)
    if state.is_executing and not host.get_fact(SetUp):
        raise NotAsWantedError(
            "The post-installation ended without an error, and YunoHost is not set up. Look at "
            "`yunohost log list` there."
        )


@operation()
def ensured(
    check: str, run: str, arguments: Sequence[str], text: str
) -> Generator[StringCommand, None, None]:
    """Unless the shell text `check` holds for `arguments`, `run` makes it so, which is `text` to
    people. Both are the role's own; values are only in `arguments`."""
    if not host.get_fact(ops.Holds, check=words.script(check, *arguments)):
        ops.note("diff", path="", text=text)
        yield StringCommand(words.script(run, *arguments))


# --- converging -------------------------------------------------------------------------------

# The setting that says how good a password must be.
_STRENGTH = "security.password.user_strength"


def server(wanted: Wanted, whole: Wanted) -> Server:
    """The current host as it is, with what is needed to compare it with `wanted`, and to remember
    it as far as `whole` describes it. Raise RefusedError when it does not tell."""
    try:
        looked = look((*QUESTIONS, *PANELS) if wanted.panels else QUESTIONS)
        now = read(looked, whole.accounts)
        unsaid = tuple(panel_question(app) for app in wanted.unsaid(now.panels))
        return read({**looked, **look(unsaid)}, whole.accounts) if unsaid else now
    except (YunohostError, UnreadableError) as error:
        raise ops.RefusedError(f"{wanted.host} cannot be looked at: {error}") from error


def planned(wanted: Wanted, now: Server, stage: Stage, service: str) -> tuple[Step, ...]:
    """The steps of a stage that are left to do for the app of `service` ("": for the server).

    Raise RefusedError with everything that is known to be impossible: before anything is changed,
    of the whole server; afterwards, of what these steps are about, since what became of one app is
    no reason to leave the others alone.
    """
    ahead = not state.is_executing
    try:
        # What can be seen without asking anything: apps that are there may be among what is asked.
        standing = [
            one
            for one in (*obstacles(wanted, now), *strangers(wanted, now, ops.secrets()))
            if ahead or one.concerns(service)
        ]
        if standing:
            raise CannotConverge(standing)
        asked = [a for a in to_install(wanted, now) if ahead or a.service == service]
        found = answered(asked) if stage == "configure" and now.installed else None
        left = tuple(
            step
            for step in steps_between(wanted, now, found)
            if step.stage == stage and (ahead or step.service == service)
        )
    except (CannotConverge, ArgumentsError, YunohostError, UnreadableError, ValueError) as error:
        raise ops.RefusedError(str(error)) from error
    connection = getattr(host.connector, "connection", None)
    if connection is not None:
        problem = shut_out(left, connection.target.user, connection.own_key or "?")
        if problem:
            raise ops.RefusedError(f"{wanted.host}: {problem}")
    if lacking := unmet(left, now, ops.secrets()):
        raise ops.RefusedError("\n".join(lacking))
    return tuple(step for step in left if step.service == service)


def answered(apps: Sequence[WantedApp]) -> Mapping[str, Arguments]:
    """Instance -> what each of these apps asks for, answered from the inventory.

    Costs one start of `yunohost` for each source, once in a run. Raise YunohostError (no such app),
    ArgumentsError (missing or wrong answers).
    """
    asked = {app.instance: manifest_question(app) for app in apps}
    said: dict[str, Any] = host.connector_data.setdefault("releve_manifests", {})
    if new := tuple(q for q in dict.fromkeys(asked.values()) if q.name not in said):
        said |= look(new)
    found: dict[str, Arguments] = {}
    problems = []
    for app in apps:
        answer = said[asked[app.instance].name]
        if not isinstance(answer, Answer):
            raise UnreadableError(f"the host did not tell what {app.id} asks for")
        try:
            about = manifest(checked(answer))
        except YunohostError as error:
            problems.append(f"services.{app.service} ({app.id}): {error}")
            continue
        problems += [f"services.{app.service}: {why}" for why in unfit(app, about)]
        try:
            found[app.instance] = install_arguments(app, about)
        except ArgumentsError as error:
            problems += [f"services.{app.service}.app.args: {line}" for line in error.problems]
    if problems:
        raise ArgumentsError("", ["\n".join(problems)])
    return found


def shut_out(steps: Sequence[Step], user: str, own: str) -> str:
    """Why these steps would shut us out, or "". `own`: the key of this session, "TYPE BASE64",
    by which `user` came in."""
    if any(step.name.startswith(f"no key of {user} {own}") for step in steps):
        return (
            f"this would take away the key that opened this session, and shut you out. Give it to "
            f"the person who is the operator {user}, or use a key that is there (RELEVE_SSH_KEY). "
            f"The key: {own}"
        )
    return ""


class Kept(Protocol):
    """Secrets by their names."""

    def __contains__(self, name: str, /) -> bool: ...
    def get(self, name: str, /) -> str: ...


def unmet(steps: Sequence[Step], now: Server, kept: Kept) -> tuple[str, ...]:
    """What keeps the steps from being done on our side: secrets that nobody can make for the
    people, passwords that YunoHost would not take."""
    out = []
    for step in steps:
        for name in step.secrets:
            if name not in kept:
                if not _ours(name):
                    out.append(
                        f"{step.text}: there is no secret {name}. Add it: releve secrets set"
                    )
                continue
            level = now.settings.get(_STRENGTH)
            number = int(level.value) if level and str(level.value).isdigit() else 1
            # YunoHost measures the passwords of apps and settings as it does those of people.
            why = passwords.too_weak(kept.get(name), number)
            if not step.name.startswith("account "):
                why = why or passwords.not_in_a_form(kept.get(name))
            if why:
                out.append(f"{step.text}: YunoHost would not take the secret {name}: {why}")
    return tuple(out)


def _ours(name: str) -> bool:
    """Whether a deploy makes this secret when it is missing: passwords of accounts on a host,
    and of a service."""
    return (name.startswith("host.") and ".ynh." in name) or name.startswith("service.")


def task(step: Step) -> Task:
    """A step as it is sent, with the secrets that it needs; those that are missing are made and
    saved now. Raise what saving raises."""
    values = {name: password(name, passwords.new) for name in step.secrets}
    answers = tuple(values[name] for name in step.prompts) if step.prompts else None
    file = {key: values[name] for key, name in step.values.items()}
    return Task(
        step.text.strip(),
        (Command(step.argv, answers), *((Command(step.then),) if step.then else ())),
        # JSON is YAML.
        files={VALUES.strip("{}"): json.dumps(file)} if file else {},
        hide=tuple(values.values()),
        timeout=step.timeout,
    )


@operation()
def steps(
    wanted: Wanted, whole: Wanted, stage: Stage, service: str = "", first: bool = False
) -> Generator[Any, None, None]:
    """Make the app of `service` ("": the server itself) what the inventory says, as far as it
    belongs to `stage`.

    `wanted`: what this run is about; `whole`: all that the inventory says, with which changes by
    hand are compared. `first`: YunoHost may be set up by an operation before this one; in a plan,
    nothing is known of it then but what no server can become. After the last step the server is
    looked at again; raise NotAsWantedError with what is not as wanted although no command failed.
    """
    now = server(wanted, whole)
    if not now.installed and first and not state.is_executing:
        if standing := from_the_start(wanted):
            raise ops.RefusedError(str(CannotConverge(standing)))
        if _foretell(wanted, stage, service):
            yield FunctionCommand(_nothing, (), {})
        return
    todo = planned(wanted, now, stage, service)
    _pictured(now, whole)
    for line in (*unsaved(wanted, now, service), *strayed(wanted, now, service)):
        ops.note("warning", message=line)
    for one in todo:
        ops.note("diff", path="", text=one.text)
        if new := missing_secrets(one.secrets):
            ops.note("diff", path="", text=f"    with a new password, kept as {', '.join(new)}")
    if todo:
        yield FunctionCommand(_say_who_holds_the_lock, (), {})
    for one in todo:
        yield step(partial(task, one))
    if not todo or not state.is_executing:
        return
    after = server(wanted, whole)
    _pictured(after, whole)
    for line in unsaved(wanted, after, service):
        ops.note("warning", message=line)
    said = host.connector_data.get("releve_said", {})
    # Where others go on after one that failed, that one was told already.
    left = [one for one in planned(wanted, after, stage, service) if not _failed(one)]
    if left:
        raise NotAsWantedError(
            f"{wanted.host}: this is not as wanted, although no command failed.\n"
            + "\n".join(_why(one, said.get(one.text.strip(), ())) for one in left)
        )


def _failed(one: Step) -> bool:
    return one.text.strip() in host.connector_data.get("releve_not_done", ())


def _pictured(now: Server, whole: Wanted) -> None:
    """Hand over what the server is like now, and what to say of it when the last deploy left it
    otherwise."""
    if not now.installed:
        return
    seen = drift.picture(now, whole)

    def told(before: drift.Picture) -> tuple[str, ...]:
        # Of every stage and service: what a whole deploy undoes.
        todo = steps_between(whole, now)
        return drift.told(drift.differences(before, seen), todo, now, whole)

    ops.note("picture", picture=seen, told=told)


def _why(left: Step, said: Sequence[Answer]) -> str:
    """A step that was done without an effect, with the reason that is known of it."""
    why = [error for answer in said if (error := classify(answer, done=False))]
    return left.text + "".join(f"\n    {error.message} {error.remedy}" for error in why)


def _foretell(wanted: Wanted, stage: Stage, service: str) -> bool:
    """Say in a plan what comes once the server is set up, without a server to compare with; return
    whether anything does."""
    there = [name for name, one in wanted.domains.items() if not one.absent]
    apps = [app.instance for app in wanted.apps if not app.absent and app.service == service]
    told: tuple[tuple[str, Sequence[str]], ...] = ()
    if service:
        told = (("app", apps),)
    elif stage == "configure":
        told = (("domains", there), ("accounts", sorted(wanted.accounts)))
    elif stage == "activate":
        told = (("certificates", there),)
    for kind, names in told:
        if names:
            ops.note("diff", path="", text=f"then {kind}: {', '.join(names)}")
    return any(names for _, names in told)


# Who holds YunoHost's lock: the process, and what it was called with as far as no value can be
# among it. A lock whose process is gone holds nobody up.
_HOLDER = """p=$(cat -- "$1" 2>/dev/null) && test -r "/proc/$p/cmdline" &&
echo "$p $(tr '\\0' ' ' <"/proc/$p/cmdline" | cut -d ' ' -f 3-4)" || :"""


def holder(lock: str = "/run/moulinette_yunohost.lock") -> tuple[str, ...]:
    """The argv, for a host, that prints who holds YunoHost's lock; nothing when nobody does."""
    return ("sh", "-c", _HOLDER, "holder", lock)


def _say_who_holds_the_lock(state: Any, host: Any) -> bool:  # noqa: ARG001
    """Else nobody knows why nothing happens."""
    _, output = host.run_shell_command(StringCommand(words.line(holder())))
    process, _, called = output.stdout.strip().partition(" ")
    if process.isdecimal():
        what = f"yunohost {called.strip()}" if called.strip() else "its web administration"
        message = (
            f"another YunoHost operation is running there ({what}, process {process}): waiting "
            f"for its end, {commands.LOCK_TIMEOUT // 60} minutes at most"
        )
        ops.note("progress", message=message)
    return True


def _nothing(state: Any, host: Any) -> bool:  # noqa: ARG001 (as pyinfra calls it)
    return True
