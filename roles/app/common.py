"""What the roles of all apps have in common: is it there, what its copy consists of. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable

from inventories.model import Inventory, Service
from platforms.yunohost import app as ynh
from platforms.yunohost import gathering
from platforms.yunohost.app import Needs, Setting
from platforms.yunohost.wanted import WantedApp
from roles import archives
from roles.interface import (
    Absent,
    Argv,
    Canary,
    Finding,
    InsideProbe,
    OnPlatform,
    Quiesce,
    Restore,
    State,
)

DEPLOY = "roles.app.deploy"
PROGRAM = "/usr/local/lib/releve/app/app.py"
_NO_NEEDS = Absent("asks nothing of the server itself")


def program(service: Service, *arguments: str) -> Argv:
    """The argv, for root on the host, of a verb of files/app.py."""
    return ("python3", "-IS", PROGRAM, ynh.instance_of(service), *arguments)


def judge_installed(exit_code: int, stdout: str) -> Finding:
    """Judge `app.py about`: YunoHost knows the app, its folders are there, it can be saved."""
    try:
        said = json.loads(stdout)
        gone = sorted(name for name, there in said["folders"].items() if not there)
        version, saved = str(said["version"]), said["backup"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Finding(
            "critical",
            f"YunoHost does not know the app (exit {exit_code}): it was removed, or its "
            "installation failed. `yunohost app list` on the host says more.",
        )
    if gone:
        return Finding(
            "critical",
            f"YunoHost lists the app, but its {' and '.join(gone)} is not there: the rest of an "
            "installation or restore that failed",
        )
    if not saved:
        return Finding(
            "warning", "its package has no backup script: YunoHost leaves it out of every copy"
        )
    return Finding("ok", f"the app is there, package {version}")


def installed(service: Service) -> InsideProbe:
    """The probe whether YunoHost has the app."""
    return InsideProbe("app", program(service, "about"), judge_installed)


def state(
    service: Service,
    *,
    paths: tuple[str, ...] = (),
    excludes: tuple[str, ...] = (),
    quiesce: tuple[Quiesce, ...] = (),
    counts: Argv = (),
    versions: Argv = (),
) -> State:
    """A state whose main part is the app in YunoHost's archive. `paths`: what is large and lies
    beside it, and therefore stays out of it."""
    instance = ynh.instance_of(service)
    return State(
        paths=paths,
        excludes=(*excludes, *(gathering.left_out(instance, path) for path in paths)),
        quiesce=quiesce,
        archive=(archives.app(instance),),
        counts=counts or program(service, "counts"),
        versions=versions or program(service, "versions"),
    )


def with_program(
    program: Callable[..., Argv],
    *,
    own_unit: bool,
    inside: Callable[[Service, Inventory], tuple[InsideProbe, ...]],
    state: Callable[[Service, Inventory], State],
    restore: Callable[[Service, Inventory], Restore],
    app: Callable[[Service, Inventory], WantedApp],
    settle: Callable[[Service, Inventory], tuple[Setting, ...]],
    tells: Callable[[Service], Setting],
    needs: Callable[[Service, Inventory], Needs] | Absent = _NO_NEEDS,
) -> OnPlatform:
    """What a role is on YunoHost that has a program of its own, which marks the app and finds its
    marks. `own_unit`: the package makes a systemd unit; PHP and nginx are shared with the host's
    other apps, and all of these stop on a host that was replaced."""

    def canary(service: Service, inventory: Inventory) -> Canary:  # noqa: ARG001
        return Canary(
            program(service, "canary-plant"),
            program(service, "canary-find"),
            program(service, "sample"),
        )

    def units(service: Service, inventory: Inventory) -> tuple[str, ...]:  # noqa: ARG001
        return (*((ynh.service_unit(service),) if own_unit else ()), "nginx.service")

    return OnPlatform(
        deploy=DEPLOY,
        inside=inside,
        state=state,
        restore=restore,
        canary=canary,
        units=units,
        app=app,
        needs=needs,
        settle=settle,
        tells=tells,
    )
