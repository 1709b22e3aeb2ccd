"""Asking a YunoHost server and changing it over a session of our own, outside of a deploy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from platforms.yunohost import durable, looking
from platforms.yunohost.durable import Done, StepError, Task
from platforms.yunohost.looking import Looked, Question
from tools import ssh
from tools.ssh import Connection, SshError, Target

# Seconds for which a session that was lost is replaced: the server may be restarting.
RECONNECT = 300.0
_PAUSE = 2.0


def look(connection: Connection, questions: Sequence[Question]) -> Looked:
    """Ask a server, in one command. Raise UnreadableError, SshError."""
    asked = looking.argv(looking.asked(questions))
    done = connection.run(asked, timeout=looking.TIMEOUT + 30, check=False)
    return looking.answered(done.stdout.decode(errors="replace"))


def perform(
    target: Target, step: str, task: Task, on_lost: Callable[[str], None] = lambda _: None
) -> Done:
    """Run a task on a server and wait for its end, wherever the session gets lost.

    `step`: its name (`durable.name`); asked again by this name, nothing is repeated. `on_lost` is
    told of lost sessions. Raise SshError when the server stays away, StepError when it has no
    programs of ours, UnreadableError.
    """
    sent = durable.request(step, task)
    deadline = time.monotonic() + durable.seconds(task)
    lost: float | None = None
    while True:
        try:
            with ssh.session(target) as connection:
                lost = None
                left = max(30.0, deadline - time.monotonic())
                said = connection.run(durable.RUN, stdin=sent, timeout=left, check=False)
            break
        except SshError as error:
            now = time.monotonic()
            lost = lost or now
            if isinstance(error, (ssh.HostKeyError, ssh.RefusedKeyError)):
                raise
            if now - lost > RECONNECT or now > deadline:
                raise
            on_lost(f"{error}. Asking again …")
            time.sleep(_PAUSE)
    text = said.stdout.decode(errors="replace")
    if not text.strip():
        raise StepError(
            "failed",
            f"{target.name}: {said.stderr.decode(errors='replace').strip()[-500:]}",
            "`releve deploy` puts our own programs there: run it first.",
        )
    return durable.result(text)
