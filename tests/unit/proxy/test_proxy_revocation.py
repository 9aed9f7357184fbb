"""What the operator takes away is not used by calls that had begun before."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.proxy.rig import answer_each, read_response, rig, run
from tests.unit.proxy.test_proxy_model_call import (
    CHAT,
    POLICY,
    answer_json,
    call,
    provider,
    put_in_force,
)

DRIP_S = 0.05  # between the pieces of a body


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_a_route_that_changes_under_a_slow_body_is_not_used(tmp_path: Path, change: str) -> None:
    """A body may be sent byte by byte for as long as somebody likes."""

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origin = await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            request = call()
            writer.write(request[:-5])
            await asyncio.sleep(DRIP_S)
            if change == "deleted":
                r.role.apply({"op": "inference", "scope": None, "route": None})
            else:
                put_in_force(r, id="r2", model="other-model", credential="sk-other")
            writer.write(request[-5:])
            status, _, _ = await read_response(reader)
            writer.close()
            assert b"sk-real-key" not in origin.bytes
            if change == "deleted":
                assert (status, origin.bytes) == (503, b"")
            else:
                assert status == 200
                assert origin.bytes.endswith(CHAT.replace(b"gpt-x", b"other-model"))
                assert r.dials[0]["route"] == "r2"

    run(story())


def test_a_route_that_changes_under_a_slow_connection_is_not_used(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origin = await provider(r, answer_json)
            r.dial_gate.clear()
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            while not r.dials:
                await asyncio.sleep(0.01)
            r.role.apply({"op": "inference", "scope": None, "route": None})
            r.dial_gate.set()
            status, _, body = await read_response(reader)
            writer.close()
            assert status == 503
            assert b"policy_stale" in body
            assert origin.bytes == b""

    run(story())


REST = """
version: 1
network_policies:
  web:
    endpoints: [{host: api.example.com, port: 443, protocol: rest, access: %s}]
    binaries: [{path: /**}]
"""


def test_a_connection_of_an_older_policy_is_not_used_again(tmp_path: Path) -> None:
    """The name may no longer be where that connection leads."""

    async def story() -> None:
        async with rig(tmp_path, REST % "read-only") as r:
            answer = answer_each(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await r.origin("api.example.com", 443, answer, tls="api.example.com")
            reader, writer = await r.open("api.example.com", 443, tls=True)
            request = b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
            for dials in (1, 1):
                writer.write(request)
                assert (await read_response(reader))[0] == 200
                assert len(r.dials) == dials
            r.set_policy(REST % "full")
            writer.write(request)
            assert (await read_response(reader))[0] == 200
            assert len(r.dials) == 2
            assert r.dials[1]["revision"] == 2
            writer.close()

    run(story())
