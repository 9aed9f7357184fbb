"""A GraphQL request: the operation that we judge is the one that another reader would run."""

import json
from typing import Any

from graphql.language import parse
from graphql.utilities import get_operation_ast

from netmgr.policy.calls.call import GraphqlCall, StoredCall, parse_graphql_call
from netmgr_proxy.bodies import graphql
from netmgr_proxy.bodies.strict_json import BadBody

WORDS = (
    b'{"query":"',
    b'","operationName":"A"}',
    b'"variables":{}',
    b'"extensions":{"persistedQuery":{"sha256Hash":"ab"}}',
    b"query A {",
    b"mutation B {",
    b"subscription",
    b"...F",
    b"... on Q {",
    b"fragment F on Q {",
    b"x: field",
    b"@skip(if: true)",
    b'\\"\\"\\"',
    b"#",
    b"\\n",
    b"(a: [1])",
    b"$v: Int",
)


def fuzz(data: bytes) -> None:
    """Only our error escapes, and graphql-core chooses the same operation."""
    try:
        calls = graphql.read_body(data, {})
    except BadBody as fault:
        str(fault).encode()
        return
    asked = json.loads(data)
    requests: list[Any] = asked if isinstance(asked, list) else [asked]
    assert len(calls) == len(requests)
    for call, request in zip(calls, requests, strict=True):
        if isinstance(call, StoredCall):
            assert not request.get("query")
            continue
        assert isinstance(call, GraphqlCall)
        node = get_operation_ast(parse(request["query"]), request.get("operationName") or None)
        assert node is not None
        assert node.operation.value == call.kind.value
        assert (node.name.value if node.name else "") == call.name
        assert call.fields
        assert str(call).isprintable()
        if len(str(call)) < 100:
            assert parse_graphql_call(str(call)) == call
