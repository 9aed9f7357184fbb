"""Owns: making new inputs out of old ones, the same ones for the same seed of the randomness.

Blind: no coverage is fed back. It is what runs in every `make check`; atheris digs deeper.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Final

from fuzz.catalogue import MAX_INPUT

_MAX_EDITS: Final = 4
_EDGES: Final = (0, 1, 0x0A, 0x0D, 0x20, 0x22, 0x2F, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF)


def mutations(
    seeds: Sequence[bytes], words: Sequence[bytes], randomness: random.Random
) -> Iterator[bytes]:
    """Inputs without end."""
    pool = [seed for seed in seeds if len(seed) <= MAX_INPUT] or [b""]
    while True:
        data = bytearray(randomness.choice(pool))
        for _ in range(randomness.randint(1, _MAX_EDITS)):
            _edit(data, pool, words, randomness)
        yield bytes(data[:MAX_INPUT])


def _edit(
    data: bytearray, pool: Sequence[bytes], words: Sequence[bytes], randomness: random.Random
) -> None:
    """One small change: of a bit, a byte, a word, or a stretch."""
    at = randomness.randint(0, len(data))
    end = min(len(data), at + randomness.randint(1, 16))
    match randomness.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << randomness.randrange(8)
        case 1 if at < len(data):
            data[at] = randomness.choice(_EDGES)
        case 2:
            data[at:at] = randomness.choice(words or pool)
        case 3:
            del data[at:end]
        case 4:
            data[at:at] = data[at:end] * randomness.randint(1, 8)
        case 5:
            other = randomness.choice(pool)
            data[at:] = other[randomness.randint(0, len(other)) :]
        case _:
            data[at:end] = randomness.randbytes(end - at)
