"""When credentials end, as operators write it and as we tell it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr.inference.expiry import (
    MAX_MOMENT,
    Outlook,
    judge_expiry,
    moment,
    notices,
    parse_moment,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1700000000000", 1_700_000_000.0),
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14t23:13:20+01:00", 1_700_000_000.0),
    ],
)
def test_a_time_is_read_as_it_is_meant(text: str, seconds: float) -> None:
    assert parse_moment(text, "k") == seconds


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2030-01-01", "2030-01-01T00:00:00", "-5", "1e9", "9" * 17, "9" * 16, "١٢", "T"],
)
def test_what_is_no_time_is_refused_by_its_place(text: str) -> None:
    with pytest.raises(BadInput, match="--credential-expires-at K"):
        parse_moment(text, "--credential-expires-at K")


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_our_error(text: str) -> None:
    with contextlib.suppress(BadInput):
        assert 0 <= parse_moment(text, "k") <= MAX_MOMENT


@given(st.integers(0, int(MAX_MOMENT)))
def test_what_we_write_we_read(seconds: int) -> None:
    assert parse_moment(moment(seconds), "k") == seconds


def test_the_outlook_changes_at_the_bounds_exactly() -> None:
    assert judge_expiry(None, 1e12, 9.0) is Outlook.GOOD
    assert judge_expiry(100.0, 89.9, 10.0) is Outlook.GOOD
    assert judge_expiry(100.0, 90.0, 10.0) is Outlook.EXPIRING
    assert judge_expiry(100.0, 100.0, 10.0) is Outlook.EXPIRED


def test_a_notice_names_provider_key_time_and_remedy() -> None:
    (notice,) = notices("nim", {"A": 1_700_000_000.0, "B": 2e10}, 1_700_000_000.0, 0.0)
    assert notice.message == ("credential A of provider nim has expired: 2023-11-14T22:13:20Z")
    assert notice.remedy == "netmgr provider update nim --credential A"
