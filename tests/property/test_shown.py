"""Whatever a sandbox chooses to call things, its decisions are recorded."""

import json

from hypothesis import given
from hypothesis import strategies as st

from netmgr.journal.wire import MAX_RECORD, parse_record
from netmgr.model import Destination, Record
from netmgr.reasons import Kind, Reason, Verdict
from netmgr.shown import MAX_ITEM, MAX_ITEMS, MAX_PATH, MAX_TEXT, shown_text

ANYTHING = st.characters(codec=None)  # half surrogate pairs and controls too
texts = st.text(ANYTHING, max_size=40)
stretched = st.tuples(texts, st.integers(1, 4000)).map(lambda pair: pair[0] * pair[1])


def record(text: str) -> Record:
    """One in which a sandbox chose every text that it can choose."""
    return Record(
        time=1.0,
        sandbox="a",
        kind=Kind.INFERENCE,
        verdict=Verdict.ALLOWED,
        reason=Reason.ALLOWED,
        destination=Destination(name=text),
        message=text,
        rule=text,
        remedy=text,
        extra={
            "http": {"method": text, "path": text, "status": 200},
            "inference": {"requested_model": text, "model": text, "provider": text},
            "process": {"exe": text, "pid": 1, "ancestors": [text] * 40},
        },
    )


@given(stretched)
def test_every_record_is_taken(text):
    wire = record(text).to_wire()
    assert parse_record(wire) is wire
    assert len(json.dumps(wire, ensure_ascii=False).encode()) <= MAX_RECORD


@given(stretched, st.integers(8, 5000))
def test_what_is_shown_is_bounded_printable_and_stable(text, most):
    shown = shown_text(text, most)
    assert len(shown.encode()) <= most
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert shown_text(shown, most) == shown


def test_what_is_plain_stays_as_it_is():
    for text in ("", "api.example.com", "größe/文", "a b"):
        assert shown_text(text) == text


def test_what_is_strange_is_escaped_and_what_is_long_is_cut():
    assert shown_text("\x1b[2J\x9b\udcff\u202e") == r"\x1b[2J\x9b\udcff\u202e"
    assert shown_text("x" * 2000) == "x" * (MAX_TEXT - 3) + "..."
    wire = record("y" * 5000).to_wire()
    assert len(wire["http"]["path"]) == MAX_PATH
    assert len(wire["process"]["ancestors"]) == MAX_ITEMS
    assert len(wire["process"]["ancestors"][0]) == MAX_ITEM
