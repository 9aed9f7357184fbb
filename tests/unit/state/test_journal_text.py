"""The journal's JSON says what the record said, whatever a sandbox chose."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from netmgr.journal.text import text_of

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(record=st.dictionaries(st.text(), VALUES))
@example(record={"path": "/\ud800", "model": "\x00\x7f\u2028\u202e😀"})
@example(record={"n": 2**70, "f": 1e300, "z": -0.0, "i": float("inf"), "q": '"\\'})
def test_a_record_reads_back_as_it_was(record: dict[str, Any]) -> None:
    text = text_of(record)
    assert json.loads(text) == record
    assert "\n" not in text
