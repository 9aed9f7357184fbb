"""Owns: every bound and every deadline of the proxy worker, with its default and its reason.

Knows nothing of how they are enforced.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

from netmgr.errors import BadInput, did_you_mean

KIB: Final = 1024
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one worker. Times in seconds, sizes in bytes.

    Names that the daemon's settings have too mean the same here.

    Attributes:
        request_head_bytes: a request's line and header fields (the contract's number).
        request_headers: header fields of one request (the contract's number).
        response_head_bytes: an upstream's head; cookies and CSP make them larger than requests.
        inference_body_bytes: body of an inference request, collected before it is judged.
        judged_bytes_per_sandbox: bodies and messages of one sandbox that are held until they are
            judged, so that it cannot take the worker's memory.
        judged_bytes: the same of all sandboxes.
        client_buffer_bytes: what a client may send ahead before its socket is left alone.
        drain_bytes: unread request body that is thrown away so that a denial can be read.
        connections_per_sandbox: so that one sandbox cannot take a worker's descriptors.
        connections: of all sandboxes; a spliced flow holds two descriptors, four while it moves.
        idle_upstreams_per_origin: kept open for reuse, per sandbox and origin.
        idle_upstreams: the same for the whole worker; beyond it the oldest goes.
        leaf_contexts: TLS contexts in memory, 20 KB each.
        connect_timeout_s: the dialer's whole answer (names, addresses, connecting), and then TLS.
        hello_timeout_s: a connection's first bytes, and a TLS handshake with a client.
        request_head_timeout_s: a request's head, from its first byte.
        request_body_timeout_s: silence within a request's body.
        keepalive_timeout_s: a client connection without a request.
        response_head_timeout_s: from a request's last byte to its response's head.
        flow_idle_timeout_s: a spliced flow, or a response, in which nothing moves.
        upstream_idle_s: an upstream connection in the pool.
        drain_s: how long a client may take to read a last word; also a graceful stop.
    """

    request_head_bytes: int = 16 * KIB
    request_headers: int = 100
    response_head_bytes: int = 64 * KIB
    inference_body_bytes: int = 32 * MIB
    judged_bytes_per_sandbox: int = 32 * MIB
    judged_bytes: int = 256 * MIB
    client_buffer_bytes: int = 256 * KIB
    drain_bytes: int = 256 * KIB
    connections_per_sandbox: int = 1024
    connections: int = 4096
    idle_upstreams_per_origin: int = 32
    idle_upstreams: int = 512
    leaf_contexts: int = 1000
    connect_timeout_s: float = 10.0
    hello_timeout_s: float = 10.0
    request_head_timeout_s: float = 15.0
    request_body_timeout_s: float = 60.0
    keepalive_timeout_s: float = 120.0
    response_head_timeout_s: float = 120.0
    flow_idle_timeout_s: float = 7200.0
    upstream_idle_s: float = 55.0
    drain_s: float = 2.0


LIMIT_NAMES: Final = tuple(f.name for f in fields(Limits))


def parse_limits(doc: dict[str, Any]) -> Limits:
    """Limits from the daemon's settings; what is not named keeps its default.

    Raises:
        BadInput: an unknown name, or a value that is no positive number.
    """
    known = {f.name: f for f in fields(Limits)}
    for key, value in doc.items():
        if key not in known:
            raise BadInput(f"proxy limit {key!r} is unknown{did_you_mean(key, known)}")
        wanted = (int,) if not key.endswith("_s") else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted) or value <= 0:
            raise BadInput(f"proxy limit {key!r}: expected a positive number, not {value!r}")
    return Limits(**doc)
