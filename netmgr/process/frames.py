"""Owns: the form of what netmgr's processes say to each other: frames of bytes and descriptors, and
the three kinds of message in them. No I/O but closing descriptors.

    4 bytes length | 1 byte number of descriptors | JSON: a tell, an ask or an answer

The writer may be hijacked: every bound is checked before a byte is kept, and what has another form
raises. Knows nothing of sockets and of what the messages mean.
"""

import json
import os
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

MAX_FRAME: Final = 64 * 1024 * 1024  # a full state of thousands of sandboxes; beyond it is a fault
MAX_FDS: Final = 16  # listeners of one worker's start message, with room

_HEAD = struct.Struct("!IB")
_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode  # made once, not for each frame


class PeerClosed(ConnectionError):
    """The other process is gone, or broke the framing."""


class FrameReader:
    """Bytes and descriptors in, whole frames out. Pure but for owning descriptors.

    Args:
        max_frame: bytes of one frame.
    """

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()
        self._fds: deque[int] = deque()

    def feed(self, data: bytes, fds: Sequence[int]) -> list[tuple[bytes, tuple[int, ...]]]:
        """Add what was read; give every frame that is now whole.

        Raises:
            PeerClosed: a frame longer than `max_frame`, one whose descriptors did not come, or
                descriptors that no frame has claimed.
        """
        self._buffer += data
        self._fds.extend(fds)
        frames: list[tuple[bytes, tuple[int, ...]]] = []
        try:
            self._cut(frames)
        except PeerClosed:
            for _, claimed in frames:  # nobody will get them: `close` has to
                self._fds.extend(claimed)
            raise
        return frames

    def _cut(self, frames: list[tuple[bytes, tuple[int, ...]]]) -> None:
        start = 0
        while len(self._buffer) - start >= _HEAD.size:
            length, wanted = _HEAD.unpack_from(self._buffer, start)
            if length > self._max_frame or wanted > MAX_FDS:
                raise PeerClosed(f"frame of {length} bytes with {wanted} descriptors")
            end = start + _HEAD.size + length
            if len(self._buffer) < end:
                break
            if len(self._fds) < wanted:
                raise PeerClosed("a frame's descriptors did not arrive with it")
            payload = bytes(memoryview(self._buffer)[start + _HEAD.size : end])
            frames.append((payload, tuple(self._fds.popleft() for _ in range(wanted))))
            start = end
        if start:
            del self._buffer[:start]
        if len(self._fds) > MAX_FDS:  # one unfinished frame's, at most: else they pile up
            raise PeerClosed("descriptors that belong to no frame")

    def close(self) -> None:
        """Close descriptors that no frame has claimed."""
        while self._fds:
            os.close(self._fds.popleft())


def encode_body(body: dict[str, Any]) -> str:
    """JSON as it stands in a frame: ASCII, half a surrogate too."""
    return _ENCODE(body)


def encode_frame(message: dict[str, Any], fd_count: int) -> bytes:
    """One frame as bytes."""
    return _frame(_ENCODE(message), fd_count)


def encode_tell(what: str, body: str) -> bytes:
    """A tell's frame.

    Args:
        what: a word of ours.
        body: of `encode_body`.
    """
    return _frame(f'{{"tell":"{what}","body":{body}}}', 0)


def _frame(text: str, fd_count: int) -> bytes:
    payload = text.encode("ascii")
    return _HEAD.pack(len(payload), fd_count) + payload


def parse_message(payload: bytes) -> dict[str, Any]:
    """A frame's message: `tell`, `ask` or `answer`, of the right form.

    Raises:
        PeerClosed: it is none.
    """
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError) as fault:
        raise PeerClosed(f"a frame that is no JSON: {type(fault).__name__}") from None
    match message:
        case {"tell": str(), "body": dict()}:
            return dict(message)
        case {"ask": str(), "id": int(), "body": dict()}:
            return dict(message)
        case {"answer": int(), "body": dict()}:
            return dict(message)
        case {"answer": int(), "error": {"code": str(), "message": str(), "details": dict()}}:
            return dict(message)
    raise PeerClosed("a frame that is no message")
