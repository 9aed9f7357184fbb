"""Owns: what netmgr itself says in an answer: its list of models, a made-up provider's answers, and
which model was asked.

Knows nothing of sockets.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

from netmgr.inference.dialect import ModelList
from netmgr.inference.protocols import Protocol
from netmgr_proxy.inference.admit import Admitted
from netmgr_proxy.inference.errors import token
from netmgr_proxy.inference.mock import mock_answer
from netmgr_proxy.inference.model_list import answer_models, answer_names
from netmgr_proxy.inference.outgoing import outgoing_target
from netmgr_proxy.inference.rewrite import PinnedBody

OWNER: Final = "netmgr"  # whose provider answers is decided call by call


class Made(NamedTuple):
    """What the client gets. Framing is the caller's."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def answer_here(admitted: Admitted, body: PinnedBody | None) -> Made:
    """The answer to a request that `admitted.answered_here`."""
    listed = admitted.route.dialect.models is ModelList.SYNTHESISED
    if listed and admitted.pattern.protocol is Protocol.MODELS:
        _, _, asked = admitted.path.partition("/models/")
        status, text = answer_models(admitted.route, unquote(asked) or None)
        return Made(status, [(b"content-type", b"application/json")], text)
    target = outgoing_target(admitted, body)
    return Made(*mock_answer(target, body.joined() if body is not None else b""))


def list_models(admitted: Admitted, names: Sequence[str]) -> Made:
    """What a sandbox may ask for by name where a routing file is in force: its routes.

    Args:
        names: not empty.
    """
    _, _, asked = admitted.path.partition("/models/")
    status, text = answer_names(names, OWNER, unquote(asked) or None)
    return Made(status, [(b"content-type", b"application/json")], text)


def model_lines(body: PinnedBody | None) -> list[bytes]:
    """What the client is told of the model, since it may be another than it asked for."""
    if body is None:
        return []
    lines = [b"x-netmgr-model: " + token(body.model)]
    if body.overridden:
        lines.append(b"x-netmgr-requested-model: " + token(body.requested_model or ""))
    return lines
