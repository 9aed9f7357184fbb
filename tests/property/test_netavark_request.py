"""Whatever podman or netavark hands over, it is a request, a refusal, or none of ours."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.model import parse_sandbox_name
from netmgr_cli.shim.netavark.request import (
    DRIVER,
    Refusal,
    Request,
    judge_network,
    parse_front,
    parse_plugin,
    split_front,
)

words = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["container_id", "container_name", "networks", "network_info", "network", "network_options"]
)
calls = st.dictionaries(keys, values, max_size=6)


@given(calls)
def test_only_a_refusal_escapes(call: dict[str, Any]) -> None:
    for parse in (parse_plugin, parse_front):
        with suppress(Refusal):
            request = parse(call)
            if isinstance(request, Request):
                parse_sandbox_name(request.sandbox)
    with suppress(Refusal):
        ours, others = split_front(call)
        assert all(isinstance(request, Request) for request in ours)
        assert parse_front(others) is None


def call(**networks: str) -> dict[str, Any]:
    return {
        "container_id": "c" * 64,
        "container_name": "demo",
        "networks": {name: {"interface_name": "eth0"} for name in networks},
        "network_info": {name: {"name": name, "driver": d} for name, d in networks.items()},
    }


def test_the_front_answers_for_our_networks_alone() -> None:
    assert parse_front(call(podman="bridge")) is None
    request = parse_front(call(ours=DRIVER))
    assert request is not None
    assert (request.network, request.sandbox) == ("ours", "c" * 12)
    with pytest.raises(Refusal, match="one door"):
        parse_front(call(ours=DRIVER, podman="bridge"))


def test_the_end_of_a_container_on_several_networks_is_everybodys() -> None:
    whole = call(ours=DRIVER, podman="bridge") | {"port_mappings": []}
    [request], others = split_front(whole)
    assert request.network == "ours"
    assert others == call(podman="bridge") | {"port_mappings": []}
    assert split_front(call(podman="bridge")) == ([], call(podman="bridge"))


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ({"options": {"polici": "x"}}, "unknown option 'polici'"),
        ({"options": {"name": "pod"}}, "'id' or 'container'"),
        ({"ipv6_enabled": True}, "IPv6 is off"),
        ({"subnets": [{"subnet": "10.0.0.0/24"}]}, "no subnet"),
    ],
)
def test_a_network_that_a_sandbox_cannot_have(network: dict[str, Any], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        judge_network(network)
