"""A request's body: it names our model and ours alone, all other bytes as they were, or refused."""

import json
from typing import Any

from netmgr_proxy.inference.document import MalformedBody
from netmgr_proxy.inference.rewrite import pin_model

WORDS = (
    b'"model":',
    b'"\\u006dodel":',
    b'"MODEL":',
    b'"model\\u0000":',
    b'"stream":true',
    b"\\ud83d",
    b"\xc3\xa9",
    b"\xef\xbb\xbf",
    b"1e999",
    b"-0",
    b"NaN",
    b"{}",
    b"[]",
    b"\\u0130",
)
OURS = "vendor/модель"


def fuzz(data: bytes) -> None:
    """Another reader of JSON finds the pinned model, whichever of two equal keys it believes."""
    try:
        pinned = pin_model(data, OURS)
    except MalformedBody as fault:
        fault.message.encode()
        return
    out = pinned.joined()
    assert len(out) == pinned.length
    top: list[tuple[str, Any]] = []

    def keep(members: list[tuple[str, Any]]) -> dict[str, Any]:
        top[:] = members  # the outermost object comes last
        return dict(members)

    json.loads(out, object_pairs_hook=keep)
    models = [v for k, v in top if k.partition("\0")[0].strip().casefold() == "model"]
    assert models == [OURS]
    asked = json.loads(data)
    assert pinned.stream == (asked.get("stream") is True)
    model = asked.get("model")
    assert pinned.requested_model == (model if isinstance(model, str) else None)
    assert {k: v for k, v in json.loads(out).items() if k != "model"} == {
        k: v for k, v in asked.items() if k != "model"
    }
