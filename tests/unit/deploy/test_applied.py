"""What a host remembers: older inventories, changes by hand."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.applied import Applied, DamagedError, after, drift, is_older, parse, render


def next_one(before: Applied, digest: str, **more: Any) -> Applied:
    values: dict[str, Any] = {"placed": {}, "found": dict(before.files), **more}
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


def test_nothing_new_is_not_written_again() -> None:
    first = next_one(Applied(), "one", placed={"/a": "1"})
    assert next_one(first, "one", placed={"/a": "1"}) is first
    assert next_one(first, "one", placed={"/a": "2"}) is not first


def test_drift_names_what_was_changed_and_what_was_removed() -> None:
    applied = Applied(files={"/a": "1", "/b": "2", "/c": "3"})
    assert drift(applied, {"/a": "1", "/c": "x"}) == (("/b", "removed"), ("/c", "changed"))


def test_what_an_unfinished_deploy_placed_was_not_changed_by_hand() -> None:
    applied = Applied(files={"/a": "1", "/b": "2"})
    assert drift(applied, {"/a": "new", "/b": "x"}, {"/a": "new", "/b": "3"}) == (
        ("/b", "changed"),
    )


def test_a_file_that_is_gone_and_not_placed_again_is_forgotten() -> None:
    before = Applied(digest="one", files={"/kept": "1", "/gone": "2", "/back": "3"})
    found = {"/kept": "1"}
    files = next_one(before, "two", placed={"/back": "3"}, found=found).files
    assert files == {"/kept": "1", "/back": "3"}


def test_a_picture_is_kept_until_somebody_looks_again() -> None:
    before = next_one(Applied(), "one", picture={"setting": {"x": "1"}})
    assert next_one(before, "one") is before
    assert next_one(before, "one", picture={"setting": {"x": "1"}}) is before
    assert next_one(before, "one", picture={"setting": {"x": "2"}}).picture["setting"] == {"x": "2"}
    assert parse(render(before)) == before


def test_survives_being_written_and_read() -> None:
    value = next_one(next_one(Applied(), "one"), "two", placed={"/é\n'": "1"})
    assert parse(render(value)) == value
    assert parse("") == Applied()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"digest": 1, "history": null}', '"x"'])
def test_a_damaged_memory_is_said_and_not_taken_for_none(text: str) -> None:
    with pytest.raises(DamagedError, match="remove that file"):
        parse(text)
