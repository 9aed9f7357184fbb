"""Owns: what in a request would have the provider choose in the route's place: another model, or
somebody else to compute the answer.

Gateways take lists of models to fall back on, names of companies, addresses and keys in a body
(OpenRouter, LiteLLM, Anthropic's `fallbacks` and `inference_geo`). The model that a route pins is
worth nothing beside them. Finds them; `permits` judges. Names are compared as in `way_out`.
"""

import re
from typing import Any, Final

from netmgr_proxy.inference.document import Document
from netmgr_proxy.inference.keys import remembered
from netmgr_proxy.inference.rewrite import KEY
from netmgr_proxy.inference.way_out import fold

MODEL: Final = "model_choice"
PLACE: Final = "provider_choice"
_BAG: Final = "bag"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# fallbacks, context_window_fallbacks, models, fallback_models, draft_model, model_list, model_id
_MODEL_KEY: Final = re.compile(r".*fallbacks?|.*models?(?:ids?|names?|list|group)?")
_MODEL_KEYS: Final = _words("""
    route preset routingconfig routerconfig routersettings
""")
_PLACE_KEYS: Final = _words("""
    provider providers provideroptions provideroverrides customllmprovider inferencegeo
    apibase baseurl apikey extraheaders headers userconfig litellmcredentialname
    regionname awsregionname vertexlocation vertexproject vertexcredentials
    deploymentid workspaceid kvtransferparams
""")
# What is in them is read as if it stood in the body; a `model` there is a further one.
_BAGS: Final = _words("""
    extrabody google orq generationconfig moderation
""")
# Keys of nearly every body that choose nothing: a test holds them to that.
SILENT: Final = _words("""
    stream temperature top_p max_tokens max_completion_tokens stop seed user
""")


def find_choices(document: Document) -> dict[str, str]:
    """Of each kind of choice (MODEL, PLACE) the first key that makes it."""
    found: dict[str, str] = {}
    for member in document.members:
        if member.key not in SILENT and member.key != KEY:
            _look(member.key, member.value, found)
    return found


def _look(key: str, value: Any, found: dict[str, str]) -> None:
    """One member of the body, or of what is read as if it were."""
    kind = _kind_of(key)
    if kind is None or not value:  # null, false and what is empty choose nothing
        return
    if kind != _BAG:
        found.setdefault(kind, key)
    elif isinstance(value, dict):
        for below, inner in value.items():
            _look(below, inner, found)


@remembered
def _kind_of(key: str) -> str | None:
    """What a member of that name chooses, or _BAG; None: nothing."""
    name = fold(key)
    if name in _MODEL_KEYS or _MODEL_KEY.fullmatch(name):
        return MODEL
    if name in _PLACE_KEYS:
        return PLACE
    return _BAG if name in _BAGS else None
