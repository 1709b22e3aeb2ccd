"""What the story on a real YunoHost needs: who is offered, what stands around it, and our words.

Around it: one throwaway host of this machine that keeps the copies, and the lab's DNS server. The
servers offered reach the keeper through their own SSH session with us, from their port KEEPER on
the loopback: nothing else has to be routed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import roles
from inventories import edit
from inventories.access import ssh_target
from inventories.model import Host, Inventory
from lab import Lab
from platforms.yunohost import answers, commands, remote
from platforms.yunohost.answers import Answer, App
from platforms.yunohost.obstacles import will_be_called
from platforms.yunohost.server import Question
from tools import ssh
from tools.toml import dumps, quote

REPO = Path(__file__).resolve().parents[2]
HOST, COPIES = "maison", "coffre"
MAILBOX = "live.accueil"  # as in SERVER
KEEPER = 22022

FENCED = "/var/lib/releve/fenced"
# What a deploy leaves on a server for the next one.
REMEMBERED = ("/etc/releve", "/var/lib/releve", "/var/cache/releve")
IS_SET_UP = ("test", "-e", commands.INSTALLED_MARKER)
HAS_YUNOHOST = ("test", "-x", "/usr/bin/yunohost")

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

# What is wanted of the server beside what is there. Names that nobody else has: a server that
# somebody set up by hand has accounts, groups and addresses of its own.
SERVER = """
[hosts.maison.yunohost]
settings = { "security.password.passwordless_sudo" = true, "security.password.user_strength" = 2 }
firewall = { "8448/tcp" = { comment = "Matrix" } }

[hosts.maison.yunohost.domains."live-page.${domain}"]
certificate = "self-signed"

[hosts.maison.yunohost.domains."live-blog.${domain}"]
certificate = "self-signed"

[hosts.maison.yunohost.operators.live]
person = "live"
fullname = "Relève l'essai"

[hosts.maison.yunohost.mailboxes."live.accueil"]
fullname = "L'accueil"
aliases = ["live.bonjour@${domain}"]
quota = "2G"

[hosts.maison.yunohost.groups.live_equipe]
members = ["live.accueil"]
"""

# What every catalog has. Others: SERVICES=FILE, with ${domain} for the domain.
SERVICES = """
[services.page]
role = "app"
host = "maison"
url = "https://live-page.${domain}"
[services.page.app]
id = "my_webapp"
instance = "${page}"
label = "L'accueil & co"
args = { with_sftp = false, phpversion = "8.2", database = "mysql", custom_error_file = false }

[services.blog]
role = "wordpress"
host = "maison"
url = "https://live-blog.${domain}"
# The one language that needs nothing from the internet.
settings = { locale = "en_US" }
[services.blog.app]
instance = "${blog}"
"""
# The apps of SERVICES: the word that stands for their name on the server -> app of the catalog.
APPS = {"page": "my_webapp", "blog": "wordpress"}


def said(name: str) -> str:
    """A variable of `make live`, "" when it was not given."""
    return os.environ.get(f"RELEVE_LIVE_{name}", "").strip()


@dataclass(frozen=True)
class Offered:
    """A server that the caller offers, `[USER@]ADDRESS[:PORT]`, and its host key. The address may
    be a name, or IPv6 in brackets."""

    user: str
    address: str
    port: int
    host_key: str

    @classmethod
    def parse(cls, text: str) -> Offered:
        match = re.fullmatch(r"(?:([^@\s]+)@)?(?:\[([^\]]+)\]|([^:@\s]+))(?::(\d{1,5}))?", text)
        assert match, f"{text!r} is not [USER@]ADDRESS[:PORT], such as root@203.0.113.9"
        port = int(match[4] or 22)
        found = socket.getaddrinfo(match[2] or match[3], port, type=socket.SOCK_STREAM)
        address = str(found[0][4][0])
        return cls(match[1] or "root", address, port, ssh.scan(address, port))

    def target(self, key: Path) -> ssh.Target:
        """It before any inventory knows it. Once YunoHost is set up root may be shut out."""
        others = tuple(name for name in ("live", "root") if name != self.user)
        return ssh.Target(
            self.address, self.address, self.host_key, self.port, self.user, key, others
        )

    def __str__(self) -> str:
        where = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.user}@{where}:{self.port}"


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
    domain: str  # "": that of the server, when it has one
    # What the server said of itself before anything was done, and what of it is let be.
    found: Mapping[str, Any] = field(default_factory=dict)
    left_alone: tuple[str, ...] = ()
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

    def adopted(self, file: Path, *words: str) -> Mapping[str, Any]:
        """Have the server described, into a file of its own; return what that says."""
        words = ("adopt", *(words or (HOST, "--inventory", str(self.file))))
        print(f"\n$ releve {' '.join(words)} > {file.name}", flush=True)
        with file.open("w") as out:
            argv = [sys.executable, "-m", "cli.main", *words]
            done = subprocess.run(argv, cwd=REPO, stdout=out, check=False)
        assert done.returncode == 0
        return tomllib.loads(file.read_text())

    def meet(self) -> None:
        """Look at the server before anything is done: what of it goes into the inventory. What an
        earlier story left on it of ours is taken away: its secrets are gone."""
        with ssh.session(self.host.target(self.key)) as connection:
            fenced = connection.run(("test", "-e", FENCED), check=False).exit_code == 0
            assert not fenced, (
                "HOST was replaced by a rebuild of an earlier run and serves nothing any more: "
                "offer another one"
            )
            connection.run(("rm", "-rf", *REMEMBERED))
            if connection.run(IS_SET_UP, check=False).exit_code != 0:
                there = connection.run(HAS_YUNOHOST, check=False).exit_code == 0
                assert there or said("INSTALLER"), (
                    "HOST is a blank Debian: say where YunoHost's installer is, "
                    "INSTALLER=URL INSTALLER_SHA256=…"
                )
                self.domain = self.domain or "live.test"
                return
            # Of an earlier story whose secrets are gone, as those of what it made.
            known = ("getent", "passwd", MAILBOX)
            again = connection.run(known, check=False).exit_code == 0
        with tempfile.TemporaryDirectory(prefix="releve-live-") as folder:
            words = (str(self.host), "--host-key", self.host.host_key, "--name", HOST)
            words += ("--mailbox", MAILBOX) if again else ()
            self.found = self.adopted(Path(folder) / "found.toml", *words)
        self.domain = self.domain or self.found["hosts"][HOST]["yunohost"]["main_domain"]

    def ask(self, argv: tuple[str, ...]) -> Answer:
        """A question to the server."""
        with ssh.session(self.target()) as connection:
            return _ask(connection, argv)

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

    def names(self) -> dict[str, str]:
        """Word of APPS -> what YunoHost calls that app on the server, or will."""
        there: Mapping[str, App] = {}
        if self.found:
            with ssh.session(self.host.target(self.key)) as connection:
                there = answers.apps(_ask(connection, commands.app_list()))
        return {
            word: next(
                (name for name, app in there.items() if app.domain == f"live-{word}.{self.domain}"),
                will_be_called(app_id, set(there)),
            )
            for word, app_id in APPS.items()
        }

    def write(self) -> None:
        """Write the inventory: what was found, without what is left alone, and what we want."""
        public = subprocess.run(
            ("ssh-keygen", "-y", "-P", "", "-f", str(self.key)),
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert public.returncode == 0, (
            f"KEY cannot be read: {public.stderr} (It has no passphrase?)"
        )
        values: dict[str, Any] = {
            "domain": self.domain,
            "key": quote(public.stdout.strip()),
            "port": KEEPER,
            "address": self.host.address,
            "ssh_port": self.host.port,
            "user": self.host.user,
            "host_key": quote(self.host.host_key),
            **self.names(),
        }
        more = Path(said("SERVICES")).read_text() if said("SERVICES") else SERVICES
        document = tomllib.loads(Template(HEAD + SERVER + more).safe_substitute(values))
        table = document["hosts"][HOST]["yunohost"]
        if url := said("INSTALLER"):
            table["installer"] = {"url": url, "sha256": said("INSTALLER_SHA256")}
        if not self.found:
            table["main_domain"] = self.domain
            table["domains"][self.domain] = {"certificate": "self-signed"}
        with tempfile.TemporaryDirectory(prefix="releve-live-") as folder:
            given = Path(folder) / "given.toml"
            given.write_text(dumps(together(self.found, document, self.left_alone), depth=5))
            self.lab.up(roles.load(given), hosts=[COPIES])
        keeper = self.inventory().hosts[COPIES]
        # Whoever is offered reaches the keeper through us; we, by its own address.
        edit.change(self.file, "repositories", COPIES, {"address": "127.0.0.1"})
        with ssh.session(
            ssh.Target(COPIES, str(keeper.address), keeper.host_key, key_file=self.lab.key_file)
        ) as connection:
            key = public.stdout.strip()
            script = 'grep -qxF -- "$1" .ssh/authorized_keys || printf "%s\\n" "$1" >> '
            connection.run(("sh", "-c", script + ".ssh/authorized_keys", "add", key))

    def reach(self, server: Offered) -> None:
        """Let a server reach the keeper, for as long as the story lasts."""
        keeper = self.inventory().hosts[COPIES]
        self._tunnels.append(Tunnel(server, self.key, keeper))

    def trust(self) -> None:
        """Take the authority that signs the server's own certificates for a good one, and what
        the caller gave (CA)."""
        with ssh.session(self.target()) as connection:
            # The main domain's is older than the rest: whoever signed is appended to each.
            files = (commands.AUTHORITY, commands.SIGNER, commands.CERTIFICATE.format("*"))
            script = f"grep -hs '' {' '.join(files)}"
            ours = connection.run(("sh", "-c", script)).stdout.decode()
        known = self.lab.ca_file.read_text()
        extra = Path(said("CA")).read_text() if said("CA") else ""
        for text in (ours, extra):
            if text.strip() and text not in known:
                known = f"{known.rstrip()}\n{text}"
        self.lab.ca_file.write_text(known)

    def is_set_up(self) -> bool:
        with ssh.session(self.target()) as connection:
            return connection.run(IS_SET_UP, check=False).exit_code == 0

    def __enter__(self) -> Story:
        return self

    def __exit__(self, *_: object) -> None:
        for tunnel in self._tunnels:
            tunnel.close()
        if not said("KEEP"):
            self.lab.down()


def _ask(connection: ssh.Connection, argv: tuple[str, ...]) -> Answer:
    answer = remote.look(connection, (Question("q", argv=argv),))["q"]
    assert isinstance(answer, Answer)
    return answer


def together(
    found: Mapping[str, Any], ours: Mapping[str, Any], but: tuple[str, ...] = ()
) -> dict[str, Any]:
    """One inventory of what a server says of itself (nothing, when it is blank) and of what we want
    of it. Services of ours that are there already, from an earlier run, and those named in `but`
    are taken from ours alone."""
    if not found:
        return dict(ours)
    mine = {service["url"] for service in ours["services"].values()}
    theirs = {
        f"found-{name}": service
        for name, service in found.get("services", {}).items()
        if service["url"] not in mine and f"found-{name}" not in but
    }
    there = {HOST: {"yunohost": found["hosts"][HOST]["yunohost"]}}
    return _over(
        {key: found[key] for key in ("people", "domains") if key in found}
        | {"hosts": there, "services": theirs},
        ours,
    )


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables within tables, `above` winning."""
    both = {
        key: _over(below[key], value)
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        else value
        for key, value in above.items()
    }
    return {**below, **both}


class Tunnel:
    """A server's way to the keeper. Opened again whenever it ends: servers restart, and let root in
    no more once YunoHost is set up there."""

    def __init__(self, server: Offered, key: Path, keeper: Host) -> None:
        self._argv = (
            "ssh", "-N", "-T", "-i", str(key), "-p", str(server.port),
            "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=10",
            "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
            "-R", f"127.0.0.1:{KEEPER}:{keeper.address}:{keeper.port}",
            server.address, "-l",
        )  # fmt: skip
        self._users = (server.user, *server.target(key).others)
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        for user in itertools.cycle(self._users):
            if self._over.is_set():
                return
            argv = (*self._argv, user)
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
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
