"""WordPress and Etherpad on a real host: deployed, answering, and still there the second time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import roles
from inventories.model import Inventory, Service
from lab import Lab
from roles.etherpad import settings as etherpad
from roles.wordpress import settings as wordpress
from tools import dns

pytestmark = pytest.mark.lab

REPO = Path(__file__).resolve().parents[2]
TITLE = """Le blog d'à côté "$(id)" `id` \\ <b>"""


def services() -> Inventory:
    site = {"role": "wordpress", "host": "a1", "url": "https://atelier.example"}
    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "L'Atelier en Santé", "contact": "contact@atelier.example"},
            "hosts": {
                "a1": {
                    "platform": "debian",
                    "address": "192.0.2.1",
                    "provider": "a hoster",
                    "datacenter": "A",
                }
            },
            "domains": {"atelier.example": {"dns": "manual"}},
            "services": {
                "site": {**site, "settings": wordpress.WordPressSettings()},
                "blog": {
                    **site,
                    "url": "https://blog.atelier.example",
                    "settings": wordpress.WordPressSettings(title=TITLE, upload_mb=5),
                },
                "pads": {
                    "role": "etherpad",
                    "host": "a1",
                    "url": "https://pads.atelier.example",
                    "settings": etherpad.EtherpadSettings(),
                },
            },
        }
    )


class Deployed:
    """The lab's host and what may be asked of it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.inventory: Inventory = roles.load(lab.inventory_file)

    def service(self, name: str) -> Service:
        return self.inventory.services[name]

    def deploy(self, stages: str) -> tuple[str, dict[str, int]]:
        """Run the stages; what was said, and how many operations changed something, failed or
        had nothing to do."""
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "pyinfra"),
                "-y",
                f"@releve/{self.lab.inventory_file}",
                str(REPO / "tests/lab/services_site.py"),
            ],
            env={
                **os.environ,
                "RELEVE_STAGES": stages,
                "RELEVE_SSH_KEY": str(self.lab.key_file),
                "RELEVE_IDENTITY": str(self.lab.key_file),
                "PYTHONPATH": str(REPO),
            },
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=900,
        )
        said = done.stdout + done.stderr
        total = re.search(r"Grand total +(\d+) +(\S+) +(\S+) +(\S+)", said)
        assert total, said
        numbers = [0 if n == "-" else int(n) for n in total.groups()]
        return said, {"changed": numbers[1], "failed": numbers[2], "unchanged": numbers[3]}

    def ask(self, *argv: str) -> Any:
        """What a program of a role answers on the host."""
        return json.loads(self.lab.run("a1", argv, timeout=120).stdout)

    def get(self, name: str, path: str, *, verify: bool) -> tuple[int, str]:
        """A page by https from the host's address, whatever DNS says."""
        host = self.inventory.hosts["a1"]
        domain = self.service(name).domain
        argv = [
            "curl", "-s", "--noproxy", "*", "--resolve", f"{domain}:443:{host.address}",
            "-w", "\n%{http_code}", f"https://{domain}{path}",
        ]  # fmt: skip
        trust = ["--cacert", str(self.lab.ca_file)] if verify else ["-k"]
        done = subprocess.run([*argv, *trust], capture_output=True, text=True, timeout=30)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body


@pytest.fixture(scope="module")
def deployed(make_lab: Callable[[], Lab]) -> Deployed:
    lab = make_lab()
    lab.up(services())
    found = Deployed(lab)
    said, counted = found.deploy("install,configure")
    assert counted["failed"] == 0, said
    return found


def test_a_second_deploy_changes_nothing(deployed: Deployed) -> None:
    said, counted = deployed.deploy("install,configure")
    assert counted["changed"] == counted["failed"] == 0, said
    assert counted["unchanged"] > 20


def test_each_service_answers_by_its_name_before_dns_knows_it(deployed: Deployed) -> None:
    for name, title in (
        ("site", "<title>L&#039;Atelier en Santé</title>"),
        ("blog", "d&#039;à côté &quot;$(id)&quot; `id`"),
        ("pads", "<title>Etherpad</title>"),
    ):
        status, body = deployed.get(name, "/", verify=False)
        assert (status, title in body) == (200, True), body[:500]
    assert deployed.get("site", "/", verify=True)[0] == 0  # only a placeholder so far
    assert deployed.get("site", "/wp-admin/install.php", verify=False)[0] == 403
    assert deployed.get("pads", "/api/", verify=False)[0] == 403


def test_two_sites_are_kept_apart_by_the_host(deployed: Deployed) -> None:
    site, blog = deployed.service("site"), deployed.service("blog")
    for argv in (
        ("cat", wordpress.salts_file(blog)),
        ("touch", f"{wordpress.root(blog)}/wp-content/uploads/theirs"),
        ("mariadb", "-e", "SELECT 1", wordpress.database(blog)),
    ):
        tried = deployed.lab.run(
            "a1", ("runuser", "-u", wordpress.user(site), "--", *argv), check=False
        )
        assert tried.exit_code != 0, argv
    own = ("mariadb", "-e", "SELECT 1", wordpress.database(site))
    deployed.lab.run("a1", ("runuser", "-u", wordpress.user(site), "--", *own))


def test_marks_are_found_again_and_do_not_count_as_content(deployed: Deployed) -> None:
    for name in ("site", "pads"):
        service = deployed.service(name)

        def program(*words: str, service: Service = service) -> tuple[str, ...]:
            if service.role == "wordpress":
                return wordpress.program(service, *words)
            return etherpad.program(service, deployed.inventory, *words)

        before = deployed.ask(*program("counts"))
        for second in range(7):
            deployed.ask(*program("canary-plant", f"r-{second}", f"2026-01-01T00:00:0{second}Z"))
        found = deployed.ask(*program("canary-find"))
        assert [mark["run"] for mark in found] == ["r-6", "r-5", "r-4", "r-3", "r-2"]
        assert found[0]["at"] == "2026-01-01T00:00:06Z"
        assert deployed.ask(*program("counts")) == before
        assert all(deployed.ask(*program("versions")).values())


def test_a_pad_outlives_a_restart_of_etherpad(deployed: Deployed) -> None:
    pads = deployed.service("pads")

    def pad(*words: str) -> bytes:
        argv = etherpad.program(pads, deployed.inventory, *words)
        return deployed.lab.run("a1", argv, timeout=90).stdout

    pad("write", "reunion", "Compte rendu : é ✓ $(id)")
    deployed.lab.run("a1", ("systemctl", "restart", etherpad.unit(pads)))
    pad("wait")
    assert pad("read", "reunion").decode().strip() == "Compte rendu : é ✓ $(id)"
    assert deployed.ask(*etherpad.program(pads, deployed.inventory, "counts"))["pads"] == 1


def test_secrets_are_for_their_owner_alone(deployed: Deployed) -> None:
    site, pads = deployed.service("site"), deployed.service("pads")
    for path, mode in (
        (wordpress.admin_file(site), "600"),
        (wordpress.salts_file(site), "640"),
        (etherpad.api_key_file(pads), "600"),
        (etherpad.certificate_paths(pads)[1], "600"),
    ):
        said = deployed.lab.run("a1", ("stat", "-c", "%a", path)).stdout.decode().strip()
        assert said == mode, path


def test_a_site_that_nginx_refuses_is_taken_back(deployed: Deployed) -> None:
    from platforms.debian import steps

    broken = "/etc/nginx/releve/broken"
    deployed.lab.run("a1", ("sh", "-c", 'echo "server {" > "$1"', "sh", broken))
    live = wordpress.nginx_site(deployed.service("site"))
    before = deployed.lab.run("a1", ("sha256sum", live)).stdout
    step = steps.nginx_takes((broken, live))
    tried = deployed.lab.run(
        "a1", ("sh", "-c", "set -eu\n" + step.run, "run", *step.arguments), check=False
    )
    assert tried.exit_code == 1
    assert b"put back" in tried.stderr
    assert deployed.lab.run("a1", ("sha256sum", live)).stdout == before
    deployed.lab.run("a1", ("rm", broken))
    deployed.lab.run("a1", ("nginx", "-q", "-t"))


def test_the_real_certificate_comes_when_dns_names_the_host(deployed: Deployed) -> None:
    said, counted = deployed.deploy("activate")
    assert "No certificate for atelier.example" in said
    assert "Does DNS name this host" in said
    assert deployed.get("site", "/", verify=False)[0] == 200  # goes on with what it has

    address = str(deployed.inventory.hosts["a1"].address)
    for name in ("site", "blog", "pads"):
        dns.update(
            deployed.lab.dns_server,
            "atelier.example",
            deployed.lab.dns_key,
            [dns.Wanted(deployed.service(name).domain, "A", (address,))],
            ttl=30,
        )
    said, counted = deployed.deploy("activate")
    assert counted["failed"] == 0, said
    for name in ("site", "blog", "pads"):
        assert deployed.get(name, "/", verify=True)[0] == 200
    said, counted = deployed.deploy("activate")
    assert counted["changed"] == counted["failed"] == 0, said
