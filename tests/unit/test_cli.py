"""The `releve` command: exit codes, clear messages, and what it does not load."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import click
import pytest

from cli.main import VERBS, Verbs, explain
from inventories.problems import InventoryError, Problem
from tests.unit.inventories.examples import GOOD
from tools.ssh import RefusedKeyError, SshError


def releve(*words: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    file = tmp_path / "a.toml"
    file.write_text(GOOD)
    return file


@pytest.mark.parametrize(
    "words",
    [("nonsense",), ("validate",), ("validate", "--nonsense", "x"), ("secrets", "set"), ("--bad",)],
)
def test_wrong_usage_is_64_everywhere(words: tuple[str, ...]) -> None:
    done = releve(*words)
    assert done.returncode == 64
    assert done.stderr.startswith("Usage: releve")
    assert "--help" in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_the_output_is_told_as_such(inventory: Path, unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "validate", str(inventory)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr.startswith("releve: what this prints cannot be written where the output go")
    assert done.stderr.count("No space left") == done.stderr.count("\n") == 1


def test_a_full_disk_elsewhere_is_not_taken_for_the_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, message = explain(OSError(errno.ENOSPC, "No space left on device"))
    assert (code, message.startswith("releve: a file of this machine")) == (1, True)
    named = OSError(errno.ENOSPC, "No space left on device", "/srv/x")
    assert explain(named)[1] == "releve: /srv/x: No space left on device"


def test_help_names_every_verb() -> None:
    done = releve("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


def test_every_verb_of_the_table_is_a_command() -> None:
    group = Verbs()
    for verb in VERBS:
        command = group.get_command(click.Context(group), verb)
        assert command is not None, verb
        assert command.name == verb


def test_what_is_not_asked_for_is_not_loaded(inventory: Path) -> None:
    script = (
        "import sys; from cli.main import main\n"
        "try: main(['validate', sys.argv[1]])\n"
        "finally: print(sorted({m.split('.')[0] for m in sys.modules}"
        " & {'pyinfra', 'gevent', 'paramiko', 'apprise', 'rich', 'pyrage', 'deploy', 'lab'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(inventory)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "['pyrage']", done.stdout  # judges people's keys


def test_validate_says_all_and_needs_no_key(inventory: Path) -> None:
    assert releve("validate", str(inventory)).returncode == 0
    inventory.write_text(
        GOOD.replace('"debian"', '"debain"', 1).replace('role = "wordpress"', 'role = "wp"')
    )
    done = releve("validate", str(inventory))
    assert done.returncode == 64
    assert "hosts.monts.platform" in done.stdout
    assert "services.site.role" in done.stdout
    assert "cannot be used (2 errors)" in done.stdout
    said = json.loads(releve("validate", "--format", "json", str(inventory)).stdout)
    assert [p["path"] for p in said["problems"]] == ["hosts.monts.platform", "services.site.role"]
    assert said["ok"] is False
    assert all(p["line"] and p["remedy"] for p in said["problems"])


def test_validate_refuses_what_is_unwise(inventory: Path) -> None:
    inventory.write_text(GOOD.replace('"NTE"', '"GRA"'))
    done = releve("validate", str(inventory))
    assert done.returncode == 64
    assert "error [repository-place] hosts.monts.repository" in done.stdout
    for words in ((), ("--yes",)):
        refused = releve("deploy", *words, str(inventory))
        assert refused.returncode == 64
        assert done.stdout.splitlines()[0] in refused.stderr
    line = next(n for n, t in enumerate(GOOD.splitlines(), 1) if t.startswith("repository = "))
    assert done.stdout.startswith(f"{inventory}:{line}: error [repository-place]")
    inventory.write_text(GOOD.replace('datacenter = "PAR"', 'datacenter = "GRA"'))
    done = releve("validate", str(inventory))
    assert done.returncode == 0
    assert "warning [watch-place]" in done.stdout


def test_secrets_from_first_to_last(tmp_path: Path) -> None:
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    file = tmp_path / "a.toml"
    public = key.with_suffix(".pub").read_text().strip()
    file.write_text(f'[people.me]\nmail = "me@b.example"\nkeys = ["{public}"]\n')
    mine = {"RELEVE_IDENTITY": str(key)}
    assert releve("secrets", "set", str(file), "ntfy", stdin="s3cret\n", **mine).returncode == 0
    editor = tmp_path / "editor"
    editor.write_text(
        '#!/bin/sh\nstat -f -c %T "$1" >&2; stat -c %a "$1" >&2\nsed -i s/s3cret/n3w/ "$1"\n'
    )
    editor.chmod(0o755)
    done = releve("secrets", "edit", str(file), EDITOR=str(editor), VISUAL="", **mine)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[:2] == ["tmpfs", "600"]
    assert "n3w" not in done.stdout + done.stderr
    seen = tmp_path / "seen"
    editor.write_text(f'#!/bin/sh\ncp "$1" {seen}\nprintf "broken = [" > "$1"\n')
    done = releve("secrets", "edit", str(file), EDITOR=str(editor), VISUAL="", **mine)
    assert done.returncode == 1
    assert "is not TOML" in done.stderr
    assert "nothing was changed" in done.stderr
    assert 'ntfy = "n3w"' in seen.read_text()
    done = releve("secrets", "recipients", str(file), RELEVE_IDENTITY="/nonexistent")
    assert done.returncode == 0
    assert "me: ssh-ed25519" in done.stdout
    assert "can decrypt" in done.stdout
    assert releve("secrets", "rekey", str(file), **mine).returncode == 0
    done = releve("secrets", "rekey", str(file), RELEVE_IDENTITY="/nonexistent")
    assert done.returncode == 77
    assert done.stderr.startswith("releve: /nonexistent is not there")


def test_a_wrong_passphrase_is_77_and_nothing_is_changed(inventory: Path) -> None:
    folder = inventory.parent
    key = folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "right", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    inventory.write_text(
        inventory.read_text() + f'[people.me]\nmail = "me@b.example"\nkeys = ["{public}"]\n'
    )

    def told(passphrase: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        given = folder / "passphrase"
        given.write_text(passphrase)
        with given.open() as file:
            return subprocess.run(
                [sys.executable, "-m", "cli.main", *words],
                env={**os.environ, "RELEVE_PASSPHRASE_FD": str(file.fileno()), **env},
                pass_fds=[file.fileno()], capture_output=True, text=True, timeout=60,
                input="value\n", start_new_session=True,
            )  # fmt: skip

    mine = {"RELEVE_IDENTITY": str(key)}
    change = ("secrets", "set", str(inventory), "ntfy")
    assert told("right", *change, **mine).returncode == 0
    kept = (folder / "a.secrets.age").read_bytes()
    done = told("wrong", *change, **mine)
    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr.startswith("releve: wrong passphrase for ")
    assert (folder / "a.secrets.age").read_bytes() == kept
    # The key for the hosts: nobody was asked anything, so that nobody cannot be reached.
    for verb in (("backup", "run"), ("plan",), ("check",)):
        words = (*verb, str(inventory))
        done = told("wrong", *words, RELEVE_SSH_KEY=str(key), **mine)
        assert done.returncode == 77, done.stderr
        assert "wrong passphrase for " in done.stderr
        assert "reached" not in done.stderr


UNSAVED = """
schema = 1
[organisation]
name = "A"
contact = "a@b.example"
[people.me]
mail = "me@b.example"
[hosts.alone]
platform = "debian"
address = "127.0.0.1"
provider = "P"
datacenter = "D"
[services.site]
role = "wordpress"
host = "alone"
url = "https://b.example"
"""


def test_what_no_copy_is_made_of_is_told_by_whoever_saves_everything(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(UNSAVED)
    done = releve("backup", "run", str(file))
    assert done.returncode == 1
    assert "[no-repository] hosts.alone: has services and no repository" in done.stderr
    known = '[[acknowledge]]\nrule = "no-repository"\nby = "me"\nreason = "A trial"\n'
    file.write_text(f"{UNSAVED}{known}date = {date.today()}\n")
    done = releve("backup", "run", str(file))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_host_that_errs_stops_no_other_and_the_worst_counts() -> None:
    from backup.errors import BackupError, BusyError
    from cli.backup import _each

    def outcome(*ends: Exception | bool) -> int:
        left = dict(enumerate(ends))

        def work(name: str) -> bool:
            end = left.pop(int(name))
            if isinstance(end, Exception):
                raise end
            return end

        code = _each([str(n) for n in range(len(ends))], work)
        assert not left
        return code

    busy, lost, refused = BusyError("x"), SshError("x"), RefusedKeyError("x")
    assert outcome(True, True) == 0
    assert outcome(busy, True) == 75
    assert outcome(busy, lost, True) == 69
    assert outcome(busy, lost, refused) == 77
    assert outcome(refused, busy, BackupError("x"), lost) == 1
    assert outcome(lost, False) == 1


def test_known_errors_are_one_message_and_a_code() -> None:
    wrong = InventoryError(Path("a.toml"), [Problem("hosts.x", "is wrong", "Mend it", 3)])
    assert explain(wrong) == (64, "releve: a.toml:3: hosts.x: is wrong. Mend it.")
    assert explain(SshError("monts cannot be reached")) == (69, "releve: monts cannot be reached")
    assert explain(RefusedKeyError("wrong passphrase")) == (77, "releve: wrong passphrase")
    assert explain(PermissionError(13, "Permission denied", "/x"))[0] == 77
    assert explain(FileNotFoundError(2, "No such file", "/x")) == (1, "releve: /x: No such file")
    assert explain(KeyError("x"))[0] == 1
    assert explain(click.Abort())[0] == 130


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        (signal.SIGINT, 130, "stopped by Ctrl-C. Run it again"),
        (signal.SIGTERM, -signal.SIGTERM, "stopped by SIGTERM. Run it again"),
    ],
)
def test_whoever_stops_it_is_told_how_to_go_on(
    tmp_path: Path, sent: signal.Signals, code: int, words: str
) -> None:
    pipe = tmp_path / "a.toml"
    os.mkfifo(pipe)  # reading it waits for a writer that never comes
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "validate", str(pipe)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            # Nobody can write before somebody reads.
            writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    for _ in range(12):
        # One that comes just before Python begins to read is seen only when the reading ends.
        time.sleep(0.3)
        process.send_signal(sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, said = process.communicate(timeout=5)
            break
    os.close(writer)
    assert process.returncode == code
    assert said.strip().startswith(f"releve: {words}")
    assert "Traceback" not in said
