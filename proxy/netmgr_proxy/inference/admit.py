"""Owns: whether an inference request is let in, before its body is read.

Knows nothing of bodies, sockets or the clock. The order of the questions is part of the
contract: malformed (400), no such pattern (403), nothing configured (503), not this provider's
protocol (400).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import unquote

from netmgr.inference.dialect import Leniency, ModelList
from netmgr.inference.protocols import Protocol, Shape
from netmgr.inference.route import InferenceRoute
from netmgr.policy.path import MalformedTarget, canonical_path, slashes_decoded
from netmgr.reasons import Reason
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.patterns import PATTERNS, Pattern, match, shape_of_path
from netmgr_proxy.inference.query import allowed_query

_MODEL_IN_PATH: Final = (Protocol.INVOKE, Protocol.CONVERSE)
_VERSION: Final = "/v1"
_MODELS: Final = "/v1/models/"
_MODEL_SEGMENT: Final = "/model/"  # Bedrock's: the whole name is one segment
SET_COMMAND: Final = "netmgr inference set --provider NAME --model MODEL"
RENEW_COMMAND: Final = "netmgr provider update NAME --credential KEY"


@dataclass(frozen=True)  # what is asked of one is found out once: it serves many calls
class Admitted:
    """A request that may be sent on.

    Attributes:
        method: upper case.
        path: canonical, without a trailing slash.
        query: what of the client's goes on, without '?'.
        route: the route that was in force; the request keeps it to its end.
    """

    pattern: Pattern
    method: str
    path: str
    query: str
    route: InferenceRoute

    @cached_property
    def shape(self) -> Shape:
        """How errors are worded: the pattern's way, or for what both vendors have, the route's."""
        if self.pattern.protocol is Protocol.MODELS and _speaks(self.route, Protocol.MESSAGES):
            return Shape.ANTHROPIC
        return self.pattern.shape

    @cached_property
    def answered_here(self) -> bool:
        """Whether the provider is not asked: its list of models is none of the sandbox's."""
        if self.route.made_up:
            return True
        listed = self.route.dialect.models is ModelList.SYNTHESISED
        return listed and self.pattern.protocol is Protocol.MODELS

    @cached_property
    def named_model(self) -> str | None:
        """The model that the path names, where this protocol has it there."""
        if self.pattern.protocol not in _MODEL_IN_PATH:
            return None
        return unquote(self.path.split("/")[2])


def admit(method: str, target: bytes, route: InferenceRoute | None) -> Admitted | Refusal:
    """Judge the request line.

    Args:
        method: as the client wrote it; its case does not matter.
        target: the request target as it stood in the head.
        route: the route in force for this sandbox, or None.
    """
    method = method.upper()
    try:
        path, query = canonical_path(target, allow_encoded_slash=True)
        path = _slashes_judged(path)
    except MalformedTarget as error:
        return Refusal(400, Reason.MALFORMED_REQUEST, f"malformed request target: {error}")
    paths = route.dialect.paths if route is not None else Leniency.SLASH
    if len(path) > 1 and paths is not Leniency.EXACT:
        path = path.removesuffix("/")
    shape = shape_of_path(path)
    if "%25" in path:
        # A second decoding upstream would see another path than the one judged here.
        return Refusal(
            400, Reason.MALFORMED_REQUEST, "the path is percent-encoded twice", shape=shape
        )
    further = route.dialect.patterns if route is not None else ()
    pattern = match(method, path, further)
    if pattern is None and paths is Leniency.LENIENT and not path.startswith(_VERSION + "/"):
        path = _VERSION + path
        pattern = match(method, path, further)
    if pattern is None:
        return _no_pattern(method, path)
    if route is None:
        return Refusal(
            503,
            Reason.NOT_CONFIGURED,
            "no model provider is configured for this sandbox",
            remedy=SET_COMMAND,
            close=False,
            shape=pattern.shape,
        )
    if not _speaks(route, pattern.protocol):
        return _other_protocol(pattern, route)
    query = allowed_query(query, route.dialect.forward_query, route.base.query)
    return Admitted(pattern, method, path, query, route)


def _slashes_judged(path: str) -> str:
    """A canonical path in which an escaped slash stands in a model's name only: SDKs write those of
    `meta/llama` and of an ARN so. In a list of models it becomes what it means.

    Raises:
        MalformedTarget: it is anywhere else, where servers differ in what it is.
    """
    if "%2F" not in path or path.startswith(_MODEL_SEGMENT):
        return path
    if path.startswith(_MODELS):
        return slashes_decoded(path) or path
    raise MalformedTarget("escaped separator %2F")


def expired(shape: Shape) -> Refusal:
    """The operator's key has ended: it is not sent on to be refused elsewhere."""
    return Refusal(
        503,
        Reason.CREDENTIAL_EXPIRED,
        "the operator's credential for the model provider has expired",
        remedy=RENEW_COMMAND,
        close=False,
        shape=shape,
    )


def _speaks(route: InferenceRoute, protocol: Protocol) -> bool:
    return protocol in route.dialect.protocols or protocol is Protocol.OTHER


def _no_pattern(method: str, path: str) -> Refusal:
    known = ", ".join(f"{p.method} {p.path}" for p in PATTERNS)
    return Refusal(
        403,
        Reason.PATTERN_NOT_SUPPORTED,
        f"{method} {path} is no inference request that is allowed here; allowed are {known}",
        shape=shape_of_path(path),
    )


def _other_protocol(pattern: Pattern, route: InferenceRoute) -> Refusal:
    spoken = route.dialect.protocols
    paths = ", ".join(dict.fromkeys(p.path for p in PATTERNS if p.protocol in spoken))
    return Refusal(
        400,
        Reason.PATTERN_NOT_SUPPORTED,
        f"the configured provider (type {route.type}) does not speak {pattern.protocol}; "
        f"it answers {paths}",
        close=False,
        shape=pattern.shape,
    )
