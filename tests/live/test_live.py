"""The story on a real YunoHost, in this order: each test goes on where the one before ended.

What is offered is destroyed. Everything goes through the command line, as people meet it.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import roles
from backup.restore import canaries
from bench.yunohost import run as bench
from inventories.access import ssh_target
from platforms.yunohost import answers, commands, durable, remote
from platforms.yunohost.app import instance_of
from platforms.yunohost.durable import Command, Task
from recovery.drill import write_as_members
from roles.apps import wanted_of
from tests.live.story import HAS_YUNOHOST, HOST, IS_SET_UP, Offered, Story, host_of, said
from tools import ssh

pytestmark = pytest.mark.live

# One of the services, which is destroyed and brought back.
VICTIM = "blog"
# What a plan calls our own programs and what they read.
OURS = re.compile(r"base: Folders and programs|agent: |.*: programs$")


def services(story: Story) -> list[str]:
    return [service.id for service in story.inventory().services_on(HOST)]


def installed(story: Story) -> dict[str, str]:
    """App -> version, as the server says."""
    answer = story.ask(commands.app_list())
    return {name: app.version for name, app in answers.apps(answer).items()}


def test_what_is_offered_can_be_used(story: Story, blanks: tuple[Offered, ...]) -> None:
    story.meet()
    for place in blanks:
        with ssh.session(place.target(story.key)) as connection:
            asked = (IS_SET_UP, HAS_YUNOHOST)
            set_up, there = (connection.run(argv, check=False).exit_code == 0 for argv in asked)
        assert not set_up, f"{place} is not blank: YunoHost is set up there. Offer another one"
        assert there or said("INSTALLER"), (
            f"{place} is a blank Debian: say where YunoHost's installer is, "
            "INSTALLER=URL INSTALLER_SHA256=…"
        )


def test_a_blank_server_is_installed_and_a_server_taken_as_it_is(story: Story) -> None:
    story.write()
    story.reach(story.host)
    story.releve("validate", story.file, codes=(0, 1))
    story.releve("deploy", story.file, "--yes", about="first deploy")
    assert story.is_set_up()
    story.trust()
    wanted = {app.instance for app in wanted_of(story.inventory(), HOST).apps}
    assert wanted <= set(installed(story))
    # What was not well before we came proves nothing of us, and a rebuild insists on all of it.
    if theirs := [name for name in services(story) if name.startswith("found-")]:
        story.left_alone = unwell(story, theirs, patience=3)
    if story.left_alone:
        print(f"  not well, left alone: {', '.join(story.left_alone)}")
        story.write()
        story.trust()
        story.releve("deploy", story.file, "--yes")


def test_a_second_deploy_changes_nothing(story: Story) -> None:
    done = story.releve("plan", story.file)
    assert "Nothing to change" in done.text
    assert "changed by hand" not in done.text
    done = story.releve("deploy", story.file, "--yes", about="deploy, nothing to change")
    assert "Nothing to change" in done.text


def test_a_second_deploy_beside_ansible(story: Story) -> None:
    host = story.inventory().hosts[HOST]
    if host.user != "root" or host.port != 22:
        pytest.skip("the playbook speaks to root on port 22")
    domains = answers.domains(story.ask(commands.domain_list())).names
    asked = (*bench.questions(), *bench.also(domains))
    pairs = []
    # A short path: there is a socket in it.
    with tempfile.TemporaryDirectory(prefix="rl-") as folder:
        try:
            playbook = bench.ansible(host, story.key, Path(folder), "play", asked)
        except subprocess.CalledProcessError:
            pytest.skip("ansible-core cannot be installed here: no package index")
        playbook()
        for _ in range(3):
            ours = story.releve("deploy", story.file, "--yes", "--limit", HOST).seconds
            pairs.append((ours, playbook()))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(f"  {len(asked)} questions: {pairs}")
    story.ratios["deploy, nothing to change, of Ansible's time"] = (ratio, bench.LIMIT)


def unwell(story: Story, names: Sequence[str], patience: int = 12) -> tuple[str, ...]:
    """Which of the services do not become well, after that many looks."""
    words = [word for name in names for word in ("--only", name)]
    for look in range(patience):
        if look:
            time.sleep(10)
        done = story.releve("check", story.file, *words, codes=(0, 1, 2, 3))
        if done.code in (0, 1):
            return ()
    return tuple(
        name
        for name in names
        if story.releve("check", story.file, "--only", name, codes=(0, 1, 2, 3)).code > 1
    )


def test_everything_is_well(story: Story) -> None:
    assert not unwell(story, services(story)), "services do not become well"


def test_what_is_adopted_needs_no_change(story: Story, tmp_path: Path) -> None:
    file = tmp_path / "adopted.toml"
    story.adopted(file)
    print(file.read_text())
    described = {service.url for service in roles.load(file).services.values()}
    assert {story.inventory().services[name].url for name in services(story)} <= described
    # It names no repository yet and calls services as it likes: our own files differ by that.
    # Nothing of the server does.
    done = story.releve("plan", file, codes=(0, 1, 2))
    changed = re.findall(r"(?m)^  would change: (.*)$", done.text)
    assert all(map(OURS.match, changed)), changed
    assert "failed" not in done.text


def test_a_copy_is_made(story: Story) -> None:
    inventory = story.inventory()
    write_as_members(inventory, inventory.hosts[HOST], services(story), "kept", sample=True)
    story.releve("backup", "run", story.file, "--host", HOST, about="first copy")
    story.releve("backup", "run", story.file, "--host", HOST, about="copy, nothing changed")
    story.releve("backup", "verify", story.file)


def perform(story: Story, title: str, *argvs: tuple[str, ...]) -> float:
    """Have YunoHost do something, durably; return the seconds."""
    task = Task(title, tuple(map(Command, argvs)))
    began = time.monotonic()
    done = remote.perform(ssh_target(story.inventory().hosts[HOST]), f"live-{time.time_ns()}", task)
    assert durable.failure(done) is None, done
    return time.monotonic() - began


def test_a_copy_beside_yunohosts_own(story: Story) -> None:
    pairs = []
    for _ in range(3):
        name = f"live{time.time_ns()}"
        theirs = perform(story, "a copy", commands.backup_create(name))
        perform(story, "its end", commands.backup_delete(name))
        pairs.append((story.releve("backup", "run", story.file, "--host", HOST).seconds, theirs))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(f"  {pairs}")
    story.ratios["copy, of the time of YunoHost's own"] = (ratio, 1.3)


# Takes a file away after an app was upgraded, so that it answers no more.
BREAKS = """set -eu
mkdir -p "${1%/*}"
printf '#!/bin/sh\\n[ "$YNH_APP_INSTANCE_NAME" = "%s" ] || exit 0\\n' "$2" > "$1"
printf 'mv /var/www/%s/index.php /var/www/%s/index.gone\\n' "$2" "$2" >> "$1"
chmod 755 "$1"
"""
HOOK = "/etc/yunohost/hooks.d/post_app_upgrade/50-live"


def test_what_does_not_work_after_its_upgrade_comes_back(story: Story) -> None:
    if not said("OFFER"):
        pytest.skip("OFFER says how the server is offered newer versions")
    story.shell(said("OFFER"))
    before = installed(story)
    instance = instance_of(story.inventory().services[VICTIM])
    story.do(("sh", "-c", BREAKS, "breaks", HOOK, instance))
    try:
        words = ("--service", VICTIM, "--yes")
        done = story.releve("upgrade", story.file, *words, codes=(1,), about="rollback")
    finally:
        story.do(("rm", "-f", HOOK))
    assert "ROLLED BACK" in done.text
    assert installed(story) == before
    test_everything_is_well(story)


def test_what_can_be_upgraded_is(story: Story) -> None:
    offer = said("OFFER")
    if offer:
        story.shell(offer)
    before = installed(story)
    done = story.releve("upgrade", story.file, "--dry-run", codes=(0, 1))
    if done.code:
        assert not offer
        pytest.skip("the server cannot say what is available: see above")
    assert installed(story) == before
    story.releve("upgrade", story.file, "--yes", about="upgrade of the apps")
    if offer:
        assert installed(story) != before
    assert "nothing to upgrade" in story.releve("upgrade", story.file, "--dry-run").text
    words = ("--system", "--yes")
    done = story.releve("upgrade", story.file, *words, codes=(0, 1), about="upgrade of packages")
    if done.code:
        # Refused before anything is changed, and rightly so.
        assert "could not fetch the lists" in done.text
        pytest.skip("the server reaches no mirror of packages")


def test_an_upgrade_that_fails_leaves_what_was_there(story: Story) -> None:
    if not said("OFFER_BROKEN"):
        pytest.skip("OFFER_BROKEN says how the server is offered a version that does not work")
    story.shell(said("OFFER_BROKEN"))
    before = installed(story)
    done = story.releve("upgrade", story.file, "--yes", codes=(1,), about="upgrade that fails")
    assert "NOT UPGRADED" in done.text or "ROLLED BACK" in done.text
    after = installed(story)
    assert after.keys() == before.keys()
    test_everything_is_well(story)


def test_an_app_that_is_destroyed_comes_back(story: Story) -> None:
    inventory = story.inventory()
    host = inventory.hosts[HOST]
    at = write_as_members(inventory, host, [VICTIM], "kept")
    story.releve("backup", "run", story.file, "--host", HOST)
    instance = instance_of(inventory.services[VICTIM])
    perform(story, "destroyed", commands.app_remove(instance))
    assert instance not in installed(story)
    story.releve("check", story.file, "--only", VICTIM, codes=(2,))
    story.releve(
        "restore", story.file, VICTIM, "--to", HOST, "--replace", about="restore of one app"
    )
    assert instance in installed(story)
    with ssh.session(story.target()) as connection:
        found = canaries(connection, VICTIM)
    assert any(abs((mark.at - at).total_seconds()) < 2 for mark in found), found
    test_everything_is_well(story)
    assert "Nothing to change" in story.releve("plan", story.file).text


def test_the_copies_come_back_on_a_blank_host_that_is_shut_in(
    story: Story, blanks: tuple[Offered, ...], tmp_path: Path
) -> None:
    if len(blanks) < 2:
        pytest.skip("a drill and a rebuild need a blank host each: BLANK='root@A root@B'")
    place = blanks[1]
    story.reach(place)
    words = ("--on", place.address, "--host-key", place.host_key, "--evidence", tmp_path)
    story.releve("drill", story.file, *words, about="drill")
    (evidence,) = tmp_path.glob("*.json")
    assert json.loads(evidence.read_text())["passed"]


def test_everything_is_rebuilt_on_a_blank_host(
    story: Story, blanks: tuple[Offered, ...], tmp_path: Path
) -> None:
    if not blanks:
        pytest.skip("BLANK=root@ADDRESS is not given")
    place = blanks[0]
    story.reach(place)
    ours = {app.instance for app in wanted_of(story.inventory(), HOST).apps}
    before = {name: version for name, version in installed(story).items() if name in ours}
    story.releve(
        "rebuild", story.file, "--host", place.address, "--host-key", place.host_key,
        "--provider", "elsewhere", "--datacenter", "three", "--lost", HOST, "--yes",
        "--evidence", tmp_path, about="rebuild",
    )  # fmt: skip
    (evidence,) = tmp_path.glob("*.json")
    assert json.loads(evidence.read_text())["passed"]
    assert str(story.inventory().hosts[HOST].address) == place.address
    assert installed(story) == before
    test_everything_is_well(story)
    assert "Nothing to change" in story.releve("plan", story.file).text
    # The old one can serve and save no more.
    old = host_of(story.host, story.inventory())
    with ssh.session(ssh_target(old)) as connection:
        fenced = connection.run(("test", "-e", "/var/lib/releve/fenced"), check=False)
    assert fenced.exit_code == 0


def test_how_long_it_took(story: Story) -> None:
    print()
    for what, seconds in story.seconds.items():
        print(f"  {what:48} {seconds:7.1f} s")
    for what, (ratio, limit) in story.ratios.items():
        print(f"  {what:48} {ratio:7.2f}   (limit: {limit})")
    there = answers.domains(story.ask(commands.domain_list())).names
    if len(there) < 5 or len(installed(story)) < 6:
        pytest.skip("the limits are those of a server with 5 domains and 6 apps: see SERVICES")
    missed = [what for what, (ratio, limit) in story.ratios.items() if ratio > limit]
    assert not missed
