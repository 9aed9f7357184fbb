"""Acceptance: the cases of this folder's tables, black-box through the command line, in a world.

A table is data; steps.py says what its verbs mean. Numbers are those of the case tables of the
system that netmgr is modelled on; where netmgr answers otherwise, deviations.yaml says why.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from acceptance.stage import POLICIES, Scene, Stage
from acceptance.steps import play
from world import Sandbox, World

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
NOT_TABLES = {"deviations.yaml", "policies.yaml"}


def cases() -> Iterator[Any]:
    """Every case of every table, as a pytest parameter."""
    for path in sorted(HERE.glob("*.yaml")):
        if path.name not in NOT_TABLES:
            for case in yaml.safe_load(path.read_text())["cases"]:
                yield pytest.param(case, id=f"{path.stem}-{case['case']}")


@pytest.fixture(scope="module")
def stage(world: World) -> Stage:
    """The servers of all cases."""
    return Stage(world)


@pytest.mark.parametrize("case", list(cases()))
def test_case(
    case: dict[str, Any],
    world: World,
    stage: Stage,
    make_sandbox: Callable[..., Sandbox],
    tmp_path: Path,
) -> None:
    stage.raise_servers(case.get("internet", []))
    for name, turns in case.get("names", {}).items():
        world.internet.zone.set_turns(name, stage.addresses(turns))
    for name, alias in case.get("aliases", {}).items():
        world.internet.zone.set(name, alias=alias)
    world.internet.zone.forget_queries()
    others = [make_sandbox(POLICIES[name], watch=True) for name in case.get("others", [])]
    sandbox = make_sandbox(POLICIES[case["policy"]])
    scene = Scene(stage, sandbox, others, tmp_path)
    try:
        for number, step in enumerate(case["steps"], 1):
            try:
                play(scene, step)
            except AssertionError as failure:
                failure.add_note(
                    f"in step {number} of case {case['case']}, {case['title']}: {step}"
                )
                raise
    finally:
        for step in case.get("after", []):  # what would stand in the way of other cases
            play(scene, step)


def test_deviations_are_reasoned_and_tables_known() -> None:
    known = yaml.safe_load((HERE / "deviations.yaml").read_text())
    assert all(entry["why"] and entry["instead"] for entry in known["deviations"])
    assert all(entry["why"] and entry["cases"] for entry in known["later"])
    assert all((HERE.parents[1] / entry["where"]).exists() for entry in known["elsewhere"])


def test_every_number_of_the_case_tables_has_its_place() -> None:
    known = yaml.safe_load((HERE / "deviations.yaml").read_text())
    numbers = [re.match(r"\d*", str(case.values[0]["case"])) for case in cases()]
    placed = {int(found[0]) for found in numbers if found and found[0]}
    placed.update(*(entry["cases"] for entry in known["later"] + known["elsewhere"]))
    assert set(known["numbers"]) - placed == set()
