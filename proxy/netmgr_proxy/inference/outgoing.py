"""Owns: an admitted request as the provider gets it: its body and its target. Pure.

Verification and sandboxes' calls go through here alike, so what verified is what is sent. Header
fields are `headers`' business, the signature is `sigv4`'s.
"""

from netmgr_proxy.inference.admit import Admitted
from netmgr_proxy.inference.reshape import shape_body
from netmgr_proxy.inference.rewrite import PinnedBody
from netmgr_proxy.inference.url import join, join_target


def outgoing_body(admitted: Admitted, body: bytes) -> PinnedBody:
    """The client's body as the provider wants it.

    Raises:
        MalformedBody: it is none that can be read in one way only.
    """
    route = admitted.route
    call = route.dialect.call(admitted.pattern.operation)
    return shape_body(body, call, route.model, route.aliases, named=admitted.named_model)


def fixed_target(admitted: Admitted) -> str | None:
    """The request target where the body has no say in it; None where it has."""
    dialect = admitted.route.dialect
    if dialect.call(admitted.pattern.operation).target is not None:
        return None
    return join(admitted.route.base, admitted.path, admitted.query, dialect.path_prefix)


def outgoing_target(admitted: Admitted, body: PinnedBody | None) -> str:
    """The request target at the provider, with the query."""
    fixed = fixed_target(admitted)
    if fixed is not None:
        return fixed
    route = admitted.route
    call = route.dialect.call(admitted.pattern.operation)
    model = body.model if body is not None else route.model
    own = call.target_of(model, stream=body is not None and body.stream)
    assert own is not None  # fixed_target gave nothing
    return join_target(route.base, own, admitted.query)
