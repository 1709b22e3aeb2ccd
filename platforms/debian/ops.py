"""Pyinfra operations of plain Debian, beside those that every platform shares (`platforms.ops`)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from inventories.model import Inventory, Service
from platforms import ops
from platforms.debian import steps, web
from platforms.debian.steps import Step
from tools import words


class Unmet(FactBase[list[int]]):
    """Which of these checks fail, as positions in the list; one command for all of them."""

    def command(self, checks: Sequence[str]) -> str:
        asked = (f"{c} >/dev/null 2>&1 </dev/null || echo {n}" for n, c in enumerate(checks))
        return "; ".join((*asked, "true"))

    @staticmethod
    def default() -> list[int]:
        return []

    def process(self, output: list[str]) -> list[int]:
        return [int(line) for line in output if line.strip()]


@operation()
def ensure(wanted: Sequence[Step]) -> Generator[StringCommand, None, None]:
    """Run each step whose check fails, in order. All checks are asked before the first step runs,
    so a step must not rely on an earlier one's check having been asked after it."""
    for step in wanted:
        if step.unit:
            ops.note("unit", name=step.unit, words="enabled running")
        for of, path in step.copies:
            ops.note("copy", of=of, path=path)
    for number in host.get_fact(Unmet, checks=[step.check_command() for step in wanted]):
        ops.note("diff", path="", text=wanted[number].title)
        yield StringCommand(wanted[number].run_command())


class Said(FactBase[list[str]]):
    """The lines that a program of ours says; none where it is not installed yet."""

    def command(self, program: Sequence[str]) -> str:
        run = '[ ! -e "$1" ] || exec python3 "$@"'
        return f"{words.script(run, *program)} 2>&1 || true"

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line.strip()]


@operation()
def look(program: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Change nothing: each line that `program` (a Python file of ours, its words) says is a
    warning for people, in a plan as well."""
    for line in host.get_fact(Said, program=list(program)):
        ops.note("warning", message=line)
    yield from ()


def once(key: str) -> bool:
    """Whether this is the first time in this run that `key` is asked for on this host: what two
    services of a host share is queued by the first of them."""
    asked: set[tuple[str, str]] = state.__dict__.setdefault("releve_once", set())
    if (host.name, key) in asked:
        return False
    asked.add((host.name, key))
    return True


def install_web() -> None:
    """Queue nginx and the ACME client, once per host."""
    if once("web packages"):
        ops.packages(names=web.PACKAGES, name="nginx and certificates: packages")


def configure_web(inventory: Inventory) -> None:
    """Queue what all sites of the host share, once per host."""
    if not once("web configuration"):
        return
    folder = Path(host.data.get("releve_inventory") or ".").parent
    ops.place(
        items=web.shared(inventory, web.authority_of(inventory, folder)),
        name="nginx and certificates: configuration",
    )
    ensure(
        wanted=(steps.nginx_takes(*web.SHARED_FILES), steps.running(web.RENEWAL)),
        name="nginx and certificates: settings of all sites, renewal",
    )


def configure_site(service: Service, site: ops.File) -> None:
    """Queue one site, with a placeholder certificate when there is none; nginx serves it then.

    A configuration that nginx refuses is taken back and fails the host; what ran goes on.
    """
    ops.place(items=(site,), name=f"{service.id}: nginx site")
    ensure(
        wanted=(
            steps.placeholder(service.domain),
            steps.nginx_takes((site.path, web.live_site(service))),
        ),
        name=f"{service.id}: certificate at hand, nginx takes the site",
    )
    ensure(
        wanted=(steps.nginx_loaded((service.domain,)),), name=f"{service.id}: nginx has loaded it"
    )


def activate_site(service: Service) -> None:
    """Queue the real certificate. A failure is told and tried again by the next deploy; it does
    not stop what comes after, and the site goes on with the certificate that it has."""
    ensure(
        wanted=(steps.certificate(service.domain),),
        name=f"{service.id}: certificate for {service.domain}",
        _ignore_errors=True,
    )
