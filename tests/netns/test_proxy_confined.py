"""The proxy worker with everything given up: no root directory, no uid, no capability.

Whatever would be imported, opened or looked up late fails here and nowhere else.
"""

import asyncio
import multiprocessing
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from netmgr.process.confine import confine_worker
from tests.unit.proxy import rig as rigs
from tests.unit.proxy.rig import read_response
from tests.unit.proxy.test_proxy_model_call import CHAT, POLICY, USAGE, answer_json, call, route

NOBODY = 65534
REST = POLICY.replace(
    "network_policies: {}",
    "network_policies: {a: {endpoints: [{host: api.test, port: 443, protocol: rest, "
    "enforcement: enforce, access: full}], binaries: [{path: /**}]}}",
)


async def _story(directory: str) -> None:
    async with rigs.rig(Path(directory), REST) as r:
        provider = await r.origin("api.provider.test", 443, answer_json, tls="api.provider.test")
        await r.origin("api.test", 443, answer_json, tls="api.test")
        r.role.apply({"op": "inference", "scope": None, "route": route()})
        empty = Path(directory, "empty")
        empty.mkdir()
        confine_worker(uid=NOBODY, gid=NOBODY, root=str(empty), parent_death_signal=signal.SIGKILL)
        assert os.listdir("/") == []
        for name, request in (
            ("inference.local", call()),
            ("api.test", call("/x").replace(b"inference.local", b"api.test")),
        ):
            reader, writer = await r.open(name, 443, tls=True)
            writer.write(request)
            status, _, body = await read_response(reader)
            assert (status, body) == (200, USAGE), body
            writer.close()
        assert provider.bytes.endswith(CHAT.replace(b"gpt-x", b"real-model"))
        denied, writer = await r.open("api.test", 443, tls=True)
        writer.write(b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n")
        assert (await read_response(denied))[0] == 421
        writer.close()
        await asyncio.sleep(0.05)
        assert len(r.records) == 3


def _run(directory: str, outcome: Any) -> None:
    try:
        rigs.run(_story(directory))
    except BaseException as fault:
        outcome.put(repr(fault))
        raise
    outcome.put("")


@pytest.mark.root
def test_it_serves_without_any_privilege_or_file() -> None:
    context = multiprocessing.get_context("spawn")
    outcome = context.Queue()
    with tempfile.TemporaryDirectory() as directory:
        child = context.Process(target=_run, args=(directory, outcome))
        child.start()
        assert outcome.get(timeout=60) == ""
        child.join(20)
        assert child.exitcode == 0
