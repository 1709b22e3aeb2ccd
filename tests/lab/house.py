"""The house that most tests visit: hosts that were deployed, written to and saved once.

Everything people would do goes through the command line, as they meet it: words, exit code.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import roles
from deploy import everything
from deploy.report import Report
from inventories.access import ssh_target
from inventories.model import Inventory, Service
from inventories.secrets import Secrets
from lab import Lab
from recovery.drill import write_as_members
from roles.etherpad import settings as etherpad
from roles.wordpress import settings as wordpress
from tests.channel import Channel
from tests.cheap_keys import cheapen_on
from tools import ssh
from tools.toml import quote

REPO = Path(__file__).resolve().parents[2]
WATCH = "/usr/local/lib/releve/watch/checks"
TITLE = """Le blog d'à côté "$(id)" `id` \\ <b>"""

# What members have written in the pad `reunion`.
MINUTES = "Compte rendu : é ✓ $(id)"

# Beside what `make drill` uses (monts with a site and a pad, coffre, vigie): a second site on
# monts with a title that no shell may touch, a host with the next Debian that was never saved, and
# somebody to tell.
MORE = """
[services.blog]
role = "wordpress"
host = "monts"
url = "https://blog.atelier.example"
settings = { title = TITLE, upload_mb = 5 }

[hosts.rivage]
platform = "debian"
address = "198.51.100.11"
provider = "Hébergeur du premier site"
datacenter = "GRA"
repository = "coffre"

[alerts.equipe]
url = "secret:alert.equipe"

[watch]
ping = "secret:watch.ping"
"""

# What that host serves where a test has a use for it.
JOURNAL = """
[services.journal]
role = "wordpress"
host = "rivage"
url = "https://journal.atelier.example"
"""


class Page(NamedTuple):
    status: int
    body: str


def start(*words: object, within: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A `releve` command, under way in a process group of its own. `within`: words before it."""
    return subprocess.Popen(
        [*within, sys.executable, "-u", "-m", "cli.main", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPO,
        start_new_session=True,
    )


def releve(*words: object, code: int = 0, timeout: float = 600) -> str:
    """What a `releve` command says, after it ended with this exit code."""
    with start(*words) as process:
        said, _ = process.communicate(timeout=timeout)
    assert process.returncode == code, f"releve {words}: {process.returncode}\n{said}"
    return said


def evidence(folder: Path) -> tuple[dict[str, Any], str]:
    """The one JSON file and the one page that a run left."""
    (data,) = folder.glob("*.json")
    return json.loads(data.read_text()), data.with_suffix(".html").read_text()


def found_marks(proved: dict[str, Any], service: str) -> set[str]:
    """ "kept", "lost" …, or "run" for the mark of a backup."""
    words = {mark["run"].partition("-")[0] for mark in proved["canaries"][service]["found"]}
    return {word if word.isalpha() else "run" for word in words}


class House:
    """One lab, deployed and frozen; `also` is added to its inventory. `reset` brings back the
    moment it was frozen. What the watch tells and whom it lets know that it lives ends up in
    `heard`.

    RELEVE_SSH_KEY and RELEVE_IDENTITY name the lab's key already.
    """

    def __init__(self, lab: Lab, folder: Path, also: str = "") -> None:
        self.lab, self.file = lab, lab.inventory_file
        self.dirty = False
        began = time.monotonic()
        given = folder / "house.toml"
        more = MORE.replace("TITLE", quote(TITLE))
        given.write_text((REPO / "inventories/lab.toml").read_text() + more + also)
        lab.up(roles.load(given), ("rivage",), release="trixie")
        vigie = lab.up(roles.load(given)).hosts["vigie"].address
        # This machine's own address in the lab's network.
        gateway = ipaddress.ip_network(f"{vigie}/24", strict=False)[1]
        self.heard = Channel(str(gateway))
        secrets = Secrets.open(self.file)
        secrets.set("alert.equipe", f"json://{gateway}:{self.heard.port}/t0ken")
        secrets.set("watch.ping", f"http://{gateway}:{self.heard.port}/alive")
        secrets.save()
        print(f"house: booted at {time.monotonic() - began:.0f} s")
        # A list of this day that says nothing of Debian: packages must be found all the same.
        lists = "cd /var/lib/apt/lists && rm -f *_* && touch elsewhere_Packages"
        lab.run("rivage", ["sh", "-c", lists])
        done = everything.deploy(self.file)
        assert done.report.ok, done.report
        assert done.zones == ()
        self.first: Report = done.report
        print(f"house: deployed at {time.monotonic() - began:.0f} s")
        self.inventory: Inventory = roles.load(self.file)
        self.lab.run("monts", self.program("pad", "write", "reunion", MINUTES), timeout=90)
        self.write("kept", "monts")
        with ThreadPoolExecutor() as pool:
            looked = pool.submit(self.on, "vigie", WATCH)
            self.releve("backup", "run", self.file, "--host", "monts")
            looked.result()
        self.releve("backup", "list", self.file)  # adds the operators' key to each repository
        cheapen_on(lab, self.inventory, "monts", "rivage")
        print(f"house: saved at {time.monotonic() - began:.0f} s")
        lab.freeze()
        self._settle()
        print(f"house: frozen at {time.monotonic() - began:.0f} s")

    # --- state ------------------------------------------------------------------------------

    def reset(self) -> None:
        """All hosts and DNS are as when the house was frozen."""
        self.lab.reset()
        self._settle()
        self.dirty = False

    def _settle(self) -> None:
        """Wait for hosts that were just booted to serve."""
        deadline = time.monotonic() + 120
        for name in self.inventory.services:
            while self.visit(name).status != 200:
                assert time.monotonic() < deadline, f"{name} does not answer"
                time.sleep(0.5)

    def copy(self, file: Path) -> Path:
        """The inventory, its secrets and its authority under another name, to be changed."""
        for suffix in (".toml", ".secrets.age"):
            shutil.copy(self.file.with_suffix(suffix), file.with_suffix(suffix))
        trust = self.inventory.certificates.trust
        if trust and file.parent != self.file.parent:
            shutil.copy(self.file.parent / trust, file.parent / trust)
        return file

    # --- what people do ---------------------------------------------------------------------

    start = staticmethod(start)
    releve = staticmethod(releve)

    def write(self, mark: str, host: str, services: Sequence[str] = ()) -> None:
        """Write into services as a member would; `marks` finds it again."""
        names = services or [s.id for s in self.inventory.services_on(host)]
        write_as_members(self.inventory, self.inventory.hosts[host], names, mark)

    # --- what is there ----------------------------------------------------------------------

    def sh(self, host: str, script: str, *, code: int | None = 0, timeout: float = 120) -> str:
        """What a shell script says on a host, after it ended with this exit code (None: any)."""
        done = self.lab.run(host, ("sh", "-c", script), check=False, timeout=timeout)
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert code is None or done.exit_code == code, f"{script}: {done.exit_code}: {said}"
        return said

    def on(self, host: str, *argv: str, check: bool = True) -> str:
        """What a command says on a host of the inventory."""
        with ssh.session(ssh_target(self.inventory.hosts[host])) as session:
            return session.run(argv, check=check, timeout=180).stdout.decode()

    def service(self, name: str) -> Service:
        return self.inventory.services[name]

    def program(self, name: str, *words: str) -> tuple[str, ...]:
        """The words that call the program of a service's role on its host."""
        service = self.service(name)
        if service.role == "wordpress":
            return wordpress.program(service, *words)
        return etherpad.program(service, self.inventory, *words)

    def ask(self, host: str, name: str, *words: str) -> Any:
        """What the program of a service's role answers on a host of the lab."""
        return json.loads(self.lab.run(host, self.program(name, *words), timeout=120).stdout)

    def marks(self, host: str, name: str) -> set[str]:
        """What was written into a service: "kept", "since" …; marks of copies are "run"."""
        found = self.ask(host, name, "canary-find")
        words = {str(mark["run"]).partition("-")[0] for mark in found}
        return {word if word.isalpha() else "run" for word in words}

    def get(self, path: str, *, host: str, address: object, ca: Path | None = None) -> Page:
        """A page by https from an address, whatever DNS says. With `ca` only over a certificate
        of that authority. Status 0: there was no answer."""
        argv = [
            "curl", "--silent", "--noproxy", "*", "--max-time", "30", "--resolve",
            f"{host}:443:{address}", "--write-out", "\n%{http_code}", f"https://{host}{path}",
        ]  # fmt: skip
        trust = ["--cacert", str(ca)] if ca else ["--insecure"]
        done = subprocess.run([*argv, *trust], capture_output=True, text=True, timeout=60)
        body, _, status = done.stdout.rpartition("\n")
        return Page(int(status), body)

    def visit(self, name: str, *, address: object = None) -> Page:
        """A service's first page with its real certificate, from its host or that address."""
        service = self.service(name)
        address = address or self.inventory.hosts[service.host].address
        return self.get("/", host=service.domain, address=address, ca=self.lab.ca_file)
