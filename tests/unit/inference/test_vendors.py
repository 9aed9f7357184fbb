"""Vertex, Bedrock, Azure and local servers: where a request goes, as what, and what is refused."""

import json
from typing import Any

import pytest

from netmgr.errors import BadInput
from netmgr.inference.catalogue import built_in
from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.inference.route import InferenceRoute
from netmgr.secret import Secret
from netmgr_proxy.inference.admit import Admitted, admit
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.headers import request_headers
from netmgr_proxy.inference.outgoing import outgoing_body, outgoing_target
from netmgr_proxy.inference.probe import Step, Verification, Verified

TOKEN = "VERTEX_AI_TOKEN"
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def route(kind: str, keys: tuple[str, ...], model: str, **config: str) -> InferenceRoute:
    provider = Provider("p", kind, {key: Secret("k") for key in keys}, config)
    return resolve_route(provider, model, route_id="r")


def vertex(model: str, **config: str) -> InferenceRoute:
    return route("vertex", (TOKEN,), model, **{"VERTEX_AI_PROJECT_ID": "proj-1"} | config)


def sent(to: InferenceRoute, path: str, body: Any, method: str = "POST") -> tuple[str, bytes]:
    """URL and body at the provider."""
    admitted = admit(method, path.encode(), to)
    assert isinstance(admitted, Admitted), admitted
    text = json.dumps(body, separators=(",", ":")).encode()
    pinned = outgoing_body(admitted, text) if admitted.pattern.has_body else None
    url = to.base.origin + outgoing_target(admitted, pinned)
    return url, pinned.joined() if pinned is not None else b""


def refused(call: Any, *words: str) -> None:
    with pytest.raises(BadInput) as caught:
        call()
    for word in words:
        assert word in caught.value.message


# -- Vertex -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("us-east5", "us-east5-aiplatform.googleapis.com"),
        ("northamerica-northeast1", "northamerica-northeast1-aiplatform.googleapis.com"),
    ],
)
def test_vertex_hosts(region: str, host: str) -> None:
    assert vertex("gemini-x", VERTEX_AI_REGION=region).base.host == host


@pytest.mark.parametrize(
    ("model", "spelt"),
    [
        ("gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("text-bison-001", "google/text-bison-001"),
        ("llama-4", "meta/llama-4"),
        ("mistral-large", "mistralai/mistral-large"),
        ("codestral-2", "mistralai/codestral-2"),
        ("jamba-1.5", "ai21/jamba-1.5"),
        ("deepseek-r1", "deepseek/deepseek-r1"),
    ],
)
def test_vertex_publishers(model: str, spelt: str) -> None:
    url, body = sent(vertex(model), "/v1/chat/completions", {"model": "q", "n": 1})
    place = "projects/proj-1/locations/us-central1/endpoints/openapi/chat/completions"
    assert url == f"https://us-central1-aiplatform.googleapis.com/v1beta1/{place}"
    assert body == json.dumps({"model": spelt, "n": 1}, separators=(",", ":")).encode()


@pytest.mark.parametrize(("stream", "verb"), [(False, "rawPredict"), (True, "streamRawPredict")])
def test_claude_on_vertex(stream: bool, verb: str) -> None:
    to = vertex("claude-sonnet-4@20250514", VERTEX_AI_REGION="us-east5")
    asked = {"model": "x", "stream": stream, "context_management": {"a": [1, 2]}, "max_tokens": 5}
    url, body = sent(to, "/v1/messages", asked)
    place = "v1/projects/proj-1/locations/us-east5/publishers/anthropic/models"
    host = "https://us-east5-aiplatform.googleapis.com"
    assert url == f"{host}/{place}/claude-sonnet-4@20250514:{verb}"
    assert json.loads(body) == {
        "anthropic_version": "vertex-2023-10-16",
        "stream": stream,
        "max_tokens": 5,
    }
    asked = {"model": "x", "anthropic_version": "mine", "messages": []}
    _, body = sent(to, "/v1/messages", asked)
    assert body == b'{"anthropic_version":"mine","messages":[]}'
    url, body = sent(to, "/v1/messages/count_tokens", {"model": "x"})
    assert url == f"{host}/{place}/count-tokens:rawPredict"
    assert json.loads(body)["model"] == "claude-sonnet-4@20250514"


def test_anthropic_s_headers_stay_off_vertex() -> None:
    client = [(b"anthropic-version", b"1"), (b"anthropic-beta", b"b"), (b"accept", b"*/*")]
    fields = dict(request_headers(client, vertex("claude-x"), 2))
    ours = {b"accept-encoding", b"content-type", b"content-length", b"authorization"}
    assert set(fields) == ours | {b"host", b"accept"}
    assert fields[b"authorization"] == b"Bearer k"


def test_vertex_speaks_one_protocol_by_model() -> None:
    assert isinstance(admit("POST", b"/v1/messages", vertex("gemini-x")), Refusal)
    assert isinstance(admit("POST", b"/v1/chat/completions", vertex("claude-x")), Refusal)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"VERTEX_AI_PROJECT_ID": "P"}, "project id"),
        ({"VERTEX_AI_REGION": "us-east5.evil.test/"}, "expected global, us, eu or a region"),
        ({"VERTEX_AI_BASE_URL": "http://10.0.0.1/"}, "none of the vendor's hosts"),
        ({"VERTEX_AI_BASE_URL": "https://10.0.0.1/"}, "none of the vendor's hosts"),
        ({"VERTEX_AI_BASE_URL": "https://u@x.googleapis.com/"}, "user information"),
        ({"VERTEX_AI_BASE_URL": "https://x.googleapis.com/?a=b"}, "query"),
        ({"VERTEX_AI_BASE_URL": "https://x.googleapis.com:8443/"}, "none of the vendor's hosts"),
        ({"VERTEX_AI_BASE_URL": "https://googleapis.com.evil.test"}, "none of the vendor's hosts"),
        ({"VERTEX_AI_BASE_URL": "https://evilgoogleapis.com"}, "none of the vendor's hosts"),
    ],
)
def test_vertex_goes_to_google_only(config: dict[str, str], said: str) -> None:
    refused(lambda: vertex("gemini-x", **config), said)


def test_vertex_settings() -> None:
    override = {"VERTEX_AI_BASE_URL": "https://x-aiplatform.googleapis.com"}
    assert vertex("gemini-x", **override).base.host == "x-aiplatform.googleapis.com"
    refused(lambda: vertex("claude-x", **override), "cannot be replaced for publisher anthropic")
    refused(lambda: vertex("qwen-3"), "VERTEX_AI_PUBLISHER")
    assert vertex("qwen-3", VERTEX_AI_PUBLISHER="qwen").model == "qwen/qwen-3"
    forced = vertex("my-claude", VERTEX_AI_PUBLISHER="anthropic")
    assert sent(forced, "/v1/messages", {})[0].endswith("/my-claude:rawPredict")
    refused(
        lambda: route("vertex", (TOKEN,), "gemini-x"), "missing config key VERTEX_AI_PROJECT_ID"
    )
    refused(
        lambda: route("vertex", (TOKEN, "GOOGLE_VERTEX_AI_TOKEN"), "gemini-x"),
        "takes",
        "GOOGLE_VERTEX_AI_TOKEN or VERTEX_AI_TOKEN",
    )


@pytest.mark.parametrize("model", ["a/b", "..", "a%2f", "a?b", "a#b", "a\\b", "a b", "modèle"])
@pytest.mark.parametrize("kind", ["vertex", "bedrock"])
def test_models_that_stand_in_a_path_are_one_segment(kind: str, model: str) -> None:
    if kind == "vertex":
        refused(lambda: vertex(model), "stands in the path")
    else:
        refused(lambda: route(kind, AWS, model), "stands in the path")


# -- Bedrock ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tail", ["invoke", "invoke-with-response-stream", "converse", "converse-stream"]
)
def test_bedrock_pins_the_model_of_the_path_and_leaves_the_body(tail: str) -> None:
    to = route("bedrock", AWS, "anthropic.claude-v2:1", AWS_REGION="eu-central-1")
    body = {"b": 1, "a": 2, "stream": True}
    url, out = sent(to, f"/model/what%3Aever/{tail}", body)
    host = "https://bedrock-runtime.eu-central-1.amazonaws.com"
    assert url == f"{host}/model/anthropic.claude-v2%3A1/{tail}"
    assert out == json.dumps(body, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "path",
    ["/model/a/b/invoke", "/model//invoke", "/model/invoke", "/model/a/invoke/x", "/model/a"],
)
def test_bedrock_s_other_paths_do_not_exist(path: str) -> None:
    refusal = admit("POST", path.encode(), route("bedrock", AWS, "m"))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 403


def test_bedrock_regions_and_ways_in() -> None:
    assert route("bedrock", AWS, "m").base.host == "bedrock-runtime.us-east-1.amazonaws.com"
    china = route("bedrock", AWS, "m", AWS_REGION="cn-north-1")
    assert china.base.host == "bedrock-runtime.cn-north-1.amazonaws.com.cn"
    bearer = route("bedrock", ("AWS_BEARER_TOKEN_BEDROCK",), "m")
    assert (b"authorization", b"Bearer k") in request_headers([], bearer, 2)
    bridge = route("bedrock", (), "m", BEDROCK_BASE_URL="http://127.0.0.1:4000/aws")
    assert sent(bridge, "/model/x/converse", {})[0] == "http://127.0.0.1:4000/aws/model/m/converse"
    assert not {b"authorization", b"x-amz-date"} & {n for n, _ in request_headers([], bridge, 2)}
    refused(lambda: route("bedrock", (), "m"), "missing config key BEDROCK_BASE_URL")
    refused(lambda: route("bedrock", AWS[:1], "m"), "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    refused(
        lambda: route("bedrock", AWS, "m", BEDROCK_BASE_URL="https://aws.evil.test"),
        "none of the vendor's hosts",
    )


def test_aliases_of_bedrock_are_asked_for_in_the_path() -> None:
    provider = Provider("p", "aws-bedrock", {key: Secret("k") for key in AWS})
    to = resolve_route(provider, "big", route_id="r", aliases={"small": "nano:0"})
    assert sent(to, "/model/small/converse", {})[0].endswith("/model/nano%3A0/converse")
    assert sent(to, "/model/other/converse", {})[0].endswith("/model/big/converse")


# -- Azure and local servers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (
            "https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/d/chat/completions"
            "?api-version=2024-10-21&x=1",
        ),
        (
            "https://r.openai.azure.com/openai/v1",
            "https://r.openai.azure.com/openai/v1/chat/completions?api-version=9&x=1",
        ),
        (
            "https://r.openai.azure.com/",
            "https://r.openai.azure.com/openai/v1/chat/completions?api-version=9&x=1",
        ),
        (
            "https://r.services.ai.azure.com/api/projects/p/openai/v1",
            "https://r.services.ai.azure.com/api/projects/p/openai/v1/chat/completions"
            "?api-version=9&x=1",
        ),
        (
            "https://gateway.example/anything",
            "https://gateway.example/anything/chat/completions?api-version=9&x=1",
        ),
    ],
)
def test_azure(base: str, url: str) -> None:
    to = route("azure", ("AZURE_OPENAI_API_KEY",), "gpt", AZURE_OPENAI_BASE_URL=base)
    path = "/v1/chat/completions?api-version=9&x=1&api-key=agent"
    assert sent(to, path, {"model": "x"}) == (url, b'{"model":"gpt"}')
    fields = dict(request_headers([(b"api-key", b"agent")], to, 2))
    assert fields[b"api-key"] == b"k"
    assert b"authorization" not in fields


@pytest.mark.parametrize(
    "tail",
    [
        "openai",
        "v1",
        "openai/deployments/d",
        "openai/deployments/d?version=1",
        "openai/deployments?api-version=2024-10-21",
        "?api-version=2024-10-21",
        "openai/deployments/d/chat/completions?api-version=2024-10-21",
    ],
)
def test_azure_is_told_the_forms_that_there_are(tail: str) -> None:
    base = f"https://r.openai.azure.com/{tail}"
    with pytest.raises(BadInput) as caught:
        route("azure", ("AZURE_OPENAI_API_KEY",), "gpt", AZURE_OPENAI_BASE_URL=base)
    for form in ("/openai/v1", "/openai/deployments/NAME?api-version=..."):
        assert f"https://r.openai.azure.com{form}" in caught.value.message


@pytest.mark.parametrize("kind", ["ollama", "lm-studio", "vllm", "llama-cpp"])
def test_local_servers_need_nothing(kind: str) -> None:
    to = route(kind, (), "m")
    assert to.base.host == "127.0.0.1"
    assert b"authorization" not in dict(request_headers([], to, 2))


# -- verification -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "answer", "tail"),
    [
        (vertex("claude-x"), b'{"content":[]}', "/claude-x:rawPredict"),
        (vertex("gemini-x"), b'{"choices":[]}', "/endpoints/openapi/chat/completions"),
        (route("bedrock", AWS, "m:0"), b'{"output":{}}', "/model/m%3A0/converse"),
    ],
    ids=["claude", "gemini", "bedrock"],
)
def test_verification_asks_as_a_sandbox_would(to: InferenceRoute, answer: bytes, tail: str) -> None:
    run = Verification(to)
    assert run.step.target.endswith(tail)
    outcome = run.answered(200, "application/json", answer)
    assert isinstance(outcome, Verified)
    assert outcome.url.endswith(tail)


def test_bedrock_is_invoked_where_a_model_does_not_converse() -> None:
    run = Verification(route("bedrock", AWS, "titan"))
    bodies = []
    for _ in range(2):
        step = run.answered(400, "application/json", b'{"message":"no"}')
        assert isinstance(step, Step)
        assert step.target == "/model/titan/invoke"
        bodies.append(json.loads(step.body))
    assert [("messages" in body, "inputText" in body) for body in bodies] == [
        (True, False),
        (False, True),
    ]


def test_every_type_has_a_probe_for_some_protocol() -> None:
    for kind in built_in().all():
        method = kind.auth[0]
        config = (
            {"VERTEX_AI_PROJECT_ID": "proj-1"} if kind.settings.get("VERTEX_AI_PROJECT_ID") else {}
        )
        if kind.base_url is None:
            config["BASE_URL"] = "https://r.example.com"
        keys = {key: Secret("k") for key in method.credentials}
        Verification(
            resolve_route(Provider("p", kind.name, keys, config), "gemini-x", route_id="r")
        )
