"""Acceptance of inference.local: every case of cases.yaml, end to end, black-box.

The operator uses the command line, the client speaks from inside a sandbox, the provider is a
scripted server on the internet of a world. Cases that a later issue brings are counted as
expected failures and not run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from acceptance.inference.commands import play_command_case
from acceptance.inference.inside import play_inside
from acceptance.inference.model_stage import TABLE, ModelStage, model_stage
from acceptance.inference.verification import play_verification
from acceptance.inference.wire import play_wire

pytestmark = pytest.mark.root

SANDBOXES = ("agent", "a", "b")
PLAYERS = {
    "pure": play_wire,
    "wire": play_wire,
    "verify": play_verification,
    "cli": play_command_case,
    "netns": play_inside,
}


def cases() -> Iterator[Any]:
    """Every case of the table, as a pytest parameter."""
    for case in TABLE["cases"]:
        marks = []
        if "later" in case:
            why = f"comes with issue {case['later']}"
            marks.append(pytest.mark.xfail(run=False, reason=why))
        name = f"{case['id']}-{case['what'].replace(' ', '-')[:40]}"
        yield pytest.param(case, id=name, marks=marks)


@pytest.fixture(scope="module")
def stage() -> Iterator[ModelStage]:
    """The world of all cases, with every sandbox that one of them speaks from."""
    with model_stage() as made:
        for sandbox in SANDBOXES:
            made.talker(sandbox)
        yield made


@pytest.mark.parametrize("case", list(cases()))
def test_case(case: dict[str, Any], stage: ModelStage) -> None:
    PLAYERS[case["level"]](stage, case)


def test_deviations_are_reasoned_and_name_cases() -> None:
    path = Path(__file__).parents[1] / "deviations.yaml"
    known = {case["id"] for case in TABLE["cases"]}
    for entry in yaml.safe_load(path.read_text())["inference"]:
        assert entry["why"], entry
        assert entry["instead"], entry
        assert entry["case"] in known, entry
