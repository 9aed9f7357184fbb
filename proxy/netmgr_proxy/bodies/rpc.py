"""Owns: reading JSON-RPC messages, those of the Model Context Protocol among them. Pure.

Sources: JSON-RPC 2.0 §4 to §6; MCP 2025-11-25, `tools/call`.
"""

from collections.abc import Mapping
from typing import Any, Final

from netmgr.policy.calls.call import TOOLS_CALL, Calls, RpcAnswer, RpcCall
from netmgr.policy.calls.rules import MCP_METHODS
from netmgr_proxy.bodies.strict_json import BadBody, check_keys, read_json, show

MAX_BATCH: Final = 100  # calls of one body; each is judged
_ENVELOPE: Final = ("jsonrpc", "method", "params", "id", "result", "error")
_TOOL: Final = ("name", "arguments", "_meta", "task")
_FOLDED_METHODS: Final = {method.casefold(): method for method in MCP_METHODS}


def read_rpc(body: bytes, *, mcp: bool) -> Calls:
    """The calls of one body: one message, or a batch.

    Args:
        mcp: the methods are MCP's: `tools/call` is looked into.

    Raises:
        BadBody: it is no such body, or one that two servers could read differently.
    """
    value = read_json(body)
    if isinstance(value, list):
        if not 1 <= len(value) <= MAX_BATCH:
            raise BadBody(f"a batch of {len(value)} calls; expected 1 to {MAX_BATCH}")
        return tuple(_read_message(message, mcp) for message in value)
    return (_read_message(value, mcp),)


def _read_message(message: Any, mcp: bool) -> RpcCall | RpcAnswer:
    if not isinstance(message, dict):
        raise BadBody("a JSON-RPC message is a JSON object (JSON-RPC 2.0 §4)")
    check_keys(message, _ENVELOPE, "the message")
    answers = "result" in message or "error" in message
    if "method" not in message:
        if answers:
            return RpcAnswer()
        raise BadBody("the message has neither 'method' nor 'result' nor 'error'")
    if answers:
        raise BadBody("the message is a call and a response at once")
    method = message["method"]
    if not isinstance(method, str) or not method:
        raise BadBody("'method' is no word")
    if not mcp:
        return RpcCall(method)
    meant = _FOLDED_METHODS.get(method.strip().casefold())
    if meant is not None and meant != method:
        raise BadBody(f"the method {show(method)}, which some read as {meant!r}")
    return _read_tool(message.get("params")) if method == TOOLS_CALL else RpcCall(method)


def _read_tool(params: Any) -> RpcCall:
    if not isinstance(params, dict):
        raise BadBody(f"{TOOLS_CALL!r} needs 'params' with the tool's name")
    check_keys(params, _TOOL, "'params'")
    name = params.get("name")
    if not isinstance(name, str) or not name:
        raise BadBody(f"{TOOLS_CALL!r} needs 'params.name', a word")
    arguments = params.get("arguments")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise BadBody("'params.arguments' is no JSON object")
    check_keys(arguments, (), "'params.arguments'")
    return RpcCall(TOOLS_CALL, name, arguments)
