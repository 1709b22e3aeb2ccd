"""Finding and ending processes: ours, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import network, processes, requirements
from lab.errors import Busy, LabError
from lab.locks import alone

SLEEP = "import time; time.sleep(60)"


def test_only_the_process_with_exactly_this_argument_is_ended(tmp_path: Path) -> None:
    mark = str(tmp_path / "lab")
    mine = subprocess.Popen([sys.executable, "-c", SLEEP, mark])
    like = subprocess.Popen([sys.executable, "-c", SLEEP, mark + "-2", f"x{mark}"])
    try:
        judge = processes.has_argument(mark)
        assert processes.wait_for(lambda: processes.find(judge) == (mine.pid,), 5)
        processes.kill(judge)
        assert mine.wait(5) == -9
        assert like.poll() is None
    finally:
        for process in (mine, like):
            process.kill()
            process.wait()


def test_our_own_network_is_never_taken_for_a_labs(tmp_path: Path) -> None:
    judge = processes.in_network(Path("/proc/self/ns/net"))
    assert not judge(os.getpid())
    assert not processes.in_network(tmp_path / "none")(os.getpid())


def test_a_failed_program_ends_with_its_last_words() -> None:
    with pytest.raises(LabError, match=r"sh -c .* failed: because"):
        processes.run(("sh", "-c", "echo because >&2; exit 3"))
    with pytest.raises(LabError, match="is not on this machine"):
        processes.run(("no-such-program",))


def test_a_lock_is_held_against_another_process(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from lab.locks import alone\n"
        "with alone(pathlib.Path(sys.argv[1]), 'It', patience=0.1): print('in')"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "lock")]
    root = Path(__file__).resolve().parents[3]
    with alone(tmp_path / "lock", "It", patience=1):
        with (
            pytest.raises(Busy, match="It is in use"),
            alone(tmp_path / "lock", "It", patience=0.1),
        ):
            pass
        refused = subprocess.run(argv, capture_output=True, text=True, cwd=root, check=False)
    assert "It is in use" in refused.stderr
    assert subprocess.run(argv, capture_output=True, cwd=root, check=True).stdout == b"in\n"


def test_a_program_holds_our_locks_and_keeps_its_low_numbers_for_itself(tmp_path: Path) -> None:
    # mmdebstrap on Debian 13 fails otherwise: it writes numbers into a shell's redirections.
    script = (
        "import sys, pathlib; from lab.locks import alone; from lab.processes import run\n"
        "with alone(pathlib.Path(sys.argv[1]), 'It', patience=1):\n"
        "    print(run(('ls', '-l', '/proc/self/fd')).stdout.decode())"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "lock")]
    root = Path(__file__).resolve().parents[3]
    said = subprocess.run(argv, capture_output=True, text=True, cwd=root, check=True).stdout
    lines = [line.split() for line in said.splitlines() if " -> " in line]
    (held,) = (int(words[-3]) for words in lines if words[-1] == str(tmp_path / "lock"))
    assert held >= 10
    # What remains is its own: standard streams, and the folder that it reads.
    assert {int(words[-3]) for words in lines} - {held} == {0, 1, 2, 3}


def test_networks_that_are_taken_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = b'[{"dst":"default"},{"dst":"10.213.1.0/24"},{"dst":"10.213.2.128/25"}]'
    monkeypatch.setattr(
        network, "run", lambda *_a, **_k: subprocess.CompletedProcess([], 0, routes, b"")
    )
    assert network.free_index(set()) == 3
    assert network.free_index({3, 4}) == 5
    assert not network.is_free(2)


def test_requirements_need_nothing_but_python(tmp_path: Path) -> None:
    argv = ["/usr/bin/env", "-i", "PATH=/nonexistent", "/usr/bin/python3", "-S", "-m"]
    done = subprocess.run(
        [*argv, "lab.requirements"], capture_output=True, text=True, check=True,
        cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    assert set(done.stdout.split()) <= set(requirements.PROGRAMS)


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "_there", lambda wanted: wanted != "tc")
    assert requirements.requirements() == ("iproute2",)
