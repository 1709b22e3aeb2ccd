#!/usr/bin/python3 -IS
"""packages.py LOCK FOLDER: put what a package-lock.json names where it says, below FOLDER.

What `npm ci --ignore-scripts` would do, without npm: on Debian that is 400 packages, which take
longer to install than all of this. Each archive comes from the registry that npm would ask (the
one that this machine is told to use, else the one that Debian's package of npm names), and
counts only when it has the checksum of the lock. Nothing that is downloaded is run. FOLDER may hold
the package itself already (it has a package.json); otherwise it comes from the registry as well.
Ends with 1 and one line on stderr when anything is not as it must be.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import re
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

CONNECTIONS = 8
TIMEOUT = 60.0  # seconds without a byte
LARGEST = 200_000_000  # bytes of one archive, and of what is in it
_OPEN = "exec dpkg-deb --extract ./npm_*.deb npm"
_NAMED = re.compile(r"define\('registry',.{0,200}?default: ['`\"](https://[^'`\"]+)", re.DOTALL)
_UNREAD = re.compile(r"\.(?:map|md|markdown|d\.[cm]?ts)\Z", re.IGNORECASE)
_LICENCE = re.compile(r"licen[cs]e|copying|notice|authors", re.IGNORECASE)
_local = threading.local()
_asking = threading.Lock()


class NotThereError(Exception):
    """Says which package could not be had, and why."""


def registry(environment: Mapping[str, str], files: Iterable[str]) -> str | None:
    """The registry that this machine is told to use, None when nobody said. `files`: the texts of
    npmrc files, nearest first."""
    if named := environment.get("npm_config_registry"):
        return named
    for text in files:
        if match := re.search(r"^\s*registry\s*=\s*(\S+)\s*$", text, re.MULTILINE):
            return match[1]
    return None


def npms_own() -> str:
    """The registry that npm asks when nobody says another: what its package in Debian names. The
    package is fetched (0.7 MB) and not installed. Raise NotThereError."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            for argv in (["apt-get", "-q", "download", "npm"], ["sh", "-c", _OPEN]):
                subprocess.run(argv, cwd=folder, check=True, capture_output=True, timeout=TIMEOUT)
        except subprocess.SubprocessError as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
            raise NotThereError(
                "no registry of npm packages is named on this machine, and Debian's package of "
                f"npm, which names one, could not be had: {said or error}"
            ) from None
        for file in Path(folder, "npm").rglob("definitions.js"):
            if match := _NAMED.search(file.read_text(errors="replace")):
                return match[1]
    raise NotThereError("Debian's package of npm names no registry where it is looked for")


def wanted(lock: Mapping[str, Any], *, itself: bool) -> Iterator[tuple[str, str, str, str]]:
    """(place below the folder, name, version, checksum) of each archive that a lock names.
    Packages that lie in the archive of another (inBundle) come with it."""
    for place, one in lock["packages"].items():
        if one.get("inBundle") or (not place and not itself):
            continue
        if ".." in PurePosixPath(place).parts or place.startswith("/"):
            raise NotThereError(f"the lock wants a package at {place}")
        name = one.get("name") or place.rpartition("node_modules/")[2]
        if not one.get("integrity", "").startswith("sha512-"):
            raise NotThereError(f"{name}: the lock has no checksum for it")
        yield place, name, one["version"], base64.b64decode(one["integrity"][7:]).hex()


def commands(lock: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(link, target) below the folder: the programs of packages, as npm lays them into .bin."""
    for place, one in lock["packages"].items():
        folder, inside, _ = place.rpartition("node_modules/")
        for name, path in one.get("bin", {}).items() if inside else ():
            if "/" in name or name.startswith(".") or ".." in PurePosixPath(path).parts:
                raise NotThereError(f"the lock wants a command {name} at {path}")
            yield f"{folder}node_modules/.bin/{name}", f"{place}/{path}"


def address(base: str, name: str, version: str) -> str:
    """Where a registry keeps the archive."""
    return f"{base.rstrip('/')}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"


def download(url: str) -> bytes:
    """What lies there. One connection for each thread, through a proxy if there is one."""
    parts = urllib.parse.urlsplit(url)
    for attempt in (1, 2):
        connection = getattr(_local, "connection", None) or _connect(parts)
        _local.connection = connection
        try:
            connection.request("GET", parts.path, headers={"Host": parts.netloc})
            answer = connection.getresponse()
            data: bytes = answer.read(LARGEST + 1)
        except (OSError, http.client.HTTPException):
            connection.close()
            _local.connection = None
            if attempt == 2:
                raise
            continue
        if answer.status != 200 or len(data) > LARGEST:
            raise NotThereError(f"{url} answered {answer.status}, {len(data)} bytes")
        return data
    raise AssertionError


def _connect(parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and urllib.request.proxy_bypass(parts.hostname or ""):
        proxy = None
    if parts.scheme not in ("https", "http") or (proxy and parts.scheme == "http"):
        raise NotThereError(f"{parts.scheme}://{parts.netloc} is no registry that can be asked")
    at = parts if not proxy else urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    if parts.scheme == "http":
        return http.client.HTTPConnection(at.hostname or "", at.port, timeout=TIMEOUT)
    context = ssl.create_default_context()
    made = http.client.HTTPSConnection(at.hostname or "", at.port, timeout=TIMEOUT, context=context)
    if proxy:
        made.set_tunnel(parts.hostname or "", parts.port or 443)
    return made


def archive(where: Callable[[], str], digest: str, below: Path | None) -> bytes:
    """The archive with this SHA-512 (hexadecimal), kept in the folder `below` if there is one.
    `where` says its address, and is asked only when it is not there yet."""
    kept = below / digest if below else None
    if kept and kept.exists():
        data = kept.read_bytes()
        if hashlib.sha512(data).hexdigest() == digest:
            return data
    url = where()
    data = download(url)
    if hashlib.sha512(data).hexdigest() != digest:
        raise NotThereError(f"{url} is not what the lock expects: its checksum is another")
    if kept:
        new = kept.with_name(uuid.uuid4().hex)
        new.write_bytes(data)
        new.rename(kept)
    return data


def unpack(data: bytes, folder: Path, *, lean: bool) -> None:
    """Write the files of a package's archive below `folder`, without the folder that all of them
    lie in. Links and devices are left out, as npm leaves them out; if `lean`, what only developers
    read as well."""
    left = LARGEST
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as files:
        for file in files:
            parts = PurePosixPath(file.name).parts[1:]
            if not file.isreg() or not parts or (lean and _for_developers(parts[-1])):
                continue
            left -= file.size
            if ".." in parts or file.name.startswith("/") or left < 0:
                raise NotThereError(f"{folder}: its archive holds {file.name!r}")
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = files.extractfile(file)
            target.write_bytes(content.read() if content else b"")
            if file.mode & 0o100:
                target.chmod(0o755)


def _for_developers(name: str) -> bool:
    """Whether nothing that runs reads a file of this name: a third of all files, each of which
    would be in every copy and come back with each restore. Licences stay."""
    return bool(_UNREAD.search(name)) and not _LICENCE.search(name)


def main(lock_file: str, below: str) -> int:
    """Do it all. Return the exit code."""
    folder = Path(below)
    texts = [f.read_text() for f in (Path.home() / ".npmrc", Path("/etc/npmrc")) if f.exists()]
    folder_of_npm = os.environ.get("npm_config_cache")  # noqa: SIM112 - as npm spells it
    kept = Path(folder_of_npm) / "releve" if folder_of_npm else None
    if kept:
        kept.mkdir(parents=True, exist_ok=True)

    @cache
    def base() -> str:
        return registry(os.environ, texts) or npms_own()

    def bring(one: tuple[str, str, str, str]) -> None:
        place, name, version, digest = one

        def where() -> str:
            with _asking:  # who is first finds out for all
                return address(base(), name, version)

        try:
            unpack(archive(where, digest, kept), folder / place, lean=bool(place))
        except (OSError, http.client.HTTPException, tarfile.TarError, EOFError) as error:
            raise NotThereError(f"{name} {version} could not be had: {error}") from error

    try:
        lock = json.loads(Path(lock_file).read_text())
        todo = list(wanted(lock, itself=not (folder / "package.json").exists()))
        with ThreadPoolExecutor(CONNECTIONS) as several:
            try:
                for _ in several.map(bring, todo):
                    pass
            except BaseException:
                several.shutdown(cancel_futures=True)
                raise
        for link, target in commands(lock):
            (folder / target).chmod(0o755)
            (folder / link).parent.mkdir(parents=True, exist_ok=True)
            (folder / link).unlink(missing_ok=True)
            (folder / link).symlink_to(os.path.relpath(folder / target, (folder / link).parent))
    except (NotThereError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
