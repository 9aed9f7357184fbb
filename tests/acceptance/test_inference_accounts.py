"""Scopes, limits, budgets and usage of model calls, from the command to the provider's wire."""

import concurrent.futures
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance.stage import POLICIES
from world import Sandbox, World
from world.internet import Model

pytestmark = pytest.mark.root

URL = "https://inference.local/v1"
MANY = 40  # calls at the same time: several proxy workers serve them
LIMIT = 7
STANDBY_PORT = 18_943
PRICES = (
    'currency: USD\nprices:\n  - {provider: acct, model: "priced*", input: 1000, output: 2000}\n'
)


@pytest.fixture(scope="module")
def upstream(world: World) -> Iterator[Model]:
    """A provider of its own; the default route leads to it."""
    model = world.internet.model("accounts.model.test")
    words = ["--name", "acct", "--type", "openai", "--credential", "OPENAI_API_KEY=-"]
    words += ["--config", f"OPENAI_BASE_URL={model.base_url}"]
    done = world.netmgr("provider", "create", *words, stdin="sk-acct")
    assert done.returncode == 0, done.stderr
    do(world, "inference", "set", "--provider", "acct", "--model", "priced-1", "--no-verify")
    yield model
    do(world, "inference", "delete")
    do(world, "provider", "delete", "acct", "--force")


def do(world: World, *words: str, status: int = 0, **more: Any) -> str:
    """One command; its stdout."""
    done = world.netmgr(*words, **more)
    assert done.returncode == status, (words, done.stderr)
    return str(done.stdout)


def show(world: World, *words: str) -> Any:
    """What a command shows, as JSON."""
    return json.loads(do(world, *words, "-o", "json"))


def call(
    box: Sandbox,
    model: str = "any",
    *extra: str,
    path: str = "/chat/completions",
    **more: Any,
) -> str:
    """One call; its status and headers, then its body."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **more})
    words = ["curl", "-sS", "-i", "--max-time", "20", f"{URL}{path}", "-d", body, *extra]
    done = box.run(*words, "-H", "content-type: application/json")
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def asked_for(upstream: Model) -> list[str]:
    """The models that the provider was asked for."""
    return [json.loads(request["body"])["model"] for request in upstream.requests]


def test_scopes_and_aliases(
    world: World, upstream: Model, make_sandbox: Callable[..., Sandbox]
) -> None:
    plain = make_sandbox(POLICIES["nothing"])
    team = make_sandbox(POLICIES["nothing"], labels={"team": "ml"})
    words = ["inference", "set", "--provider", "acct", "--no-verify", "--label", "team=ml"]
    do(world, *words, "--model", "team-model", "--alias", "fast=small-model")
    try:
        upstream.forget()
        for box, model in ((plain, "fast"), (team, "fast"), (team, "other")):
            assert call(box, model).startswith("HTTP/1.1 200")
        assert asked_for(upstream) == ["priced-1", "small-model", "team-model"]
        (held,) = show(world, "inference", "get", "--sandbox", team.name)["routes"]
        assert (held["scope"], held["version"]) == ("team=ml", 1)
        assert held["base_url"] == upstream.base_url
        do(world, *words, "--model", "x", "--if-version", "7", status=4)
        do(world, "inference", "update", "--label", "team=ml", "--alias", "fast=", "--no-verify")
        upstream.forget()
        call(team, "fast")
        assert asked_for(upstream) == ["team-model"]
    finally:
        do(world, "inference", "delete", "--label", "team=ml")


def test_an_old_stream_ends_on_its_route_and_a_revocation_cuts_it(
    world: World, upstream: Model, make_sandbox: Callable[..., Sandbox]
) -> None:
    box = make_sandbox(POLICIES["nothing"])
    events = [f"data: {number}\n\n" for number in range(4)]
    reply = {"events": events, "gap_s": 0.4}
    words = ["inference", "set", "--sandbox", box.name, "--provider", "acct", "--no-verify"]
    do(world, *words, "--model", "old")
    upstream.forget()
    upstream.script({"path": "/chat/completions", "times": 1, "reply": reply})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        stream = pool.submit(call, box, "any", "-N")
        wait_for(lambda: asked_for(upstream) == ["old"])
        do(world, *words, "--model", "new")
        assert call(box).startswith("HTTP/1.1 200")
        assert asked_for(upstream) == ["old", "new"]
        assert "data: 3" in stream.result()
        upstream.forget()
        endless = {"events": ["data: 1\n\n"], "gap_s": 0.2, "repeat": True}
        upstream.script({"path": "/chat/completions", "times": 1, "reply": endless})
        cut = pool.submit(
            box.run,
            "curl",
            "-sSN",
            "--max-time",
            "20",
            f"{URL}/chat/completions",
            "-d",
            '{"messages": []}',
        )
        wait_for(lambda: len(upstream.requests) == 1)
        do(world, "inference", "delete", "--sandbox", box.name, "--cut")
        assert cut.result(5).returncode not in (0, 28), "it ends at once, and not well"
    record = box.wait_record(lambda r: r["reason"] == "not_configured")
    assert "revoked" in record["message"]


def wait_for(true: Callable[[], bool], seconds: float = 4) -> None:
    """Wait a little until it is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come to be")


def test_a_call_from_inside(
    world: World, upstream: Model, make_sandbox: Callable[..., Sandbox]
) -> None:
    box = make_sandbox(POLICIES["nothing"])
    upstream.forget()
    inside = show(world, "inference", "test", "--sandbox", box.name)["inside"]
    assert (inside["protocol"], inside["status"]) == ("openai_chat_completions", 200)
    assert len(upstream.requests) == 2, "once from the host, once from inside"
    box.wait_record(lambda r: r["kind"] == "inference" and r["verdict"] == "allowed")
    limit = ["inference", "limit", "set", "--sandbox", box.name, "--concurrency", "0"]
    do(world, *limit)
    done = world.netmgr("inference", "test", "--sandbox", box.name)
    assert done.returncode == 1
    assert "from inside the sandbox: answered 429" in done.stderr


def test_requests_are_limited_exactly_over_all_workers(
    world: World, upstream: Model, make_sandbox: Callable[..., Sandbox]
) -> None:
    box = make_sandbox(POLICIES["nothing"])
    do(
        world,
        "inference",
        "limit",
        "set",
        "--sandbox",
        box.name,
        "--requests-per-minute",
        f"{LIMIT}",
    )
    upstream.forget()
    script = (
        f"for i in $(seq {MANY}); do curl -sS -o /dev/null -w '%{{http_code}}\\n' --max-time 20 "
        f"{URL}/chat/completions -d '{{\"messages\": []}}' & done; wait"
    )
    statuses = box.shell(script).stdout.split()
    assert sorted(statuses) == ["200"] * LIMIT + ["429"] * (MANY - LIMIT)
    assert len(upstream.requests) == LIMIT
    answer = call(box)
    assert "x-netmgr-reason: limit_exceeded" in answer.lower()
    seconds = int(answer.lower().partition("retry-after: ")[2].split()[0])
    assert 1 <= seconds <= 61
    (row,) = [
        r for r in show(world, "inference", "limit", "show")["limits"] if r["sandbox"] == box.name
    ]
    assert row["used"] == {"requests_per_minute": LIMIT}
    do(world, "inference", "limit", "delete", "--sandbox", box.name)
    assert call(box).startswith("HTTP/1.1 200")


def test_a_tenants_budget_of_money(
    world: World, upstream: Model, make_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    one, two = (make_sandbox(POLICIES["nothing"], tenant="lab7") for _ in range(2))
    usage = {"prompt_tokens": 600, "completion_tokens": 200}
    upstream.script(
        {"path": "/chat/completions", "reply": {"json": {"choices": [], "usage": usage}}}
    )
    do(world, "inference", "limit", "set", "--tenant", "lab7", "--money-per-day", "1.5")
    try:
        assert "budget_exceeded" in call(one), "a model without a price is refused"
        prices = tmp_path / "prices.yaml"
        prices.write_text(PRICES)
        do(world, "inference", "price", "set", str(prices))
        assert "tier 'priority' has no known price" in call(one, service_tier="priority")
        assert call(one, service_tier="auto").startswith("HTTP/1.1 200")  # costs 1.00
        assert call(two).startswith("HTTP/1.1 200")  # the budget is passed by what was under way
        refused = call(one).lower()
        assert refused.startswith("http/1.1 429")
        assert "x-should-retry: false" in refused
        assert '"code": "budget_exceeded"' in refused
        listed = one.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{URL}/models")
        assert listed.stdout == "200", "it costs nothing"
        record = one.wait_record(lambda r: (r["inference"] or {}).get("cost") == "1")
        assert record["inference"]["tokens_in"] == 600
        shown = show(world, "inference", "usage", "--by", "sandbox", "--tenant", "lab7")
        assert {row["sandbox"]: row["cost"] for row in shown["usage"]} == {
            one.name: "1",
            two.name: "1",
        }
        assert shown["currency"] == "USD"
        chart = do(world, "inference", "usage", "--by", "model")
        assert "priced-1" in chart
        assert "█" in chart
        _, page = world.netmgrd.api("GET", "/metrics")
        assert "netmgr_inference_cost_total" in page
        assert f'sandbox="{one.name}"' in page
    finally:
        do(world, "inference", "limit", "delete", "--tenant", "lab7")
        do(world, "inference", "price", "delete")


def test_anthropics_words_for_a_limit(
    world: World, upstream: Model, make_sandbox: Callable[..., Sandbox]
) -> None:
    box = make_sandbox(POLICIES["nothing"])
    model = world.internet.model("claude.model.test")
    words = ["--name", "acct-claude", "--type", "anthropic", "--credential", "ANTHROPIC_API_KEY=-"]
    words += ["--config", f"ANTHROPIC_BASE_URL={model.base_url}"]
    do(world, "provider", "create", *words, stdin="sk-ant")
    scope = ["--sandbox", box.name]
    do(
        world,
        "inference",
        "set",
        *scope,
        "--provider",
        "acct-claude",
        "--model",
        "c",
        "--no-verify",
    )
    do(world, "inference", "limit", "set", *scope, "--concurrency", "0")
    answer = call(box, path="/messages")
    assert answer.startswith("HTTP/1.1 429")
    error = json.loads(answer.splitlines()[-1])
    assert (error["type"], error["error"]["type"]) == ("error", "rate_limit_error")
    assert model.requests == []
    do(world, "inference", "delete", *scope)
    do(world, "provider", "delete", "acct-claude")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("limit", "set", "--default"), "give a limit"),
        (("limit", "set", "--concurrency", "1"), "--sandbox NAME"),
        (("limit", "set", "--default", "--concurrency", "many"), "whole number"),
        (("limit", "set", "--default", "--money-per-day", "-1"), "amount"),
        (("set", "--provider", "acct", "--model", "m", "--label", "x"), "KEY=VALUE"),
        (("set", "--provider", "acct", "--model", "m", "--alias", "x"), "KEY=VALUE"),
    ],
)
def test_what_cannot_be_meant(
    world: World, upstream: Model, words: tuple[str, ...], told: str
) -> None:
    done = world.netmgr("inference", *words)
    assert done.returncode == 2
    assert told in done.stderr


def test_a_killed_daemon_has_forgotten_no_budget(
    world: World, upstream: Model, make_sandbox: Callable[..., Sandbox]
) -> None:
    box = make_sandbox(POLICIES["nothing"])
    limits = ["--tokens-per-day", "1", "--requests-per-minute", "2"]
    do(world, "inference", "limit", "set", "--sandbox", box.name, *limits)
    assert call(box).startswith("HTTP/1.1 200")
    assert "tokens per day" in call(box)
    threading.Event().wait(1.5)  # what is used is stored once a second
    world.netmgrd.kill()
    world.netmgrd.start()
    answer = call(box)
    assert answer.startswith("HTTP/1.1 429")
    assert "budget_exceeded" in answer
    shown = show(world, "inference", "usage", "--by", "sandbox", "--sandbox", box.name)
    assert [row["calls"] for row in shown["usage"]] == [1]


def test_a_default_and_a_local_stand_in(
    world: World, upstream: Model, make_sandbox: Callable[..., Sandbox]
) -> None:
    box = make_sandbox(POLICIES["nothing"])
    do(world, "inference", "delete")
    try:
        refused = call(box)
        assert refused.startswith("HTTP/1.1 503")
        assert "netmgr inference set --provider" in refused
        words = ["provider", "create", "--name", "nim", "--type", "nvidia"]
        words += ["--credential", "NVIDIA_API_KEY=-", "--config", "DEFAULT_MODEL=default-model"]
        do(world, *words, "--config", f"NVIDIA_BASE_URL={upstream.base_url}", stdin="nvapi-1")
        upstream.forget()
        assert call(box).startswith("HTTP/1.1 200")
        assert asked_for(upstream) == ["default-model"]
        (held,) = show(world, "inference", "get")["routes"]
        assert (held["provider"], held["source"]) == ("nim", "default")
        with stand_in(world, STANDBY_PORT):
            words = ["provider", "create", "--name", "near", "--type", "openai"]
            words += ["--credential", "OPENAI_API_KEY=-", "--config", "STANDBY=local"]
            words += ["--config", f"OPENAI_BASE_URL=http://127.0.0.1:{STANDBY_PORT}/v1"]
            do(world, *words, "--config", "DEFAULT_MODEL=near-model", stdin="none")
            wait_for(lambda: source(world) == "standby", seconds=15)
            assert '"near-model"' in call(box)
        wait_for(lambda: source(world) == "default", seconds=15)
        assert call(box).startswith("HTTP/1.1 200")
        refused = world.netmgr("provider", "delete", "nim")
        assert (refused.returncode, "is the default" in refused.stderr) == (4, True)
        told = [r["message"] for r in world.netmgrd.records(kind="config")]
        assert any("near, model near-model (the local stand-in is healthy)" in m for m in told)
        assert any("the stand-in near is gone" in m for m in told)
    finally:
        for name in ("near", "nim"):
            world.netmgr("provider", "delete", name, "--force")
        do(world, "inference", "set", "--provider", "acct", "--model", "priced-1", "--no-verify")


def source(world: World) -> str:
    """Who chose the default route."""
    (held,) = show(world, "inference", "get")["routes"]
    return str(held["source"])


@contextlib.contextmanager
def stand_in(world: World, port: int) -> Iterator[None]:
    """A model server on the host's loopback."""
    words = [sys.executable, "-I", "-m", "netmgr.testing.model_server", "--port", f"{port}"]
    process = subprocess.Popen(world.host.command(*words), stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
