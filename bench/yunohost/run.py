"""A deploy that has nothing to change on a YunoHost server, against Ansible asking the same.

    .venv/bin/python bench/yunohost/run.py        (root; boots a throwaway host, takes minutes)

The server has 5 domains, 30 accounts and 6 apps. It is a throwaway Debian host on which the tests'
stand-in answers as slowly as the recorded server did: no figure here is one of a real YunoHost,
both sides wait for the same answers. Measured is the whole command, each side three times in turn:

- `releve deploy`: everything the inventory says, and `yunohost` must be started 6 times at most;
- `ansible-playbook`: asks by one task each what our deploy finds out; it compares nothing. With
  pipelining, ControlPersist and without gathering facts. Once with the six lists alone, once with
  what our deploy reads from files asked as well, of each domain.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

import roles  # noqa: E402
from bench.deploy.run import ansible_ready  # noqa: E402
from inventories.access import ssh_target  # noqa: E402
from inventories.model import Host  # noqa: E402
from lab import Lab  # noqa: E402
from platforms.yunohost import commands  # noqa: E402
from platforms.yunohost.server import QUESTIONS  # noqa: E402
from tools import ssh  # noqa: E402

STANDIN = REPO / "tests/standin/yunohost.py"
HOME = "/srv/standin"
DOMAINS = ("bench.test", *(f"d{n}.bench.test" for n in range(1, 5)))
APPS = tuple(("my_webapp", "my_webapp" + (f"__{n}" if n > 1 else "")) for n in range(1, 7))
ACCOUNTS = 30
STARTS, LIMIT = 6, 0.25

# It does what a real server has done by the time it is set up, as far as a deploy looks at it.
PREPARE = r"""set -eu
mkdir -p "$1" /etc/yunohost /etc/ssl/certs; chmod 755 "$1/yunohost"
printf '{"state": "%s/state.json", "root": "/", "delays": 0}' "$1" > "$1/standin.json"
printf '#!/bin/sh\nexec %s/yunohost "$@"\n' "$1" > /usr/bin/yunohost; chmod 755 /usr/bin/yunohost
for name in yunohost yunohost-admin yunohost-portal moulinette ssowat; do
  p="$1/packages/$name"; mkdir -p "$p/DEBIAN"
  { printf 'Package: %s\nVersion: 12.1.25\nArchitecture: all\n' "$name"
    printf 'Maintainer: bench <bench@bench.test>\nDescription: stand-in\n'; } > "$p/DEBIAN/control"
  dpkg-deb -b "$p" "$p.deb" >/dev/null; dpkg -i "$p.deb" >/dev/null
done
id bench >/dev/null 2>&1 || useradd --home-dir /home/bench --shell /bin/bash bench
"""


def inventory(lab_key: str) -> str:
    """The inventory of the bench."""
    lines = [
        "schema = 1",
        '[organisation]\nname = "Bench"\ncontact = "contact@bench.test"',
        f'[people.bench]\nmail = "bench@bench.test"\nkeys = ["{lab_key}"]',
        'duties = ["deploy", "restore"]',
        '[hosts.far]\nplatform = "yunohost"\naddress = "192.0.2.1"\nprovider = "one"',
        'datacenter = "FAR"\n[hosts.far.yunohost]\nmain_domain = "bench.test"',
        '[hosts.far.yunohost.operators.bench]\nperson = "bench"\nfullname = "Le banc"',
    ]
    lines += [
        f'[hosts.far.yunohost.domains."{name}"]\ncertificate = "self-signed"' for name in DOMAINS
    ]
    for number, (app, instance) in enumerate(APPS):
        lines.append(
            f'[services.s{number}]\nrole = "app"\nhost = "far"\n'
            f'url = "https://{DOMAINS[number % 5]}/p{number}"\n'
            f'[services.s{number}.app]\nid = "{app}"\ninstance = "{instance}"\n'
            'args = { with_sftp = false, phpversion = "8.2", database = "none", '
            "custom_error_file = false }"
        )
    lines.append(
        '[[acknowledge]]\nrule = "no-repository"\nby = "bench"\ndate = 2026-01-01\n'
        'reason = "a throwaway host"'
    )
    return "\n".join(lines) + "\n"


def questions() -> tuple[tuple[str, ...], ...]:
    """What a deploy asks `yunohost`."""
    return tuple(q.argv for q in QUESTIONS if q.argv[:1] == ("yunohost",))


def also(domains: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """What it reads from files instead."""
    settings = tuple(commands.domain_config_get(name) for name in domains)
    return (commands.firewall_list(), commands.cert_status(domains), *settings)


def playbook(asked: tuple[tuple[str, ...], ...]) -> list[object]:
    """Each question as a task, as Ansible says it."""
    tasks = [
        {"ansible.builtin.command": {"argv": list(argv)}, "changed_when": False} for argv in asked
    ]
    return [{"hosts": "all", "gather_facts": False, "tasks": tasks}]


def prepare(host: Host) -> None:
    """Make the stand-in the host's YunoHost."""
    with ssh.session(ssh_target(host)) as connection:
        connection.run(("mkdir", "-p", HOME))
        connection.write(f"{HOME}/yunohost", STANDIN.read_bytes(), mode=0o755)
        connection.run(("sh", "-c", PREPARE, "prepare", HOME))


def populate(host: Host) -> None:
    """The accounts that the inventory does not name: members."""
    with ssh.session(ssh_target(host)) as connection:
        for number in range(ACCOUNTS - 1):
            name = f"member{number}"
            argv = commands.user_create(name, f"Membre {number}", "bench.test")
            connection.run((*argv, "--password", "Un-mot-de-passe-43"), timeout=60)


def delays(host: Host, factor: int) -> None:
    """How slow the stand-in is: 1 as the recorded server."""
    told = {"state": f"{HOME}/state.json", "root": "/", "delays": factor}
    with ssh.session(ssh_target(host)) as connection:
        connection.write(f"{HOME}/standin.json", json.dumps(told).encode(), mode=0o644)


def starts(host: Host) -> int:
    """How often `yunohost` was started so far."""
    with ssh.session(ssh_target(host)) as connection:
        said = connection.run(("wc", "-l", f"{HOME}/state.calls")).stdout
    return int(said.split()[0])


def releve(file: Path) -> Callable[[], float]:
    """A deploy of everything."""
    argv = [sys.executable, "-m", "cli.main", "deploy", str(file), "--yes"]

    def once() -> float:
        began = time.monotonic()
        done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            raise SystemExit(f"releve deploy failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
        once.said = done.stdout  # type: ignore[attr-defined]
        return seconds

    return once


def ansible(
    host: Host, key: Path, folder: Path, name: str, asked: tuple[tuple[str, ...], ...]
) -> Callable[[], float]:
    """The playbook with these questions."""
    program, environment = ansible_ready(host, key, folder)
    (folder / f"{name}.json").write_text(json.dumps(playbook(asked)))

    def once() -> float:
        began = time.monotonic()
        done = subprocess.run(
            [program, "-i", str(folder / "hosts"), f"{name}.json"],
            env=environment, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - began
        if done.returncode != 0 or not re.search(rf"ok={len(asked)}\b", done.stdout):
            raise SystemExit(f"ansible failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return seconds

    return once


def main() -> None:
    """Boot, measure, print, and say whether the limits hold (exit 1 if not)."""
    lab = Lab("bench-yunohost", progress=lambda text: print(f"  {text}", file=sys.stderr))
    with tempfile.TemporaryDirectory(prefix="releve-bench-") as scratch:
        folder = Path(scratch)
        try:
            host, file = boot(lab, folder)
            measure(lab, host, file, folder)
        finally:
            lab.down()


def boot(lab: Lab, folder: Path) -> tuple[Host, Path]:
    """One Debian host, and an inventory that says YunoHost of it."""
    plain = folder / "plain.toml"
    plain.write_text(
        'schema = 1\n[organisation]\nname = "B"\ncontact = "contact@bench.test"\n'
        '[hosts.far]\nplatform = "debian"\naddress = "192.0.2.1"\nprovider = "one"\n'
        'datacenter = "FAR"\n'
    )
    there = lab.up(roles.load(plain)).hosts["far"]
    os.environ["RELEVE_SSH_KEY"] = os.environ["RELEVE_IDENTITY"] = str(lab.key_file)
    public = subprocess.run(
        ("ssh-keygen", "-y", "-f", str(lab.key_file)), check=True, capture_output=True, text=True
    ).stdout.strip()
    given = folder / "bench.toml"
    given.write_text(inventory(public))
    # The lab's DNS, and the address of the host that runs already.
    lab.up(roles.load(given), hosts=[])
    return there, lab.inventory_file


def measure(lab: Lab, host: Host, file: Path, folder: Path) -> None:
    """Bring the state about, then let each side have its turns."""
    prepare(host)
    deploy = releve(file)
    deploy()
    populate(host)
    delays(host, 1)
    lists, everything = questions(), (*questions(), *also(DOMAINS))
    ways = {
        "releve deploy": deploy,
        f"ansible, {len(lists)} lists": ansible(host, lab.key_file, folder, "lists", lists),
        f"ansible, {len(everything)} questions": ansible(
            host, lab.key_file, folder, "everything", everything
        ),
    }
    deploy()
    before = starts(host)
    deploy()
    started = starts(host) - before
    said = str(getattr(deploy, "said", ""))
    if "Nothing to change" not in said:
        raise SystemExit(f"the deploy still changes something:\n{said}")
    turns = [{name: way() for name, way in ways.items()} for _ in range(3)]
    medians = {name: statistics.median(turn[name] for turn in turns) for name in ways}
    for name, seconds in medians.items():
        print(f"{name:26} {seconds:7.2f} s   {seconds / medians['releve deploy']:5.1f} × releve")
    ours = medians["releve deploy"]
    ratio = ours / list(medians.values())[-1]
    alone = ours / list(medians.values())[1]
    print(f"starts of yunohost: {started} (limit: at most {STARTS})")
    print(f"of Ansible's time, the same questions: {ratio:.3f} (limit: at most {LIMIT})")
    print(f"of Ansible's time, the six lists alone: {alone:.3f}")
    if started > STARTS or ratio > LIMIT:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
