"""inference.local from the operator's command to the provider's wire, black-box."""

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from acceptance.stage import POLICIES
from world import Sandbox, World
from world.internet import Model

pytestmark = pytest.mark.root

KEY = "sk-operator-key-4711"
PLACEHOLDER = "sk-placeholder"
URL = "https://inference.local/v1"
BODY = (
    '{"messages": [{"role": "user", "content": "h\\u00e9 \\"model\\": no"}],'
    ' "model" : "any", "n":1}'
)


@pytest.fixture(scope="module")
def provider(world: World) -> Iterator[Model]:
    """A provider behind inference.local for all sandboxes, and its upstream."""
    model = world.internet.model("api.model.test")
    words = ["--name", "lab", "--type", "openai", "--credential", "OPENAI_API_KEY=-"]
    words += ["--config", f"OPENAI_BASE_URL={model.base_url}"]
    done = world.netmgr("provider", "create", *words, stdin=KEY)
    assert done.returncode == 0, done.stderr
    done = world.netmgr("inference", "set", "--provider", "lab", "--model", "real-model")
    assert done.returncode == 0, done.stderr
    assert model.requests, "setting a route tries it first"
    yield model
    assert world.netmgr("inference", "delete").returncode == 0
    assert world.netmgr("provider", "delete", "lab").returncode == 0


@pytest.fixture
def upstream(provider: Model) -> Model:
    """The same upstream with empty records and its usual answers."""
    provider.forget()
    return provider


@pytest.fixture(scope="module")
def box(world: World) -> Iterator[Sandbox]:
    """A sandbox whose policy allows nothing at all: inference needs no rule."""
    made = world.sandbox("thinker", POLICIES["nothing"])
    yield made
    made.delete()


def call(box: Sandbox, path: str, body: str | None = BODY, *extra: str) -> tuple[int, str]:
    """One call as an unmodified program makes it: status and body."""
    words = ["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}", f"{URL}{path}", *extra]
    words += ["-H", f"authorization: Bearer {PLACEHOLDER}"]
    if body is not None:
        words += ["-H", "content-type: application/json", "-d", body]
    done = box.run(*words)
    assert done.returncode == 0, done.stderr
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def headers_of(request: dict[str, Any]) -> dict[str, str]:
    """A recorded request's headers by lower-case name."""
    return {name.lower(): value for name, value in request["headers"]}


def test_the_model_is_replaced_in_place_and_the_key_is_the_operators(
    box: Sandbox, upstream: Model
) -> None:
    status, text = call(box, "/chat/completions")
    assert status == 200, text
    assert json.loads(text)["choices"]
    (request,) = upstream.requests
    assert request["target"] == "/v1/chat/completions"
    assert request["body"] == BODY.replace('"any"', '"real-model"')
    assert headers_of(request)["authorization"] == f"Bearer {KEY}"
    assert headers_of(request)["host"] == "api.model.test"
    assert PLACEHOLDER not in base64.b64decode(request["raw_base64"]).decode("latin-1")


@pytest.mark.parametrize("path", ["/completions", "/responses", "/embeddings"])
def test_the_other_endpoints(box: Sandbox, upstream: Model, path: str) -> None:
    body = '{"model": "any", "input": "x", "prompt": "x"}'
    status, text = call(box, path, body)
    assert status == 200, text
    assert json.loads(upstream.requests[0]["body"])["model"] == "real-model"


def test_models_are_the_providers_own(box: Sandbox, upstream: Model) -> None:
    status, text = call(box, "/models", None)
    assert status == 200, text
    assert upstream.requests[0]["method"] == "GET"


def test_a_stream_arrives_event_by_event(box: Sandbox, upstream: Model) -> None:
    events = [f"data: {number}\n\n" for number in range(4)]
    upstream.script({"path": "/chat/completions", "reply": {"events": events, "gap_s": 0.3}})
    body = BODY.replace('"n":1', '"stream": true')
    script = (
        f"curl -sSN --max-time 20 {URL}/chat/completions -H 'content-type: application/json' "
        '-d @- | while IFS= read -r line; do echo "$(date +%s.%N) $line"; done'
    )
    done = box.shell(script, stdin=body)
    times = [float(t) for t in re.findall(r"^(\d+\.\d+) data: \d", done.stdout, re.MULTILINE)]
    assert len(times) == 4, done.stdout + done.stderr
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) > 0.15, gaps


@pytest.mark.parametrize("path", ["/files", "/fine_tuning/jobs", "/../admin", "/chat/completionsx"])
def test_what_is_no_model_call_never_reaches_the_provider(
    box: Sandbox, upstream: Model, path: str
) -> None:
    status, text = call(box, path, BODY, "--path-as-is")
    assert status in (400, 403), text
    assert json.loads(text)["error"]["code"] in ("pattern_not_supported", "malformed_request")
    assert upstream.requests == []


@pytest.mark.parametrize(
    "body", ["{", "[]", '{"model": "a", "model": "b"}', '{"model": NaN}', '{"Model": "a"}']
)
def test_a_body_that_two_parsers_could_read_differently(
    box: Sandbox, upstream: Model, body: str
) -> None:
    status, text = call(box, "/chat/completions", body)
    assert status == 400, text
    assert json.loads(text)["error"]["message"]
    assert upstream.requests == []


def test_the_providers_error_is_passed_on(box: Sandbox, upstream: Model) -> None:
    reply = {"status": 429, "headers": {"retry-after": "7"}, "json": {"error": {"message": "slow"}}}
    upstream.script({"path": "/chat/completions", "reply": reply})
    status, text = call(box, "/chat/completions")
    assert (status, json.loads(text)["error"]["message"]) == (429, "slow")


def test_a_provider_that_breaks_off_is_a_502(box: Sandbox, upstream: Model) -> None:
    upstream.script({"path": "/chat/completions", "reply": {"drop": True}})
    status, text = call(box, "/chat/completions")
    assert status == 502, text
    assert json.loads(text)["error"]["code"] == "upstream_unreachable"


def test_plain_http_is_refused_and_says_so(box: Sandbox, upstream: Model) -> None:
    done = box.run(
        "curl", "-sS", "--max-time", "5", "-w", "\n%{http_code}", "http://inference.local/v1/models"
    )
    assert done.stdout.endswith(("400", "403", "421", "426")), done.stdout + done.stderr
    assert upstream.requests == []


def test_the_decision_is_recorded(box: Sandbox, upstream: Model) -> None:
    box.forget_records()
    assert call(box, "/chat/completions")[0] == 200
    record = box.wait_record(lambda r: r["kind"] == "inference" and r["verdict"] == "allowed")
    facts = record["inference"]
    assert facts["model"] == "real-model"
    assert facts["requested_model"] == "any"
    assert facts["provider"] == "lab"
    assert facts["tokens_in"] > 0


def test_the_key_is_nowhere_but_on_the_wire(world: World, box: Sandbox, upstream: Model) -> None:
    assert call(box, "/chat/completions")[0] == 200
    shown = [
        world.netmgr("provider", "list", "-o", "json").stdout,
        world.netmgr("provider", "get", "lab", "-o", "yaml").stdout,
        world.netmgr("inference", "get", "-o", "json").stdout,
        world.netmgr("observe", "-o", "json").stdout,
        box.run("env").stdout,
        world.netmgrd.log.read_text(),
    ]
    assert not [text for text in shown if KEY in text]
    files = [p for p in world.netmgrd.directory.rglob("*") if p.is_file()]
    assert not [str(p) for p in files if KEY.encode() in p.read_bytes()]


def test_a_sandbox_may_have_a_route_of_its_own(
    world: World, upstream: Model, make_sandbox: Callable[..., Sandbox]
) -> None:
    own = make_sandbox(POLICIES["nothing"])
    words = ["--provider", "lab", "--model", "own-model", "--sandbox", own.name]
    assert world.netmgr("inference", "set", *words).returncode == 0
    upstream.forget()
    assert call(own, "/chat/completions")[0] == 200
    assert json.loads(upstream.requests[0]["body"])["model"] == "own-model"
    assert world.netmgr("inference", "delete", "--sandbox", own.name).returncode == 0
    upstream.forget()
    assert call(own, "/chat/completions")[0] == 200
    assert json.loads(upstream.requests[0]["body"])["model"] == "real-model"


def test_a_route_that_does_not_work_is_not_saved(world: World, upstream: Model) -> None:
    upstream.script({"reply": {"status": 401, "json": {"error": {"message": "bad key"}}}})
    before = world.netmgr("inference", "get", "-o", "json").stdout
    done = world.netmgr("inference", "set", "--provider", "lab", "--model", "other")
    assert done.returncode == 1, done.stderr
    assert "401" in done.stderr
    assert json.loads(before)["routes"][0]["model"] == "real-model"
    after = json.loads(world.netmgr("inference", "get", "-o", "json").stdout)
    assert after["routes"][0]["model"] == "real-model"


def test_a_provider_that_is_used_cannot_be_deleted(world: World, upstream: Model) -> None:
    done = world.netmgr("provider", "delete", "lab")
    assert done.returncode == 4, done.stderr


def test_without_a_route_the_answer_says_what_to_do(make_world: Callable[[], World]) -> None:
    world = make_world()
    world.daemon()
    status, text = call(world.sandbox("a", POLICIES["nothing"]), "/chat/completions")
    assert status == 503
    assert json.loads(text)["error"]["code"] == "not_configured"
    assert "netmgr" in text


def test_the_url_of_each_request_is_shown_and_is_the_one_asked(
    world: World, box: Sandbox, upstream: Model
) -> None:
    done = world.netmgr("inference", "get", "-o", "json")
    (route,) = json.loads(done.stdout)["routes"]
    shown = {row["request"]: row["url"] for row in route["urls"]}
    assert call(box, "/chat/completions")[0] == 200
    (request,) = upstream.requests
    assert shown["POST /v1/chat/completions"] == "https://api.model.test" + request["target"]
    assert "https://api.model.test/v1/responses/{id}" in world.netmgr("inference", "get").stdout


def test_a_route_s_own_bound_for_connecting(world: World, provider: Model) -> None:
    words = ["inference", "update", "--no-verify", "--connect-timeout"]
    assert world.netmgr(*words, "2").returncode == 0
    done = world.netmgr("inference", "get", "-o", "json")
    assert json.loads(done.stdout)["routes"][0]["rules"]["connect_timeout_s"] == 2
    done = world.netmgr(*words, "11")
    assert (done.returncode, "longer than the setting" in done.stderr) == (2, True)
    assert world.netmgr(*words, "0").returncode == 0
