"""The provider is not a way out: what makes it act for a sandbox is found, however it is spelt."""

import json
from typing import Any

import pytest

from netmgr.inference.protocols import Shape
from netmgr.inference.route import InferenceRoute
from netmgr.inference.rules import CallRules
from netmgr.reasons import Reason
from netmgr_proxy.inference.document import MalformedBody, read_document
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.permits import choose_model, judge_way_out
from netmgr_proxy.inference.way_out import (
    _ALL_KEYS,
    _FILE_KEY,
    _SILENT,
    _URL_KEY,
    Findings,
    find_way_out,
    fold,
)
from tests.unit.inference.test_headers import route as made_route

EVIL = "https://evil.example/x"


def find(body: dict[str, Any] | str) -> Findings:
    text = body if isinstance(body, str) else json.dumps(body)
    return find_way_out(read_document(text.encode()))


def part(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [fields]}]}


@pytest.mark.parametrize(
    ("body", "family"),
    [
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"tools": [{"type": "web_search_preview_2025_03_11"}]}, "web_search"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search"),
        ({"tools": [{"type": "web_fetch_20250910", "name": "f"}]}, "web_fetch"),
        ({"tools": [{"type": "code_execution_20250825", "name": "c"}]}, "code_execution"),
        ({"tools": [{"type": "computer_20250124", "name": "c"}]}, "computer"),
        ({"tools": [{"type": "computer_use_preview"}]}, "computer_use"),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, None),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "file_search"),
        ({"tools": [{"type": "image_generation"}]}, "image_generation"),
        ({"tools": [{"type": "mcp", "server_label": "x", "server_url": EVIL}]}, "mcp"),
        ({"tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]}, "mcp"),
        ({"tools": [{"type": "MCP "}]}, "mcp"),
        ({"tools": [{"type": None, "name": "x"}]}, "unknown"),
        ({"Tools": [{"Type": "mcp"}]}, "mcp"),
        ({"tools": [{"type": "tomorrow's"}]}, "tomorrow's"),
        ({"tools": [{"googleSearch": {}}]}, "google_search"),
        ({"tools": [{"url_context": {}}]}, "url_context"),
        ({"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}}, "system_tool"),
        ({"extra_body": {"google": {"tools": [{"google_search": {}}]}}}, "google_search"),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search"),
        ({"web_search_options": {"a": {}}}, "web_search"),
        ({"web_search_options": {}}, "web_search"),
        ({"extra_body": {"search_parameters": {}}}, "web_search"),
        ({"mcp_servers": [{"type": "url", "url": EVIL}]}, "mcp"),
        ({"container": "container_1"}, "code_execution"),
        ({"plugins": [{"id": "web"}]}, "plugins"),
        ({"search_parameters": {"mode": "on"}}, "web_search"),
        ({"data_sources": [{"type": "azure_search"}]}, "data_sources"),
        ({"prompt": {"id": "pmpt_1"}}, "stored_prompt"),
    ],
)
def test_tools_that_the_provider_runs(body: dict[str, Any], family: str | None) -> None:
    found = find(body)
    assert list(found.tools) == [family or "code_interpreter"]
    refusal = judge_way_out(found, CallRules(), Shape.OPENAI)
    assert refusal is not None
    assert (refusal.status, refusal.reason) == (403, Reason.TOOL_NOT_ALLOWED)
    assert f"--server-tool {family or 'code_interpreter'}" in (refusal.remedy or "")
    rules = CallRules(server_tools=tuple(found.tools), remote_urls=("evil.example",))
    assert judge_way_out(found, rules, Shape.OPENAI) is None


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function", "function": {"name": "web_search", "parameters": {}}}]},
        {
            "tools": [
                {"type": "function", "name": "fetch", "parameters": {"default": {"url": EVIL}}}
            ]
        },
        {"tools": [{"name": "WebFetch", "input_schema": {"properties": {"url": {"const": EVIL}}}}]},
        {"tools": [{"type": "custom", "name": "x"}, {"type": "bash_20250124", "name": "bash"}]},
        {"tools": [{"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}]},
        {"tools": [{"functionDeclarations": [{"name": "x"}]}]},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "x"}}, {"cachePoint": {}}]}},
        {"web_search_options": None, "mcp_servers": []},
        {"prompt": "https://is.text/", "input": "https://is.text/", "metadata": {"url": EVIL}},
        part(type="text", text="https://is.text/"),
        part(type="image_url", image_url={"url": "data:image/png;base64,AAAA"}),
        part(type="input_image", image_url="DATA:image/png;base64,AAAA"),
        part(type="image", source={"type": "base64", "data": "AAAA"}),
        part(type="tool_use", id="t", name="WebFetch", input={"url": EVIL}),
        part(type="tool_result", content=[{"type": "text", "text": "x"}]),
        part(type="text", text="x", citations=[{"url": EVIL}]),
        part(type="web_search_tool_result", content=[{"type": "web_search_result", "url": EVIL}]),
        part(type="search_result", source="https://a.label/", title="x", content=[]),
        part(functionCall={"name": "f", "args": {"url": EVIL}}),
        {"response_format": {"json_schema": {"schema": {"default": {"image_url": EVIL}}}}},
        {"images": ["iVBORw0KGgo"], "documents": ["Note: a text"], "file": {"filename": "a"}},
        {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}]},
    ],
)
def test_what_only_a_model_or_the_client_acts_on(body: dict[str, Any]) -> None:
    assert find(body) == Findings()


@pytest.mark.parametrize(
    "body",
    [
        part(type="image_url", image_url={"url": EVIL}),
        part(type="image_url", Image_URL={"URL": EVIL}),
        part(type="input_image", image_url=EVIL),
        part(type="input_file", file_url=EVIL),
        part(type="image", source={"type": "url", "url": EVIL}),
        part(type="document", source={"type": "url", "url": EVIL}),
        part(type="tool_result", content=[{"type": "image", "source": {"url": EVIL}}]),
        part(fileData={"fileUri": EVIL}),
        part(file_data={"file_uri": EVIL}),
        part(type="document_url", document_url=EVIL),
        part(type="image", image=EVIL),
        part(type="new", anything={"deep": [[{"some_url": EVIL}]]}),
        {"image": EVIL},
        {"images": [EVIL]},
        {"input": [{"type": "function_call_output", "output": [{"image_url": EVIL}]}]},
        {"input": [{"type": "computer_call_output", "output": {"image_url": EVIL}}]},
    ],
)
def test_urls_that_the_provider_would_fetch(body: dict[str, Any]) -> None:
    found = find(body)
    assert found.urls == [EVIL]
    refusal = judge_way_out(found, CallRules(), Shape.ANTHROPIC)
    assert refusal is not None
    assert (refusal.status, refusal.reason) == (403, Reason.TOOL_NOT_ALLOWED)
    for entry in ("evil.example", "*.example", "https://evil.example"):
        assert judge_way_out(found, CallRules(remote_urls=(entry,)), Shape.OPENAI) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://files.test.evil.example/",
        "https://xfiles.test/",
        "https://files.test@evil.example/",
        "https://evil.example\\@files.test/",
        "https://files.test:8443/",
        "http://files.test/",
        "//files.test/",
        " https://files.test/",
        "https:/files.test/",
        "https://files.test/a b",
        "https://files.test/\u0000",
        "https://files%2etest/",
        "file:///etc/passwd",
        "https://files.test\\.evil.example/",
        "http:evil.example",
        "evil.example/x",
    ],
)
def test_hosts_are_read_in_one_way_only(url: str) -> None:
    found = find({"input": [{"image_url": url}]})
    assert judge_way_out(found, CallRules(remote_urls=("files.test",)), Shape.OPENAI) is not None


def test_a_host_in_any_case_with_its_own_port_and_scheme() -> None:
    rules = CallRules(remote_urls=("files.test", "gs://bucket", "http://old.test:8080"))
    for url in ("https://FILES.test./a?b#c", "gs://bucket/o", "http://old.test:8080/"):
        assert judge_way_out(find({"image_url": url}), rules, Shape.OPENAI) is None


def test_two_spellings_of_one_key_are_refused() -> None:
    with pytest.raises(MalformedBody):
        find({"tools": [{"type": "function", "Type": "mcp"}]})
    with pytest.raises(MalformedBody):
        find('{"a":[{"type":"image_url","image_url":"data:x","image_url":"https://evil"}]}')


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"previous_response_id": "resp_1"}, ["resp_1"]),
        ({"conversation": {"id": "conv_1"}}, ["conv_1"]),
        ({"conversation": "conv_1"}, ["conv_1"]),
        (part(type="input_file", file_id="file_1"), ["file_1"]),
        (part(type="file", file={"file_id": "file_1"}), ["file_1"]),
        (part(type="document", source={"type": "file", "file_id": "file_1"}), ["file_1"]),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["a", "b"]}]}, ["a", "b"]),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, ["cntr_1"]),
        ({"tools": [{"container": {"type": "auto", "file_ids": ["f"]}, "type": "x"}]}, ["f"]),
        ({"container": {"id": "c"}}, ["c"]),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, ["msg_1"]),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, ["rs_1"]),
        ({"input": [{"type": "message", "id": "msg_1", "content": []}]}, []),
        ({"cachedContent": "cachedContents/1"}, ["cachedContents/1"]),
    ],
)
def test_objects_that_the_provider_stores(body: dict[str, Any], ids: list[str]) -> None:
    assert find(body).references == ids


def route(**rules: Any) -> InferenceRoute:
    return made_route().with_rules(CallRules.from_doc(rules))


def test_model_modes() -> None:
    def ask(requested: str | None, given: bool = True, **rules: Any) -> str | int:
        chosen = choose_model(requested, given, route(**rules), Shape.OPENAI)
        return chosen.status if isinstance(chosen, Refusal) else chosen

    own = route().model
    assert ask("x") == own
    assert ask(None) == own
    assert ask("x", model_mode="reject") == 403
    assert ask(own, model_mode="reject") == own
    assert ask(None, given=False, model_mode="reject") == own
    assert ask(None, model_mode="reject") == 400
    assert ask("x", model_mode="passthrough") == "x"
    assert ask("x", model_mode="passthrough", models=["y"]) == 403
    assert ask("y", model_mode="passthrough", models=["y"]) == "y"


@pytest.mark.parametrize("key", sorted(_SILENT))
def test_what_is_passed_by_tells_nothing(key: str) -> None:
    name = fold(key)
    assert name not in _ALL_KEYS
    assert not _URL_KEY.fullmatch(name)
    assert not _FILE_KEY.fullmatch(name)


@pytest.mark.parametrize("key", ["tool\u017f", "TOOL\u017f", "\u017ferver_tool\u017f"])
def test_a_key_that_go_reads_as_ours_is_ours(key: str) -> None:
    # encoding/json folds by bytes.EqualFold: the long s is an s, the kelvin sign a k.
    plain = {key: [{"type": "web_search"}]}
    spelt = (json.dumps(plain), json.dumps(plain, ensure_ascii=False))
    wanted = find({key.replace("\u017f", "s"): [{"type": "web_search"}]})
    assert [find(text) for text in spelt] == [wanted, wanted]
