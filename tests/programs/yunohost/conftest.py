"""A server on YunoHost in one temporary folder, saved and restored by the real programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from platforms.yunohost import gathering
from tests.programs.agent.conftest import Site, empty_repository, site

__all__ = ["empty_repository", "site"]

MAIN = Path(__file__).resolve().parents[3]
FILES = MAIN / "platforms/yunohost/files"


class House:
    """A site on YunoHost, with two apps: `blog` (wordpress) and `site` (my_webapp)."""

    def __init__(self, host: Site) -> None:
        self.site = host
        self.root = host.base / "root"
        self.state = host.base / "yunohost.json"
        self.results = host.base / "gathered.json"
        self.folder = self.root / "home/yunohost.backup/tmp/releve"
        self.archives = self.root / "home/yunohost.backup/archives"
        self.hooks = self.root / "etc/yunohost/hooks.d"
        program = host.base / "bin"
        program.mkdir()
        (program / "yunohost").write_text((MAIN / "tests/standin/yunohost.py").read_text())
        (program / "yunohost").chmod(0o755)
        told = {"state": str(self.state), "root": str(self.root)}
        (program / "standin.json").write_text(json.dumps(told))
        self.program = str(program / "yunohost")
        for name in ("alice", "bob"):
            home = self.root / "home" / name
            home.mkdir(parents=True)
            (home / "letter").write_text(f"dear {name}")
            os.chown(home / "letter", 4711, 4712)
        argv = ["tools", "postinstall", "--domain", "lab.test", "--username", "alice"]
        argv += ["--fullname", "Alice", "--password", "Lab-Passw0rd-42", "--ignore-dyndns"]
        self.yunohost(*argv, "--i-have-read-terms-of-services")
        for domain in ("blog.lab.test", "site.lab.test"):
            self.yunohost("domain", "add", domain)
        blog = "domain=blog.lab.test&path=/&init_main_permission=visitors&admin=alice"
        self.yunohost("app", "install", "wordpress", "--args", blog)
        web = "domain=site.lab.test&path=/&init_main_permission=visitors&password=Sftp-Passw0rd-1"
        self.yunohost("app", "install", "my_webapp", "--args", web)
        code = self.root / "var/www/wordpress"
        code.mkdir(parents=True)
        (code / "page.php").write_text("hello")
        os.chown(code / "page.php", 4713, 4714)
        (code / "large").write_bytes(os.urandom(3_000_000))
        for name, instance in (("blog", "wordpress"), ("site", "my_webapp")):
            host.plan["services"][name] = {
                "role": "app",
                "restore": {"stop": [], "prepare": [], "accept": []},
                "units": [],
                **self._part([f"apps/{instance}"], gathering.bring_back_app(instance)),
            }
            place = str(self.root / "etc/yunohost/apps" / instance / "settings.yml")
            host.plan["services"][name]["archives"][0] |= {
                "holds": ["test", "-e", place],
                "together": self._here(gathering.bring_back_several()),
                "called": instance,
            }
        host.plan["duties"]["base"] = {
            "restore": {"stop": [], "prepare": [], "accept": []},
            **self._part(["conf", "data"], gathering.bring_back_system(), ["system"]),
        }
        host.plan["duties"]["base"]["archives"][0] |= {
            "holds": ["test", "-e", str(self.root / "etc/yunohost/installed")],
            "together": self._here(gathering.bring_back_several()),
            "called": gathering.SYSTEM,
        }
        host.plan["around"] = {
            "argv": self._here(gathering.collect_run()),
            "before": self._here(gathering.collect_before()),
            "after": self._here(gathering.collect_after()),
            "root": str(self.folder),
            "results": str(self.results),
        }

    def _here(self, argv: Any) -> list[str]:
        """An argv of the product, for programs that lie here and a server below our folder."""
        words = list(argv)
        program = FILES / Path(words[0]).name
        words = [sys.executable, "-IS", str(program), f"--root={self.root}", *words[1:]]
        there = str(self.results)
        words = [there if word == gathering.RESULTS else word for word in words]
        words = [self.program if word == "yunohost" else word for word in words]
        # This machine's own packages are none of a test's business.
        words = [w.replace('["dpkg", "--audit"]', '["true"]') for w in words]
        return [w.replace('["yunohost"', f'["{self.program}"') for w in words]

    def _part(self, parts: list[str], load: Any, claims: list[str] | None = None) -> dict[str, Any]:
        archive = {
            "parts": parts,
            "lists": ["info.json", "backup.csv"],
            "claims": claims or parts,
            "load": self._here(load),
            "room": [str(self.root)],
        }
        empty: dict[str, Any] = {"paths": [], "excludes": [], "dumps": [], "quiesce": []}
        return {**empty, "counts": [], "versions": [], "canary": None, "archives": [archive]}

    def yunohost(self, *words: str) -> str:
        argv = [self.program, *words]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def change(self, **values: Any) -> None:
        state = json.loads(self.state.read_text())
        self.state.write_text(json.dumps(state | values))

    def now(self, key: str) -> Any:
        return json.loads(self.state.read_text())[key]

    def calls(self) -> list[list[str]]:
        lines = self.state.with_suffix(".calls").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line.split()[4] for line in lines if f" {self.root}" in line]

    def clean(self) -> bool:
        """Nothing of a run is left."""
        hook = self.hooks / "backup_method/50-releve"
        return not self.mounts() and not self.folder.exists() and not hook.exists()

    def collect(self, *words: str, code: int = 0) -> str:
        argv = self._here((gathering.COLLECT, *words))
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        return done.stderr

    def start_run(self, copy: list[str]) -> subprocess.Popen[str]:
        argv = [*self._here(gathering.collect_run()), "--", *copy]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def house(site: Site) -> Any:
    made = House(site)
    yield made
    subprocess.run(made._here(gathering.collect_after()), check=False, timeout=120)
    assert not made.mounts()
