"""The commands that docs/runtimes shows, on a machine with the engines that they need."""

import shutil
from collections.abc import Iterator

import pytest
from docs.blocks import RUN, Block, blocks, fits
from docs.stage import ROOT
from runtimes.containerd import Containerd
from runtimes.docker import Docker
from runtimes.machine import Machine
from runtimes.podman import Podman, box_tree
from world.web import fixed

pytestmark = pytest.mark.root

DOCUMENTS = sorted(path.name for path in (ROOT / "docs" / "runtimes").glob("*.md"))
# Blocks that cannot run here, each with its reason above it.
NOT_RUN = 3


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


def found_in(name: str) -> list[Block]:
    return blocks((ROOT / "docs" / "runtimes" / name).read_text())


def run(machine: Machine, block: Block) -> Iterator[str]:
    """Run one block; what is not as the text says."""
    kind, value = block.note
    if kind == "file":
        machine.write(value, block.text)
    commands = block.commands
    for number, command in enumerate(commands, 1):
        last = int(value) if kind == "exit" and number == len(commands) else 0
        script, shown = (
            text.replace("/run/netns/netmgr-", f"/run/netns/{machine.world.id}-")
            for text in (command.text, command.output)
        )
        done = machine.run("bash", "-e", "-c", f"exec 2>&1; {script}")
        story = f"$ {command.text}\n{done.stdout}"
        if done.returncode != last:
            yield f"status {done.returncode}, not {last}: {story}"
        elif shown and not fits(shown, done.stdout):
            yield f"expected:\n{shown}\nfound: {story}"


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_shows_is_so(name: str, machine: Machine, podman: Podman) -> None:
    problems = [
        f"{name}:{block.line}: {problem}"
        for block in found_in(name)
        for problem in run(machine, block)
    ]
    podman.remove_all()
    machine.world.netmgrd.delete_sandboxes()
    machine.forget("opt/cni/bin/*", "etc/cni/net.d/*", "etc/cdi/*", "etc/netmgr/policies/*")
    assert problems == [], "\n\n".join(problems)


def test_blocks_that_do_not_run_are_counted() -> None:
    cannot = [
        f"{name}:{block.line}: {block.note[1]}"
        for name in DOCUMENTS
        for block in found_in(name)
        if block.note[0] == "not run"
    ]
    assert len(cannot) == NOT_RUN, "\n".join(cannot)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_command_hides_in_a_block_of_another_kind(name: str) -> None:
    hidden = [
        f"{name}:{block.line}"
        for block in found_in(name)
        if block.kind not in RUN
        if any(line.startswith(("$ ", "sudo ", "netmgr ")) for line in block.text.splitlines())
    ]
    assert hidden == []
