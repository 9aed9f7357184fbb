"""A JSON-RPC body: whoever takes the first of two keys, the last, or no notice of case reads the
same calls as we do."""

import json
from typing import Any

from netmgr.policy.calls.call import RpcAnswer, RpcCall
from netmgr_proxy.bodies.rpc import read_rpc
from netmgr_proxy.bodies.strict_json import BadBody

WORDS = (
    b'{"jsonrpc":"2.0","id":1,',
    b'"method":"tools/call",',
    b'"Method":',
    b'"m\\u0065thod":',
    b'"params":{',
    b'"name":"read"',
    b'"NAME":',
    b'"arguments":{}',
    b'"result":{}}',
    b"tools/list",
    b"\\u017f",
    b"},{",
    b"[",
    b"]",
)


def fuzz(data: bytes) -> None:
    """Only our error escapes; lenient readers agree."""
    try:
        calls = read_rpc(data, mcp=True)
    except BadBody as fault:
        str(fault).encode()
        return
    for lenient in (_last_wins, _first_wins):
        read = json.loads(data, object_pairs_hook=lenient)
        messages = read if isinstance(read, list) else [read]
        assert len(messages) == len(calls)
        for message, call in zip(messages, calls, strict=True):
            if isinstance(call, RpcAnswer):
                assert "method" not in message
                continue
            assert isinstance(call, RpcCall)
            assert message["method"] == call.method
            assert str(call).isprintable()
            if call.tool is not None:
                assert message["params"]["name"] == call.tool


def _last_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {_fold(key): value for key, value in pairs}


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {_fold(key): value for key, value in reversed(pairs)}


def _fold(key: str) -> str:
    """As Go's encoding/json compares keys with a struct's fields."""
    folded = key.replace("\u017f", "s").replace("\u212a", "k").lower()
    return folded if folded in ("method", "params", "name", "arguments") else key
