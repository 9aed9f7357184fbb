"""A client's WebSocket frames: every byte is handed out once, and only what is well formed."""

import struct

import pytest

from netmgr_proxy.wire.frames import (
    MAX_BINARY_FRAME,
    MAX_FRAGMENTS,
    MAX_TEXT,
    BadFrame,
    Begin,
    CloseCode,
    Control,
    Event,
    FrameReader,
    Meter,
    Opcode,
    Piece,
    render_close,
    unmask,
)

MASK = b"\x01\x02\x03\x04"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes = MASK) -> bytes:
    """A client's frame."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = b"\xfe" + struct.pack("!H", size)
    else:
        length = b"\xff" + struct.pack("!Q", size)
    return bytes([(0x80 if fin else 0) | opcode]) + length + mask + unmask(payload, mask, 0)


def read(data: bytes, step: int = 0) -> list[Event]:
    reader = FrameReader()
    events: list[Event] = []
    for at in range(0, len(data), step or max(len(data), 1)):
        events += reader.feed(data[at : at + (step or len(data))])
    return events


def raw(events: list[Event]) -> bytes:
    return b"".join(event.raw for event in events if not isinstance(event, Begin))


def text_of(events: list[Event]) -> bytes:
    return b"".join(event.payload for event in events if isinstance(event, Piece))


CONVERSATION = (
    frame(1, "héllo".encode())
    + frame(9, b"ping")
    + frame(1, "h\u00e9".encode()[:2], fin=False)
    + frame(10, b"")
    + frame(0, "h\u00e9".encode()[2:] + b"!", mask=b"\0\0\0\0")
    + frame(2, b"\xff" * 300)
    + frame(2, b"")
    + frame(8, struct.pack("!H", 1000) + b"bye")
)


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7, 64])
def test_every_byte_is_handed_out_as_it_came(step: int) -> None:
    events = read(CONVERSATION, step)
    assert raw(events) == CONVERSATION
    begun = [event.text for event in events if isinstance(event, Begin)]
    assert begun == [True, True, False, False]
    assert sum(isinstance(event, Piece) and event.last for event in events) == 4
    controls = [event.opcode for event in events if isinstance(event, Control)]
    assert controls == [Opcode.PING, Opcode.PONG, Opcode.CLOSE]
    assert text_of(events) == "héllohé!".encode() + b"\xff" * 300


def test_nothing_comes_behind_a_close() -> None:
    events = read(frame(8) + frame(1, b"more"))
    assert [type(event) for event in events] == [Control]


BROKEN = {
    "no mask": (b"\x81\x01a", CloseCode.PROTOCOL),
    "reserved bit": (b"\xc1", CloseCode.PROTOCOL),
    "unknown opcode": (b"\x83", CloseCode.PROTOCOL),
    "fragment of nothing": (frame(0, b"a"), CloseCode.PROTOCOL),
    "message in a message": (frame(1, b"a", fin=False) + frame(1, b"b"), CloseCode.PROTOCOL),
    "fragmented ping": (frame(9, b"", fin=False), CloseCode.PROTOCOL),
    "long ping": (frame(9, b"a" * 126), CloseCode.PROTOCOL),
    "length in too many bytes": (b"\x81\xfe\x00\x01" + MASK, CloseCode.PROTOCOL),
    "length in far too many": (b"\x81\xff" + struct.pack("!Q", 300) + MASK, CloseCode.PROTOCOL),
    "length beyond 63 bits": (b"\x82\xff" + b"\xff" * 8 + MASK, CloseCode.PROTOCOL),
    "not UTF-8": (frame(1, b"\xff"), CloseCode.NO_TEXT),
    "half a character": (frame(1, b"\xc3"), CloseCode.NO_TEXT),
    "half in a fragment": (frame(1, b"\xc3", fin=False) + frame(0, b"a"), CloseCode.NO_TEXT),
    "close with half a code": (frame(8, b"\x03"), CloseCode.PROTOCOL),
    "close with a code of no wire": (frame(8, struct.pack("!H", 1006)), CloseCode.PROTOCOL),
    "close with code 0": (frame(8, struct.pack("!H", 0)), CloseCode.PROTOCOL),
    "close with no text": (frame(8, struct.pack("!H", 1000) + b"\xff"), CloseCode.NO_TEXT),
    "large text": (
        b"\x81\xff" + struct.pack("!Q", MAX_TEXT + 1) + MASK,
        CloseCode.TOO_BIG,
    ),
    "large in fragments": (
        frame(1, b"a", fin=False) + b"\x80\xff" + struct.pack("!Q", MAX_TEXT) + MASK,
        CloseCode.TOO_BIG,
    ),
    "large binary frame": (
        b"\x82\xff" + struct.pack("!Q", MAX_BINARY_FRAME + 1) + MASK,
        CloseCode.TOO_BIG,
    ),
    "many fragments": (
        frame(1, b"a", fin=False) + frame(0, b"", fin=False) * MAX_FRAGMENTS,
        CloseCode.PROTOCOL,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("step", [0, 1])
def test_what_is_no_frame(name: str, step: int) -> None:
    data, code = BROKEN[name]
    if step and len(data) > 1000:
        step = 11
    with pytest.raises(BadFrame) as caught:
        read(data, step)
    assert caught.value.code is code


def test_a_long_text_of_many_bytes_is_fine() -> None:
    data = frame(1, b"a" * MAX_TEXT)
    events = read(data, 65536)
    assert raw(events) == data


def test_unmasking_goes_on_in_the_middle() -> None:
    data = bytes(range(100))
    masked = unmask(data, MASK, 0)
    assert masked[:4] == bytes(a ^ b for a, b in zip(data, MASK, strict=False))
    for cut in (1, 2, 3, 50):
        assert unmask(masked[:cut], MASK, 0) + unmask(masked[cut:], MASK, cut % 4) == data


def test_a_close_frame_of_ours_fits() -> None:
    said = render_close(CloseCode.POLICY, "ü" * 200)
    assert said[0] == 0x88
    assert len(said) == 2 + said[1] <= 127
    assert said[2:4] == struct.pack("!H", 1008)
    said[4:].decode()


def server(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([0x82, size]) + payload
    if size < 1 << 16:
        return b"\x82\x7e" + struct.pack("!H", size) + payload
    return b"\x82\x7f" + struct.pack("!Q", size) + payload


@pytest.mark.parametrize("step", [1, 2, 5, 1000, 10**6])
def test_the_meter_knows_where_frames_end(step: int) -> None:
    frames = [server(b"a" * size) for size in (0, 1, 125, 126, 70_000, 3)]
    data = b"".join(frames)
    ends = set()
    for number in range(len(frames)):
        ends.add(sum(map(len, frames[: number + 1])))
    meter, at = Meter(), 0
    while at < len(data):
        piece = data[at : at + step]
        first = meter.pass_by(piece)
        reached = sorted(end for end in ends if at < end <= at + len(piece))
        assert first == (reached[0] - at if reached else None)
        at += len(piece)
        assert meter.between_frames == (at in ends)
