"""`ynh` with real processes: sessions that die, terminals, secrets that must not show."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

YNH = Path(__file__).parents[3] / "platforms/yunohost/files/ynh"
SECRET = "Fourre-tout;43é"

# Asks as getpass does: no echo, and what was typed too early is thrown away.
ASKS = """
import getpass, time
a = getpass.getpass("Password: ")
time.sleep(0.6)
b = getpass.getpass("Confirm password: ")
print("the same" if a == b else "not the same", len(a))
print("it was", a)
"""


@pytest.fixture
def below(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def start(below: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(YNH), "--below", str(below), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(below: Path, **request: Any) -> dict[str, Any]:
    process = start(below, "run")
    out, err = process.communicate(json.dumps(request), timeout=60)
    assert out, err
    result: dict[str, Any] = json.loads(out)
    assert process.returncode == {"": 0, "busy": 75}.get(result["error"], 1)
    return result


def workers(below: Path) -> list[int]:
    """Processes that work in there and belong to no session of ours."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(below).encode() in words:
            found.append(int(folder.name))
    return found


def until(what: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def everything_under(folder: Path) -> bytes:
    """What lies in all files below; those that are taken away meanwhile are none."""
    found = []
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                found.append(Path(place, name).read_bytes())
    return b"".join(found)


def test_commands_run_in_order_until_one_fails(below: Path) -> None:
    argvs = [["echo", "one"], ["sh", "-c", "echo why >&2; exit 4"], ["echo", "three"]]
    result = run(below, step="s1", title="t", commands=[{"argv": argv} for argv in argvs])
    assert result["error"] == "failed"
    codes = [(c["exit_code"], c["stdout"], c["stderr"]) for c in result["commands"]]
    assert codes == [(0, "one\n", ""), (4, "", "why\n")]


def test_a_command_that_does_not_exist_is_a_failure(below: Path) -> None:
    result = run(below, step="s1", commands=[{"argv": ["/no/such"]}])
    assert (result["error"], result["commands"][0]["exit_code"]) == ("failed", 127)


def test_asked_again_it_is_not_done_again(below: Path, tmp_path: Path) -> None:
    commands = [{"argv": ["sh", "-c", f"echo x >> {tmp_path}/mark; echo said"]}]
    first = run(below, step="s1", commands=commands)
    assert run(below, step="s1", commands=commands) == first
    assert (tmp_path / "mark").read_text() == "x\n"


def test_the_session_dies_and_the_step_does_not(below: Path, tmp_path: Path) -> None:
    script = f"echo begun >> {tmp_path}/mark; sleep 1.5; echo done >> {tmp_path}/mark; echo said"
    request = {"step": "s1", "title": "long", "commands": [{"argv": ["sh", "-c", script]}]}
    process = start(below, "run")
    assert process.stdin is not None
    process.stdin.write(json.dumps(request))
    process.stdin.close()
    until((tmp_path / "mark").exists)
    os.killpg(process.pid, signal.SIGHUP)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Meanwhile somebody else sees what runs …
    settle = subprocess.run(
        [sys.executable, str(YNH), "--below", str(below), "settle", "0"],
        capture_output=True,
        text=True,
    )
    assert (settle.returncode, json.loads(settle.stdout)["running"]["title"]) == (75, "long")
    # … and who comes back gets the result, without a second run.
    result = run(below, **request)
    assert (result["error"], result["commands"][0]["stdout"]) == ("", "said\n")
    assert (tmp_path / "mark").read_text() == "begun\ndone\n"
    assert start(below, "settle", "0").wait() == 0


def test_a_step_that_was_killed_is_told_and_not_repeated(below: Path, tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path}/mark; sleep 30"
    request = {"step": "s1", "commands": [{"argv": ["sh", "-c", script]}], "files": {"f": "kept"}}
    asking = start(below, "run")
    assert asking.stdin is not None
    asking.stdin.write(json.dumps(request))
    asking.stdin.close()
    until((tmp_path / "mark").exists)
    for pid in workers(below):
        if pid != asking.pid:
            os.kill(pid, signal.SIGKILL)
    assert asking.stdout is not None
    assert json.loads(asking.stdout.read())["error"] == "vanished"
    assert run(below, **request)["error"] == "vanished"
    assert (tmp_path / "mark").read_text() == "x\n"
    # What it had laid into memory goes with the next step.
    run(below, step="s2", commands=[{"argv": ["true"]}])
    assert not list((below / "run/releve").iterdir())


def test_passwords_are_typed_and_leave_no_trace(below: Path) -> None:
    seen: list[bytes] = []
    over = threading.Event()

    def spy() -> None:
        while not over.is_set():
            for kind in ("cmdline", "environ"):
                for file in Path("/proc").glob(f"[0-9]*/{kind}"):
                    try:
                        seen.append(file.read_bytes())
                    except OSError:
                        continue
            seen.append(everything_under(below))
            seen[:] = [data for data in seen if SECRET.encode() in data]

    watching = threading.Thread(target=spy)
    watching.start()
    commands = [
        {"argv": [sys.executable, "-c", ASKS], "answers": [SECRET, SECRET]},
        {"argv": [sys.executable, "-c", "import sys; print('tty', sys.stdout.isatty())"]},
    ]
    try:
        result = run(below, step="s1", commands=commands)
    finally:
        over.set()
        watching.join()
    said = result["commands"][0]["stdout"]
    assert result["error"] == ""
    assert f"the same {len(SECRET)}" in said
    assert "it was [hidden]" in said
    assert result["commands"][1]["stdout"] == "tty False\n"
    assert seen == []


def test_a_prompt_without_an_answer_is_an_error_and_no_wait_for_ever(below: Path) -> None:
    commands = [{"argv": [sys.executable, "-c", ASKS], "answers": [SECRET]}]
    result = run(below, step="s1", commands=commands)
    assert result["error"] == "prompt"


# As apt does while dpkg runs: a child has the terminal, raw, without an echo.
WORKS = """
import getpass, subprocess, sys
getpass.getpass("Password: ")
child = "import select, sys, time, tty; tty.setraw(0); time.sleep(6); "
child += "print(sys.stdin.isatty(), select.select([0], [], [], 0)[0])"
subprocess.run([sys.executable, "-c", child])
print("done")
"""


def test_a_terminal_that_a_child_works_with_is_no_prompt(below: Path) -> None:
    commands = [{"argv": [sys.executable, "-c", WORKS], "answers": [SECRET, "left over"]}]
    result = run(below, step="s1", commands=commands)
    assert result["error"] == ""
    said = result["commands"][0]["stdout"].split()
    # Nothing was typed into what was none of a prompt.
    assert said[-3:] == ["True", "[]", "done"]


def test_a_file_in_memory_is_for_root_alone_and_goes(below: Path) -> None:
    request = {
        "step": "s1",
        "commands": [{"argv": ["stat", "-c", "%a %U %n", "{u.csv}"]}, {"argv": ["cat", "{u.csv}"]}],
        "files": {"u.csv": f"name;{SECRET}\n"},
        "hide": [SECRET],
    }
    result = run(below, **request)
    mode, owner, path = result["commands"][0]["stdout"].split()
    assert (mode, owner) == ("600", Path(path).owner() if Path(path).exists() else "root")
    assert result["commands"][1]["stdout"] == "name;[hidden]\n"
    assert result["commands"][1]["argv"] == ["cat", "{u.csv}"]
    assert not Path(path).exists()
    assert SECRET.encode() not in everything_under(below)


def test_results_are_for_root_alone(below: Path) -> None:
    run(below, step="s1", commands=[{"argv": ["true"]}])
    state = below / "var/lib/releve/yunohost"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in state.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_what_takes_too_long_is_stopped_with_its_children(below: Path) -> None:
    number = f"62.{os.getpid()}"  # told from those of another run of this test
    commands = [{"argv": ["sh", "-c", f"sleep {number} & wait"]}, {"argv": ["echo", "no"]}]
    result = run(below, step="s1", commands=commands, timeout=0.5)
    assert (result["error"], len(result["commands"])) == ("timeout", 1)

    def gone() -> bool:
        left = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
        return f"sleep\0{number}\0".encode() not in left

    until(gone, 2)


def test_one_at_a_time(below: Path, tmp_path: Path) -> None:
    first = start(below, "run")
    script = f"touch {tmp_path}/begun; sleep 1.5"
    assert first.stdin is not None
    first.stdin.write(json.dumps({"step": "s1", "commands": [{"argv": ["sh", "-c", script]}]}))
    first.stdin.close()
    until((tmp_path / "begun").exists)
    assert run(below, step="s2", commands=[{"argv": ["true"]}], wait=0.2)["error"] == "busy"
    assert run(below, step="s3", commands=[{"argv": ["true"]}], wait=10)["error"] == ""
    assert first.wait() == 0


def test_a_wrong_request_says_nothing_of_its_content(below: Path) -> None:
    process = start(below, "run")
    out, err = process.communicate('{"step": "../x", "commands": [{"argv": ["' + SECRET)
    assert (process.returncode, out) == (64, "")
    assert SECRET not in err
    process = start(below, "run")
    process.communicate(json.dumps({"step": "../../x", "commands": [{"argv": ["true"]}]}))
    assert process.returncode == 64


def test_a_download_is_what_it_must_be_or_is_not_kept(below: Path, tmp_path: Path) -> None:
    source = tmp_path / "installer"
    source.write_text("echo hello\n")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    target = tmp_path / "in" / "installer"
    assert start(below, "fetch", source.as_uri(), "0" * 64, str(target)).wait() == 1
    assert not target.exists()
    assert start(below, "fetch", source.as_uri(), digest, str(target)).wait() == 0
    assert target.read_text() == "echo hello\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert start(below, "fetch", "file:///no/such", digest, str(target)).wait() == 1


def test_what_yunohost_logs_of_a_secret_is_blanked_and_nothing_else(below: Path) -> None:
    log = below / "var/log/yunohost/yunohost-cli.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"of long ago: {SECRET}\n")
    quoted = "it's Much-longer;44"
    # As a shell that traces itself repeats an answer: bare, and quoted.
    script = 'cat >> "$1"'
    shown = f"+ set '--value={SECRET}'\n+ set 'it'\\''s Much-longer;44'\nend\n"
    words = ["sh", "-c", f"{script} <<'E'\n{shown}E\n", "sh", str(log)]
    run(below, step="a", title="t", commands=[{"argv": words}], hide=[SECRET, quoted], timeout=10)
    stars = "*" * len(SECRET.encode()), "*" * (len(quoted) + 3)
    assert log.read_text() == (
        f"of long ago: {SECRET}\n+ set '--value={stars[0]}'\n+ set '{stars[1]}'\nend\n"
    )
