"""Owns: ways to cut one run of bytes into the pieces in which a network may deliver it."""


def bytewise(data: bytes) -> list[bytes]:
    """One byte at a time."""
    return [data[at : at + 1] for at in range(len(data))]


def uneven(data: bytes) -> list[bytes]:
    """Pieces of 1 to 32 bytes; the bytes themselves decide, so that a mutation moves the cuts."""
    pieces = []
    at = 0
    while at < len(data):
        size = 1 + data[at] % 32
        pieces.append(data[at : at + size])
        at += size
    return pieces
