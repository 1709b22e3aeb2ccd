"""The fact cache: what may be answered from memory, and until when."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyinfra.api.command import StringCommand
from pyinfra.api.config import Config
from pyinfra.api.exceptions import InventoryError
from pyinfra.api.state import StateStage

from deploy.connector import ReleveConnector, groups_of
from inventories.model import Inventory
from tools.shell import BusyError
from tools.ssh import Result, SshError


class LocalShell:
    """Runs lines in a shell of this machine, where a host's root shell would be."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def run(self, line: str, *, timeout: float) -> Result:
        self.lines.append(line)
        done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=timeout, check=False)
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def connector() -> ReleveConnector:
    state = SimpleNamespace(current_stage=StateStage.Prepare, config=Config())  # type: ignore[no-untyped-call]
    host = SimpleNamespace(name="box", connector_data={}, data=SimpleNamespace(get=lambda *_: None))
    made = ReleveConnector(cast(Any, state), cast(Any, host))
    made._shell = cast(Any, LocalShell())
    return made


def ask(connector: ReleveConnector, line: str) -> str:
    done, output = connector.run_shell_command(StringCommand(line))
    assert done
    return output.stdout


def test_what_was_asked_while_preparing_is_answered_from_memory(
    connector: ReleveConnector, tmp_path: Path
) -> None:
    fact = tmp_path / "fact"
    fact.write_text("old")
    assert ask(connector, f"cat {fact}") == "old"
    connector.state.current_stage = StateStage.Execute
    fact.write_text("new")  # behind our back: what the host's lock is for
    assert ask(connector, f"cat {fact}") == "old"
    assert len(cast(LocalShell, connector.shell).lines) == 1


def test_any_command_not_seen_before_drops_all_of_the_memory_for_good(
    connector: ReleveConnector, tmp_path: Path
) -> None:
    fact = tmp_path / "fact"
    fact.write_text("old")
    ask(connector, f"cat {fact}")
    connector.state.current_stage = StateStage.Execute
    ask(connector, f"printf new > {fact}")
    assert ask(connector, f"cat {fact}") == "new"
    ask(connector, f"printf newer > {fact}")
    assert ask(connector, f"cat {fact}") == "newer"


def test_writing_a_file_drops_the_memory(connector: ReleveConnector) -> None:
    assert ask(connector, "echo 1") == "1"
    connector.state.current_stage = StateStage.Execute
    connector._connection = cast(Any, SimpleNamespace(run=lambda *_, **__: None))
    connector.place("/x", b"")
    ask(connector, "echo 1")
    assert len(cast(LocalShell, connector.shell).lines) == 2


class Sessions:
    """Stands where SSH sessions are opened: the first `lost` commands lose theirs."""

    def __init__(self, lost: int) -> None:
        self.lost, self.sent, self.locks = lost, list[tuple[Any, bytes]](), list[Any]()

    def open(self, _target: Any) -> Any:
        return SimpleNamespace(run=self.run, close=lambda: None)

    def shell(self, _connection: Any) -> Any:
        return SimpleNamespace(
            lock=None, close=lambda: None, take_lock=lambda *lock: self.locks.append(lock)
        )

    def run(self, argv: Any, *, stdin: bytes, **_: Any) -> Result:
        self.sent.append((argv, stdin))
        if len(self.sent) <= self.lost:
            raise SshError("box: the session was lost")
        return Result(0, b"result", b"")


def test_a_session_that_is_lost_is_replaced_and_the_same_is_asked_again(
    connector: ReleveConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(lost=2)
    monkeypatch.setattr("deploy.connector.connect", sessions.open)
    monkeypatch.setattr("deploy.connector.Shell", sessions.shell)
    monkeypatch.setattr("deploy.connector.ssh_target", lambda _host: None)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(ReleveConnector, "releve_host", None)
    connector._connection = sessions.open(None)
    connector._shell = cast(
        Any, SimpleNamespace(lock=("/lock", {"verb": "deploy"}), close=lambda: 0)
    )
    result = connector.outlast(("ynh", "run"), b"request", timeout=60)
    assert result.stdout == b"result"
    assert sessions.sent == [(("ynh", "run"), b"request")] * 3
    # The lock of the session that was lost is taken again before anything is asked.
    assert sessions.locks[0] == ("/lock", {"verb": "deploy"})


def test_a_lock_that_somebody_took_meanwhile_ends_it(
    connector: ReleveConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(lost=1)

    def taken(*_: Any) -> None:
        raise BusyError("box", "/lock", {"verb": "backup"})

    monkeypatch.setattr("deploy.connector.connect", sessions.open)
    monkeypatch.setattr(
        "deploy.connector.Shell",
        lambda _: SimpleNamespace(lock=None, close=lambda: None, take_lock=taken),
    )
    monkeypatch.setattr("deploy.connector.ssh_target", lambda _host: None)
    monkeypatch.setattr("deploy.connector.RECONNECT", 0.0)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(ReleveConnector, "releve_host", None)
    connector._connection = sessions.open(None)
    connector._shell = cast(Any, SimpleNamespace(lock=("/lock", {}), close=lambda: 0))
    with pytest.raises(ConnectionError, match="backup has held its lock"):
        connector.outlast(("ynh", "run"), b"request", timeout=60)
    assert len(sessions.sent) == 1


def test_root_needs_no_sudo_and_another_user_none_either(connector: ReleveConnector) -> None:
    connector.run_shell_command(StringCommand("true"), _sudo=True)
    connector.run_shell_command(StringCommand("true"), _sudo=True, _sudo_user="www-data")
    lines = cast(LocalShell, connector.shell).lines
    assert not any("sudo" in line for line in lines)
    assert "su " in lines[1]
    assert "www-data" in lines[1]


def test_output_is_lines_of_each_stream_and_success_is_the_exit_code(
    connector: ReleveConnector,
) -> None:
    done, output = connector.run_shell_command(
        StringCommand("printf 'a\\n\\nb'; printf '\\377' >&2; exit 3")
    )
    assert not done
    assert output.stdout_lines == ["a", "", "b"]
    assert output.stderr_lines == ["\ufffd"]
    done, _ = connector.run_shell_command(StringCommand("exit 3"), _success_exit_codes=[3])
    assert done


def test_a_question_without_an_answer_is_known_by_its_words(connector: ReleveConnector) -> None:
    ask(connector, "true")
    assert "releve_error" not in connector.host.connector_data
    connector.run_shell_command(StringCommand("echo broken >&2; exit 7 #", "x" * 500))
    said = connector.host.connector_data["releve_error"]
    assert said.startswith("sh -c 'echo broken >&2; exit 7 # xxx")
    assert said.endswith(" ended with code 7: broken")
    assert len(said) < 300
    # What an operation runs tells its error itself.
    connector.host.connector_data.clear()
    connector.state.current_stage = StateStage.Execute
    connector.run_shell_command(StringCommand("exit 7"))
    assert "releve_error" not in connector.host.connector_data


def test_each_host_of_the_inventory_is_one_of_pyinfras() -> None:
    hosts = {
        name: (data, groups)
        for name, data, groups in ReleveConnector.make_names_data("inventories/lab.toml")
    }
    assert list(hosts) == ["monts", "coffre", "vigie"]
    data, groups = hosts["monts"]
    assert Path(data["releve_inventory"]) == Path("inventories/lab.toml").resolve()
    assert (data["releve_host"], data["ssh_hostname"], data["ssh_user"]) == (
        "monts", "198.51.100.10", "root"
    )  # fmt: skip
    assert {"wordpress", "site", "debian", "datacenter-gra"} <= set(groups)
    with pytest.raises(InventoryError, match="@releve/PATH"):
        list(ReleveConnector.make_names_data(""))


def test_an_inventory_that_is_none_is_told_in_pyinfras_way(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("schema = 1\n")
    with pytest.raises(InventoryError, match="organisation"):
        list(ReleveConnector.make_names_data(str(file)))


def test_groups_are_what_an_admin_would_limit_to() -> None:
    inventory = Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "x", "contact": "x@example.org"},
            "hosts": {
                "a": {"platform": "debian", "address": "192.0.2.1", "provider": "p",
                      "datacenter": "Gravelines 1", "roles": ["watch"]},
            },
            "services": {"a": {"role": "etherpad", "host": "a", "url": "https://b.example"},
                         "site": {"role": "wordpress", "host": "a", "url": "https://a.example"}},
        }
    )  # fmt: skip
    groups = groups_of(inventory.hosts["a"], inventory)
    # Not "a", the service: pyinfra would take it for the host of that name somewhere else.
    assert groups == ["watch", "etherpad", "wordpress", "site", "debian", "datacenter-gravelines-1"]
