"""Who may log in where, what is let in, what is run, and what people read about it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.deploy import deploy
from deploy import everything, run, text
from deploy import keys as made
from deploy.dns import ZonePlan
from deploy.everything import Outcome
from deploy.report import Change, Failure, HostReport, Report
from inventories.model import Inventory, Zone
from inventories.secrets import Secrets
from roles.base import firewall, keys
from roles.repository.accounts import accounts
from roles.watch import source
from roles.watch.deploy import cron
from tools import dns

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIODxoCB7EBrYiBCLI7Q0rsyjOZzn3I6vgDCtlb2wKqJr"


def inventory(**more: object) -> Inventory:
    place = {"platform": "debian", "provider": "p", "datacenter": "d"}
    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "x", "contact": "x@example.org"},
            "people": {
                "one": {"mail": "a@example.org", "keys": [f"{KEY} a b"], "duties": ["deploy"]},
                "two": {"mail": "b@example.org", "keys": [KEY[:-1] + "s"], "duties": ["contact"]},
            },
            "hosts": {
                "web": {**place, "address": "192.0.2.1", "repository": "safe", "port": 2222},
                "old": {**place, "address": "192.0.2.4", "repository": "safe"},
                "safe": {**place, "address": "192.0.2.2", "roles": ["repository"]},
                "eye": {**place, "address": "192.0.2.3", "roles": ["watch"]},
            },
            "repositories": {
                "safe": {"url": "ssh-append://keep@safe.example/org", "host": "safe",
                         "provider": "p", "datacenter": "d"},
            },
            "services": {"site": {"role": "wordpress", "host": "web", "url": "https://a.example"}},
            **more,
        }
    )  # fmt: skip


def test_only_people_with_the_duty_log_in_and_comments_are_ours() -> None:
    assert keys.operators(inventory()) == (f"{KEY} one",)


def test_the_watch_may_ask_for_the_status_only() -> None:
    (line,) = keys.watchers([("eye", f"{KEY} whatever")])
    assert line.startswith('restrict,command="/usr/local/lib/releve/agent.py status" ssh-ed25519 ')


def test_the_firewall_keeps_ssh_open_and_web_only_where_services_are() -> None:
    value = inventory()
    web = firewall.rules(value.hosts["web"], value).decode()
    assert "tcp dport { 22, 80, 443, 2222 } accept" in web
    assert "policy drop" in web
    assert "tcp dport { 22 } accept" in firewall.rules(value.hosts["safe"], value).decode()


def test_each_host_may_write_its_own_repository_and_a_removed_one_nothing() -> None:
    value = inventory()
    public = {name: KEY for name, kind in made.names(value).items() if kind == "key"}
    (account,) = accounts(value, "safe", public)
    gates = [line.split('"')[1] for line in account.lines]
    gate = "/usr/local/lib/releve/repository/gate"
    assert gates == [f"{gate} org/web", f"{gate} org/old", f"{gate} --watch org"]
    assert all(line.startswith("restrict,command=") for line in account.lines)
    hosts = {name: host for name, host in value.hosts.items() if name != "old"}
    (account,) = accounts(value.model_copy(update={"hosts": hosts}), "safe", public)
    assert not any("old" in line for line in account.lines)


def test_keys_are_made_once_and_are_real(tmp_path: Path) -> None:
    identity = tmp_path / "id"
    identity.write_text(made.private_key())
    identity.chmod(0o600)
    file = tmp_path / "inventory.toml"
    public = keys.public_half(identity.read_text())
    file.write_text(
        'schema = 1\n[organisation]\nname = "x"\ncontact = "x@example.org"\n'
        f'[people.one]\nmail = "a@example.org"\nkeys = ["{public}"]\n'
    )
    value = inventory()
    new = made.ensure(value, Secrets.open(file, identity))
    assert set(new) == {
        *(f"host.{h}.{use}" for h in ("web", "old") for use in ("append", "fence", "restic")),
        *(f"host.{h}.recovery" for h in ("web", "old")),
        "host.eye.watch",
    }
    again = Secrets.open(file, identity)
    assert made.ensure(value, again) == ()
    values = [again.get(name) for name in new]
    assert len(set(values)) == len(new)
    assert all(len(v) >= 43 for v in values)
    assert keys.public_half(again.get("host.web.append")).startswith("ssh-ed25519 ")


def test_a_limit_names_hosts_and_services() -> None:
    value = inventory()
    assert run.selection(value, ()) == (("web", "old", "safe", "eye"), ())
    assert run.selection(value, ["eye"]) == (("eye",), ())
    assert run.selection(value, ["site"]) == (("web",), ("site",))
    # The host that is named itself gets all of its services.
    assert run.selection(value, ["site", "old"]) == (("old", "web"), ("site",))
    with pytest.raises(run.UsageError, match="nobody"):
        run.selection(value, ["nobody"])


def test_the_summary_says_what_failed_where_why_and_what_to_do() -> None:
    web = HostReport(
        "web", "failed", [Change("base: Packages")], "base: Firewall", "no nft", "Do x"
    )
    said = text.result(Report(False, {"web": web, "safe": HostReport("safe")}))
    for part in ("web", "failed at 'base: Firewall'", "no nft", "Do x", "Not done: web", "1 host"):
        assert part in said
    unchanged = Report(False, {"web": HostReport("web"), "safe": HostReport("safe")})
    assert text.result(unchanged) == "Nothing to change: 2 hosts as the inventory says.\n"
    unchanged.hosts["web"].warnings.append("no certificate yet")
    assert text.result(unchanged).endswith("as the inventory says, but for the warnings.\n")


def test_a_key_that_is_wrong_is_no_host_that_does_not_run() -> None:
    for told, remedy in ((True, ""), (False, "Check that it runs")):
        report = Report(False, {"monts": HostReport("monts")})
        event = {"kind": "unreachable", "host": "monts", "message": "no key", "told": told}
        run._take(event, report, {}, None)
        assert report.hosts["monts"].state == "unreachable"
        assert report.hosts["monts"].remedy.startswith(remedy)
        assert bool(report.hosts["monts"].remedy) == bool(remedy)


def test_a_service_that_failed_is_named_and_going_back_is_explained() -> None:
    web = HostReport("web", services={"site": Failure("site: content", "no database")})
    report = Report(False, {"web": web})
    assert (report.ok, report.exit_code, report.broken) == (False, 1, ("site",))
    said = text.result(report)
    for part in (
        "site failed at 'site: content'",
        "no database",
        "Not done: site on web",
        "--older",
    ):
        assert part in said


def test_a_plan_names_what_is_new_and_shows_what_differs() -> None:
    diff = "--- /etc/a.conf\n+++ /etc/a.conf\n@@ -1 +1 @@\n-old\n+new"
    new = "--- /dev/null\n+++ /etc/b.conf\n@@ -0,0 +1,2 @@\n+first line\n+second line"
    web = HostReport(
        "web",
        changes=[
            Change("base: Packages", ("packages: nginx cron",)),
            Change("site: Packages", ("packages: php cron", "one of the packages x, y")),
            Change(
                "site: files",
                (
                    "/srv/site/: mode 755, root",
                    "/srv/site/uploads/: mode 755, wp",
                    "/usr/local/lib/releve/agent.py: new, 20 lines",
                    "/etc/releve/append-key: secret, not shown",
                    new,
                    diff,
                ),
            ),
        ],
    )
    said = text.plan(Report(True, {"web": web}))
    assert "base: Packages" not in said
    for line in (
        "would change: 3 packages",
        "nginx cron php",
        "one of the packages x, y",
        "folders: /srv/site, and 1 below",
        "/etc/releve/append-key: secret, not shown",
        "/etc/b.conf: new, 2 lines",
        "programs of Relève: 1",
        "-old",
        "+new",
    ):
        assert line in [each.strip() for each in said.splitlines()], line
    assert "second line" not in said
    assert "--full" in said
    full = text.plan(Report(True, {"web": web}), full=True)
    assert "+second line" in full
    assert "base: Packages" in full
    assert "--full" not in full


@pytest.mark.parametrize(
    ("states", "dry", "code"),
    [
        (["ok", "ok"], False, 0),
        (["ok", "unreachable"], False, 69),
        (["ok", "busy"], True, 75),
        (["unreachable", "failed"], False, 1),
        (["busy", "unreachable"], False, 69),
    ],
)
def test_the_exit_code_is_that_of_the_worst_host(states: list[str], dry: bool, code: int) -> None:
    hosts = {str(n): HostReport(str(n), state) for n, state in enumerate(states)}  # type: ignore[arg-type]
    assert Report(dry, hosts).exit_code == code
    denied = HostReport("denied", "unreachable", denied=True)
    assert Report(dry, {**hosts, "denied": denied}).exit_code == (1 if code == 1 else 77)


def test_a_plan_with_changes_ends_with_2() -> None:
    host = HostReport("web", changes=[Change("x")])
    assert (Report(True, {"web": host}).exit_code, Report(False, {"web": host}).exit_code) == (2, 0)


def test_cron_runs_as_often_as_the_inventory_says() -> None:
    value = inventory(watch={"every": "20m"})
    line = cron(value.hosts["eye"], value).decode().splitlines()[-1]
    assert line.endswith(" * * * * root /usr/local/lib/releve/watch/checks --jitter 20")
    minutes = line.split()[0].split(",")
    assert len(minutes) == 3
    assert {int(b) - int(a) for a, b in itertools.pairwise(minutes)} == {20}


def test_the_watch_gets_pinned_dependencies_and_nothing_that_deploys() -> None:
    pinned = source.requirements()
    names = [line.split("==")[0] for line in pinned.splitlines() if "==" in line]
    assert {"pydantic", "dnspython", "cryptography", "apprise"} <= set(names)
    assert not {"pyinfra", "gevent"} & set(names)
    assert pinned.count("--hash=sha256:") >= len(names)
    assert source.archive() == source.archive()


def test_a_duty_that_a_platform_cannot_have_is_refused_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "inventory.toml"
    identity = tmp_path / "id"
    identity.write_text(made.private_key())
    monkeypatch.setenv("RELEVE_IDENTITY", str(identity))
    public = keys.public_half(identity.read_text())
    file.write_text(
        'schema = 1\n[organisation]\nname = "x"\ncontact = "x@example.org"\n'
        f'[people.one]\nmail = "a@example.org"\nkeys = ["{public}"]\nduties = ["deploy"]\n'
        '[hosts.monts]\nplatform = "yunohost"\naddress = "192.0.2.1"\n'
        'provider = "p"\ndatacenter = "d"\nroles = ["watch"]\n'
    )
    report = run.run(file, dry=True)
    assert report.hosts["monts"].state == "refused"
    assert "cannot set up watch" in report.hosts["monts"].error
    assert report.exit_code == 1


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(("kind", "code"), [("rfc2136", 1), ("manual", 0)])
def test_a_server_of_ours_that_cannot_be_asked_stands_in_the_way(
    dry: bool, kind: str, code: int
) -> None:
    table = {"server": "192.0.2.53", "key": "k", "secret": "secret:x"} if code else {}
    zone = ZonePlan(Zone.model_validate({"id": "a.example", "dns": kind, **table}), (), error="no")
    report = Report(dry, {"web": HostReport("web")})
    assert Outcome(report, (zone,)).exit_code == code
    assert "where we could look" in text.plan(report, (zone,))
    web = HostReport("web", changes=[Change("x")])
    assert Outcome(Report(True, {"web": web}), (zone,)).exit_code == 2


def test_deploy_ends_alike_with_and_without_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"dns": "rfc2136", "server": "192.0.2.53", "key": "k", "secret": "secret:x"}
    zone = ZonePlan(Zone.model_validate({"id": "a.example", **table}), (), error="no answer")
    for verb, dry in (("plan", True), ("deploy", False)):
        outcome = Outcome(Report(dry, {"w": HostReport("w")}), (zone,))
        monkeypatch.setattr(everything, verb, lambda *_, _is=outcome, **__: _is)
    for more in ([], ["--yes"]):
        done = CliRunner().invoke(deploy, [str(tmp_path / "x.toml"), *more])
        assert (done.exit_code, "no answer" in done.output) == (1, True), more


def test_records_are_shown_although_nobody_could_be_asked() -> None:
    zone = Zone(id="example.org", ttl=300)
    wanted = (dns.Wanted("example.org", "A", ("192.0.2.1",)), dns.Wanted("example.org", "AAAA"))
    said = text.dns([ZonePlan(zone, wanted, error="nobody answers")])
    assert said[1].strip() == "nobody answers"
    assert "by hand" in said[2]
    assert [line.strip() for line in said[3:]] == ["example.org. 300 IN A 192.0.2.1"]
