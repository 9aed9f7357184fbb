"""What a provider stores for one sandbox is nobody else's: two real sandboxes, several proxy
workers, and a daemon that is started anew. Also: a key that the provider repeats."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from acceptance.stage import POLICIES
from world import Sandbox, World
from world.internet import Model

pytestmark = pytest.mark.root

URL = "https://inference.local/v1/responses"
WORKERS = 3
ROUNDS = 3 * WORKERS  # each on a connection of its own: every worker serves some
KEY = "sk-operator-key-of-objects"
STORED = "resp_of_alice"


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[World, Model, Sandbox, Sandbox]]:
    """A world with several workers, a provider that keeps answers, and two sandboxes."""
    with World() as world:
        world.daemon(proxy_workers=WORKERS)
        model = world.internet.model("objects.test")
        words = ["--name", "keeper", "--type", "openai", "--credential", "OPENAI_API_KEY=-"]
        words += ["--config", f"OPENAI_BASE_URL={model.base_url}"]
        made = world.netmgr("provider", "create", *words, stdin=KEY)
        assert made.returncode == 0, made.stderr
        words = ["--provider", "keeper", "--model", "m", "--no-verify"]
        assert world.netmgr("inference", "set", *words).returncode == 0
        boxes = [world.sandbox(name, POLICIES["nothing"]) for name in ("alice", "bob")]
        yield world, model, boxes[0], boxes[1]


def ask(
    box: Sandbox, path: str = "", body: dict[str, Any] | None = None, times: int = 1
) -> list[tuple[int, Any]]:
    """Calls, each on a new connection: status and answer of each."""
    words = ["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}\n", URL + path]
    if body is not None:
        words += ["-d", json.dumps(body), "-H", "content-type: application/json"]
    loop = f"for i in $(seq {times}); do {shlex.join(words)} || exit 1; done"
    done = box.run("sh", "-c", loop)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) == 2 * times, lines
    return [(int(lines[n + 1]), json.loads(lines[n])) for n in range(0, len(lines), 2)]


def follow_up(box: Sandbox, times: int) -> list[tuple[int, Any]]:
    return ask(box, body={"input": "and then?", "previous_response_id": STORED}, times=times)


def judge(model: Model, owner: Sandbox, other: Sandbox, rounds: int) -> None:
    """The owner gets it, the other gets 404, and the provider is never asked for the other."""
    mine = ask(owner, f"/{STORED}", times=rounds) + follow_up(owner, rounds)
    assert {status for status, _ in mine} == {200}
    before = len(model.requests)
    for status, answer in ask(other, f"/{STORED}", times=rounds) + follow_up(other, rounds):
        assert (status, answer["error"]["code"]) == (404, "operation_not_allowed")
        assert "alice" not in answer["error"]["message"].replace(STORED, "")
    assert len(model.requests) == before


def test_a_stored_response_is_its_sandbox_s_own(
    upstream: tuple[World, Model, Sandbox, Sandbox],
) -> None:
    world, model, alice, bob = upstream
    kept = {"id": STORED, "object": "response", "status": "completed", "output": []}
    model.script({"path": f"/{STORED}", "reply": {"json": kept}}, {"reply": {"json": kept}})
    assert ask(bob, f"/{STORED}")[0][0] == 404, "before there is any"
    assert ask(alice, body={"input": "keep this", "store": True})[0][0] == 200
    judge(model, alice, bob, ROUNDS)
    daemon = world.netmgrd
    daemon.stop()
    daemon.start()
    judge(model, alice, bob, WORKERS)


def test_a_key_that_the_provider_repeats_does_not_come_in(
    upstream: tuple[World, Model, Sandbox, Sandbox],
) -> None:
    _, model, alice, _ = upstream
    said = {"error": {"message": f"Incorrect API key provided: {KEY}", "type": "invalid"}}
    model.script({"reply": {"status": 401, "json": said, "headers": {"x-request-id": KEY}}})
    words = ["curl", "-sSi", "--max-time", "20", URL, "-d", '{"input":"x"}']
    done = alice.run(*words, "-H", "content-type: application/json")
    assert done.stdout.startswith("HTTP/1.1 401"), done.stderr
    assert KEY not in done.stdout
    assert done.stdout.count("[redacted]") == 2
