"""Bodies of requests as the judge gets them: GraphQL, JSON-RPC, and JSON with one reading only."""

import hashlib
import json
from typing import Any

import pytest

from netmgr.policy.calls.call import GraphqlCall, Operation, RpcAnswer, RpcCall, StoredCall
from netmgr_proxy.bodies import graphql
from netmgr_proxy.bodies.media import accepts_events, check_media
from netmgr_proxy.bodies.rpc import MAX_BATCH, read_rpc
from netmgr_proxy.bodies.strict_json import MAX_DEPTH, BadBody, read_json

Q, M, S = Operation.QUERY, Operation.MUTATION, Operation.SUBSCRIPTION


# -- JSON ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "is not JSON"),
        (b'{"a":1,"a":2}', "stands twice"),
        (b'{"a":{"b":[{"c":1,"c":1}]}}', "stands twice"),
        (b'{"\\u0061":1,"a":2}', "stands twice"),
        (b"[NaN]", "which is no JSON"),
        (b"[1e999]", "beyond all bounds"),
        (b"[" + b"9" * 5000 + b"]", "too long"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'"\xff"', "not UTF-8"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\ud800":1}', "surrogate"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
        (b"{} {}", "is not JSON"),
        (b"[" + b"0," * 200_001 + b"0]", "commas and brackets"),
    ],
)
def test_json_with_two_readings_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(BadBody, match=why):
        read_json(body)


def test_json_is_read() -> None:
    value = {"a": [1, 2.5, None, True, "ü\U0001f600"], "b": {}}
    assert read_json(json.dumps(value).encode()) == value
    assert read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None


# -- JSON-RPC ------------------------------------------------------------------------------


def rpc(*messages: Any, mcp: bool = True) -> Any:
    body = messages[0] if len(messages) == 1 else list(messages)
    return read_rpc(json.dumps(body).encode(), mcp=mcp)


def test_calls_are_read() -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert rpc(call) == (RpcCall("tools/list"),)
    params = {"name": "read", "arguments": {"path": "/x"}}
    assert rpc({"method": "tools/call", "params": params}) == (
        RpcCall("tools/call", "read", {"path": "/x"}),
    )
    assert rpc({"method": "tools/call", "params": params}, mcp=False) == (RpcCall("tools/call"),)
    assert rpc({"id": 1, "result": {}}, call) == (RpcAnswer(), RpcCall("tools/list"))
    assert rpc({"method": "a", "params": [1, 2]}) == (RpcCall("a"),)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{"method":"tools/list","method":"tools/call"}', "stands twice"),
        ('{"method":"tools/list","Method":"tools/call"}', "'Method', which some read as 'method'"),
        ('{"METHOD":"tools/call"}', "which some read as 'method'"),
        ('{"x":1,"X":2,"method":"a"}', "in different case"),
        ('{"method":"Tools/Call","params":{"name":"rm"}}', "some read as 'tools/call'"),
        ('{"method":" tools/call","params":{"name":"rm"}}', "some read as 'tools/call'"),
        ('{"method":"tools/call","params":{"name":"a","Name":"b"}}', "some read as 'name'"),
        ('{"method":"tools/call","params":{"na\\u017Fe":"a"}}', "needs 'params.name'"),
        ('{"method":"tools/call","params":{"name":"a","arguments":{"p":1,"P":2}}}', "different"),
        ('{"method":"tools/call","params":{"name":"a","arguments":[1]}}', "is no JSON object"),
        ('{"method":"tools/call","params":["a"]}', "needs 'params'"),
        ('{"method":"tools/call"}', "needs 'params'"),
        ('{"method":7}', "'method' is no word"),
        ('{"method":""}', "'method' is no word"),
        ('{"method":"a","result":1}', "a call and a response at once"),
        ('{"id":1}', "neither 'method'"),
        ("[]", "a batch of 0"),
        ("[" + '{"method":"a"},' * MAX_BATCH + '{"method":"a"}]', f"batch of {MAX_BATCH + 1}"),
        ("[[]]", "is a JSON object"),
        ('"a"', "is a JSON object"),
    ],
)
def test_messages_with_two_readings_are_refused(body: str, why: str) -> None:
    with pytest.raises(BadBody, match=why):
        read_rpc(body.encode(), mcp=True)


# -- GraphQL -------------------------------------------------------------------------------


def read(query: str, **more: Any) -> Any:
    body = json.dumps({"query": query, **more}).encode()
    (call,) = graphql.read_body(body, {})
    return call


@pytest.mark.parametrize(
    ("query", "name", "call"),
    [
        ("{a}", "", GraphqlCall(Q, "", ("a",))),
        ("query A { x: a, a b }", "", GraphqlCall(Q, "A", ("a", "b"))),
        ("mutation { a: deleteX }", "", GraphqlCall(M, "", ("deleteX",))),
        ("subscription { s }", "", GraphqlCall(S, "", ("s",))),
        ("query A {a} mutation B {b}", "B", GraphqlCall(M, "B", ("b",))),
        ("query A {a} mutation B {b}", "A", GraphqlCall(Q, "A", ("a",))),
        ("{ ...F } fragment F on Q { a ... on Q { b ...G } } fragment G on Q { c }", "",
         GraphqlCall(Q, "", ("a", "b", "c"))),
        ("{ ...F a } fragment F on Q { ...F b }", "", GraphqlCall(Q, "", ("a", "b"))),
        ("query($x: Int = 1) { a(x: $x) @skip(if: true) { deep } }", "",
         GraphqlCall(Q, "", ("a",))),
        ("{ __typename __schema { types { name } } }", "",
         GraphqlCall(Q, "", ("__typename", "__schema"))),
        ('{ a(x: "mutation { b }") # mutation\n }', "", GraphqlCall(Q, "", ("a",))),
    ],
)  # fmt: skip
def test_operations_are_read(query: str, name: str, call: GraphqlCall) -> None:
    more = {"operationName": name} if name else {}
    assert read(query, **more) == call


@pytest.mark.parametrize(
    ("query", "more", "why"),
    [
        ("query A {a} query B {b}", {}, "'operationName' has to say"),
        ("query A {a} query A {b}", {"operationName": "A"}, "told apart"),
        ("{a} query A {b}", {"operationName": "A"}, "told apart"),
        ("query A {a}", {"operationName": "B"}, "no operation 'B'"),
        ("query A {a}", {"operationName": 7}, "is no word"),
        ("{ ...F }", {}, "no fragment 'F'"),
        ("{ ...F } fragment F on Q {a} fragment F on Q {b}", {}, "stands twice"),
        ("fragment F on Q {a}", {}, "no operation"),
        ("type Q { a: Int } {a}", {}, "defines types"),
        ("{", {}, "the GraphQL document: Syntax Error"),
        ("{}", {}, "Syntax Error"),
        ("{ ...F } fragment F on Q { ...F }", {}, "no field"),
        ("{" + "a " * 6000 + "}", {}, "token"),
        ("{a" * 3000, {}, "nested|token"),
        ("{a(x:" + "[" * 3000, {}, "nested|token"),
        ("#\n" * 2000 + "{a}", {}, "comment"),
        ("{" + " ".join(f"a{n}" for n in range(600)) + "}", {}, "different root fields"),
        ("{a}", {"extra": 1}, "unknown key 'extra'"),
        ("{a}", {"Query": "{b}"}, "some read as 'query'"),
        ("{a}", {"id": "abc"}, "id of another"),
        ("{a}", {"extensions": {"persistedQuery": {"sha256Hash": "ab"}}}, "id of another"),
        ("{a}", {"extensions": []}, "no JSON object"),
        ("{a}", {"extensions": {"PersistedQuery": {}}}, "some read as"),
        ("", {}, "neither 'query' nor"),
        ("", {"id": "a", "documentId": "b"}, "twice"),
        ("", {"id": ""}, "empty id"),
    ],
)
def test_documents_with_two_readings_are_refused(
    query: str, more: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadBody, match=why):
        read(query, **more)


def test_stored_queries() -> None:
    hashed = {"persistedQuery": {"version": 1, "sha256Hash": "abc"}}
    body = json.dumps({"operationName": "A", "extensions": hashed}).encode()
    assert graphql.read_body(body, {}) == (StoredCall("abc", "A"),)
    assert graphql.read_body(b'{"query":null,"id":"x"}', {}) == (StoredCall("x"),)
    own = {"persistedQuery": {"sha256Hash": hashlib.sha256(b"{a}").hexdigest()}}
    assert read("{a}", extensions=own) == GraphqlCall(Q, "", ("a",))


def test_batches_share_one_budget() -> None:
    one = {"query": "{" + "a " * 200 + "}"}
    assert len(graphql.read_body(json.dumps([one] * 10).encode(), {})) == 10
    with pytest.raises(BadBody, match="token"):
        graphql.read_body(json.dumps([one] * 40).encode(), {})
    with pytest.raises(BadBody, match="a batch of 0"):
        graphql.read_body(b"[]", {})


def test_the_url_s_query() -> None:
    call = graphql.read_url({"query": ["mutation{a}"], "variables": [""], "other": ["1", "2"]})
    assert call == (GraphqlCall(M, "", ("a",)),)
    for query, why in (
        ({"query": ["{a}", "{b}"]}, "twice"),
        ({"query": ["{a}"], "query[]": ["{b}"]}, "another spelling"),
        ({"Query": ["{a}"]}, "another spelling"),
        ({}, "neither"),
        ({"query": ["{a}"], "extensions": ["{"]}, "not JSON"),
    ):
        with pytest.raises(BadBody, match=why):
            graphql.read_url(query)
    with pytest.raises(BadBody, match="beside the body"):
        graphql.read_body(b'{"query":"{a}"}', {"query": ["{b}"]})


def test_messages_of_graphql_over_websocket() -> None:
    for kind in ("subscribe", "start"):
        message = {"id": "1", "type": kind, "payload": {"query": "subscription {s}"}}
        assert graphql.read_message(json.dumps(message).encode()) == (GraphqlCall(S, "", ("s",)),)
    assert graphql.read_message(b'{"type":"connection_init","payload":{"token":"x"}}') == ()
    for text in ('{"type":"query"}', "[]", '{"type":"subscribe"}', '{"type":"start","Type":"x"}'):
        with pytest.raises(BadBody):
            graphql.read_message(text.encode())


# -- heads ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"Content-Type", b"application/json")], 0),
        ([(b"content-type", b"Application/JSON; charset=utf-8")], 0),
        ([(b"content-type", b"application/graphql+json")], 0),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"identity")], 0),
        ([], 415),
        ([(b"content-type", b"application/json; charset=utf-16")], 415),
        ([(b"content-type", b"multipart/form-data; boundary=x")], 415),
        ([(b"content-type", b"application/graphql")], 415),
        ([(b"content-type", b"application/json"), (b"content-encoding", b"gzip")], 415),
        ([(b"content-type", b"application/json"), (b"Content-Type", b"text/plain")], 400),
    ],
)
def test_which_bodies_are_read(fields: list[tuple[bytes, bytes]], status: int) -> None:
    if not status:
        check_media(fields)
        return
    with pytest.raises(BadBody) as caught:
        check_media(fields)
    assert caught.value.status == status


def test_who_waits_for_events() -> None:
    assert accepts_events([(b"Accept", b"application/json, text/event-stream")])
    assert not accepts_events([(b"accept", b"*/*")])
