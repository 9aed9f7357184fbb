"""The route chooses the model and who answers: what would have the provider choose is found."""

import json
from typing import Any

import pytest

from netmgr.inference.protocols import Shape
from netmgr.inference.rules import CallRules
from netmgr.reasons import Reason
from netmgr_proxy.inference.document import read_document
from netmgr_proxy.inference.permits import judge_choices
from netmgr_proxy.inference.steering import MODEL, PLACE, SILENT, _look, find_choices


def find(body: dict[str, Any]) -> dict[str, str]:
    return find_choices(read_document(json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("body", "kind", "key"),
    [
        ({"models": ["a/b", "c/d"]}, MODEL, "models"),
        ({"Models": ["a/b"]}, MODEL, "Models"),
        ({"model_s": ["a/b"]}, MODEL, "model_s"),
        ({"route": "fallback"}, MODEL, "route"),
        ({"preset": "mine"}, MODEL, "preset"),
        ({"fallbacks": ["b"]}, MODEL, "fallbacks"),
        ({"fallbacks": [{"model": "b"}]}, MODEL, "fallbacks"),
        ({"fallbacks": "default"}, MODEL, "fallbacks"),
        ({"context_window_fallbacks": [{"a": ["b"]}]}, MODEL, "context_window_fallbacks"),
        ({"fallback_models": ["b"]}, MODEL, "fallback_models"),
        ({"draft_model": "b"}, MODEL, "draft_model"),
        ({"model_list": [{"model_name": "b"}]}, MODEL, "model_list"),
        ({"moderation": {"model": "b"}}, MODEL, "model"),
        ({"extra_body": {"models": ["b"]}}, MODEL, "models"),
        ({"extra_body": {"extra_body": {"route": "fallback"}}}, MODEL, "route"),
        ({"orq": {"fallbacks": [{"model": "b"}]}}, MODEL, "fallbacks"),
        (
            {"generationConfig": {"routingConfig": {"manualMode": {"modelName": "b"}}}},
            MODEL,
            "routingConfig",
        ),
        ({"provider": {"order": ["X"], "allow_fallbacks": True}}, PLACE, "provider"),
        ({"providerOptions": {"gateway": {"only": ["x"]}}}, PLACE, "providerOptions"),
        ({"inference_geo": "global"}, PLACE, "inference_geo"),
        ({"api_base": "https://evil.example"}, PLACE, "api_base"),
        ({"api_key": "sk-own"}, PLACE, "api_key"),
        ({"extra_headers": {"x-api-key": "sk-own"}}, PLACE, "extra_headers"),
        ({"kv_transfer_params": {"remote_host": "10.0.0.1"}}, PLACE, "kv_transfer_params"),
        ({"extra_body": {"provider": {"only": ["X"]}}}, PLACE, "provider"),
    ],
)
def test_what_the_provider_would_choose(body: dict[str, Any], kind: str, key: str) -> None:
    found = find({"model": "a", "messages": [], **body})
    assert found == {kind: key}
    refusal = judge_choices(found, CallRules(), Shape.OPENAI)
    assert refusal is not None
    assert (refusal.status, refusal.reason) == (403, Reason.NO_PERMITTED_ENDPOINT)
    assert repr(key) in refusal.message
    assert f"--server-tool {kind}" in (refusal.remedy or "")
    assert judge_choices(found, CallRules(server_tools=(kind,)), Shape.OPENAI) is None


@pytest.mark.parametrize(
    "body",
    [
        {"models": [], "route": None, "provider": {}, "fallbacks": False},
        {"messages": [{"role": "assistant", "model": "old", "content": "x"}]},
        {"input": [{"type": "message", "model": "old"}]},
        {"tools": [{"type": "function", "function": {"name": "pick", "parameters": {}}}]},
        {"metadata": {"model": "mine", "provider": "mine"}},
        {"response_format": {"json_schema": {"schema": {"properties": {"model": {}}}}}},
        {"guided_json": {"properties": {"model": {"type": "string"}}}},
        {"chat_template_kwargs": {"model_identity": "You are somebody."}},
        {"fallback_credit_token": "t"},
        {"modelling": {"a": 1}, "n": 2, "thinking": {"type": "enabled", "budget_tokens": 5}},
        {"additionalModelRequestFields": {"top_k": 5}},
    ],
)
def test_what_chooses_nothing(body: dict[str, Any]) -> None:
    assert find({"model": "a", **body}) == {}


@pytest.mark.parametrize("key", sorted(SILENT))
def test_what_is_passed_by_chooses_nothing(key: str) -> None:
    found: dict[str, str] = {}
    _look(key, "text", found)
    assert found == {}
