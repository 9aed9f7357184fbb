"""Where each request goes, as `inference get` shows it: the same that is sent."""

import pytest

from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.secret import Secret
from netmgr_proxy.inference.urls import urls_of

VERTEX = "https://us-east5-aiplatform.googleapis.com/v1/projects/proj-12/locations/us-east5"
VERTEX_CONFIG = {"VERTEX_AI_PROJECT_ID": "proj-12", "VERTEX_AI_REGION": "us-east5"}


@pytest.mark.parametrize(
    ("kind", "key", "config", "model", "expected"),
    [
        (
            "openai",
            "OPENAI_API_KEY",
            {"OPENAI_BASE_URL": "https://llm.test/openai/v1"},
            "m",
            {
                "POST /v1/chat/completions": "https://llm.test/openai/v1/chat/completions",
                "GET /v1/responses/{id}": "https://llm.test/openai/v1/responses/{id}",
                "GET /v1/models": "https://llm.test/openai/v1/models",
            },
        ),
        (
            "google-vertex-ai",
            "VERTEX_AI_TOKEN",
            VERTEX_CONFIG,
            "claude-x@1",
            {
                "POST /v1/messages": f"{VERTEX}/publishers/anthropic/models/claude-x@1:rawPredict",
                "POST /v1/messages (stream)": f"{VERTEX}/publishers/anthropic/models/"
                "claude-x@1:streamRawPredict",
                "GET /v1/models": "answered by netmgr",
            },
        ),
        (
            "aws-bedrock",
            "AWS_BEARER_TOKEN_BEDROCK",
            {},
            "anthropic.m-v1:0",
            {
                "POST /model/{model}/converse": "https://bedrock-runtime.us-east-1.amazonaws.com"
                "/model/anthropic.m-v1%3A0/converse",
            },
        ),
    ],
)
def test_each_request_has_its_url(
    kind: str, key: str, config: dict[str, str], model: str, expected: dict[str, str]
) -> None:
    provider = Provider("p", kind, {key: Secret("op")}, config)
    rows = urls_of(resolve_route(provider, model, route_id="r"))
    found = {row["request"]: row["url"] for row in rows}
    assert expected.items() <= found.items()
    assert len(found) == len(rows)
    assert {row["protocol"] for row in rows} <= {
        str(protocol) for protocol in resolve_route(provider, model, route_id="r").dialect.protocols
    }
