"""The commands that docs/runtimes shows, on a machine with the engines that they need."""

import shutil
from collections.abc import Iterator
from functools import partial

import pytest
from docs.blocks import Command, blocks, unlike
from docs.stage import ROOT
from runtimes.containerd import Containerd
from runtimes.docker import Docker
from runtimes.machine import NEWER, Machine
from runtimes.podman import Podman, box_tree
from world.web import fixed

pytestmark = pytest.mark.root

OLDER = ("cni.md",) if NEWER else ()  # podman 5 has no CNI
DOCUMENTS = sorted({p.name for p in (ROOT / "docs" / "runtimes").glob("*.md")}.difference(OLDER))


@pytest.fixture(scope="module")
def podman(machine: Machine) -> Iterator[Podman]:
    machine.world.internet.https("example.com", fixed(b"<title>Example Domain</title>\n"))
    made = Podman(machine)
    yield made
    made.remove_all()


@pytest.fixture
def engines(name: str, machine: Machine, podman: Podman) -> Iterator[None]:
    """What a document's commands need besides podman, and a tree for those who take no image."""
    tree = machine.own / "var/lib/box"
    if not tree.exists():
        shutil.copytree(box_tree(machine.own), tree, symlinks=True)
    if name == "containerd.md":
        with Containerd(machine):
            yield
    elif name == "docker.md":
        with Containerd(machine), Docker(machine, {}) as docker:
            yield
            docker.remove_all()
    else:
        yield


def perform(machine: Machine, command: Command) -> tuple[int, str]:
    """Run a command; the world's instance has another name than a host's."""
    script = command.text.replace("/run/netns/netmgr-", f"/run/netns/{machine.world.id}-")
    done = machine.run("bash", "-e", "-c", f"exec 2>&1; {script}")
    return done.returncode, done.stdout.replace(
        f"/run/netns/{machine.world.id}-", "/run/netns/netmgr-"
    )


def problems(name: str, machine: Machine) -> Iterator[str]:
    """What is not as a document shows it."""
    for block in blocks((ROOT / "docs" / "runtimes" / name).read_text()):
        kind, value = block.note
        if kind == "engines" and value != ("newer" if NEWER else "older"):
            continue
        if kind == "file":
            machine.write(value, block.text)
        for problem in unlike(block, partial(perform, machine)):
            yield f"{name}:{block.line}: {problem}"


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_shows_is_so(name: str, machine: Machine, podman: Podman) -> None:
    found = list(problems(name, machine))
    podman.remove_all()
    machine.world.netmgrd.delete_sandboxes()
    machine.forget("opt/cni/bin/*", "etc/cni/net.d/*", "etc/cdi/*", "etc/netmgr/policies/*")
    machine.forget("usr/share/containers/oci/hooks.d/*")
    assert found == [], "\n\n".join(found)
