"""A deploy that has nothing to change, on a lab host 20 ms away: Relève, stock pyinfra, Ansible.

    .venv/bin/python bench/deploy/run.py        (root; boots a throwaway host, takes minutes)

The state is the same for all: 24 files, 5 folders, 10 packages, 3 units. Four ways to reach it:

- `releve`: Relève's connector and its operations, which ask about everything in one go;
- `releve-connector`: Relève's connector under pyinfra's stock operations, one per file and unit;
- `pyinfra`: the very same stock operations over pyinfra's own SSH connector;
- `ansible`: one ansible-core task per file and unit, with pipelining, ControlPersist and without
  gathering facts, installed from the package index into a folder that is removed again.

Each runs once to warm up (and must change nothing), then three times; the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import roles
from inventories.access import ssh_target
from inventories.model import Host
from lab import Lab
from tools import ssh

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.deploy.bench_state import FILES, FOLDERS, PACKAGES, UNITS

HERE = Path(__file__).resolve().parent
MILLISECONDS = 20.0

INVENTORY = """
schema = 1
[organisation]
name = "Bench"
contact = "contact@bench.test"
[hosts.far]
platform = "debian"
address = "192.0.2.1"
provider = "one"
datacenter = "FAR"
"""


def playbook() -> list[object]:
    """The state as Ansible says it, one task per file, folder and unit."""
    tasks: list[object] = [
        {"ansible.builtin.file": {"path": path, "state": "directory", "mode": "0755",
                                  "owner": "root", "group": "root"}}
        for path in FOLDERS
    ]  # fmt: skip
    tasks += [
        {"ansible.builtin.copy": {"dest": path, "content": text, "mode": "0644",
                                  "owner": "root", "group": "root"}}
        for path, text in FILES.items()
    ]  # fmt: skip
    tasks.append({"ansible.builtin.apt": {"name": PACKAGES, "state": "present"}})
    tasks += [
        {"ansible.builtin.systemd_service": {"name": unit, "state": "started"}} for unit in UNITS
    ]
    return [{"hosts": "all", "gather_facts": False, "tasks": tasks}]


def timed(argv: list[str], environment: dict[str, str], cwd: Path) -> tuple[float, str]:
    """Run to the end; return seconds and what it said. Raise when it fails."""
    started = time.monotonic()
    done = subprocess.run(
        argv, env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - started
    if done.returncode != 0:
        raise SystemExit(f"{argv[0]} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return seconds, done.stdout + done.stderr


def pyinfra(target: str, site: str, folder: Path) -> Callable[[], tuple[float, int]]:
    """A run of a bench site with `target`; the number is that of changed operations."""
    argv = [sys.executable, "-m", "pyinfra", target, str(HERE / site), "-y", "--json"]

    def once() -> tuple[float, int]:
        started = time.monotonic()
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        if done.returncode != 0:
            raise SystemExit(f"pyinfra failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
        results = json.loads(done.stdout)["results"]["operations"]
        return seconds, sum(len(operation["success"]) for operation in results)

    return once


def ansible_ready(host: Host, key: Path, folder: Path) -> tuple[str, dict[str, str]]:
    """Install ansible-core into `folder` unless it is there, with the inventory `hosts`; return
    the program and its environment."""
    venv = folder / "ansible"
    program = venv / "bin/ansible-playbook"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "ansible-core"]
        subprocess.run([*pip, "--disable-pip-version-check"], check=True)
    (folder / "known_hosts").write_text(f"{host.address} {host.host_key}\n")
    options = (
        f"-o ControlMaster=auto -o ControlPersist=120s -o ControlPath={folder}/%C "
        f"-o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes -i {key}"
    )
    (folder / "ansible.cfg").write_text(
        "[defaults]\ninterpreter_python = /usr/bin/python3\nforks = 5\n"
        f"[ssh_connection]\npipelining = True\nssh_args = {options}\n"
    )
    (folder / "hosts").write_text(f"far ansible_host={host.address} ansible_user=root\n")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(folder / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    return str(program), environment


def ansible(host: Host, key: Path, folder: Path) -> Callable[[], tuple[float, int]]:
    """A run of the playbook."""
    program, environment = ansible_ready(host, key, folder)
    (folder / "play.json").write_text(json.dumps(playbook()))
    argv = [program, "-i", str(folder / "hosts"), "play.json"]

    def once() -> tuple[float, int]:
        seconds, said = timed(argv, environment, folder)
        recap = said.rpartition("PLAY RECAP")[2]
        return seconds, int(recap.partition("changed=")[2].split()[0])

    return once


def stock_inventory(host: Host, key: Path, folder: Path) -> Path:
    """The host for pyinfra's own SSH connector."""
    (folder / "stock_known_hosts").write_text(f"{host.address} {host.host_key}\n")
    data = {
        "ssh_hostname": str(host.address), "ssh_user": "root", "ssh_key": str(key),
        "ssh_known_hosts_file": str(folder / "stock_known_hosts"),
    }  # fmt: skip
    file = folder / "stock.py"
    file.write_text(f"hosts = [('far', {data!r})]\n")
    return file


def main() -> None:
    """Boot, measure, print a table, and say whether the targets hold (exit 1 if not)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="leave the host running")
    wanted = parser.parse_args()
    lab = Lab("bench-deploy", progress=lambda text: print(f"  {text}", file=sys.stderr))
    with tempfile.TemporaryDirectory(prefix="releve-bench-") as scratch:
        folder = Path(scratch)
        file = folder / "bench.toml"
        file.write_text(INVENTORY)
        try:
            host = lab.up(roles.load(file)).hosts["far"]
            os.environ["RELEVE_SSH_KEY"] = str(lab.key_file)
            how = lab.delay("FAR", MILLISECONDS)
            print(f"Round trip: {round_trip(host):.1f} ms (added: {MILLISECONDS:.0f}, by {how})")
            target = f"@releve/{lab.inventory_file}"
            ways = {
                "releve": pyinfra(target, "site_releve.py", folder),
                "releve-connector": pyinfra(target, "site_stock.py", folder),
                "pyinfra": pyinfra(
                    str(stock_inventory(host, lab.key_file, folder)), "site_stock.py", folder
                ),
                "ansible": ansible(host, lab.key_file, folder),
            }
            report({name: measure(name, way, wanted.runs) for name, way in ways.items()})
        finally:
            if not wanted.keep:
                lab.down()


def round_trip(host: Host) -> float:
    """Milliseconds of one command down an open session's shell."""
    from tools.shell import Shell

    with ssh.session(ssh_target(host)) as connection:
        shell = Shell(connection)
        shell.run(":")
        started = time.monotonic()
        for _ in range(10):
            shell.run(":")
        return (time.monotonic() - started) * 100


def measure(name: str, way: Callable[[], tuple[float, int]], runs: int) -> float:
    """The median of `runs` runs in seconds, after two that bring the state about."""
    way()
    _, changed = way()
    assert changed == 0, f"{name} still changes {changed} things: the states differ"
    return statistics.median(way()[0] for _ in range(runs))


def report(seconds: dict[str, float]) -> None:
    """Print figures and ratios; exit 1 when a target is missed."""
    for name, value in seconds.items():
        print(f"{name:18} {value:7.2f} s   {value / seconds['releve']:5.1f} × releve")
    against_ansible = seconds["releve"] / seconds["ansible"]
    against_pyinfra = seconds["releve"] / seconds["pyinfra"]
    print(f"of Ansible's time: {against_ansible:.3f} (target: at most 0.125)")
    print(f"of pyinfra's time: {against_pyinfra:.3f} (target: at most 0.333)")
    if against_ansible > 1 / 8 or against_pyinfra > 1 / 3:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
