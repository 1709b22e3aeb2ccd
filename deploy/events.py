"""How a running pyinfra tells `deploy.run` what it does: one JSON object a line on a pipe.

Without that pipe (plain `pyinfra`) nothing is told; pyinfra's own output is there then.
"""

# ruff: noqa: ARG001 (pyinfra gives these methods their arguments)
from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from pyinfra.api.command import FunctionCommand
from pyinfra.api.state import BaseStateCallback

FD_VARIABLE = "RELEVE_EVENTS_FD"


def emit(kind: str, **values: Any) -> None:
    """Send one event. When nobody reads any more, whoever started us is gone: end, too; the
    hosts' locks end with the sessions, and the next deploy continues."""
    number = os.environ.get(FD_VARIABLE)
    if number is None:
        return
    data = (json.dumps({"kind": kind, **values}) + "\n").encode()
    try:
        while data:
            data = data[os.write(int(number), data) :]
    except BrokenPipeError:
        os._exit(70)


class Progress(BaseStateCallback):
    """Tells of each operation on each host, and keeps one host's mistake from ending all.

    Pyinfra lets an exception inside an operation end the whole run, every host's; here it
    becomes a failed operation on the host where it happened.
    """

    def operation_host_start(self, state: Any, host: Any, op_hash: str) -> None:  # type: ignore[override]
        if op_hash not in state.ops[host]:
            return
        data = state.get_op_data_for_host(host, op_hash)
        name = " / ".join(sorted(state.get_op_meta(op_hash).names))
        host.connector_data["releve_error"] = ""
        data.command_generator = _guarded(data.command_generator, host)
        complete = data.operation_meta.set_complete

        def tell(success: bool, commands: list[Any], output: Any, **more: Any) -> None:
            complete(success, commands, output, **more)
            values = {"host": host.name, "op": op_hash, "name": name}
            values["ignored"] = bool(data.global_arguments["_ignore_errors"])
            values |= {"ok": success, "changed": success and bool(commands)}
            if not success:
                said = "\n".join(output.output_lines[-12:])
                values["error"] = said or host.connector_data["releve_error"]
            emit("operation", **values)

        data.operation_meta.set_complete = tell


def _guarded(generator: Callable[[], Iterator[Any]], host: Any) -> Callable[[], Iterator[Any]]:
    def commands() -> Iterator[Any]:
        running = generator()
        try:
            yield from running
        except GeneratorExit:
            raise
        except Exception as error:  # whatever it is, it must not stop the other hosts
            # An error of our own has a kind, and a message made for people.
            name = "" if hasattr(error, "kind") else f"{type(error).__name__}: "
            host.connector_data["releve_error"] = f"{name}{error}"
            yield FunctionCommand(_refuse, (), {})
        finally:
            with contextlib.suppress(AttributeError):
                running.close()  # type: ignore[attr-defined]

    return commands


def _refuse(state: Any, host: Any) -> bool:
    """A command that fails: stands for an operation that raised."""
    return False
