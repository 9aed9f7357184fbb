"""Owns: the commands: ADD, DEL, CHECK, GC, STATUS, VERSION. One process each, one answer.

environment, standard input -> Request -> questions to the daemon -> standard output, status
"""

import os
import sys

from netmgr_cli.shim import attach, light, wire
from netmgr_cli.shim.cni.faults import (
    DECODING_FAILURE,
    DIFFERS,
    INVALID_CONFIG,
    NOT_AVAILABLE,
    Fault,
    render_failure,
    render_fault,
)
from netmgr_cli.shim.cni.request import (
    CONTAINER,
    MAX_INPUT,
    NETWORK,
    VALID,
    VERSIONS,
    Request,
    parse_request,
)
from netmgr_cli.shim.cni.result import attached_addresses, render_attachment, render_versions
from netmgr_cli.shim.policies import Unreadable, read_policy

Json = dict[str, object]


def main() -> int:
    """Answer one call; its exit status."""
    version = VERSIONS[-1]
    try:
        config = _read_config()
        version = str(config.get("cniVersion", VERSIONS[0]))
        answer = perform(parse_request(dict(os.environ), config))
        status = 0
    except Fault as fault:
        answer, status = render_fault(fault, version), 1
    except wire.Failure as failure:
        answer, status = render_failure(failure, version), 1
    if answer is not None:
        sys.stdout.write(light.dumps(answer) + "\n")
        sys.stdout.flush()
    return status


def _read_config() -> Json:
    raw = sys.stdin.buffer.read(MAX_INPUT + 1)
    if len(raw) > MAX_INPUT:
        raise Fault(DECODING_FAILURE, f"the configuration is longer than {MAX_INPUT} bytes")
    try:
        found = light.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError) as error:
        raise Fault(DECODING_FAILURE, f"the configuration is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Fault(DECODING_FAILURE, "the configuration is no JSON object")
    return found


def perform(request: Request) -> Json | None:
    """The answer to a call; None where success has no words.

    Raises:
        Fault, wire.Failure: it failed.
    """
    match request.command:
        case "ADD":
            return _add(request)
        case "DEL":
            _delete(request)
        case "CHECK":
            _check(request)
        case "GC":
            _sweep(request)
        case "STATUS":
            _look(request)
        case _:
            return render_versions(request.version)
    return None


def _add(request: Request) -> Json:
    sandbox = attach.attach(request.socket, wanted(request), request.owner)
    return render_attachment(request.version, request.netns, sandbox)


def wanted(request: Request) -> Json:
    """The body that creates the sandbox."""
    replace = request.config.get("earlierLinks") == "remove"
    body: Json = {
        "name": request.sandbox,
        "labels": request.labels,
        "attach": {"netns": request.netns, "replace_links": replace},
    }
    policy, tenant = request.chosen("policy"), request.chosen("tenant")
    if policy is not None:
        try:
            body["policy"] = read_policy(policy, request.policy_dir)
        except Unreadable as error:
            raise Fault(INVALID_CONFIG, str(error)) from error
    if tenant is not None:
        body["tenant"] = tenant
    if "allow" in request.config:
        body["allow"] = request.config["allow"]
    return body


def _delete(request: Request) -> None:
    """An error where something may be left: a runtime that is told so tries again."""
    try:
        attach.detach(request.socket, request.owner)
    except wire.Failure as failure:
        if failure.code != wire.UNREACHABLE or not _was_never_made(request):
            raise


def _was_never_made(request: Request) -> bool:
    """Whether ADD has made nothing, as far as that is known without a daemon: the runtime has no
    result of it to give us (as it would from 0.4.0 on), and a sandbox would have files.

    Plugins before us are called after us, and only if we succeed; containerd 1.7 asks once. Where
    we would fail for a container that was never ours, each attempt of a kubelet to start a pod
    without the daemon would cost the earlier plugin an address.
    """
    if VERSIONS.index(request.version) < VERSIONS.index("0.4.0") or request.has_result:
        return False
    return not os.path.isdir(f"{os.path.dirname(request.socket)}/sandboxes/{request.sandbox}")


def _check(request: Request) -> None:
    sandbox = attach.find(request.socket, request.owner)
    if sandbox is None:
        raise Fault(DIFFERS, f"container {request.container} has no sandbox")
    if not attach.is_same(str(sandbox["netns"]), request.netns):
        raise Fault(DIFFERS, f"sandbox {sandbox['name']} is of another namespace")
    earlier = attached_addresses(request.config.get("prevResult"))
    if sandbox["address"] not in earlier:
        raise Fault(DIFFERS, f"sandbox {sandbox['name']} has {sandbox['address']}, not {earlier}")
    report = wire.ask(request.socket, "GET", f"/v1/sandboxes/{sandbox['name']}/check")
    if not report.get("ok"):
        differences = report.get("differences")
        found = [d.get("what") for d in differences] if isinstance(differences, list) else []
        raise Fault(
            DIFFERS,
            f"sandbox {sandbox['name']}: {'; '.join(map(str, found))}",
            f"`netmgr sandbox check {sandbox['name']}` says more",
        )


def _sweep(request: Request) -> None:
    """Remove what this network has besides what the runtime says is alive."""
    valid = request.valid
    if valid is None:
        raise Fault(INVALID_CONFIG, f"GC needs {VALID}")
    attach.collect(request.socket, sorted(valid), {NETWORK: request.network}, CONTAINER)


def _look(request: Request) -> None:
    try:
        status = wire.ask(request.socket, "GET", "/v1/status")
    except wire.Failure as failure:
        raise Fault(NOT_AVAILABLE, failure.message) from failure
    if not status.get("ok"):
        raise Fault(NOT_AVAILABLE, "the daemon is not well", "`netmgr status` says why")
