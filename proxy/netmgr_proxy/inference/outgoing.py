"""Owns: an admitted request as the provider gets it: its body and its target. Pure.

Verification and sandboxes' calls go through here alike, so what verified is what is sent. Header
fields are `headers`' business, the signature is `sigv4`'s.
"""

from netmgr_proxy.inference.admit import Admitted
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.permits import choose_model, judge_choices, judge_way_out
from netmgr_proxy.inference.reshape import shape_body
from netmgr_proxy.inference.rewrite import CallBody, PinnedBody, read_call
from netmgr_proxy.inference.steering import find_choices
from netmgr_proxy.inference.url import join, join_target
from netmgr_proxy.inference.way_out import find_way_out


class NotPermitted(Exception):
    """A request that asks for what its route does not allow.

    Attributes:
        refusal: as the client gets it.
        pinned: the request, for the record.
    """

    def __init__(self, refusal: Refusal, pinned: PinnedBody) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.pinned = pinned


def outgoing_body(admitted: Admitted, body: bytes) -> PinnedBody:
    """The client's body as the provider wants it.

    Raises:
        MalformedBody: it is none that can be read in one way only.
        NotPermitted: it asks for a model, or for deeds of the provider, that are not allowed.
    """
    route = admitted.route
    call = read_call(body, admitted.named_model)
    model = choose_model(call.requested_model, call.given, route, admitted.shape)
    if isinstance(model, Refusal):
        raise NotPermitted(model, call.pinned(route.model))
    return outgoing_call(admitted, call, model)


def outgoing_call(admitted: Admitted, call: CallBody, model: str) -> PinnedBody:
    """A body that was read, as the provider of that route wants it, asking for `model`.

    Raises:
        NotPermitted: it asks for choices or deeds of the provider that are not allowed.
    """
    route = admitted.route
    found = find_way_out(call.document)
    pinned = shape_body(call, route.dialect.call(admitted.pattern.operation), model)
    choices = find_choices(call.document)
    terms = (route.rules, admitted.shape, route.endpoint)
    refusal = judge_choices(choices, *terms) if choices else None
    refusal = refusal or judge_way_out(found, *terms)
    if refusal is not None:
        raise NotPermitted(refusal, pinned)
    return pinned._replace(references=tuple(found.references)) if found.references else pinned


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
