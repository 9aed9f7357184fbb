"""Budgets of a routing file from the command to the providers' wires: reserved at the most that a
call can cost, shrinking or denying, settled at what it did cost, and kept over a restart.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance.stage import POLICIES
from world import Sandbox, World
from world.internet import Model

pytestmark = pytest.mark.root

FILE = """\
version: 1
sensitivity: {order: [public], unlabelled: public, unscanned: public}
endpoints:
  paid:
    provider: paid
    model: paid-1
    facts: {capabilities: [tools], price: {in: 0, out: 1000000}}
  free:
    provider: free
    model: free-1
    facts: {price: {in: 0, out: 0}}
routes: {default: [paid, free], best: [paid]}
budgets:
  - id: lab-month
    scope: {tenant: lab9}
    limit: {usd: 30, per: 30d}
    at_80: warn
    on_exceed: {require: {price_out: {max: 0}}}
"""
URL = "https://inference.local/v1/chat/completions"
USED = {"usage": {"prompt_tokens": 5, "completion_tokens": 10}, "choices": []}


def do(world: World, *words: str, status: int = 0, **more: Any) -> str:
    done = world.netmgr(*words, **more)
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return str(done.stdout if status == 0 else done.stderr)


@pytest.fixture(scope="module")
def models(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Model]]:
    """A paid and a free provider; a token of the paid one costs one unit."""
    made = {}
    for name in ("paid", "free"):
        made[name] = model = world.internet.model(f"{name}.budget.test")
        model.script({"path": "/chat/completions", "reply": {"json": USED}})
        words = ["--name", name, "--type", "openai", "--credential", "OPENAI_API_KEY=-"]
        words += ["--config", f"OPENAI_BASE_URL={model.base_url}"]
        do(world, "provider", "create", *words, stdin=f"sk-{name}")
    path = tmp_path_factory.mktemp("routing") / "routing.yaml"
    path.write_text(FILE)
    do(world, "route", "set", str(path))
    yield made
    do(world, "route", "delete")
    for name in made:
        do(world, "provider", "delete", name, "--force")


def call(box: Sandbox, most: int, model: str = "any") -> str:
    """One call that may be answered with so many tokens."""
    body = json.dumps({"model": model, "messages": [], "max_tokens": most})
    words = ["curl", "-sS", "-i", "--max-time", "20", URL, "-d", body]
    done = box.run(*words, "-H", "content-type: application/json")
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def asked(models: dict[str, Model]) -> list[int]:
    return [len(models[name].requests) for name in ("paid", "free")]


def test_a_budget_is_reserved_shrinks_the_plan_and_denies(
    world: World, models: dict[str, Model], make_sandbox: Callable[..., Sandbox]
) -> None:
    box = make_sandbox(POLICIES["nothing"], tenant="lab9")
    other = make_sandbox(POLICIES["nothing"], tenant="elsewhere")
    assert call(box, 31).startswith("HTTP/1.1 200")
    assert asked(models) == [0, 1], "at most 31 of 30: nothing is paid for"
    for _ in range(2):
        assert call(box, 10).startswith("HTTP/1.1 200")
    assert asked(models) == [2, 1]
    assert call(box, 11).startswith("HTTP/1.1 200")
    assert asked(models) == [2, 2], "20 of 30 are spent, 11 have no room"
    refused = call(box, 11, "best").lower()
    assert refused.startswith("http/1.1 429")
    assert '"code": "budget_exceeded"' in refused
    assert '"rule": "lab-month"' in refused
    assert 0 < int(refused.partition("retry-after: ")[2].split()[0]) <= 31 * 86400
    assert call(other, 11, "best").startswith("HTTP/1.1 200"), "another tenant has no budget"
    record = box.wait_record(lambda r: r["reason"] == "budget_exceeded")
    assert record["inference"]["rejected"] == {"paid": "lab-month"}
    assert record["inference"]["facts"]["exceeded"] == ["lab-month"]
    assert call(box, 10).startswith("HTTP/1.1 200")
    told = [r["message"] for r in world.netmgrd.records(kind="finding")]
    assert "budget lab-month: 30 of 30 is spent" in told


def test_a_file_with_budgets_needs_prices(world: World, tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    path.write_text(FILE.replace("    facts: {price: {in: 0, out: 0}}\n", ""))
    assert "the file has budgets" in do(world, "route", "check", str(path), status=2)
