"""Owns: the driver's commands (`create`, `setup`, `teardown`, `info`), and those of the front.

words, standard input -> Request -> one question to the daemon -> standard output, status
"""

import os
import sys

from netmgr_cli.shim import attach, light, wire
from netmgr_cli.shim.netavark.request import (
    LINK,
    Json,
    Refusal,
    Request,
    judge_network,
    parse_front,
    parse_plugin,
    split_front,
)
from netmgr_cli.shim.policies import Unreadable, read_policy

API_VERSION = "1.0.0"
MAX_INPUT = 1024 * 1024  # bytes; a container on fifty networks has 50 KiB


def main() -> int:
    """Answer one call of netavark's; its exit status."""
    return _answered(_plugin, sys.argv[1:])


def front() -> int:
    """Answer one call of podman's in netavark's place, or let netavark answer: the first word is
    its path."""
    return _answered(_front, sys.argv[1:])


def _answered(act: object, words: list[str]) -> int:
    assert callable(act)
    try:
        answer = act(words)
    except (Refusal, Unreadable) as refusal:
        answer, status = {"error": f"netmgr: {refusal}"}, 1
    except wire.Failure as failure:
        answer, status = {"error": f"netmgr: {failure.message}"}, 1
    else:
        status = 0
    if answer is not None:
        sys.stdout.write(light.dumps(answer) + "\n")
        sys.stdout.flush()
    return status


def _plugin(words: list[str]) -> Json | None:
    match words:
        case ["info"]:
            return {"version": API_VERSION, "api_version": API_VERSION}
        case ["create"]:
            network = _read()
            judge_network(network)
            return network
        case ["setup", netns]:
            return _set_up(parse_plugin(_read()), netns)
        case ["teardown", _]:
            _tear_down(parse_plugin(_read()))
            return None
        case _:
            raise Refusal(
                f"expected info, create, setup NETNS or teardown NETNS, not {' '.join(words)!r}: "
                "this program is a driver of netavark"
            )


def _front(words: list[str]) -> Json | None:
    netavark, *rest = words
    if not {"setup", "teardown"} & set(rest):
        os.execv(netavark, [netavark, *rest])  # noqa: S606 - a fixed word of our own program
    raw = sys.stdin.buffer.read(MAX_INPUT + 1)
    call = _parse(raw)
    if "teardown" in rest:
        ours, others = split_front(call)
        for one in ours:
            _tear_down(one)
        if others["networks"] or not ours:
            _hand_on(netavark, rest, light.dumps(others).encode() if ours else raw)
        return None
    request = parse_front(call)
    if request is not None:
        return {request.network: _set_up(request, rest[-1])}
    _refuse_second_door(rest[-1])
    _hand_on(netavark, rest, raw)
    return None


def _refuse_second_door(netns: str) -> None:
    """`podman network connect`: another network for a container that is in a sandbox."""
    from netmgr_cli.shim.oci.guard import sandboxes  # most calls end before
    from netmgr_cli.shim.oci.lodge import identity

    if identity(netns) in sandboxes():
        raise Refusal("a sandbox has one door: its container goes on no other network")


def _hand_on(netavark: str, words: list[str], raw: bytes) -> None:
    """Become netavark, with what was read as its standard input."""
    again = os.memfd_create("networks")
    os.write(again, raw)
    os.lseek(again, 0, os.SEEK_SET)
    os.dup2(again, 0)
    os.execv(netavark, [netavark, *words])  # noqa: S606 - a fixed word of our own program


def _read() -> Json:
    return _parse(sys.stdin.buffer.read(MAX_INPUT + 1))


def _parse(raw: bytes) -> Json:
    if len(raw) > MAX_INPUT:
        raise Refusal(f"standard input is longer than {MAX_INPUT} bytes")
    try:
        found = light.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"standard input is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refusal("standard input is no JSON object")
    return found


def _set_up(request: Request, netns: str) -> Json:
    """Netavark's status block: the link, its address, the resolver."""
    body: Json = {
        "name": request.sandbox,
        "labels": {"container.name": request.name} | request.owner,
        "attach": {"netns": netns},
    }
    options = request.options
    if "policy" in options:
        body["policy"] = read_policy(options["policy"], request.policy_dir)
    if "tenant" in options:
        body["tenant"] = options["tenant"]
    if "allow" in options:
        body["allow"] = options["allow"].split(",")
    sandbox = attach.attach(request.socket, body, request.owner)
    subnet = {"ipnet": f"{sandbox['address']}/32", "gateway": sandbox["gateway"]}
    link = {"mac_address": sandbox["mac"], "subnets": [subnet]}
    return {
        "dns_search_domains": [],
        "dns_server_ips": [sandbox["gateway"]],
        "interfaces": {LINK: link},
    }


def _tear_down(request: Request) -> None:
    attach.detach(request.socket, request.owner)
