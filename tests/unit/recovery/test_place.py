"""What a rebuild is told of the new machine, judged before anything is sent or changed."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from backup.errors import BackupError
from backup.repository import of_host, protected
from inventories.model import Inventory
from recovery.errors import UsageError
from recovery.rebuild import new_place
from tests.unit.inventories.examples import SECOND, good
from tools import ssh

WORDS = {"host_key": None, "provider": None, "datacenter": None}


@pytest.fixture
def inventory() -> Inventory:
    document = good()
    document["services"] = {}
    return Inventory.model_validate(document)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"datacenter": "PAR"}, r"--datacenter \(GRA\)"),
        ({"provider": "Autre"}, r"--provider \(OVH\)"),
        ({"host_key": SECOND}, r"--host-key \(ssh-ed25519"),
    ],
)
def test_a_rebuild_that_goes_on_takes_the_word_of_the_inventory(
    inventory: Inventory, said: dict[str, str], named: str
) -> None:
    host = inventory.hosts["monts"]
    again = new_place(host, str(host.address), **WORDS)
    assert (again.provider, again.datacenter, again.host_key) == ("OVH", "GRA", host.host_key)
    same = {**WORDS, "datacenter": "GRA", "host_key": f"{host.host_key} root@monts"}
    assert new_place(host, str(host.address), **same).datacenter == "GRA"
    with pytest.raises(UsageError, match=named):
        new_place(host, str(host.address), **{**WORDS, **said})


def test_a_host_key_that_is_none_is_wrong_usage(inventory: Inventory) -> None:
    words = {**WORDS, "provider": "p", "datacenter": "d", "host_key": "garbage"}
    with pytest.raises(UsageError, match="--host-key 'garbage'"):
        new_place(inventory.hosts["monts"], "192.0.2.9", **words)


def test_unknown_hosts_and_hosts_without_copies_are_wrong_usage(inventory: Inventory) -> None:
    for look in (lambda: protected(inventory, ["toto"]), lambda: of_host(inventory, "vigie")):
        with pytest.raises(BackupError) as caught:
            look()
        assert caught.value.exit_code == 64


@pytest.fixture
def machine() -> Iterator[ssh.Target]:
    """A machine that shows a host key of its own, and lets nobody in."""
    server_key = paramiko.RSAKey.generate(2048)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    visitor, _ = listening.accept()
                except OSError:
                    return
                # Whoever does not like the key may be gone before the handshake is over.
                with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                    transport = paramiko.Transport(visitor)
                    transport.add_server_key(server_key)
                    transport.start_server(server=paramiko.ServerInterface())

        threading.Thread(target=serve, daemon=True).start()
        line = f"{server_key.get_name()} {server_key.get_base64()}"
        yield ssh.Target("monts", "127.0.0.1", line, port=listening.getsockname()[1])


def test_a_wrong_host_key_is_blamed_on_whoever_gave_it(machine: ssh.Target) -> None:
    other = paramiko.RSAKey.generate(2048)
    target = replace(machine, host_key=f"{other.get_name()} {other.get_base64()}")
    with pytest.raises(ssh.HostKeyError, match="than the inventory says"):
        ssh.connect(target, timeout=60)
    with pytest.raises(ssh.HostKeyError, match="than --host-key says: ssh-rsa"):
        ssh.connect(replace(target, told_by="--host-key"), timeout=60)


def test_a_machine_that_hangs_up_at_once_is_told_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        for look in (
            lambda: ssh.connect(ssh.Target("monts", "127.0.0.1", None, port=port)),
            lambda: ssh.scan("127.0.0.1", port),
        ):
            closing = threading.Thread(target=lambda: listening.accept()[0].close())
            closing.start()
            with pytest.raises(ssh.SshError, match="cannot be reached"):
                look()
            closing.join()
    assert not caplog.records


def test_somebody_without_a_key_is_told_so(
    machine: ssh.Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(ssh.RefusedKeyError, match=r"no private key here .* RELEVE_SSH_KEY=FILE$"):
        ssh.connect(machine, timeout=60)


def test_a_machine_without_a_network_says_so_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_way(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", no_way)
    with pytest.raises(ssh.SshError, match=r"reached: this machine has no way there\. Is its own"):
        ssh.connect(ssh.Target("monts", "192.0.2.1", None))
