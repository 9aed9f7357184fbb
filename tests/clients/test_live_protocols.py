"""WebSocket, GraphQL and MCP clients and servers from PyPI, unmodified, and netmgr between them."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ariadne  # noqa: F401  # missing: the set-up has not installed what this layer needs
import mcp  # noqa: F401
import pytest
import websockets  # noqa: F401
from world import Sandbox, World
from world.environment import clean_environment
from world.namespaces import inside

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
# `NETMGR_TEST_SILENCE_S=1260` (with pytest's `-o faulthandler_timeout=0`) waits longer than the
# twenty minutes that an agent's connection may be silent for; CI waits for what a limit of another
# kind (a request's, a read's) would end.
SILENCE_S = float(os.environ.get("NETMGR_TEST_SILENCE_S", "3"))
START_S = 30.0  # for the servers' imports on a busy machine
POLICY = """
version: 1
network_policies:
  live:
    endpoints:
      - host: live.test
        port: 443
        path: /echo
        protocol: websocket
        access: read-write
        deny_rules: [{method: WEBSOCKET_TEXT, path: /echo, query: {quiet: "1"}}]
      - {host: live.test, port: 443, path: /events, protocol: rest, access: read-only}
      - {host: live.test, port: 443, path: /graphql/**, protocol: graphql, access: read-only,
         deny_rules: [{fields: [secret]}]}
      - host: live.test
        port: 443
        path: /graphql/**
        protocol: websocket
        rules:
          - allow: {method: GET, path: /graphql/}
          - allow: {operation_type: subscription}
      - host: live.test
        port: 443
        path: /mcp
        protocol: mcp
        mcp: {allow_all_known_mcp_methods: true}
        rules: [{allow: {tool: "read_*"}}]
    binaries: [{path: /**}]
"""

Said = dict[str, Any]


@pytest.fixture(scope="module")
def servers(world: World) -> Iterator[None]:
    """The servers of live_servers.py as live.test."""
    internet = world.internet
    address = internet.address()
    internet.zone.set("live.test", address)
    leaf = world.authority.leaf_file("live.test")
    command = [sys.executable, "-I", str(HERE / "live_servers.py"), address, str(leaf)]
    process = subprocess.Popen(
        internet.namespace.command(*command), env=clean_environment(), stderr=subprocess.PIPE
    )
    try:
        wait_for(internet.namespace.path, address, process)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=START_S)


def wait_for(namespace: Path, address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, process.communicate()[1].decode()
        with inside(namespace):
            probe = socket.socket()
        with probe:
            if probe.connect_ex((address, 443)) == 0:
                return
        assert time.monotonic() < deadline, "the servers did not start"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def agent(world: World, servers: None) -> Iterator[Sandbox]:
    """A sandbox with the policy above."""
    made = world.sandbox(policy=POLICY, name="live")
    yield made
    world.capture.forget(made.name)
    made.delete()


def turn(agent: Sandbox, *words: str, timeout: float = 60) -> Said:
    """One turn of live_turns.py inside. As root: the interpreter may be nobody else's to read."""
    program = str(HERE / "live_turns.py")
    done = agent.run(sys.executable, "-I", program, *words, user="root", timeout=timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_websocket_client(agent: Sandbox) -> None:
    said = turn(agent, "echo")
    assert said["echo"] == "in fragments"
    assert said["extensions"] == 0
    code, reason = said["closed"]
    assert code == 1008
    assert "deny_rules[0]" in reason
    agent.wait_record(
        lambda r: r["reason"] == "deny_rule" and r["http"]["path"] == "/echo" and r["rule"]
    )


@pytest.mark.timeout(SILENCE_S + 120)
def test_silence_cuts_neither_websocket_nor_events(agent: Sandbox) -> None:
    said = turn(agent, "idle", str(SILENCE_S), timeout=SILENCE_S + 60)
    assert said["word"] == "still"
    assert said["events"] == ["data: first", "data: second"]


def test_a_graphql_server_over_http(agent: Sandbox) -> None:
    said = turn(agent, "graphql")
    assert said["user"] == [200, {"data": {"user": "ada"}}]
    assert said["secret"][0] == said["save"][0] == 403
    assert said["secret"][1]["error"]["code"] == "deny_rule"
    assert said["save"][1]["error"]["code"] == "operation_not_allowed"


def test_a_graphql_server_over_websocket(agent: Sandbox) -> None:
    said = turn(agent, "subscribe")
    assert said["got"] == ["connection_ack", 0, 1, 2, "complete"]
    assert said["code"] == 1008
    agent.wait_record(lambda r: r["reason"] == "operation_not_allowed" and "save" in r["message"])


def test_an_mcp_client_and_server(agent: Sandbox) -> None:
    said = turn(agent, "mcp")
    assert said["tools"] == ["read_note", "remove_note"]
    assert said["read"] == "the note n"
    assert "removed" in said, "the tool that no rule allows answered"
    # What the client tried first (a method newer than the profile) and the tool are one record.
    agent.wait_record(
        lambda r: r["reason"] == "operation_not_allowed" and r["http"]["path"] == "/mcp"
    )
