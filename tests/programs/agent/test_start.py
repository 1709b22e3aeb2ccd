"""The agent as a host starts it: by its path alone, compiled once, and never an old version."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

AGENT = Path(__file__).parents[3] / "agent" / "agent.py"
MODULES = AGENT.parent / "releve_agent"
_compiled = shutil.ignore_patterns("__pycache__")


def version(program: Path) -> str:
    done = subprocess.run([program, "version"], capture_output=True, check=True, cwd="/")
    return str(json.loads(done.stdout)["agent"])


def test_it_is_compiled_once_and_anew_when_it_changed(tmp_path: Path) -> None:
    program = tmp_path / "agent.py"
    shutil.copy(AGENT, program)
    modules = shutil.copytree(MODULES, tmp_path / MODULES.name, ignore=_compiled)
    first = version(program)
    (compiled,) = modules.glob("__pycache__/common.*.pyc")
    made = compiled.stat().st_mtime_ns
    assert version(program) == first
    assert compiled.stat().st_mtime_ns == made
    changed = modules / "common.py"
    changed.write_text(changed.read_text().replace(f'VERSION = "{first}"', 'VERSION = "99.0.0"'))
    assert version(program) == "99.0.0"


def test_where_nothing_can_be_kept_it_starts_all_the_same(tmp_path: Path) -> None:
    program = tmp_path / "agent.py"
    shutil.copy(AGENT, program)
    modules = shutil.copytree(MODULES, tmp_path / MODULES.name, ignore=_compiled)
    (modules / "__pycache__").write_text("in the way")
    assert version(program)
