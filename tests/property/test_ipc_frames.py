"""Frames: however the bytes are cut, the same frames come out, in order."""

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from netmgr.process.ipc import FrameReader, PeerClosed, encode_frame

messages = st.lists(st.dictionaries(st.text(max_size=8), st.integers()), max_size=6)


@given(messages, st.data())
def test_any_cut_gives_the_same_frames(bodies, data):
    stream = b"".join(encode_frame(body, 0) for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader = FrameReader()
    frames = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames += reader.feed(stream[start:end], ())
    assert [json.loads(payload) for payload, _ in frames] == bodies


@given(st.binary(max_size=400))
def test_only_its_own_error_escapes(garbage):
    reader = FrameReader()
    with contextlib.suppress(PeerClosed):
        reader.feed(garbage, ())
    reader.close()
