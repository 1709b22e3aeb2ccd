"""The secrets beside an inventory: who opens them, who cannot and why, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from inventories import identity
from inventories.problems import InventoryError
from inventories.secrets import (
    MissingSecret,
    Secrets,
    SecretsError,
    resolve,
    secrets_file,
    standing,
)
from tools import age, ssh

PASSPHRASE = "pas $(sage) é"


def key(folder: Path, name: str, *options: str) -> str:
    file = folder / name
    subprocess.run(
        ["ssh-keygen", "-q", "-C", name, "-f", str(file), *options], check=True, timeout=60
    )
    return file.with_suffix(".pub").read_text().strip()


def write(folder: Path, **people: list[str]) -> Path:
    file = folder / "a.toml"
    lines = ["schema = 1"]
    for name, keys in people.items():
        listed = ", ".join(f'"{k}"' for k in keys)
        lines += [f"[people.{name}]", f'mail = "{name}@b.example"', f"keys = [{listed}]"]
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    import pyrage  # type: ignore[import-untyped]

    own = pyrage.x25519.Identity.generate()
    (folder / "age").write_text(f"# a comment\n{own}\n")
    return {
        "plain": key(folder, "plain", "-t", "ed25519", "-N", ""),
        "locked": key(folder, "locked", "-t", "ed25519", "-N", PASSPHRASE),
        "rsa": key(folder, "rsa", "-t", "rsa", "-b", "2048", "-N", PASSPHRASE),
        "pem": key(folder, "pem", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", PASSPHRASE),
        "ecdsa": key(folder, "ecdsa", "-t", "ecdsa", "-N", ""),
        "stranger": key(folder, "stranger", "-t", "ed25519", "-N", ""),
        "age": str(own.to_public()),
    }


@pytest.fixture
def passphrase(monkeypatch: pytest.MonkeyPatch) -> object:
    """Give a passphrase through a pipe, as a script would."""

    def give(text: str) -> None:
        identity._given.clear()
        identity._passphrase_from.cache_clear()
        reading, writing = os.pipe()
        os.write(writing, text.encode() + b"\n")
        os.close(writing)
        monkeypatch.setenv("RELEVE_PASSPHRASE_FD", str(reading))

    return give


@pytest.fixture
def filled(tmp_path: Path, folder: Path, keys: dict[str, str]) -> Path:
    file = write(tmp_path, one=[keys[k] for k in ("plain", "locked", "rsa", "pem", "age", "ecdsa")])
    opened = Secrets.open(file, folder / "plain")
    opened.set("host.monts.restic", "ü'\"\n\\")
    opened.save()
    return file


@pytest.mark.parametrize("name", ["plain", "age", "locked", "rsa", "pem"])
def test_each_kind_of_key_opens_them(filled: Path, folder: Path, passphrase, name: str) -> None:  # type: ignore[no-untyped-def]
    passphrase(PASSPHRASE)
    assert Secrets.open(filled, folder / name).get("host.monts.restic") == "ü'\"\n\\"


@pytest.mark.parametrize("name", ["locked", "rsa", "pem"])
def test_a_wrong_passphrase_is_said(filled: Path, folder: Path, passphrase, name: str) -> None:  # type: ignore[no-untyped-def]
    passphrase("wrong")
    with pytest.raises(age.WrongPassphrase, match="wrong passphrase for") as caught:
        Secrets.open(filled, folder / name)
    assert caught.value.exit_code == 77


def test_a_process_of_our_own_is_handed_what_was_given_once(
    folder: Path, passphrase: Callable[[str], None]
) -> None:
    passphrase(PASSPHRASE)
    name = str(folder / "locked")
    assert identity.ask_passphrase(name) == PASSPHRASE
    environment = dict(os.environ)
    ask = (
        "import sys; from inventories.identity import *; print(ascii(ask_passphrase(sys.argv[1])))"
    )
    with identity.handed_on(environment) as handed:
        said = subprocess.run(
            [sys.executable, "-c", ask, name], env=environment, pass_fds=handed,
            capture_output=True, text=True, timeout=60, start_new_session=True,
        )  # fmt: skip
    assert said.stdout.strip() == ascii(PASSPHRASE), said.stderr
    assert PASSPHRASE not in str(environment)


@pytest.mark.parametrize("given", ["hunter2", "-1", "9" * 30, "1000"])
def test_a_passphrase_that_cannot_be_had_is_told_and_what_was_given_is_not(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("RELEVE_PASSPHRASE_FD", given)
    with pytest.raises(age.AgeError, match="RELEVE_PASSPHRASE_FD is not the number") as told:
        identity.ask_passphrase("/k")
    assert given not in str(told.value)


def test_the_key_for_the_hosts_may_have_a_passphrase(folder: Path, keys: dict[str, str]) -> None:
    for name, protected in (("plain", False), ("locked", True), ("rsa", True), ("pem", True)):
        assert ssh.is_protected(folder / name) is protected, name
    opened = ssh.unlocked(folder / "locked", PASSPHRASE)
    assert f"{opened.get_name()} {opened.get_base64()}" == " ".join(keys["locked"].split()[:2])
    for wrong in ("wrong", ""):
        with pytest.raises(ssh.RefusedKeyError, match="wrong passphrase for the private key"):
            ssh.unlocked(folder / "locked", wrong)


def test_who_has_no_key_or_one_that_cannot_decrypt(filled: Path, folder: Path) -> None:
    for name, words in (
        ("stranger", "not among its readers"),
        ("ecdsa", "age cannot use ecdsa-sha2-nistp256 keys; make an age key"),
        ("plain.pub", "neither an age identity nor an SSH private key"),
        ("none", "is not there"),
    ):
        with pytest.raises(age.AgeError, match=words):
            Secrets.open(filled, folder / name)


def test_a_key_in_a_security_token_is_refused_with_what_to_do() -> None:
    # The outside of such a file, as OpenSSH's PROTOCOL.key and PROTOCOL.u2f describe it.
    import base64
    import struct

    def field(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data

    public = field(b"sk-ssh-ed25519@openssh.com") + field(b"x" * 32) + field(b"ssh:")
    blob = b"openssh-key-v1\0" + field(b"none") * 2 + field(b"") + struct.pack(">I", 1)
    body = base64.b64encode(blob + field(public))
    head, tail = (b"-----%s OPENSSH PRIVATE KEY-----\n" % w for w in (b"BEGIN", b"END"))
    with pytest.raises(age.UnusableKey, match=r"security token .*age-keygen"):
        age.read_private_key("id", head + body + b"\n" + tail)
    line = "sk-ssh-ed25519@openssh.com " + base64.b64encode(public).decode()
    assert "security token" in (age.why_unusable(line) or "")


def test_the_file_is_private_whole_and_holds_no_plain_text(filled: Path, folder: Path) -> None:
    file = secrets_file(filled)
    assert file.name == "a.secrets.age"
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"monts" not in file.read_bytes()
    assert sorted(p.name for p in file.parent.iterdir()) == ["a.secrets.age", "a.toml"]
    assert "ü" not in repr(Secrets.open(filled, folder / "plain"))


def test_damage_is_said_and_nothing_is_overwritten(filled: Path, folder: Path) -> None:
    file = secrets_file(filled)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(age.AgeError, match="does not open it"):
        Secrets.open(filled, folder / "plain")
    assert file.read_bytes() == data


def test_missing_and_resolved(filled: Path, folder: Path) -> None:
    opened = Secrets.open(filled, folder / "plain")
    assert resolve("plain text", opened) == "plain text"
    assert resolve("secret:host.monts.restic", opened) == "ü'\"\n\\"
    with pytest.raises(MissingSecret, match=r"releve secrets set .*a.toml ntfy"):
        resolve("secret:ntfy", opened)
    with pytest.raises(SecretsError, match="cannot be the name"):
        opened.set("../x", "y")


def test_when_people_change(filled: Path, folder: Path, keys: dict[str, str]) -> None:
    found = standing(filled)
    assert found is not None
    assert found.matches
    write(filled.parent, one=[keys["plain"]], two=[keys["stranger"]])
    found = standing(filled)
    assert found is not None
    assert ([r.person for r in found.missing], found.strangers) == (["two"], 4)
    Secrets.open(filled, folder / "plain").save()
    assert Secrets.open(filled, folder / "stranger").names() == ("host.monts.restic",)
    with pytest.raises(age.Locked):
        Secrets.open(filled, folder / "age")
    assert standing(filled).matches  # type: ignore[union-attr]


def test_nobody_who_could_decrypt_stops_the_writing(
    filled: Path, folder: Path, keys: dict[str, str]
) -> None:
    before = secrets_file(filled).read_bytes()
    opened = Secrets.open(filled, folder / "plain")
    write(filled.parent, one=[keys["ecdsa"]])
    opened.set("a", "b")
    with pytest.raises(age.UnusableKey, match="none of the people"):
        opened.save()
    filled.write_text("schema = 1\n[people.x]\nmail = 5\n")
    with pytest.raises(InventoryError):
        opened.save()
    assert secrets_file(filled).read_bytes() == before


def test_two_writers_lose_nothing(filled: Path, folder: Path) -> None:
    def add(number: int) -> None:
        opened = Secrets.open(filled, folder / "plain")
        opened.set(f"n{number}", str(number))
        barrier.wait()  # all have read before anybody writes
        opened.save()

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=add, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = Secrets.open(filled, folder / "plain").names()
    assert names == ("host.monts.restic", "n0", "n1", "n2", "n3")


def test_killed_while_writing_the_old_or_the_new_is_there(filled: Path, folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from inventories.secrets import Secrets\n"
        "s = Secrets.open(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print('on', flush=True)\n"
        "while True: s.set('a', 'b' * 100000); s.save()\n"
    )
    for delay in (0.01, 0.05, 0.1):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(filled), str(folder / "plain")],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()
        threading.Event().wait(delay)
        process.kill()
        process.wait()
        process.stdout.close()
        Secrets.open(filled, folder / "plain").get("host.monts.restic")
    Secrets.open(filled, folder / "plain").save()
    assert sorted(p.name for p in filled.parent.iterdir()) == ["a.secrets.age", "a.toml"]
