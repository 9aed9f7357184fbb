"""Middlewares and model calls, WebSockets, the routing file: black-box through the command line."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from acceptance.live_flows import WebSocketFlow, echo_messages, host
from world import Sandbox, World
from world.internet import Model
from wsproto import events

pytestmark = pytest.mark.root

KEY = "AKIAIOSFODNN7EXAMPLE"
ROUTING = """\
version: 1
sensitivity: {order: [public, secret], unlabelled: public, unscanned: secret}
metadata:
  dlp:
    required: true
    findings: {secret: {raises: secret}}
endpoints:
  near: {provider: near, model: near-1, facts: {operated_by: self, clearance: secret}}
  far: {provider: far, model: far-1, facts: {operated_by: third_party}}
routes: {default: [far, near]}
"""


class ScannedSocket(WebSocketFlow):
    """A WebSocket to a server of this file's own."""

    kind = "scanned"


SOCKET = host(ScannedSocket.kind)


def policy(action: str, **more: Any) -> str:
    stage = {"middleware": "netmgr/secrets", "config": {"action": action}, **more}
    stage["endpoints"] = {"include": ["inference.local", SOCKET]}
    socket = {"host": SOCKET, "port": 443, "protocol": "websocket", "access": "full"}
    entry = {"endpoints": [socket], "binaries": [{"path": "/**"}]}
    return yaml.safe_dump(
        {"version": 1, "network_policies": {"ws": entry}, "network_middlewares": {"dlp": stage}}
    )


@pytest.fixture(scope="module")
def models(world: World) -> Iterator[dict[str, Model]]:
    """A provider of the operator's own and one that is somebody else's."""
    made = {}
    for name in ("near", "far"):
        made[name] = model = world.internet.model(f"{name}.scan.test")
        words = ["--name", name, "--type", "openai", "--credential", "OPENAI_API_KEY=-"]
        words += ["--config", f"OPENAI_BASE_URL={model.base_url}"]
        do(world, "provider", "create", *words, stdin=f"sk-{name}")
    do(world, "inference", "set", "--provider", "far", "--model", "far-1", "--no-verify")
    yield made
    do(world, "inference", "delete")
    for name in made:
        do(world, "provider", "delete", name, "--force")


def do(world: World, *words: str, **more: Any) -> str:
    done = world.netmgr(*words, **more)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return str(done.stdout)


@pytest.fixture(scope="module")
def box(world: World, models: dict[str, Model]) -> Iterator[Sandbox]:
    made = world.sandbox("prompts", policy("deny"))
    yield made
    made.delete()


def put(world: World, box: Sandbox, text: str) -> None:
    path = world.directory / "scanned.yaml"
    path.write_text(text)
    do(world, "policy", "set", box.name, str(path))


def prompt(box: Sandbox, text: str) -> tuple[int, dict[str, Any], str]:
    """Status, body and x-netmgr-reason of a model call."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
    done = box.run(
        "curl", "-sS", "--max-time", "20", "-w", "\n%{http_code} %header{x-netmgr-reason}",
        "https://inference.local/v1/chat/completions", "-d", body,
        "-H", "content-type: application/json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer, _, told = done.stdout.rpartition("\n")
    status, _, reason = told.partition(" ")
    return int(status), json.loads(answer), reason


def test_a_prompt_with_a_secret_reaches_nobody(
    world: World, box: Sandbox, models: dict[str, Model]
) -> None:
    put(world, box, policy("deny"))
    models["far"].forget()
    status, answer, _ = prompt(box, f"what is {KEY}?")
    assert status == 403
    assert answer["error"]["code"] == "middleware_denied"
    assert "'dlp'" in answer["error"]["message"]
    assert models["far"].requests == []
    told = box.wait_record(
        lambda r: r["kind"] == "inference" and r["reason"] == "middleware_denied"
    )
    assert told["middleware"]["findings"][0]["label"] == "aws_key"
    assert KEY not in json.dumps(box.records())
    assert prompt(box, "what is love?")[0] == 200


def test_a_prompt_is_sent_without_what_was_taken_out(
    world: World, box: Sandbox, models: dict[str, Model]
) -> None:
    put(world, box, policy("redact"))
    models["far"].forget()
    status, _, _ = prompt(box, f"what is {KEY}?")
    assert status == 200
    (request,) = models["far"].requests
    assert KEY not in json.dumps(request)
    assert "[aws_key removed]" in json.dumps(request)


def test_the_routing_file_hears_what_middleware_found(
    world: World, box: Sandbox, models: dict[str, Model]
) -> None:
    """A prompt with a secret in it goes to the operator's own endpoint, the same without it to the
    other one; and what a required stage did not look at stays at home, too."""
    put(world, box, policy("report"))
    path = world.directory / "routing.yaml"
    path.write_text(ROUTING)
    do(world, "route", "set", str(path))
    try:
        for text, answering, silent in (
            (f"what is {KEY}?", "near", "far"),
            ("what is love?", "far", "near"),
            ("x" * (4 * 1024 * 1024), "near", "far"),
        ):
            for model in models.values():
                model.forget()
            if len(text) < 1000:
                assert prompt(box, text)[0] == 200
            else:
                assert long_prompt(box, text) == 200
            assert len(models[answering].requests) == 1, text[:40]
            assert models[silent].requests == []
        calls = [r for r in box.records() if r["kind"] == "inference"]
        found = [r for r in calls if r["inference"].get("generation")]  # by the file; 0 is none
        assert [r["inference"]["label"] for r in found] == ["secret", "public", "secret"]
        why = do(world, "route", "why", found[0]["inference"]["request_id"], "-o", "json")
        assert '"label": "secret"' in why
    finally:
        do(world, "route", "delete")


def long_prompt(box: Sandbox, text: str) -> int:
    """Status of a call whose body does not fit on a command line."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
    done = box.run(
        "curl", "-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}",
        "https://inference.local/v1/chat/completions", "--data-binary", "@-",
        "-H", "content-type: application/json", stdin=body,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_messages_of_a_websocket(world: World, box: Sandbox) -> None:
    put(world, box, policy("redact"))
    certificate = world.authority.server_context(SOCKET)
    server = world.internet.tcp(SOCKET, 443, echo_messages, tls=certificate)
    with ScannedSocket(box) as flow:
        flow.step()
        say(flow, f"my key {KEY} and 100 words " + "word " * 100)
        heard = flow._hear()
        assert isinstance(heard, events.TextMessage)
        assert heard.data.startswith("my key [aws_key removed] and 100 words word")
        flow.step()
        put(world, box, policy("deny"))
        flow.step()
        say(flow, "one")
        say(flow, KEY.encode())  # binary messages are looked at as text is
        say(flow, "three")
        assert flow._hear() == events.TextMessage("one")
        ended = flow._hear()
        assert isinstance(ended, events.CloseConnection)
        assert ended.code == 1008
        assert "dlp" in str(ended.reason)
    assert KEY.encode() not in server.received
    box.wait_record(lambda r: r["kind"] == "http" and r["reason"] == "middleware_denied")


def say(flow: WebSocketFlow, data: str | bytes) -> None:
    kind = events.TextMessage if isinstance(data, str) else events.BytesMessage
    flow.sock.sendall(flow._protocol.send(kind(data)))
