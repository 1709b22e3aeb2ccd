"""`look` and `ynh` as a deploy sends them, against the stand-in: set a server up, lose sessions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from platforms.yunohost import commands, durable, looking
from platforms.yunohost.durable import Command, Done, Task
from platforms.yunohost.server import QUESTIONS, Server, read

ROOT = Path(__file__).parents[3]
YNH = ROOT / "platforms/yunohost/files/ynh"
PASSWORD = "Une-Phrase-assez-longue-7"


class Machine:
    """A server of the stand-in, asked by the programs that a deploy uses."""

    def __init__(self, folder: Path, delays: float = 0) -> None:
        self.folder = folder
        self.yunohost = folder / "yunohost"
        self.yunohost.symlink_to(ROOT / "tests/standin/yunohost")
        self.state = folder / "state.json"
        self.slow(delays)

    def slow(self, factor: float) -> None:
        beside = {"state": str(self.state), "root": str(self.folder / "root"), "delays": factor}
        (self.folder / "standin.json").write_text(json.dumps(beside))

    def _ours(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        return (str(self.yunohost), *argv[1:]) if argv[0] == "yunohost" else argv

    def start(self, step: str, task: Task) -> subprocess.Popen[bytes]:
        commands = tuple(Command(self._ours(c.argv), c.answers) for c in task.commands)
        sent = durable.request(step, Task(task.title, commands, task.files, task.hide))
        process = subprocess.Popen(
            [sys.executable, str(YNH), "--below", str(self.folder / "below"), "run"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(sent)
        process.stdin.close()
        return process

    def run(self, step: str, task: Task) -> Done:
        process = self.start(step, task)
        assert process.stdout is not None
        done = durable.result(process.stdout.read().decode())
        process.wait()
        return done

    def look(self) -> Server:
        asked = json.loads(looking.asked(QUESTIONS))
        for one in asked:
            if "needs" in one:
                one["needs"] = f"{self.folder}/root{one['needs']}"
            if "argv" in one:
                one["argv"] = self._ours(tuple(one["argv"]))
            else:
                one["glob"] = [f"{self.folder}/root{text}" for text in one["glob"]]
        argv = looking.argv(json.dumps(asked))
        said = subprocess.run(argv, capture_output=True, check=True, text=True).stdout
        found: dict[str, Any] = {}
        for name, answer in looking.answered(said).items():
            found[name] = (
                {path.removeprefix(f"{self.folder}/root"): text for path, text in answer.items()}
                if isinstance(answer, dict)
                else answer
            )
        return read(found)

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self.state.with_suffix(".calls").open()]


def set_up(host: Machine) -> Done:
    argv = commands.postinstall("main.example", "ada", "Ada L")
    answers = (PASSWORD,) * commands.PASSWORD_PROMPTS
    return host.run("set-up", Task("set up", (Command(argv, answers),), hide=(PASSWORD,)))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "below").mkdir()
    return Machine(tmp_path)


def test_a_blank_server_is_set_up_by_a_password_that_nobody_saw(machine: Machine) -> None:
    assert not machine.look().installed
    done = set_up(machine)
    assert durable.failure(done) is None
    now = machine.look()
    assert (now.installed, now.main_domain, now.admins) == (
        True,
        "main.example",
        frozenset({"ada"}),
    )
    assert PASSWORD not in "".join(answer.stdout + answer.stderr for answer in done.answers)
    kept = [p for p in (machine.folder / "below").rglob("*") if p.is_file()]
    assert not any(PASSWORD in path.read_text() for path in kept)
    assert PASSWORD not in machine.state.with_suffix(".calls").read_text()


def test_a_session_that_dies_in_the_middle_is_asked_again_and_nothing_is_done_twice(
    machine: Machine,
) -> None:
    set_up(machine)
    machine.slow(0.1)  # `domain add` takes 1.3 s
    task = Task("a domain", (Command(commands.domain_add("blog.example")),))
    session = machine.start("add", task)
    while machine.calls()[-1][:2] != ["domain", "add"]:
        time.sleep(0.02)
    os.killpg(session.pid, signal.SIGKILL)
    session.wait()
    assert "blog.example" not in machine.look().domains
    assert durable.failure(machine.run("add", task)) is None
    assert "blog.example" in machine.look().domains
    assert sum(call[:2] == ["domain", "add"] for call in machine.calls()) == 1


def test_looking_at_a_whole_server_starts_yunohost_six_times(machine: Machine) -> None:
    set_up(machine)
    before = len(machine.calls())
    machine.look()
    assert len(machine.calls()) - before == 6
