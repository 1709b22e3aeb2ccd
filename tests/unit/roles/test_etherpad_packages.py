"""Etherpad's code is brought without npm: what the lock names, byte for byte, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from roles.etherpad.settings import EtherpadSettings

MAIN = Path(__file__).resolve().parents[3]
PROGRAM = MAIN / "roles/etherpad/files/packages.py"


def tarball(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            one = tarfile.TarInfo(f"package/{name}")
            one.size, one.mode = len(text), 0o755 if name.startswith("run") else 0o644
            tar.addfile(one, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(link)
    return out.getvalue()


PAD, PART = tarball(run="pad", **{"package.json": "{}"}), tarball(**{"deep/part.js": "part"})


class Registry:
    """What it serves by path, and what it was asked for."""

    def __init__(self) -> None:
        self.served = {"/x/pad/-/pad-1.0.0.tgz": PAD, "/x/@a/part/-/part-2.0.0.tgz": PART}
        self.asked: list[str] = []
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry.asked.append(self.path)
                data = registry.served.get(self.path, b"")
                self.send_response(200 if data else 404)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def digest(data: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}"


def lock(part: bytes = PART, place: str = "node_modules/@a/part", **more: object) -> str:
    def entry(data: bytes, version: str) -> dict[str, object]:
        return {"version": version, "integrity": digest(data)}

    within = {"version": "3.0.0", "inBundle": True}
    return json.dumps(
        {
            "packages": {
                "": {"name": "pad", **entry(PAD, "1.0.0")},
                place: {**entry(part, "2.0.0"), **more},
                "node_modules/@a/part/node_modules/within": within,
            }
        }
    )


def bring(registry: Registry, tmp_path: Path, text: str, code: int = 0, **more: str | None) -> str:
    file = tmp_path / "lock.json"
    file.write_text(text)
    (tmp_path / "src").mkdir(exist_ok=True)
    port = registry.server.server_address[1]
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "no_proxy": "*",
        "npm_config_registry": f"http://127.0.0.1:{port}/x/",
        "npm_config_cache": str(tmp_path / "cache"), **more,
    }  # fmt: skip
    environment = {name: text for name, text in environment.items() if text is not None}
    argv = [sys.executable, "-IS", str(PROGRAM), str(file), str(tmp_path / "src")]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def test_everything_is_where_the_lock_says_without_links(
    registry: Registry, tmp_path: Path
) -> None:
    bring(registry, tmp_path, lock())
    src = tmp_path / "src"
    assert files(src) == {"run", "package.json", "node_modules/@a/part/deep/part.js"}
    assert os.access(src / "run", os.X_OK)
    assert not os.access(src / "package.json", os.X_OK)


def test_of_a_package_that_is_needed_only_what_runs_is_kept(
    registry: Registry, tmp_path: Path
) -> None:
    names = ("part.js", "part.js.map", "part.d.ts", "part.d.mts", "README.md", "LICENSE.md", "a.ts")
    full = tarball(**{f"lib/{name}": name for name in names})
    registry.served["/x/@a/part/-/part-2.0.0.tgz"] = full
    own = tarball(**{"notes.md": "", "package.json": ""})
    registry.served["/x/pad/-/pad-1.0.0.tgz"] = own
    text = lock(full)
    bring(registry, tmp_path, text.replace(digest(PAD), digest(own)))
    kept = {f"node_modules/@a/part/lib/{name}" for name in ("part.js", "LICENSE.md", "a.ts")}
    assert files(tmp_path / "src") == {"notes.md", "package.json", *kept}


def test_commands_of_packages_are_where_npm_would_lay_them(
    registry: Registry, tmp_path: Path
) -> None:
    bring(registry, tmp_path, lock(bin={"part": "deep/part.js"}))
    command = tmp_path / "src/node_modules/.bin/part"
    assert str(command.readlink()) == "../@a/part/deep/part.js"
    assert os.access(command, os.X_OK)


def test_a_package_that_is_there_and_what_is_cached_are_not_fetched(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/package.json").write_text("{}")
    bring(registry, tmp_path, lock())
    assert registry.asked == ["/x/@a/part/-/part-2.0.0.tgz"]
    (kept,) = (tmp_path / "cache/releve").iterdir()
    bring(registry, tmp_path, lock())
    assert len(registry.asked) == 1
    kept.write_bytes(b"damaged")
    bring(registry, tmp_path, lock())
    assert len(registry.asked) == 2
    assert kept.read_bytes() == PART


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (lock(b"another"), "its checksum is another"),
        (lock(version="2.0.1"), "answered 404"),
        (lock(integrity="sha1-x"), "no checksum"),
        (lock(place="node_modules/../../../out"), "wants a package at"),
        (lock(place="/out"), "wants a package at"),
        (lock(bin={"../../../out": "deep/part.js"}), "wants a command"),
        (lock(bin={"part": "../../../../out"}), "wants a command"),
        ("{", "Expecting"),
    ],
)
def test_what_is_not_as_the_lock_says_is_refused(
    registry: Registry, tmp_path: Path, text: str, said: str
) -> None:
    assert said in bring(registry, tmp_path, text, code=1)
    assert "out" not in {p.name for p in tmp_path.iterdir()}


def test_an_archive_writes_only_below_its_folder(registry: Registry, tmp_path: Path) -> None:
    evil = tarball(**{"../../../../out": "x"})
    registry.served["/x/@a/part/-/part-2.0.0.tgz"] = evil
    assert "its archive holds" in bring(registry, tmp_path, lock(evil), code=1)
    assert not list(tmp_path.rglob("out"))


def test_the_lock_that_we_have_names_a_checksum_for_every_archive() -> None:
    for file in PROGRAM.parent.glob("package-lock-*.json"):
        packages = json.loads(file.read_text())["packages"]
        assert packages[""]["integrity"].startswith("sha512-")
        assert all(
            p.get("inBundle") or p["integrity"].startswith("sha512-") for p in packages.values()
        )


@pytest.mark.parametrize(("version", "fits"), [("1.9.7", True), ("2.2.5", False), ("1.8", False)])
def test_only_versions_that_can_be_started_are_accepted(version: str, fits: bool) -> None:
    try:
        EtherpadSettings(version=version)
        accepted = True
    except ValidationError:
        accepted = False
    assert accepted == fits


def test_where_nobody_names_a_registry_debians_npm_is_asked(
    registry: Registry, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    apt = programs / "apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package npm' >&2\nexit 100\n")
    apt.chmod(0o755)
    said = bring(registry, tmp_path, lock(), 1, npm_config_registry=None, PATH=str(programs))
    assert "no registry of npm packages is named on this machine" in said
    assert "Unable to locate package npm" in said
    assert registry.asked == []
