"""Roles are read when they are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from roles.registry import HOSTS, SERVICES, ByName

ROOT = Path(__file__).resolve().parents[3]


def test_each_is_found_by_its_own_name() -> None:
    folders = {path.parent.name for path in (ROOT / "roles").glob("*/__init__.py")}
    assert {*SERVICES, *HOSTS} == folders
    for name, role in (*SERVICES.items(), *HOSTS.items()):
        assert role.name == name


def test_what_is_not_there_is_not_made() -> None:
    made = ByName(("one", "two"), lambda name: [name])
    assert "three" not in made
    assert made.get("three") is None
    with pytest.raises(KeyError):
        made["three"]
    assert made["two"] is made["two"]
    assert (list(made), len(made)) == (["one", "two"], 2)


def test_an_inventory_needs_its_own_roles_alone(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(
        'schema = 1\n[organisation]\nname = "One"\ncontact = "one@one.example"\n'
        '[hosts.web]\nplatform = "debian"\naddress = "192.0.2.1"\nprovider = "p"\n'
        'datacenter = "d"\n[services.pads]\nrole = "etherpad"\nhost = "web"\n'
        'url = "https://pads.one.example"\n'
    )
    script = (
        "import sys, pathlib, roles; roles.load(pathlib.Path(sys.argv[1]))\n"
        "print(*sorted({m.split('.')[1] for m in sys.modules if m.startswith('roles.')}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)],
        capture_output=True, text=True, timeout=60, check=True, cwd=ROOT,
    )  # fmt: skip
    read = set(done.stdout.split())
    assert "etherpad" in read
    # What all apps of a YunoHost server share lies in roles.app.
    assert not read & ({*SERVICES, *HOSTS} - {"etherpad", "app"}), read
