"""Owns: a body beside a message between two workers: a file in memory, passed as a descriptor.

So a body of megabytes costs neither of their loops the time to write it as JSON and to read it.
"""

import os
import stat

from netmgr.errors import BadInput
from netmgr.middleware.bounds import MAX_PAYLOAD


def read_payload(fd: int) -> bytes:
    """A body that came beside a message.

    Raises:
        BadInput: the descriptor is no file in memory, or holds too much. Reading it never waits.
    """
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_PAYLOAD:
        raise BadInput("a body that is no file, or larger than a stage is shown")
    pieces: list[bytes] = []
    at = 0
    while at < facts.st_size and (piece := os.pread(fd, facts.st_size - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def make_payload(body: bytes) -> int:
    """A body beside a message: a file in memory; the receiver of the descriptor closes it."""
    fd = os.memfd_create("body", os.MFD_CLOEXEC)
    view = memoryview(body)
    while view:
        view = view[os.write(fd, view) :]
    return fd
