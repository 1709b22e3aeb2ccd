"""Keys of restic repositories that open at once.

restic makes opening a repository cost half a second of a processor, so that passwords cannot be
guessed. Tests open them by the hundred, and have nothing to hide: what opens is made cheap, and
all else of the repository stays as restic made it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.poly1305 import Poly1305

from inventories.model import Inventory
from inventories.secrets import Secrets
from lab import Lab

_CHEAP = {"N": 2, "r": 1, "p": 1}
_CLAMP = int("0ffffffc0ffffffc0ffffffc0fffffff", 16)


def cheapen(repository: Path, password: str) -> None:
    """Make the one key of a repository in a folder cheap. Raise ValueError: it is not opened."""
    (file,) = (repository / "keys").iterdir()
    made = cheap(file.read_text(), (password,))
    (file.parent / _name(made)).write_text(made)
    file.unlink()


def cheapen_on(lab: Lab, inventory: Inventory, *hosts: str) -> None:
    """Make all keys cheap, the host's and the operators', of these hosts' repositories in a lab."""
    secrets = Secrets.open(lab.inventory_file, lab.key_file)
    for name in hosts:
        keeper = inventory.repositories[inventory.hosts[name].repository or ""].host or ""
        look = f"for f in /srv/releve/*/*/{name}/keys/*; do echo $f; cat $f; echo; done"
        lines = lab.run(keeper, ("sh", "-c", look)).stdout.decode().split("\n")
        passwords = [secrets.get(f"host.{name}.{whose}") for whose in ("restic", "recovery")]
        for file, key in zip(lines[::2], lines[1::2], strict=False):
            made = cheap(key, passwords)
            there = str(Path(file).with_name(_name(made)))
            script = 'cp -p "$1" "$2" && chmod u+w "$2" && cat > "$2" && rm -f "$1"'
            lab.run(keeper, ("sh", "-c", script, "sh", file, there), stdin=made.encode())


def cheap(key: str, passwords: Iterable[str]) -> str:
    """A key file for the same password, one of these, that opens at once. Raise ValueError: none
    of them opens it.

    The format is that of restic's design document ("Keys, Encryption and MAC").
    """
    content: dict[str, Any] = json.loads(key)
    for password in passwords:
        if (master := _open(content, password)) is not None:
            break
    else:
        raise ValueError("no password opens this key")
    salt = os.urandom(64)
    content |= {**_CHEAP, "salt": base64.b64encode(salt).decode()}
    content["data"] = base64.b64encode(_seal(_derive(content, password), master)).decode()
    return json.dumps(content)


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _derive(key: dict[str, Any], password: str) -> bytes:
    """32 bytes to encrypt with, 16 and 16 to authenticate with."""
    n, r, p = (int(key[name]) for name in "Nrp")
    salt = base64.b64decode(key["salt"])
    return Scrypt(salt=salt, length=64, n=n, r=r, p=p).derive(password.encode())


def _open(key: dict[str, Any], password: str) -> bytes | None:
    derived, data = _derive(key, password), base64.b64decode(key["data"])
    nonce, text, tag = data[:16], data[16:-16], data[-16:]
    return _crypt(derived, nonce, text) if _tag(derived, nonce, text) == tag else None


def _seal(derived: bytes, text: bytes) -> bytes:
    nonce = os.urandom(16)
    sealed = _crypt(derived, nonce, text)
    return nonce + sealed + _tag(derived, nonce, sealed)


def _crypt(derived: bytes, nonce: bytes, text: bytes) -> bytes:
    one = Cipher(algorithms.AES(derived[:32]), modes.CTR(nonce)).encryptor()
    return one.update(text) + one.finalize()


def _tag(derived: bytes, nonce: bytes, text: bytes) -> bytes:
    """Poly1305-AES."""
    one = Cipher(algorithms.AES(derived[32:48]), modes.ECB()).encryptor()  # noqa: S305 - one block
    r = int.from_bytes(derived[48:64], "little") & _CLAMP
    return Poly1305.generate_tag(r.to_bytes(16, "little") + one.update(nonce), text)
