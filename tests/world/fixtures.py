"""Owns: the world as pytest fixtures.

`world` is shared by the whole run: building a daemon takes a second, a sandbox milliseconds.
A test that stops, kills or configures the daemon, or counts what others may change, takes
`make_world` and has one of its own.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from world.leaks import sweep
from world.sandbox import Sandbox
from world.world import World

_names = itertools.count(1)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """A world with a running daemon and default settings, shared by the run."""
    sweep()
    with World() as shared:
        shared.daemon()
        yield shared


@pytest.fixture
def make_world() -> Iterator[Callable[[], World]]:
    """Makes worlds of the test's own, without a daemon yet; checked for leaks at the test's end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(World())


@pytest.fixture
def make_sandbox(world: World) -> Iterator[Callable[..., Sandbox]]:
    """Makes sandboxes in the shared world and deletes them at the test's end."""
    made: list[Sandbox] = []

    def make(policy: str | None = None, **options: object) -> Sandbox:
        options.setdefault("name", f"t{next(_names)}")
        made.append(world.sandbox(policy=policy, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for sandbox in made:
        world.capture.forget(sandbox.name)
        sandbox.delete()
