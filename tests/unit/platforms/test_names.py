"""Names of users and databases."""

from hypothesis import given
from hypothesis import strategies as st

from platforms.debian import names

SERVICE = st.from_regex(r"\A[a-z][a-z0-9-]{0,30}\Z")


@given(SERVICE, SERVICE)
def test_two_services_share_neither_user_nor_database(one: str, other: str) -> None:
    if one != other:
        assert names.system_user("wp", one) != names.system_user("wp", other)
        assert names.database_name("wp", one) != names.database_name("wp", other)


@given(SERVICE)
def test_a_user_name_is_one_that_useradd_takes(service: str) -> None:
    assert len(names.system_user("wp", service)) <= 32


def test_long_names_that_begin_alike_stay_apart() -> None:
    long = "a" * 30
    assert names.system_user("wp", long + "b") != names.system_user("wp", long + "c")
