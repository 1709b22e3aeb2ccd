"""The `releve` command: one verb per room, each loaded only when it is asked for.

Errors that we know end as one clear message and the exit code that docs/architecture.md names.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import signal
import sys
import types
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from cli.ending import AtOnce

# verb -> (module, attribute, what it does). A table and no discovery: `releve check` runs
# every few minutes and must not import what deploys.
VERBS: dict[str, tuple[str, str, str]] = {
    "validate": ("cli.validate", "validate", "Say everything that is wrong with an inventory."),
    "secrets": ("cli.secrets", "secrets", "Edit the secrets beside an inventory."),
    "adopt": ("cli.adopt", "adopt", "Describe a YunoHost server that is there as an inventory."),
    "plan": ("cli.plan", "plan", "Show what a deploy would change."),
    "deploy": ("cli.deploy", "deploy", "Bring hosts to what the inventory says."),
    "check": ("cli.check", "check", "Say whether services are reachable and well."),
    "backup": ("cli.backup", "backup", "Save, list, verify and prune copies."),
    "restore": ("cli.restore", "restore", "Bring a service's data back."),
    "upgrade": ("cli.upgrade", "upgrade", "Upgrade services and packages; undo what goes wrong."),
    "rebuild": ("cli.rebuild", "rebuild", "Bring a lost host back on a blank one."),
    "drill": ("cli.drill", "drill", "Rehearse the loss of a host, and write the evidence."),
    "mail": ("cli.mail", "mail", "Accounts of a mail service."),
    "lab": ("cli.lab", "lab", "Throwaway hosts on this machine."),
}

# pydantic asks every installed package whether it is a plugin of pydantic; there is none here. What
# it would ask with loads thirty modules, whatever the variable says.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
_asked = types.ModuleType("pydantic.plugin._loader")
_asked.__dict__["get_plugins"] = tuple
sys.modules.setdefault(_asked.__name__, _asked)

FAILED, USAGE, NOT_ALLOWED, INTERRUPTED = 1, 64, 77, 130
_STOPPED = (
    "releve: stopped by {}. Run it again to go on: what is done already is found done. A host "
    "that still finishes what it began, such as an installation, says that it is busy until then"
)


class Verbs(click.Group):
    """A click group that knows its commands by name and loads the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module, attribute, _ = VERBS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is not a command")
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        # From the table: `releve --help` need not load every room.
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in VERBS.items()])

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Run, and leave with the exit code that fits. Never a traceback for a known error."""
        words = list(sys.argv[1:] if args is None else args)
        trace = "--traceback" in words[:1]
        # Nearly all that a verb makes at its start stays to its end, where there is nothing to
        # tidy up: to look for garbage among it is an eighth of a short run.
        gc.set_threshold(100_000)
        if args is None:
            signal.signal(signal.SIGTERM, _ended)
        try:
            code = super().main(words, prog_name="releve", standalone_mode=False, **extra)
            sys.exit(code if isinstance(code, int) and not isinstance(code, bool) else 0)
        except AtOnce as end:
            if args is not None:  # within another program, which goes on
                raise
            sys.stdout.flush()
            os._exit(int(str(end.code)))
        except Exception as error:
            if trace and not isinstance(error, click.ClickException | click.Abort):
                raise
            code, message = explain(error)
            if message:
                click.echo(message, err=True)
            sys.exit(code)
        except KeyboardInterrupt:
            click.echo(_STOPPED.format("Ctrl-C"), err=True)
            sys.exit(INTERRUPTED)
        finally:
            gc.freeze()


def _ended(number: int, _: object) -> None:
    """Say so, and end as whoever sent the signal meant it: at once, with nothing tidied up."""
    with contextlib.suppress(OSError):
        os.write(2, f"{_STOPPED.format('SIGTERM')}\n".encode())
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def explain(error: Exception) -> tuple[int, str]:
    """Given an error that ends the program, return the exit code and what to tell people.

    An exception class of ours may carry `exit_code`. The codes: docs/architecture.md.
    """
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code, ""
    if isinstance(error, click.Abort):
        return INTERRUPTED, _STOPPED.format("Ctrl-C")
    if isinstance(error, click.UsageError):
        context = f"{error.ctx.get_usage()}\n" if error.ctx else ""
        hint = f"\nSee: {error.ctx.command_path} --help" if error.ctx else ""
        return USAGE, f"{context}releve: {error.format_message()}{hint}"
    if isinstance(error, click.ClickException):
        return error.exit_code, f"releve: {error.format_message()}"
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return code, f"releve: {error}"
    if isinstance(error, PermissionError):
        return NOT_ALLOWED, f"releve: not allowed: {_os_error(error)}"
    if isinstance(error, BrokenPipeError):
        return FAILED, ""  # whoever read our output has gone; there is nobody to tell
    if isinstance(error, OSError):
        return FAILED, f"releve: {_os_error(error)}"
    # Ours say what happened by themselves; a stranger's name helps whoever reports it.
    ours = type(error).__module__.split(".")[0] in _ROOMS
    name = "" if ours else f"{type(error).__name__}: "
    hint = "" if ours else " (releve --traceback … shows where)"
    return FAILED, f"releve: {name}{error}{hint}"


_ROOMS = frozenset(
    ("agent", "backup", "checks", "cli", "deploy", "inventories", "lab", "platforms", "recovery",
     "roles", "tools")
)  # fmt: skip


def _os_error(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and not error.filename:
        if _output_ended_with(error.errno):
            return (
                f"what this prints cannot be written where the output goes: {reason}. What was "
                "done before is done. Make room there, or send the output elsewhere, and run this "
                "again"
            )
        return f"a file of this machine cannot be written: {reason}. `df -h` shows which disk"
    return f"{error.filename}: {reason}" if error.filename else reason


def _output_ended_with(number: int) -> bool:
    """Whether it is the output that cannot be written. The error does not say so: an empty line
    more is what asking costs. If so, nothing more is tried there, not even by Python at its end."""
    try:
        os.write(1, b"\n")
    except OSError as error:
        if error.errno == number:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return True
    return False


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--traceback", is_flag=True, help="Before the verb: show where an error arose.")
@click.version_option(package_name="releve", message="%(version)s")
def main(traceback: bool) -> None:
    """Install, watch, save and bring back the services of a small hoster.

    One file, the inventory, says what exists.
    """


if __name__ == "__main__":
    main()
