"""Owns: the answer to GET /v1/models where netmgr gives it: the models that the sandbox may use.

One answer for all SDKs: each entry has what OpenAI's and what Anthropic's reads. Knows nothing of
sockets.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from netmgr.inference.route import InferenceRoute

_EPOCH: Final = "1970-01-01T00:00:00Z"  # nothing is known of when a model came to be


def models_of(route: InferenceRoute) -> tuple[str, ...]:
    """What the sandbox may ask for by name, its default first."""
    return tuple(dict.fromkeys((route.model, *sorted(route.aliases), *route.rules.models)))


def answer_models(route: InferenceRoute, asked: str | None) -> tuple[int, bytes]:
    """Status and JSON body.

    Args:
        asked: the one model that is asked for; None for the list.
    """
    return answer_names(models_of(route), route.provider, asked)


def answer_names(names: Sequence[str], owner: str, asked: str | None) -> tuple[int, bytes]:
    """The same for any names, at least one.

    Args:
        owner: who is said to offer them.
    """
    if asked is None:
        entries = [_entry(name, owner) for name in names]
        listing = {
            "object": "list",
            "data": entries,
            "has_more": False,
            "first_id": names[0],
            "last_id": names[-1],
        }
        return 200, json.dumps(listing).encode()
    if asked in names:
        return 200, json.dumps(_entry(asked, owner)).encode()
    message = f"the model {asked[:100]!r} is none of this sandbox's; it has {', '.join(names)}"
    error = {"message": message, "type": "not_found_error", "code": "model_not_found"}
    return 404, json.dumps({"type": "error", "error": error}).encode()


def _entry(name: str, provider: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "display_name": name,
        "created": 0,
        "created_at": _EPOCH,
        "owned_by": provider,
    }
