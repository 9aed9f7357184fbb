"""Owns: machines with a daemon: one for each file, and one that all tests of OCI engines share."""

from collections.abc import Iterator

import pytest
from runtimes.containerd import Containerd
from runtimes.machine import NEWER, Machine
from runtimes.podman import Podman
from runtimes.site import Site
from world import World


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What these engines cannot do is no test of theirs, so it is not skipped either."""
    other = "older" if NEWER else "newer"
    dropped = [item for item in items if item.get_closest_marker(other)]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A world, its daemon, and a machine whose engines speak to it."""
    with World() as world:
        world.daemon()
        with Machine(world) as made:
            yield made


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A machine that is ready for OCI engines. Who uses it leaves nothing there."""
    with World() as world:
        world.daemon()
        with Machine(world) as made:
            yield Site(made)


@pytest.fixture(scope="session")
def containerd(site: Site) -> Iterator[Containerd]:
    """containerd on the site's machine."""
    with Containerd(site.machine) as made:
        yield made


@pytest.fixture(scope="module")
def podman(site: Site) -> Iterator[Podman]:
    """podman on the site's machine, with the runtime that Debian gives it."""
    made = Podman(site.machine)
    yield made
    made.remove_all()


@pytest.fixture
def emptied(site: Site, podman: Podman) -> Iterator[None]:
    """No test leaves a container, nor anything of one."""
    yield
    podman.remove_all()
    site.assert_nothing_is_left()
