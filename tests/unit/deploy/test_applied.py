"""What a host remembers: older inventories, changes by hand."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.applied import (
    STAGES,
    Applied,
    DamagedError,
    Things,
    after,
    drift,
    is_older,
    parse,
    render,
    unclaimed,
    without,
)
from deploy.begin import _found


def files(**digests: str) -> Things:
    return Things(files={f"/{name}": (digest, "644 root:root") for name, digest in digests.items()})


def next_one(before: Applied, digest: str, **more: Any) -> Applied:
    values: dict[str, Any] = {"placed": Things(), "found": before.left, "stages": STAGES}
    values |= {"all_of_it": True, **more}
    return after(before, digest=digest, at="then", who="me", releve="1", **values)


def test_an_inventory_is_older_when_another_was_applied_after_it() -> None:
    one = next_one(Applied(), "one")
    two = next_one(one, "two")
    assert is_older("one", two)
    assert not is_older("two", two)
    assert not is_older("new", two)
    # Going back on purpose makes it the last one again.
    back = next_one(two, "one")
    assert not is_older("one", back)
    assert is_older("two", back)


def test_a_deploy_of_a_part_is_not_taken_for_a_whole_one() -> None:
    first = next_one(Applied(), "one", all_of_it=False)
    assert (first.digest, first.history) == ("", ("one",))
    one = next_one(first, "one")
    assert one.digest == "one"
    part = next_one(one, "two", all_of_it=False)
    assert part.digest == "one"
    # What was there before is older than the part; the rest of the part's own is not.
    assert is_older("one", part)
    assert not is_older("two", part)
    assert next_one(part, "two").digest == "two"


def test_stages_that_ran_one_after_the_other_are_a_whole_deploy() -> None:
    one = next_one(Applied(), "one")
    begun = next_one(one, "two", stages=("install",))
    assert begun.digest == "one"
    assert parse(render(begun)) == begun
    # With another state of the inventory the rest is none of this one's.
    assert next_one(begun, "three", stages=("configure", "activate")).digest == "one"
    most = next_one(begun, "two", stages=("configure",))
    assert most.digest == "one"
    last = next_one(most, "two", stages=("activate",))
    assert (last.digest, is_older("one", last)) == ("two", True)
    assert next_one(last, "two", stages=("configure",)) is last


def test_a_stage_that_failed_counts_again_when_it_succeeds() -> None:
    begun = next_one(Applied(), "one", stages=("install", "configure"))
    failed = next_one(begun, "one", stages=("configure",), all_of_it=False)
    assert next_one(failed, "one", stages=("activate",)).digest == ""
    again = next_one(failed, "one", stages=("configure", "activate"))
    assert again.digest == "one"


def test_nothing_new_is_not_written_again() -> None:
    first = next_one(Applied(), "one", placed=files(a="1"))
    assert next_one(first, "one", placed=files(a="1")) is first
    assert next_one(first, "one", placed=files(a="2")) is not first


def test_drift_names_what_was_changed_and_what_was_removed() -> None:
    applied = Applied(left=files(a="1", b="2", c="3"))
    assert drift(applied, files(a="1", c="x"), Things()) == (("/b", "removed"), ("/c", "changed"))


def test_drift_names_owners_and_modes_units_and_packages() -> None:
    left = Things(
        files={"/a": ("1", "640 root:www-data"), "/b": ("1", "")},
        units={"nginx.service": "enabled running", "x.timer": "enabled", "old.service": "enabled"},
        packages=frozenset(("restic", "cron", "old")),
    )
    found = Things(
        files={"/a": ("1", "644 root:root"), "/b": ("1", "600 root:root")},
        units={"nginx.service": "enabled", "x.timer": "running"},
        packages=frozenset(("cron",)),
    )
    # What no deploy asks for any more may go.
    wanted = Things(
        units={"nginx.service": "enabled running", "x.timer": "enabled"},
        packages=frozenset(("restic", "cron")),
    )
    assert drift(Applied(left=left), found, wanted) == (
        ("/a", "640 root:www-data → 644 root:root"),
        ("nginx.service", "stopped"),
        ("x.timer", "disabled"),
        ("package restic", "removed"),
    )
    assert drift(Applied(left=left), left, wanted) == ()


def test_what_goes_on_and_nothing_asks_for_is_named() -> None:
    sites = "/etc/nginx/releve"
    seen = ("abc", "644 root:root")
    pad, blog = (f"{sites}/{name}" for name in ("pad", "blog"))
    left = Things(
        files=dict.fromkeys([pad, blog, "/etc/pad.conf"], seen),
        units=dict.fromkeys(["pad.service", "off.service", "nginx.service"], "enabled running"),
    )
    found = replace(left, units={**left.units, "off.service": "", "pad.service": "running"})
    wanted = Things(files={blog: seen}, units={"nginx.service": "enabled running"})
    names = unclaimed(left, found, wanted, sites)
    assert names == (pad, "pad.service")
    assert unclaimed(left, found, left, sites) == ()
    assert unclaimed(left, without(found, names), wanted, sites) == ()
    # Remembered until somebody looks again, who sees to all of the host.
    one = next_one(Applied(), "one", unclaimed=names)
    assert parse(render(one)).unclaimed == names
    assert next_one(one, "two").unclaimed == names
    assert next_one(one, "two", unclaimed=()).unclaimed == ()


def test_what_an_unfinished_deploy_placed_was_not_changed_by_hand() -> None:
    applied = Applied(left=files(a="1", b="2"))
    assert drift(applied, files(a="new", b="x"), files(a="new", b="3")) == (("/b", "changed"),)
    closed = {"/a": ("1", "600 root:root")}
    found = Things({**closed, "/b": ("2", "644 root:root")})
    assert drift(applied, found, Things(closed)) == ()


def test_a_folder_where_a_file_was_is_not_that_file(tmp_path: Path) -> None:
    kept, lost = tmp_path / "kept", tmp_path / "lost"
    kept.write_bytes(b"x")
    kept.chmod(0o640)
    lost.mkdir()
    host = SimpleNamespace(name="box", run_shell_command=local)
    left = Things(files={str(kept): ("1", ""), str(lost): ("1", "")}, packages=frozenset(("n-o",)))
    found = _found(host, left)
    owner = f"{kept.owner()}:{kept.group()}"
    digest = hashlib.sha256(b"x").hexdigest()
    assert found == Things(files={str(kept): (digest, f"640 {owner}")})


def local(line: str) -> tuple[bool, SimpleNamespace]:
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    return done.returncode == 0, SimpleNamespace(stdout_lines=done.stdout.splitlines())


def test_what_is_gone_and_not_placed_again_is_forgotten() -> None:
    before = Applied(digest="one", left=files(kept="1", gone="2", back="3"))
    left = next_one(before, "two", placed=files(back="3"), found=files(kept="1")).left
    assert left == files(kept="1", back="3")


def test_a_memory_of_an_earlier_version_has_digests_of_files_only() -> None:
    told = {"digest": "d", "at": "", "who": "", "releve": "", "history": ["d"]}
    old = parse(json.dumps({**told, "files": {"/a": "1"}}))
    assert old.left.files == {"/a": ("1", "")}
    assert drift(old, files(a="1"), Things()) == ()
    assert next_one(old, "d", placed=files(a="1")).left == files(a="1")


def test_a_picture_is_kept_until_somebody_looks_again() -> None:
    before = next_one(Applied(), "one", picture={"setting": {"x": "1"}})
    assert next_one(before, "one") is before
    assert next_one(before, "one", picture={"setting": {"x": "1"}}) is before
    assert next_one(before, "one", picture={"setting": {"x": "2"}}).picture["setting"] == {"x": "2"}
    assert parse(render(before)) == before


def test_survives_being_written_and_read() -> None:
    left = Things({"/é\n'": ("1", "644 root:root")}, {"a.timer": "enabled"}, frozenset("b"))
    value = next_one(next_one(Applied(), "one"), "two", placed=left)
    assert parse(render(value)) == value
    assert parse("") == Applied()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"digest": 1, "history": null}', '"x"'])
def test_a_damaged_memory_is_said_and_not_taken_for_none(text: str) -> None:
    with pytest.raises(DamagedError, match="remove that file"):
        parse(text)
