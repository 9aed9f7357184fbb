"""Owns: how bytes come out of transports: through one buffer that all connections share.

For an `asyncio.Protocol`, uvloop reads TLS into a fresh block of 256 KiB and shrinks it, each time.
Reading into a given buffer spares that, and lets the allocator keep large blocks apart: what an
idle connection holds is then its TLS state, not holes between blocks (25 KiB instead of 43).
"""

import asyncio
import ctypes
from typing import Final

READ_BYTES: Final = 64 * 1024  # four TLS records at a time
_M_MMAP_THRESHOLD: Final = -3  # mallopt(3)
_LARGE: Final = 128 * 1024  # glibc's own default, fixed: freed large blocks go back to the kernel

# Filled by a transport and emptied by `buffer_updated` in one go: never in use by two at once.
_BUFFER: Final = memoryview(bytearray(READ_BYTES))


class Inbox(asyncio.BufferedProtocol):
    """A protocol whose `data_received` gets bytes as usual."""

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(_BUFFER[:nbytes].tobytes())

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""


def keep_large_blocks_apart() -> None:
    """Tell glibc not to move its threshold for large blocks; other C libraries have none."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
