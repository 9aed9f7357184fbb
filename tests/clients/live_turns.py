"""What an agent does with live protocols, inside a sandbox: one JSON object per turn.

python -I live_turns.py echo|idle SECONDS|graphql|subscribe|mcp
"""

import asyncio
import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import websockets
from mcp import Client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

HOST = "live.test"


async def echo() -> dict[str, Any]:
    """Messages on one path that may, and on one where only the handshake is allowed."""
    said: dict[str, Any] = {}
    async with connect(f"wss://{HOST}/echo") as socket:
        said["extensions"] = len(socket.protocol.extensions)
        for text in ("hello", "ü" * 1000, ""):
            await socket.send(text)
            assert await socket.recv() == text
        await socket.send(["in ", "frag", "ments"])
        said["echo"] = await socket.recv()
    try:
        async with connect(f"wss://{HOST}/echo?quiet=1", close_timeout=1) as socket:
            await socket.ping()
            await socket.send("no")
            await socket.recv()
    except ConnectionClosed as closed:
        said["closed"] = [closed.rcvd.code, closed.rcvd.reason] if closed.rcvd else None
    except InvalidStatus as refused:
        said["refused"] = refused.response.status_code
    return said


async def idle(seconds: str) -> dict[str, Any]:
    """Silence on a WebSocket and, at the same time, on an event stream; and then a word."""
    word, lines = await asyncio.gather(quiet_socket(float(seconds)), quiet_stream(float(seconds)))
    return {"word": word, "events": lines}


async def quiet_socket(seconds: float) -> str:
    async with connect(f"wss://{HOST}/echo", ping_interval=None) as socket:
        await asyncio.sleep(seconds)
        await socket.send("still")
        return str(await socket.recv())


async def quiet_stream(seconds: float) -> list[str]:
    async with (
        httpx.AsyncClient(timeout=seconds + 30) as client,
        client.stream("GET", f"https://{HOST}/events", params={"pause": seconds}) as answer,
    ):
        return [line async for line in answer.aiter_lines() if line]


async def graphql() -> dict[str, Any]:
    """Operations over HTTP."""
    said = {}
    async with httpx.AsyncClient(timeout=30) as client:
        for name, query in (
            ("user", "{ user }"),
            ("secret", "{ x: secret }"),
            ("save", 'mutation { save(text: "a") }'),
        ):
            answer = await client.post(f"https://{HOST}/graphql/", json={"query": query})
            said[name] = [answer.status_code, answer.json()]
    return said


async def subscribe() -> dict[str, Any]:
    """Operations over WebSocket."""
    got: list[Any] = []
    protocols = [websockets.Subprotocol("graphql-transport-ws")]
    code = None
    try:
        async with connect(f"wss://{HOST}/graphql/", subprotocols=protocols) as socket:
            await socket.send('{"type":"connection_init"}')
            got.append(json.loads(await socket.recv())["type"])
            ask = {"id": "1", "type": "subscribe", "payload": {"query": "subscription { ticks }"}}
            await socket.send(json.dumps(ask))
            while (message := json.loads(await socket.recv()))["type"] == "next":
                got.append(message["payload"]["data"]["ticks"])
            got.append(message["type"])
            ask["payload"] = {"query": 'mutation { save(text: "a") }'}
            await socket.send(json.dumps(ask | {"id": "2"}))
            await socket.recv()
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else None
    return {"got": got, "code": code}


async def mcp() -> dict[str, Any]:
    """Tools of an MCP server."""
    said: dict[str, Any] = {}
    async with Client(f"https://{HOST}/mcp") as client:
        said["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
        result = await client.call_tool("read_note", {"name": "n"})
        said["read"] = result.content[0].text
        try:
            await client.call_tool("remove_note", {"name": "n"})
        except Exception as refused:
            said["removed"] = [type(refused).__name__, str(refused)]
    return said


TURNS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    turn.__name__: turn for turn in (echo, idle, graphql, subscribe, mcp)
}


async def main(name: str, *words: str) -> None:
    print(json.dumps(await TURNS[name](*words)), flush=True)


if __name__ == "__main__":
    assert ssl.OPENSSL_VERSION
    asyncio.run(main(*sys.argv[1:]))
