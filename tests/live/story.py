"""What the story on a real YunoHost needs: who is offered, what stands around it, and our words.

Around it: one throwaway host of this machine that keeps the copies, and the lab's DNS server. The
servers offered reach the keeper through their own SSH session with us, from their port KEEPER on
the loopback: nothing else has to be routed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import roles
from inventories import edit
from inventories.access import ssh_target
from inventories.model import Host, Inventory
from lab import Lab
from platforms.yunohost import commands, remote
from platforms.yunohost.answers import Answer
from platforms.yunohost.server import Question
from tools import ssh
from tools.toml import quote

REPO = Path(__file__).resolve().parents[2]
HOST, COPIES = "maison", "coffre"
KEEPER = 22022

HEAD = """schema = 1

[organisation]
name = "Relève, live"
contact = "contact@${domain}"

[people.live]
mail = "live@${domain}"
keys = [${key}]
duties = ["deploy", "restore", "dns", "registrar", "contact"]

[hosts.coffre]
platform = "debian"
address = "192.0.2.1"
provider = "this machine"
datacenter = "two"
roles = ["repository"]

[repositories.coffre]
url = "ssh-append://releve@coffre.${domain}:${port}/live"
host = "coffre"
provider = "this machine"
datacenter = "two"
keep = { within = "7d" }

[domains."${domain}"]
dns = "manual"

[hosts.maison]
platform = "yunohost"
address = "${address}"
port = ${ssh_port}
user = "${user}"
host_key = ${host_key}
provider = "offered"
datacenter = "one"
repository = "coffre"
"""

# A server that says nothing of itself yet.
SERVER = """
[hosts.maison.yunohost]
main_domain = "${domain}"
${installer}
settings = { "security.password.passwordless_sudo" = true, "security.password.user_strength" = 2 }
firewall = { "8448/tcp" = { comment = "Matrix" } }

[hosts.maison.yunohost.domains."${domain}"]
certificate = "self-signed"

[hosts.maison.yunohost.domains."site.${domain}"]
certificate = "self-signed"

[hosts.maison.yunohost.domains."blog.${domain}"]
certificate = "self-signed"

[hosts.maison.yunohost.operators.live]
person = "live"
fullname = "Relève l'essai"

[hosts.maison.yunohost.mailboxes.contact]
fullname = "L'accueil"
aliases = ["bonjour@${domain}"]
quota = "2G"

[hosts.maison.yunohost.groups.equipe]
members = ["contact"]
"""

# What every catalog has. Others: SERVICES=FILE, with the same $ words.
SERVICES = """
[services.page]
role = "app"
host = "maison"
url = "https://site.${domain}"
[services.page.app]
id = "my_webapp"
label = "L'accueil & co"
args = { with_sftp = false, phpversion = "8.2", database = "mysql", custom_error_file = false }

[services.blog]
role = "wordpress"
host = "maison"
url = "https://blog.${domain}"
# The one language that needs nothing from the internet.
settings = { locale = "en_US" }
"""


def said(name: str) -> str:
    """A variable of `make live`, "" when it was not given."""
    return os.environ.get(f"RELEVE_LIVE_{name}", "").strip()


@dataclass(frozen=True)
class Offered:
    """A server that the caller offers, `[USER@]ADDRESS[:PORT]`, and its host key."""

    user: str
    address: str
    port: int
    host_key: str

    @classmethod
    def parse(cls, text: str) -> Offered:
        user, _, where = text.rpartition("@")
        address, _, port = where.partition(":")
        number = int(port or 22)
        return cls(user or "root", address, number, ssh.scan(address, number))


@dataclass
class Done:
    """One command of ours as it ended."""

    code: int
    text: str
    seconds: float


@dataclass
class Story:
    """The stage. Use as a context manager."""

    host: Offered
    key: Path
    lab: Lab
    domain: str
    seconds: dict[str, float] = field(default_factory=dict)
    # What was measured beside others: ratio, limit.
    ratios: dict[str, tuple[float, float]] = field(default_factory=dict)
    _tunnels: list[Tunnel] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """The inventory."""
        return self.lab.inventory_file

    def inventory(self) -> Inventory:
        return roles.load(self.file)

    def releve(self, *words: object, codes: tuple[int, ...] = (0,), about: str = "") -> Done:
        """Run `releve` as people do. Fail unless it ends with one of `codes`."""
        argv = [sys.executable, "-m", "cli.main", *map(str, words)]
        print(f"\n$ releve {' '.join(map(str, words))}", flush=True)
        began = time.monotonic()
        lines: list[str] = []
        with subprocess.Popen(
            argv, cwd=REPO, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        seconds = time.monotonic() - began
        print(f"  ({seconds:.1f} s, exit code {process.returncode})", flush=True)
        if about:
            self.seconds[about] = seconds
        assert process.returncode in codes, f"{words[0]} ended with code {process.returncode}"
        return Done(process.returncode, "".join(lines), seconds)

    def adopted(self, file: Path) -> None:
        """Have the server described, into a file of its own."""
        words = ("adopt", HOST, "--inventory", str(self.file))
        print(f"\n$ releve {' '.join(words)} > {file.name}", flush=True)
        with file.open("w") as out:
            argv = [sys.executable, "-m", "cli.main", *words]
            done = subprocess.run(argv, cwd=REPO, stdout=out, check=False)
        assert done.returncode == 0

    def ask(self, argv: tuple[str, ...]) -> Answer:
        """A question to the server."""
        with ssh.session(self.target()) as connection:
            answer = remote.look(connection, (Question("q", argv=argv),))["q"]
        assert isinstance(answer, Answer)
        return answer

    def do(self, argv: tuple[str, ...], timeout: float = 900) -> ssh.Result:
        """Something that is done to the server by others than us."""
        with ssh.session(self.target()) as connection:
            return connection.run(argv, timeout=timeout)

    def shell(self, line: str) -> None:
        """A line of the caller's, in the server's shell."""
        print(f"\n[{HOST}] $ {line}", flush=True)
        self.do(("sh", "-c", line))

    def target(self) -> ssh.Target:
        return ssh_target(self.inventory().hosts[HOST])

    def write(self, adopted: str = "") -> None:
        """Write the inventory: `adopted` is what a server that was set up says of itself."""
        installer = ""
        if url := said("INSTALLER"):
            checksum = said("INSTALLER_SHA256")
            installer = f'installer = {{ url = {quote(url)}, sha256 = "{checksum}" }}'
        public = subprocess.run(
            ("ssh-keygen", "-y", "-f", str(self.key)), check=True, capture_output=True, text=True
        ).stdout.strip()
        values: dict[str, Any] = {
            "domain": self.domain,
            "key": quote(public),
            "port": KEEPER,
            "address": self.host.address,
            "ssh_port": self.host.port,
            "user": self.host.user,
            "host_key": quote(self.host.host_key),
            "installer": installer,
        }
        more = Path(said("SERVICES")).read_text() if said("SERVICES") else SERVICES
        text = HEAD + (adopted or SERVER) + more
        with tempfile.TemporaryDirectory(prefix="releve-live-") as folder:
            given = Path(folder) / "given.toml"
            given.write_text(Template(text).substitute(values))
            self.lab.up(roles.load(given), hosts=[COPIES])
        keeper = self.inventory().hosts[COPIES]
        # Whoever is offered reaches the keeper through us; we, by its own address.
        edit.change(self.file, "repositories", COPIES, {"address": "127.0.0.1"})
        with ssh.session(
            ssh.Target(COPIES, str(keeper.address), keeper.host_key, key_file=self.lab.key_file)
        ) as connection:
            line = f"{public}\n".encode()
            script = 'grep -qxF -- "$1" .ssh/authorized_keys || printf "%s\\n" "$1" >> '
            connection.run(("sh", "-c", script + ".ssh/authorized_keys", "add", public), stdin=line)

    def reach(self, server: Offered) -> None:
        """Let a server reach the keeper, for as long as the story lasts."""
        keeper = self.inventory().hosts[COPIES]
        self._tunnels.append(Tunnel(server, self.key, keeper))

    def trust(self) -> None:
        """Take the authority that signs the server's own certificates for a good one, and what
        the caller gave (CA)."""
        with ssh.session(self.target()) as connection:
            ours = connection.run(("cat", "/etc/ssl/certs/ca-yunohost_crt.pem")).stdout.decode()
        known = self.lab.ca_file.read_text()
        extra = Path(said("CA")).read_text() if said("CA") else ""
        for text in (ours, extra):
            if text.strip() and text not in known:
                known = f"{known.rstrip()}\n{text}"
        self.lab.ca_file.write_text(known)

    def is_set_up(self) -> bool:
        with ssh.session(self.target()) as connection:
            done = connection.run(("test", "-e", commands.INSTALLED_MARKER), check=False)
        return done.exit_code == 0

    def __enter__(self) -> Story:
        return self

    def __exit__(self, *_: object) -> None:
        for tunnel in self._tunnels:
            tunnel.close()
        if not said("KEEP"):
            self.lab.down()


class Tunnel:
    """A server's way to the keeper. Opened again whenever it ends: servers restart."""

    def __init__(self, server: Offered, key: Path, keeper: Host) -> None:
        self._argv = (
            "ssh", "-N", "-T", "-i", str(key), "-p", str(server.port),
            "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=10",
            "-o", "BatchMode=yes",
            "-R", f"127.0.0.1:{KEEPER}:{keeper.address}:{keeper.port}",
            f"{server.user}@{server.address}",
        )  # fmt: skip
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        while not self._over.is_set():
            self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL)
            self._process.wait()
            self._over.wait(2)

    def close(self) -> None:
        self._over.set()
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.terminate()
        self._thread.join(10)


def host_of(server: Offered, inventory: Inventory) -> Host:
    """The inventory's server, at another place."""
    return inventory.hosts[HOST].model_copy(
        update={"address": server.address, "port": server.port, "host_key": server.host_key}
    )
