"""Credentials that end, and that renew themselves, black-box through the command line."""

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from acceptance.stage import POLICIES
from world import Sandbox, World
from world.internet import Model

pytestmark = pytest.mark.root

URL = "https://inference.local/v1/chat/completions"
BODY = '{"model":"m","messages":[]}'
SECRET = "cs-secret-4711"  # of the client that asks for tokens
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def box(world: World) -> Iterator[Sandbox]:
    made = world.sandbox("renewed", POLICIES["nothing"])
    yield made
    made.delete()


@pytest.fixture(scope="module")
def servers(world: World) -> tuple[Model, Model]:
    """A model provider, and the server that gives tokens for it."""
    return world.internet.model("api.renew.test"), world.internet.model("id.renew.test")


@pytest.fixture
def model(servers: tuple[Model, Model]) -> Model:
    servers[0].forget()
    return servers[0]


@pytest.fixture
def tokens(servers: tuple[Model, Model]) -> Model:
    servers[1].forget()
    return servers[1]


@pytest.fixture
def provider(world: World, model: Model) -> Iterator[str]:
    """A provider with a key of its own, in force for all."""
    config = f"OPENAI_BASE_URL={model.base_url}"
    words = ["--name", "renew", "--type", "openai", "--config", config]
    done = world.netmgr(
        "provider", "create", *words, "--credential", "OPENAI_API_KEY=-", stdin="sk-first"
    )
    assert done.returncode == 0, done.stderr
    words = ["--provider", "renew", "--model", "m", "--no-verify"]
    assert world.netmgr("inference", "set", *words).returncode == 0
    yield "renew"
    assert world.netmgr("provider", "delete", "renew", "--force").returncode == 0


def call(box: Sandbox) -> tuple[int, dict[str, Any]]:
    done = box.run(
        "curl",
        "-sS",
        "--max-time",
        "20",
        "-w",
        "\n%{http_code}",
        URL,
        "-d",
        BODY,
        "-H",
        "content-type: application/json",
    )
    assert done.returncode == 0, done.stderr
    text, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text)


def keys_seen(model: Model) -> list[str]:
    """The keys that the provider was shown, in order."""
    fields = [{n.lower(): v for n, v in r["headers"]} for r in model.requests]
    return [f["authorization"].removeprefix("Bearer ") for f in fields]


def grant(token: str, expires_in: float = 3600, times: int = 1, **more: Any) -> dict[str, Any]:
    """A rule by which the token server gives a token."""
    answer = {"access_token": token, "token_type": "Bearer", "expires_in": expires_in, **more}
    return {"path": "/token", "times": times, "reply": {"json": answer}}


def configure(world: World, status: int = 0) -> str:
    """Let the provider's key renew itself; what the command wrote."""
    done = world.netmgr(
        "provider", "refresh", "configure", "renew",
        "--strategy", "oauth2-client-credentials",
        "--material", "token_url=https://id.renew.test/token", "--material", "client_id=me",
        "--material", "client_secret=-", stdin=SECRET,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done.stdout + done.stderr


def records(world: World, kind: str, since: float) -> list[dict[str, Any]]:
    words = ["observe", "--kind", kind, "--since", f"{time.time() - since + 1:.0f}s", "-o", "json"]
    done = world.netmgr(*words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def until(what: str, found: Any) -> None:
    """Wait until `found()` is true."""
    last = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < last, what
        time.sleep(0.1)


def test_a_key_that_ended_is_refused_here_and_told_of(
    world: World, box: Sandbox, provider: str, model: Model
) -> None:
    began = time.time()
    ends = datetime.now(UTC) + timedelta(seconds=-1)
    words = ["provider", "update", provider, "--credential-expires-at"]
    done = world.netmgr(*words, f"OPENAI_API_KEY={ends.isoformat()}")
    assert done.returncode == 0, done.stderr
    assert "has expired" in world.netmgr("provider", "get", provider).stdout
    assert "has expired" in world.netmgr("status").stdout
    status, answer = call(box)
    assert (status, answer["error"]["code"]) == (503, "credential_expired")
    assert "renew" not in json.dumps(answer), "whose key it is, is the operator's to know"
    assert model.requests == []
    (told,) = [r for r in records(world, "inference", began) if r["sandbox"] == "renewed"]
    assert (told["verdict"], told["reason"]) == ("failed", "credential_expired")
    assert world.netmgr(*words, "OPENAI_API_KEY=0").returncode == 0
    assert call(box)[0] == 200


def test_a_token_is_fetched_used_and_renewed_before_its_end(
    world: World, box: Sandbox, provider: str, model: Model, tokens: Model
) -> None:
    began = time.time()
    tokens.script(grant("tok-1", 6), grant("tok-2"))
    configure(world)
    assert call(box)[0] == 200
    until("the second token", lambda: len(tokens.requests) == 2)
    until("it is in force", lambda: call(box)[0] == 200 and keys_seen(model)[-1] == "tok-2")
    assert keys_seen(model)[0] == "tok-1"
    (request, _) = tokens.requests
    assert (request["method"], request["target"]) == ("POST", "/token")
    assert request["body"] == (f"grant_type=client_credentials&client_id=me&client_secret={SECRET}")
    done = world.netmgr("provider", "refresh", "status", provider, "-o", "json")
    (shown,) = json.loads(done.stdout)["refresh"]
    assert (shown["state"], shown["secrets"]) == ("fresh", ["client_secret"])
    told = " ".join(r["message"] for r in records(world, "config", began))
    assert "renewed until" in told
    for secret in (SECRET, "tok-1", "tok-2"):
        assert secret not in done.stdout + told


def test_where_no_token_comes_nothing_is_stored(
    world: World, box: Sandbox, provider: str, model: Model, tokens: Model
) -> None:
    said = {"error": "invalid_client", "error_description": f"no {SECRET}"}
    tokens.script({"path": "/token", "reply": {"status": 401, "json": said}})
    told = configure(world, status=1)
    assert "https://id.renew.test gave no token: HTTP 401: invalid_client: no [secret]" in told
    done = world.netmgr("provider", "refresh", "status", provider, "-o", "json")
    assert json.loads(done.stdout)["refresh"] == []
    assert call(box)[0] == 200
    assert keys_seen(model) == ["sk-first"]


def test_an_old_token_serves_while_none_comes_and_ends_when_it_ends(
    world: World, box: Sandbox, provider: str, model: Model, tokens: Model
) -> None:
    began = time.time()
    refuse = {"path": "/token", "reply": {"status": 500, "text": "down"}}
    tokens.script(grant("tok-1", 6), refuse)
    configure(world)
    until("the failure", lambda: len(tokens.requests) >= 2)
    assert call(box)[0] == 200
    assert keys_seen(model)[-1] == "tok-1"
    until("its record", lambda: records(world, "finding", began))
    told = records(world, "finding", began)[0]
    assert (told["verdict"], told["reason"]) == ("failed", "upstream_unreachable")
    assert "HTTP 500: down" in told["message"]
    done = world.netmgr("provider", "refresh", "status", provider, "-o", "json")
    assert json.loads(done.stdout)["refresh"][0]["state"] in ("failing", "expired")
    tokens.script(grant("tok-2"))
    until("it tries again", lambda: call(box)[0] == 200 and keys_seen(model)[-1] == "tok-2")


def test_rotation_is_in_force_when_the_command_returns(
    world: World, box: Sandbox, provider: str, model: Model, tokens: Model
) -> None:
    tokens.script(grant("tok-1"), grant("tok-2"))
    configure(world)
    done = world.netmgr("provider", "refresh", "rotate", provider)
    assert done.returncode == 0, done.stderr
    assert call(box)[0] == 200
    assert keys_seen(model) == ["tok-2"]
    assert world.netmgr("provider", "refresh", "delete", provider).returncode == 0
    assert world.netmgr("provider", "refresh", "delete", provider).returncode == 3
    assert world.netmgr("provider", "refresh", "rotate", provider).returncode == 3


def test_a_refresh_token_is_used_once_where_the_server_replaces_it(
    world: World, provider: str, tokens: Model
) -> None:
    tokens.script(grant("tok-1", refresh_token="rt-2"), grant("tok-2"))
    done = world.netmgr(
        "provider", "refresh", "configure", provider, "--strategy", "oauth2-refresh-token",
        "--material", "token_url=https://id.renew.test/token", "--material", "client_id=me",
        "--material", "refresh_token=-", stdin="rt-1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert world.netmgr("provider", "refresh", "rotate", provider).returncode == 0
    first, second = [request["body"] for request in tokens.requests]
    assert "refresh_token=rt-1" in first
    assert "refresh_token=rt-2" in second


def test_a_revoked_key_ends_the_streams_that_use_it(
    world: World, box: Sandbox, provider: str, model: Model
) -> None:
    model.script({"reply": {"events": ["data: 1\n\n"], "gap_s": 0.2, "repeat": True}})
    # -k: `start` enters the network alone, without the sandbox's trust bundle
    words = ["curl", "-sSNk", "--max-time", "20", URL, "-d", BODY]
    stream = box.start(*words, "-H", "content-type: application/json", stdout=subprocess.PIPE)
    until("the stream", lambda: model.requests)
    done = world.netmgr(
        "provider", "update", provider, "--credential", "OPENAI_API_KEY=-", "--force",
        stdin="sk-second",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out, _ = stream.communicate(timeout=5)
    assert stream.returncode != 0, f"it ended as if it were whole: {out}"
    model.script()
    assert call(box)[0] == 200
    assert keys_seen(model)[-1] == "sk-second"
