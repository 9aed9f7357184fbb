"""Frames between our processes: only `PeerClosed` escapes, no cut matters, descriptors are bound.

The first byte is the number of descriptors that come with the rest, as one read can bring them:
MAX_FDS at most. They are numbers, nothing is open.
"""

from fuzz.cuts import bytewise, uneven
from netmgr.process.ipc import MAX_FDS, FrameReader, PeerClosed

Frames = list[tuple[bytes, tuple[int, ...]]]


def fuzz(data: bytes) -> None:
    """Byte by byte equals all at once, as far as the stream is good."""
    count, stream = (data[0] % (MAX_FDS + 1), data[1:]) if data else (0, b"")
    fds = list(range(1000, 1000 + count))
    whole, whole_bad = _read([stream], fds)
    for pieces in (bytewise(stream), uneven(stream)):
        frames, bad = _read(pieces, fds)
        assert bad == whole_bad
        assert bad or frames == whole
    claimed = [fd for _, own in whole for fd in own]
    assert claimed == fds[: len(claimed)]


def _read(pieces: list[bytes], fds: list[int]) -> tuple[Frames, bool]:
    reader = FrameReader()
    frames: Frames = []
    try:
        for number, piece in enumerate(pieces):
            frames += reader.feed(piece, () if number else fds)
            assert len(reader._fds) <= MAX_FDS
    except PeerClosed:
        return frames, True
    finally:
        reader._fds.clear()  # numbers cannot be closed
    return frames, False
