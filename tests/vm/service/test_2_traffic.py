"""The main job on this kernel: a model call, an allowed endpoint, a denied one."""

import json
from collections.abc import Iterator

import pytest
from machine import (
    asks_model,
    ensure_service,
    fetch,
    model_server,
    netmgr,
    route_to_model,
    run,
    shown,
    status_of,
)


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """The operator's model and the route to it."""
    ensure_service()
    with model_server() as address:
        route_to_model(address)
        netmgr("sandbox", "create", "agent", "--allow", "host.openshell.internal:9100")
        yield address
        netmgr("sandbox", "delete", "agent")
        netmgr("inference", "delete")


def test_a_model_call_is_rewritten_and_carries_the_operators_key(model: str) -> None:
    assert asks_model("agent")
    seen = run("curl", "-sS", f"{model}/_recorded").stdout
    assert "Bearer sk-operator" in seen


def test_an_allowed_endpoint_is_reached_by_name(model: str) -> None:
    assert status_of("agent", "http://host.openshell.internal:9100/_recorded") == "200"


def test_what_is_not_allowed_is_refused_at_once_with_a_reason(model: str) -> None:
    refused = fetch("agent", "https://api.entropics.example/")
    assert refused.returncode == 6, refused
    assert fetch("agent", "http://192.0.2.7/").returncode == 7
    found = shown_records("agent")
    assert {"no_matching_rule", "raw_ip"} <= {record["reason"] for record in found}


def shown_records(sandbox: str) -> list[dict[str, str]]:
    """What was denied to a sandbox."""
    lines = netmgr("observe", "--sandbox", sandbox, "--verdict", "denied", "-o", "json").stdout
    return [json.loads(line) for line in lines.splitlines()]


def test_nothing_inside_is_reached_by_udp_or_ping(model: str) -> None:
    probe = "import socket;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(5);"
    probe += "s.connect(('192.0.2.7',443));s.send(b'x');s.recv(1)"
    done = netmgr("sandbox", "exec", "agent", "--", "python3", "-c", probe, check=False)
    assert "Error" in done.stderr
    assert "timed out" not in done.stderr


def test_the_kernels_truth_is_shown_beside_the_record(model: str) -> None:
    assert shown("sandbox", "show", "agent")["name"] == "agent"
    netmgr("sandbox", "check", "agent")
