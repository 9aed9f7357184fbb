"""Servers from PyPI that the live protocols are tested against. Run in the world's internet.

    python -I live_servers.py ADDRESS CERTIFICATE

GraphQL by ariadne on /graphql (HTTP and graphql-transport-ws), MCP by the MCP SDK on /mcp, a
WebSocket echo on /echo and server-sent events with a long pause on /events, all on port 443.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from ariadne import MutationType, QueryType, SubscriptionType, make_executable_schema
from ariadne.asgi import GraphQL
from ariadne.asgi.handlers import GraphQLTransportWSHandler
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

SCHEMA = """
type Query { user: String! secret: String! }
type Mutation { save(text: String!): String! }
type Subscription { ticks: Int! }
"""
query, mutation, subscription = QueryType(), MutationType(), SubscriptionType()
query.set_field("user", lambda *_: "ada")
query.set_field("secret", lambda *_: "42")
mutation.set_field("save", lambda *_, text: text)
subscription.set_field("ticks", lambda tick, *_: tick)


@subscription.source("ticks")
async def ticks(*_: Any) -> AsyncIterator[int]:
    for number in range(3):
        yield number
        await asyncio.sleep(0.05)


tools = MCPServer("world")


@tools.tool()
def read_note(name: str) -> str:
    """A note."""
    return f"the note {name}"


@tools.tool()
def remove_note(name: str) -> str:
    """Without a note."""
    return f"removed {name}"


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


async def events(request: Request) -> StreamingResponse:
    pause = float(request.query_params["pause"])

    async def stream() -> AsyncIterator[str]:
        yield "data: first\n\n"
        await asyncio.sleep(pause)
        yield "data: second\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


def main(address: str, certificate: str) -> None:
    schema = make_executable_schema(SCHEMA, query, mutation, subscription)
    graphql = GraphQL(schema, websocket_handler=GraphQLTransportWSHandler())
    app = tools.streamable_http_app(
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False)
    )
    app.router.routes += [
        WebSocketRoute("/echo", echo),
        Route("/events", events),
        Mount("/graphql", graphql),
    ]
    uvicorn.run(
        app, host=address, port=443, ssl_certfile=certificate, ws="wsproto", log_level="warning"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
