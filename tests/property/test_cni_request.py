"""Whatever a runtime hands to the CNI plugin, it answers with a request or with a fault."""

import json
import string
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.model import parse_sandbox_name
from netmgr_cli.shim import light, wire
from netmgr_cli.shim.cni.faults import Fault
from netmgr_cli.shim.cni.request import COMMANDS, VERSIONS, parse_request
from netmgr_cli.shim.names import sandbox_name

words = st.text(max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["cniVersion", "name", "policy", "labels", "selectable", "tenant", "nameFrom", "allow"]
)
configs = st.dictionaries(keys, values, max_size=6)
environments = st.fixed_dictionaries(
    {"CNI_COMMAND": st.sampled_from([*COMMANDS, "", "add"])},
    optional={
        "CNI_CONTAINERID": words,
        "CNI_NETNS": words,
        "CNI_IFNAME": st.sampled_from(["eth0", "net1", ""]),
        "CNI_ARGS": words,
    },
)


@given(environments, configs | values, st.sampled_from([*VERSIONS, None]))
def test_only_a_fault_escapes(env: dict[str, str], config: Any, version: str | None) -> None:
    if isinstance(config, dict) and version is not None:
        config = config | {"cniVersion": version}
    with suppress(Fault):
        request = parse_request(env, config)
        parse_sandbox_name(request.sandbox)
        json.dumps(request.labels)
        for what in ("policy", "tenant"):
            request.chosen(what)


@given(st.text() | st.text(string.hexdigits.lower(), min_size=64, max_size=64))
def test_every_container_has_a_name_that_the_daemon_takes(container: str) -> None:
    assert parse_sandbox_name(sandbox_name(container)) == sandbox_name(container)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_light_json_is_json(value: object) -> None:
    assert json.loads(light.dumps(value)) == value
    assert light.loads(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(st.binary(max_size=40) | st.text('[]{}":,0123456789.eE+-nulltrfas \t', max_size=40))
def test_light_json_takes_what_json_takes(data: bytes | str) -> None:
    raw = data.encode() if isinstance(data, str) else data
    try:
        text = raw.decode()
        expected = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        with pytest.raises((ValueError, RecursionError)):
            light.loads(raw)
    else:
        assert light.loads(raw) == expected


def refuse(word: str) -> None:
    raise ValueError(word)


@given(st.binary() | st.binary().map(lambda b: b"HTTP/1.1 200 OK\r\n\r\n" + b))
def test_only_a_failure_escapes_the_daemons_answer(answer: bytes) -> None:
    with suppress(wire.Failure):
        assert isinstance(wire.parse_answer(answer), dict)
