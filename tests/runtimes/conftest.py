"""Owns: a machine with a daemon, shared by the tests of one file."""

from collections.abc import Iterator

import pytest
from runtimes.machine import Machine
from world import World


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A world, its daemon, and a machine whose engines speak to it."""
    with World() as world:
        world.daemon()
        with Machine(world) as made:
            yield made
