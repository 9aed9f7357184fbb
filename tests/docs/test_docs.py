"""The documents' commands, run in order, each document in turn, in one world."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from docs.blocks import RUN, Block, blocks, fits
from docs.stage import ROOT, Stage
from world import World

DOCUMENTS = ["README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
# What tests/runtimes runs, on a machine with container engines.
ENGINES = sorted(f"docs/runtimes/{p.name}" for p in (ROOT / "docs/runtimes").glob("*.md"))
# Blocks that cannot run here, each with its reason above it. The number may only get smaller, or
# larger with a reason that a reviewer reads first.
NOT_RUN = 16


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with World() as world, closing(Stage(world)) as made:
        yield made


def found_in(name: str) -> list[Block]:
    return blocks((ROOT / name).read_text())


@pytest.mark.root
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_shows_is_so(name: str, stage: Stage) -> None:
    stage.begin()
    problems = [
        f"{name}:{block.line}: {problem}"
        for block in found_in(name)
        for problem in stage.run(block)
    ]
    assert problems == [], "\n\n".join(problems)


def test_blocks_that_do_not_run_are_counted() -> None:
    cannot = [
        f"{name}:{block.line}: {block.note[1]}"
        for name in DOCUMENTS + ENGINES
        for block in found_in(name)
        if block.note[0] == "not run"
    ]
    assert len(cannot) == NOT_RUN, "\n".join(cannot)


@pytest.mark.parametrize("name", DOCUMENTS + ENGINES)
def test_no_command_hides_in_a_block_of_another_kind(name: str) -> None:
    starts = ("netmgr ", "sudo ", "$ ", "make ")
    hidden = [
        f"{name}:{block.line}"
        for block in found_in(name)
        if block.kind not in RUN
        if any(line.lstrip().startswith(starts) for line in block.text.splitlines())
    ]
    indented = [
        f"{name}:{number}"
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1)
        if line.startswith(tuple(f"    {start}" for start in starts))
    ]
    assert hidden + indented == []


def test_blocks_are_read_as_they_are_written() -> None:
    text = (
        "a\n<!-- docs: exit 6 -->\n```console\n$ one \\\n    more\nout\n\n$ cat <<'X'\nbody\nX\n"
        "```\n```sh\ntwo\nthree\n```\n<!-- docs: not run: no disk -->\n```sh\nfour\n```\n"
        "```\nfive\n```\n"
    )
    one, two, four, five = blocks(text)
    assert [(c.text, c.output) for c in one.commands] == [
        ("one \\\n    more", "out"),
        ("cat <<'X'\nbody\nX", ""),
    ]
    assert (one.line, one.note) == (4, ("exit", "6"))
    assert [c.text for c in two.commands] == ["two\nthree\n"]
    assert four.commands == []
    assert four.note == ("not run", "no disk")
    assert five.commands == []
    with pytest.raises(ValueError, match="unknown note"):
        blocks("<!-- docs: nonsense -->\n```sh\nx\n```\n")


@pytest.mark.parametrize(
    ("shown", "found", "same"),
    [
        ("a ... c", "a b c\n", True),
        ("a ... c", "a b d\n", False),
        ("a", "a\nb\n", False),
        ("a\n...", "a\nb\nc\n", True),
        ("...\nc", "a\nb\nc", True),
        ("a.c", "abc", False),
        ("a", "a  \n\n", True),
    ],
)
def test_outputs_are_compared_with_wildcards(shown: str, found: str, same: bool) -> None:
    assert fits(shown, found) is same


def test_every_document_can_be_found_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in DOCUMENTS[1:] + ENGINES if name not in readme] == []


def test_readme_and_doctor_agree_about_what_a_host_needs() -> None:
    from netmgr_cli.hostchecks import KERNEL_OPTIONS, MIN_KERNEL, MIN_PYTHON

    kernel, python = (".".join(map(str, version)) for version in (MIN_KERNEL, MIN_PYTHON))
    readme = (ROOT / "README.md").read_text()
    assert f"| kernel | {kernel} or later" in readme
    assert f"Python {python}" in readme
    assert f'requires-python = ">={python}"' in (ROOT / "pyproject.toml").read_text()
    needs = (ROOT / "docs" / "quickstart.md").read_text()
    assert f"Linux {kernel} or later" in needs
    needed = {f"`{name}`" for name, (must, _) in KERNEL_OPTIONS.items() if must}
    assert [name for name in sorted(needed) if name not in needs] == []


def test_the_unit_and_the_installer_mean_the_same_places() -> None:
    unit = (ROOT / "packaging" / "netmgr.service").read_text()
    installer = Path(ROOT / "packaging" / "install.sh").read_text()
    prefix = next(
        p for line in installer.splitlines() if (p := line.removeprefix("readonly prefix=")) != line
    )
    assert f"ExecStart={prefix}/venv/bin/python " in unit
    assert f"Documentation=file://{prefix}/doc/README.md" in unit
