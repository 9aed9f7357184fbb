"""Budgets of a routing file from the command to the providers' wires: reserved at the most that a
call can cost, shrinking or denying, settled at what it did cost, and kept over a restart.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

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
  - id: other-month
    scope: {tenant: lab10}
    limit: {usd: 30, per: 30d}
    on_exceed: {require: {price_out: {max: 0}}}
"""
URL = "https://inference.local/v1/chat/completions"
USED = {"usage": {"prompt_tokens": 5, "completion_tokens": 10}, "choices": []}


@pytest.fixture(scope="module")
def models(world: World) -> Iterator[dict[str, Model]]:
    """A paid and a free provider; a token of the paid one costs one unit."""
    made = {name: world.internet.model(f"{name}.budget.test") for name in ("paid", "free")}
    for model in made.values():
        model.script({"path": "/chat/completions", "reply": {"json": USED}})
    with world.routed(FILE, {name: model.base_url for name, model in made.items()}):
        yield made


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


def test_every_answer_of_a_call_is_reserved(
    world: World, models: dict[str, Model], make_sandbox: Callable[..., Sandbox]
) -> None:
    """`n` answers of 10 tokens are 10 n: a budget is never passed by asking for several at once."""
    box = make_sandbox(POLICIES["nothing"], tenant="lab10")
    for model in models.values():
        model.forget()
        model.script({"path": "/completions", "reply": {"json": USED}})
    for more in ({"n": 4}, {"n": 1, "best_of": 4}, {"prompt": ["a", "b", "c", "d"]}):
        body = json.dumps({"model": "any", "max_tokens": 10, "prompt": "a", **more})
        url = URL.replace("chat/completions", "completions")
        done = box.run("curl", "-sS", "-i", "--max-time", "20", url, "-d", body)
        assert done.stdout.startswith("HTTP/1.1 200"), done
    assert asked(models) == [0, 3], "40 of 30 has no room"


def test_a_file_with_budgets_needs_prices(world: World, tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    path.write_text(FILE.replace("    facts: {price: {in: 0, out: 0}}\n", ""))
    assert "the file has budgets" in world.do("route", "check", str(path), status=2)
