"""The OpenAI SDK where a routing file decides: a prompt with a secret stays near, the same prompt
without it goes far, and the operator can read both stories.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai  # noqa: F401  # missing: the set-up has not installed what this layer needs
import pytest
from world import World
from world.internet import Model

pytestmark = pytest.mark.root

PROGRAM = Path(__file__).parent / "routed_turns.py"
PLAIN = "Why does my call fail?"
SECRET = "AKIAIOSFODNN7EXAMPLE"
POLICY = """\
version: 1
network_policies: {}
network_middlewares:
  guard:
    middleware: netmgr/secrets
    config: {action: report}
    endpoints: {include: [inference.local]}
"""
ROUTING = """\
version: 1
sensitivity: {order: [public, restricted], unlabelled: public, unscanned: restricted}
metadata:
  guard: {required: true, findings: {secret: {raises: restricted}}}
endpoints:
  near:
    provider: near
    model: near-model
    facts: {operated_by: self, clearance: restricted, price: {in: 9, out: 9}}
  far:
    provider: far
    model: far-model
    facts: {operated_by: third_party, clearance: public, price: {in: 1, out: 1}}
prefer:
  - by: [price_out]
"""

Said = dict[str, Any]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A world of its own: the detectors are not those of every test's daemon."""
    with World() as made:
        made.daemon()
        yield made


@pytest.fixture(scope="module")
def models(world: World) -> dict[str, Model]:
    """A local and a remote provider, and the file that says who may answer what."""
    made = {}
    for name in ("near", "far"):
        made[name] = world.internet.model(f"{name}.routed.test")
        words = ["--name", name, "--type", "openai", "--credential", "OPENAI_API_KEY=-"]
        words += ["--config", f"OPENAI_BASE_URL={made[name].base_url}"]
        do(world, "provider", "create", *words, stdin=f"sk-{name}")
    path = world.directory / "routing.yaml"
    path.write_text(ROUTING)
    do(world, "route", "set", str(path))
    world.sandbox("sdk", POLICY)
    return made


def do(world: World, *words: str, **more: Any) -> str:
    done = world.netmgr(*words, **more)
    assert done.returncode == 0, (words, done.stderr)
    return str(done.stdout)


def ask(world: World, *prompts: str) -> list[Said]:
    """The program in the sandbox. As root: the tests' interpreter may be nobody else's to read."""
    words = ["sandbox", "exec", "--user", "root", "sdk", "--", sys.executable, "-I", str(PROGRAM)]
    return [json.loads(line) for line in do(world, *words, *prompts, timeout=60).splitlines()]


@pytest.fixture(scope="module")
def told(world: World, models: dict[str, Model]) -> list[Said]:
    """Both prompts, asked by one program."""
    return ask(world, PLAIN, f"{PLAIN} My key is {SECRET}.")


def test_the_secret_stays_near_and_the_rest_goes_far(
    told: list[Said], models: dict[str, Model]
) -> None:
    plain, secret = told
    assert plain["text"].startswith("This is far-model")
    assert secret["text"].startswith("This is near-model")
    for answer in told:
        assert answer["streamed"].split()[:3] == answer["text"].split()[:3]
        assert answer["headers"] == ["x-netmgr-request-id"], "what answered is not told inside"
    seen = {name: [each["body"] for each in model.requests] for name, model in models.items()}
    assert [SECRET in body for body in seen["near"]] == [True, True]
    assert [SECRET in body for body in seen["far"]] == [False, False]


def test_why_tells_both_stories(world: World, told: list[Said]) -> None:
    plain, secret = (
        json.loads(do(world, "route", "why", each["request_id"], "-o", "json"))["inference"]
        for each in told
    )
    assert (plain["label"], plain["endpoint"], plain["plan"]) == ("public", "far", ["far", "near"])
    assert (secret["label"], secret["endpoint"], secret["plan"]) == ("restricted", "near", ["near"])
    assert secret["rejected"] == {"far": "clearance"}
    assert [each["status"] for each in secret["tried"]] == [200]
    shown = do(world, "route", "why", told[1]["request_id"])
    assert "clearance" in shown
    assert "near" in shown
    assert SECRET not in json.dumps([plain, secret]) + shown


def test_where_nothing_is_cleared_the_sdk_raises_with_the_rule(
    world: World, models: dict[str, Model], tmp_path: Path
) -> None:
    before = json.loads(do(world, "route", "get", "-o", "json"))["revision"]
    path = tmp_path / "routing.yaml"
    path.write_text(ROUTING.replace("clearance: restricted", "clearance: public"))
    do(world, "route", "set", str(path))
    for model in models.values():
        model.forget()
    try:
        (raised,) = ask(world, f"My key is {SECRET}.")
    finally:
        do(world, "route", "rollback", str(before), "--accept-widening")
    assert (raised["raised"], raised["status"]) == ("PermissionDeniedError", 403)
    assert (raised["code"], raised["rule"]) == ("no_permitted_endpoint", "clearance")
    assert not any(model.requests for model in models.values())


def test_a_label_does_not_fall_again_until_the_operator_says_so(
    world: World, models: dict[str, Model], tmp_path: Path
) -> None:
    before = json.loads(do(world, "route", "get", "-o", "json"))["revision"]
    path = tmp_path / "routing.yaml"
    path.write_text(ROUTING + "affinity: {key: sandbox, ratchet: sensitivity, reset: operator}\n")
    do(world, "route", "set", str(path))
    try:
        told = ask(world, PLAIN, f"My key is {SECRET}.", PLAIN)
        assert [each["text"].split()[2] for each in told] == [
            "far-model,",
            "near-model,",
            "near-model,",
        ]
        world.netmgrd.kill()
        world.netmgrd.start()
        assert ask(world, PLAIN)[0]["text"].startswith("This is near-model")
        assert "1 labels" in world.netmgr("route", "reset", "sdk").stderr
        assert ask(world, PLAIN)[0]["text"].startswith("This is far-model")
    finally:
        do(world, "route", "rollback", str(before), "--accept-widening")
