"""What netavark hands to its driver, or podman to the front: a refusal with words, or a request
whose sandbox has a name, an owner and judged options.

A line that says which (`plugin` or `front`), and the call.
"""

from contextlib import suppress

from netmgr.model import parse_sandbox_name
from netmgr_cli.shim import light
from netmgr_cli.shim.netavark.request import OPTIONS, Refusal, Request, parse_front, parse_plugin

WORDS = (
    *(b"plugin\n", b"front\n", b'"container_id"', b'"container_name"', b'"network"', b'"options"'),
    *(b'"network_options"', b'"networks"', b'"network_info"', b'"driver"', b'"netmgr"', b'"name"'),
    *(b'"interface_name"', b'"eth0"', b'"port_mappings"', b'"static_ips"', b'"subnets"', b"null"),
    *(b'"allow"', b'"policy"', b'"container"', b'"ipv6_enabled"', b"true", b"[", b"{"),
)


def fuzz(data: bytes) -> None:
    """One call."""
    which, _, body = data.partition(b"\n")
    try:
        call = light.loads(body)
    except (ValueError, RecursionError):
        return  # the driver says so
    if not isinstance(call, dict):
        return
    with suppress(Refusal):
        request = parse_front(call) if which == b"front" else parse_plugin(call)
        if request is not None:  # a network of netavark's own
            _judge(request)


def _judge(request: Request) -> None:
    parse_sandbox_name(request.sandbox)
    assert request.container
    assert set(request.options) <= set(OPTIONS)
    assert all(isinstance(value, str) for value in (*request.options.values(), request.policy_dir))
    assert all(request.owner)
