"""age: encrypting to people's public keys, decrypting with one of their private keys.

Pyrage does the work. It takes neither passphrase-protected SSH keys nor keys that live in a
security token: the former are decrypted here, in memory; the latter are refused with a reason.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Pyrage's own objects, which only pyrage looks into; it has no type hints, and is loaded when
# something is encrypted or decrypted, because a check needs neither.
Recipient = object
Identity = object

_USE_AGE = "make an age key with age-keygen and add its age1… line to the person's keys"


class AgeError(Exception):
    """Something cannot be encrypted or decrypted. The message says what, why and what to do."""

    exit_code = 77


class UnusableKey(AgeError):
    """A key that age cannot use, and why."""


class WrongPassphrase(AgeError):
    """The passphrase does not open the private key."""


class Locked(AgeError):
    """None of the identities opens the data."""


def tag(public_key: str) -> str:
    """Given an SSH public key line, return the tag by which an age header names it."""
    blob = base64.b64decode(public_key.split()[1])
    return base64.b64encode(hashlib.sha256(blob).digest()[:4]).decode().rstrip("=")


def why_unusable(public_key: str) -> str | None:
    """Given a public key line, return why nothing can be encrypted to it, or None if it can."""
    kind = public_key.split(maxsplit=1)[0] if public_key.strip() else ""
    if kind.startswith("sk-"):
        return f"keys in a security token cannot decrypt files: {_USE_AGE}"
    if kind.startswith("ecdsa-"):
        return f"age cannot encrypt to ECDSA keys: {_USE_AGE}"
    try:
        recipient(public_key)
    except UnusableKey as error:
        return str(error)
    return None


def recipient(public_key: str) -> Recipient:
    """Given an ssh-ed25519, ssh-rsa or age1… public key, return whom to encrypt to.

    Raise UnusableKey for anything else.
    """
    import pyrage  # type: ignore[import-untyped]

    try:
        if public_key.startswith("age1"):
            x25519: Recipient = pyrage.x25519.Recipient.from_str(public_key)
            return x25519
        if public_key.startswith(("ssh-ed25519 ", "ssh-rsa ")):
            ssh: Recipient = pyrage.ssh.Recipient.from_str(" ".join(public_key.split()[:2]))
            return ssh
    except pyrage.RecipientError as error:
        raise UnusableKey(f"not a valid public key: {error}") from None
    raise UnusableKey("only ssh-ed25519, ssh-rsa and age1… keys can be encrypted to")


def encrypt(data: bytes, public_keys: Sequence[str]) -> bytes:
    """Encrypt to every one of `public_keys`; any one of the private keys opens it."""
    import pyrage

    if not public_keys:
        raise UnusableKey("there is no key to encrypt to: nobody could ever decrypt it")
    return bytes(pyrage.encrypt(data, [recipient(key) for key in public_keys]))


def decrypt(data: bytes, identities: Sequence[Identity]) -> bytes:
    """Decrypt with whichever identity fits. Raise Locked when none does or data is damaged."""
    import pyrage

    try:
        return bytes(pyrage.decrypt(data, identities))
    except pyrage.DecryptError as error:
        raise Locked(str(error)) from None


@dataclass(frozen=True)
class Stanza:
    """One line of an age header: for which kind of key, and its tag if it is an SSH key."""

    kind: str
    tag: str | None


def stanzas(data: bytes) -> tuple[Stanza, ...]:
    """Given an age file, return to how many and which keys it is encrypted. Needs no key."""
    out = []
    for line in data.split(b"\n---", 1)[0].split(b"\n"):
        if match := re.fullmatch(rb"-> (ssh-ed25519|ssh-rsa|X25519) (\S+)(?: .*)?", line):
            kind = match[1].decode()
            out.append(Stanza(kind, None if kind == "X25519" else match[2].decode()))
    return tuple(out)


@dataclass(frozen=True)
class PrivateKey:
    """A private key as it lies in a file, not yet opened. `tag` is known for SSH keys only."""

    name: str  # for messages: the file's path
    data: bytes
    protected: bool
    tag: str | None = None


_MAGIC = b"openssh-key-v1\0"


def _openssh(name: str, data: bytes) -> PrivateKey:
    """Read the outside of an OpenSSH private key (PROTOCOL.key in OpenSSH's source)."""
    try:
        body = b"".join(data.strip().splitlines()[1:-1])
        blob = base64.b64decode(body, validate=True)
        if not blob.startswith(_MAGIC):
            raise ValueError("no openssh-key-v1")
        offset = len(_MAGIC)
        fields = []
        for part in range(4):  # cipher, kdf, kdf options, then the public key after a count
            if part == 3:
                offset += 4
            (length,) = struct.unpack_from(">I", blob, offset)
            fields.append(blob[offset + 4 : offset + 4 + length])
            offset += 4 + length
        public = fields[3]
        (length,) = struct.unpack_from(">I", public, 0)
        kind = public[4 : 4 + length].decode("ascii")
    except (ValueError, struct.error):
        raise UnusableKey(f"{name} is damaged: it is not a readable SSH private key") from None
    if kind.startswith("sk-"):
        raise UnusableKey(f"{name}: keys in a security token cannot decrypt files; {_USE_AGE}")
    if kind not in ("ssh-ed25519", "ssh-rsa"):
        raise UnusableKey(f"{name}: age cannot use {kind} keys; {_USE_AGE}")
    line = f"{kind} {base64.b64encode(public).decode()}"
    return PrivateKey(name, data, protected=fields[0] != b"none", tag=tag(line))


def read_private_key(name: str, data: bytes) -> PrivateKey:
    """Given the bytes of an age identity file or an SSH private key, say what it is.

    Raise UnusableKey for anything age cannot use.
    """
    start = data.lstrip()
    if start.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----"):
        return _openssh(name, start)
    if re.match(rb"-----BEGIN (RSA |ENCRYPTED )?PRIVATE KEY-----", start):
        locked = b"ENCRYPTED" in start
        return PrivateKey(name, start, protected=locked)
    if start.startswith(b"age-encryption.org/v1\n"):
        return PrivateKey(name, data, protected=True)
    if re.search(rb"^AGE-SECRET-KEY-1", data, re.MULTILINE):
        return PrivateKey(name, data, protected=False)
    if b"AGE-PLUGIN-" in data:
        raise UnusableKey(f"{name}: keys of age plugins cannot be used; {_USE_AGE}")
    raise UnusableKey(f"{name} is neither an age identity nor an SSH private key")


def unlock(key: PrivateKey, ask: Callable[[str], str]) -> tuple[Identity, ...]:
    """Open a private key. `ask(name)` gives its passphrase, only when it has one.

    Raise WrongPassphrase or UnusableKey. The opened key exists in memory only.
    """
    import pyrage

    passphrase = ask(key.name) if key.protected else None
    data = key.data
    wrong = WrongPassphrase(f"wrong passphrase for {key.name}: nothing was decrypted. Try again")
    if data.startswith(b"age-encryption.org/v1"):
        try:
            data = pyrage.passphrase.decrypt(data, passphrase or "")
        except pyrage.DecryptError:
            raise wrong from None
    if data.lstrip().startswith(b"-----BEGIN"):
        return (_ssh_identity(key, passphrase, wrong),)
    try:
        lines = (line.strip() for line in data.decode().splitlines())
        return tuple(
            pyrage.x25519.Identity.from_str(line) for line in lines if line[:1] not in ("", "#")
        )
    except (pyrage.IdentityError, UnicodeDecodeError) as error:
        raise UnusableKey(f"{key.name} is not a valid age identity: {error}") from None


def _ssh_identity(key: PrivateKey, passphrase: str | None, wrong: WrongPassphrase) -> Identity:
    import pyrage
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    data = key.data
    if key.protected or b"OPENSSH" not in data.split(b"\n", 1)[0]:
        secret = passphrase.encode() if passphrase is not None else None
        openssh = b"OPENSSH" in data.split(b"\n", 1)[0]
        load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
        try:
            opened = load(data, secret)
        except UnsupportedAlgorithm as error:
            raise UnusableKey(f"{key.name}: {error}") from None
        except (ValueError, TypeError):
            # Both libraries answer a wrong passphrase and damaged data in the same way.
            if key.protected:
                raise wrong from None
            raise UnusableKey(f"{key.name} is damaged: not a readable private key") from None
        data = opened.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    try:
        identity: Identity = pyrage.ssh.Identity.from_buffer(data)
    except pyrage.IdentityError as error:
        raise UnusableKey(f"{key.name}: {error}") from None
    return identity
