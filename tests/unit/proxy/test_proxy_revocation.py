"""What the operator takes away is not used by calls that had begun before."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.proxy.rig import read_response, rig, run
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
