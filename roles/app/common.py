"""What the roles of all apps have in common: is it there, what its copy consists of. Pure."""

from __future__ import annotations

import json

from inventories.model import Service
from platforms.yunohost import app as ynh
from platforms.yunohost import gathering
from roles import archives
from roles.interface import Argv, Finding, InsideProbe, Quiesce, State

DEPLOY = "roles.app.deploy"
PROGRAM = "/usr/local/lib/releve/app/app.py"


def program(service: Service, *arguments: str) -> Argv:
    """The argv, for root on the host, of a verb of files/app.py."""
    return ("python3", PROGRAM, ynh.instance_of(service), *arguments)


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
