"""Files as users of the modelled system write them load unchanged and mean the same or stricter."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from netmgr.policy.explain import explain
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import PolicyError

FILES: Final = Path(__file__).parent / "modelled"
ASKS: Final[dict[str, Any]] = yaml.safe_load((FILES / "asks.yaml").read_text())
LOOSENESS: Final = ("denied", "audited", "allowed")


def load(name: str) -> Policy:
    return parse_policy((FILES / f"{name}.yaml").read_text(), f"{name}.yaml")


def asked() -> Iterator[Any]:
    for name, asks in ASKS.items():
        if isinstance(asks, list):
            for row in asks:
                yield pytest.param(name, row, id=f"{name}: {row['ask']}")


@pytest.mark.parametrize(("name", "row"), list(asked()))
def test_means_the_same_or_stricter(name: str, row: dict[str, str]) -> None:
    method, _, target = row["ask"].rpartition(" ")
    binaries = (row["by"],) if "by" in row else ()
    decision = explain(load(name), target, method or "GET", binaries).decision
    assert decision.verdict.value == row["here"], decision.message
    assert LOOSENESS.index(row["here"]) <= LOOSENESS.index(row["there"])


@pytest.mark.parametrize("name", [name for name, asks in ASKS.items() if "refused" in asks])
def test_what_is_not_enforced_is_refused_by_name(name: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(name)
    named = [problem.key.rpartition(".")[2] for problem in caught.value.problems]
    assert sorted(named) == sorted(ASKS[name]["refused"])
    assert all("not enforced" in problem.message for problem in caught.value.problems)


def test_every_file_is_asked() -> None:
    files = {path.stem for path in FILES.glob("*.yaml")} - {"asks"}
    assert files == set(ASKS)
