"""Owns: what a request asks for inside, by the policy's wish: which reader, and its errors' faces.

Knows nothing of connections. Pure.
"""

from typing import Final

from netmgr.policy.calls.call import Calls
from netmgr.policy.decision import Inspection, Reader, Request
from netmgr.policy.path import MalformedTarget
from netmgr.policy.query import parse_query
from netmgr_proxy.bodies import graphql
from netmgr_proxy.bodies.media import accepts_events, check_media
from netmgr_proxy.bodies.rpc import read_rpc
from netmgr_proxy.bodies.strict_json import BadBody
from netmgr_proxy.wire.face import Refusal, Refused
from netmgr_proxy.wire.request import Head

_SESSION: Final = b"mcp-session-id"


def only_receives(inspection: Inspection, head: Head) -> bool:
    """Whether nothing is asked inside: a GET that receives MCP's events, a DELETE of its session.

    Source: MCP 2025-11-25, Streamable HTTP.
    """
    if inspection.reader is not Reader.MCP or head.length != 0:
        return False
    if head.method == "GET":
        return accepts_events(head.fields)
    return head.method == "DELETE" and head.field(_SESSION) is not None


def check_head(head: Head) -> None:
    """Refuse a body that cannot be read, before it is asked for.

    Raises:
        Refused: malformed_request, with 415 where it is the body's kind.
    """
    try:
        if head.method == "POST":
            check_media(head.fields)
        elif head.length != 0:
            raise BadBody(f"a {head.method} with a body: servers differ on what it means")
    except BadBody as fault:
        raise refused_body(fault) from None


def read_calls(inspection: Inspection, request: Request, body: bytes) -> Calls:
    """What a POST, or a GET of GraphQL, asks for.

    Raises:
        Refused: the body is malformed, or could be read in two ways. No audit softens it.
    """
    try:
        if inspection.reader is not Reader.GRAPHQL:
            return read_rpc(body, mcp=inspection.reader is Reader.MCP)
        query = parse_query(request.query)
        return (
            graphql.read_body(body, query) if request.method == "POST" else graphql.read_url(query)
        )
    except BadBody as fault:
        raise refused_body(fault) from None
    except MalformedTarget as fault:
        raise refused_body(BadBody(f"the request target: {fault}")) from None


def refused_body(fault: BadBody) -> Refused:
    """The face of a body that cannot be judged."""
    return Refused(Refusal(fault.reason, str(fault), status=fault.status))
