"""A whole service host and its repository in one temporary folder, without root or network.

The agent, restic, rclone and the gate are the real ones; only SSH is left out: the program that
restic starts runs the gate at once, the way sshd would.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cheap_keys import cheapen

MAIN = Path(__file__).resolve().parents[3]
AGENT = MAIN / "agent" / "agent.py"
GATE = MAIN / "roles" / "repository" / "files" / "gate"

# A service as small as can be: a folder of files, and a "database" that is one file of lines.
_PLANT = 'printf \'{"run": "%s", "at": "%s"}\\n\' "$2" "$3" >> "$1"'
_FIND = (
    "import json,sys; print(json.dumps([json.loads(x) for x in open(sys.argv[1])"
    " if x.startswith('{')]))"
)
_COUNT = "import json,sys; print(json.dumps({'lines': len(open(sys.argv[1]).readlines())}))"


class Site:
    """One host called `monts`, with the services that a test gives it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.home = base / "repository-host"
        self.home.mkdir()
        self.link = base / "link"
        self.link.write_text(
            "#!/bin/sh\n"
            f'test ! -e "{base}/cut" || {{ echo "$*" >>"{base}/cut"; '
            'echo "ssh: connect to host coffre port 22: Connection refused" >&2; exit 255; }\n'
            # The agent gives its children a PATH of its own; what the gate may find is ours to say.
            f'export PATH="{os.environ["PATH"]}" HOME="{self.home}"\n'
            f'SSH_ORIGINAL_COMMAND="$*" exec sh "{GATE}" atelier/monts\n'
        )
        self.link.chmod(0o755)
        etc = base / "etc" / "releve"
        etc.mkdir(parents=True)
        (etc / "restic-password").write_text("host's own")
        (etc / "fence-key").write_text("fence")
        self.plan: dict[str, Any] = {
            "format": 1,
            "host": "monts",
            "epoch": 1,
            "repository": {
                "name": "coffre",
                "host": "monts",
                "restic": [
                    "restic",
                    "--repo=rclone:monts",
                    f"--password-file={etc}/restic-password",
                    f"--cache-dir={base}/cache",
                    f"--option=rclone.program={self.link}",
                ],
                "gate": [str(self.link)],
            },
            "services": {},
            "duties": {},
            "probes": {},
        }

    def service(self, name: str, **more: Any) -> Path:
        """Add a service, return its folder."""
        folder = self.base / "srv" / name
        (folder / "files").mkdir(parents=True)
        (folder / "files" / "page").write_text("hello")
        database = folder / "database"
        database.write_text("a line\n")
        self.plan["services"][name] = {
            "role": "tiny",
            "paths": [str(folder / "files")],
            "excludes": [],
            "dumps": [
                {
                    "name": "lines",
                    "save": ["cat", str(database)],
                    "load": ["sh", "-c", 'cat > "$1"', "load", str(database)],
                }
            ],
            "quiesce": [],
            "counts": [sys.executable, "-c", _COUNT, str(database)],
            "versions": [],
            "canary": {
                "plant": ["sh", "-c", _PLANT, "plant", str(database)],
                "find": [sys.executable, "-c", _FIND, str(database)],
            },
            "restore": {"stop": [], "prepare": [], "accept": []},
            "units": [],
            **more,
        }
        return folder

    def write_plan(self) -> None:
        (self.base / "etc" / "releve" / "plan.json").write_text(json.dumps(self.plan))

    def start(self, *words: str) -> subprocess.Popen[str]:
        self.write_plan()
        return subprocess.Popen(
            [sys.executable, "-IS", str(AGENT), f"--root={self.base}", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def agent(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run a verb, return its JSON with what it said under "said"."""
        process = self.start(*words)
        out, said = process.communicate(timeout=240)
        assert process.returncode == code, f"{words}: code {process.returncode}\n{out}\n{said}"
        answer = json.loads(out)
        return {"answer": answer, "said": said, **(answer if isinstance(answer, dict) else {})}

    @property
    def var(self) -> Path:
        return self.base / "var" / "lib" / "releve"

    @property
    def repository(self) -> Path:
        return self.home / "atelier" / "monts"


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that was made once, and opens at once: both take restic long."""
    site = Site(tmp_path_factory.mktemp("empty"))
    site.agent("init")
    cheapen(site.repository, "host's own")
    return site.home


@pytest.fixture
def site(tmp_path: Path, empty_repository: Path) -> Site:
    made = Site(tmp_path)
    shutil.copytree(empty_repository, made.home, dirs_exist_ok=True)
    return made
