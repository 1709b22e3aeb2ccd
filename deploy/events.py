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

from platforms import ops

FD_VARIABLE = "RELEVE_EVENTS_FD"
# In a host's `connector_data`, when its session was lost.
LOST = "releve_lost"


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


@contextlib.contextmanager
def of_service(state: Any, host: Any, service: str) -> Iterator[None]:
    """What is queued for this host meanwhile is for `service`: when one of it fails, the service
    is left out from there on, and the rest of the host goes on."""
    before = set(state.ops[host])
    yield
    owners: dict[str, str] = host.connector_data.setdefault("releve_owners", {})
    owners |= {op: service for op in state.ops[host] if op not in before}


def failed_services(host: Any) -> set[str]:
    """The services of a host that failed in this run, by id."""
    failed: set[str] = host.connector_data.setdefault("releve_failed", set())
    return failed


class Progress(BaseStateCallback):
    """Tells of each operation on each host, and keeps one's mistake from ending all.

    Pyinfra lets an exception inside an operation end the whole run, every host's; here it
    becomes a failed operation on the host where it happened. And where pyinfra gives a host up
    at its first failed operation, here a service fails alone: its neighbours, and what saves
    them, do not depend on it.
    """

    def operation_host_start(self, state: Any, host: Any, op_hash: str) -> None:  # type: ignore[override]
        if op_hash not in state.ops[host]:
            return
        data = state.get_op_data_for_host(host, op_hash)
        name = " / ".join(sorted(state.get_op_meta(op_hash).names))
        failed = failed_services(host)
        service = host.connector_data.get("releve_owners", {}).get(op_hash, "")
        if host.connector_data.get(LOST):
            data.command_generator = _refused
            return
        if service in failed:
            data.command_generator = lambda: iter(())
            return
        host.connector_data["releve_error"] = ""
        data.command_generator = _guarded(data.command_generator, host)
        complete = data.operation_meta.set_complete
        ignored = bool(data.global_arguments["_ignore_errors"])
        if service:
            data.global_arguments["_ignore_errors"] = True

        def tell(success: bool, commands: list[Any], output: Any, **more: Any) -> None:
            complete(success, commands, output, **more)
            values = {"host": host.name, "op": op_hash, "name": name, "ignored": ignored}
            # Without a session it is the host that fails.
            values["service"] = "" if host.connector_data.get(LOST) else service
            values |= {"ok": success, "changed": success and bool(commands)}
            if not success:
                said = "\n".join(output.output_lines[-12:])
                values["error"] = said or host.connector_data["releve_error"]
                if service and not ignored:
                    failed.add(service)
            emit("operation", **values)

        data.operation_meta.set_complete = tell


def told(error: Exception) -> str:
    """An error in words. One of our own has a message made for people; of a stranger, the name
    helps whoever reports it."""
    ours = hasattr(error, "kind") or hasattr(error, "exit_code")
    return str(error) if ours else f"{type(error).__name__}: {error}"


def _guarded(generator: Callable[[], Iterator[Any]], host: Any) -> Callable[[], Iterator[Any]]:
    def commands() -> Iterator[Any]:
        running = generator()
        try:
            yield from running
        except GeneratorExit:
            raise
        except Exception as error:  # whatever it is, it must not stop the other hosts
            ops.failed(host, told(error))
            yield from _refused()
        finally:
            with contextlib.suppress(AttributeError):
                running.close()  # type: ignore[attr-defined]

    return commands


def _refused() -> Iterator[Any]:
    yield FunctionCommand(_refuse, (), {})


def _refuse(state: Any, host: Any) -> bool:
    """A command that fails: stands for an operation that raised."""
    return False
