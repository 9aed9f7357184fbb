"""What a runtime hands to the CNI plugin: a fault of the specification, or a request whose every
answer can be given: the sandbox's name, its labels, what a container may choose.

The environment's lines, an empty line, the configuration.
"""

import json
from contextlib import suppress

from netmgr.model import parse_sandbox_name
from netmgr_cli.shim import light
from netmgr_cli.shim.cni.faults import Fault, render_fault
from netmgr_cli.shim.cni.request import LINK, VERSIONS, Request, parse_request
from netmgr_cli.shim.cni.result import attached_addresses

WORDS = (
    *(b"CNI_COMMAND=", b"ADD", b"DEL", b"CHECK", b"GC", b"STATUS", b"CNI_CONTAINERID=", b"\n\n"),
    *(b"CNI_NETNS=", b"CNI_IFNAME=eth0", b"CNI_ARGS=", b"NETMGR_POLICY=", b"K8S_POD_NAME=", b";"),
    *(b'"cniVersion"', b'"1.1.0"', b'"selectable"', b'"policy"', b'"*"', b'"runtimeConfig"'),
    *(b'"io.kubernetes.cri.pod-annotations"', b'"netmgr.policy"', b'"labels"', b'"prevResult"'),
    *(b'"cni.dev/valid-attachments"', b'"containerID"', b'"nameFrom"', b"null", b"[", b"{"),
)


def fuzz(data: bytes) -> None:
    """One call."""
    head, _, body = data.partition(b"\n\n")
    lines = head.decode(errors="surrogateescape").split("\n")
    env = dict(line.partition("=")[::2] for line in lines)
    try:
        config = light.loads(body)
    except (ValueError, RecursionError):
        return  # the plugin says so: code 6
    try:
        request = parse_request(env, config)
        _answer(request)
    except Fault as fault:
        json.dumps(render_fault(fault, VERSIONS[-1]))


def _answer(request: Request) -> None:
    assert request.version in VERSIONS or request.command == "VERSION"
    if request.command in ("ADD", "CHECK"):
        assert request.ifname == LINK
        assert request.container
    if request.command == "VERSION":
        return
    parse_sandbox_name(request.sandbox)
    assert all(isinstance(value, str) for value in request.labels.values())
    attached_addresses(request.config.get("prevResult"))
    with suppress(Fault):
        assert all(isinstance(each, str) for each in request.valid or ())
    chosen = request.chosen("policy")
    offered = json.dumps(request.config.get("selectable"))
    assert chosen is None or chosen == request.config.get("policy") or offered != "null"
