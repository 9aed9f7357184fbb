"""Owns: which capabilities a model call needs, read off the keys of its body.

The body is parsed elsewhere, once; here are names of keys only, never a value. A name that only
looks like a need removes endpoints and adds none.
"""

from collections.abc import Mapping
from typing import Final

NEEDS: Final = frozenset(("tools", "vision", "audio", "json_schema"))
_CONTENT: Final = ("messages", "input", "system", "prompt", "contents")
_VISION: Final = frozenset(("image_url", "image", "input_image", "source"))
_AUDIO: Final = frozenset(("input_audio", "audio"))
_SCHEMA: Final = frozenset(("json_schema", "schema"))
_TOOLS: Final = frozenset(("tools", "functions", "toolConfig"))
_SHAPED: Final = ("response_format", "text", "output_format", "output_config", "outputConfig")


def needs_of(keys: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Capabilities without which an endpoint cannot answer.

    Args:
        keys: top-level key of the body -> every key anywhere below it.
    """
    found: set[str] = set()
    if not _TOOLS.isdisjoint(keys):
        found.add("tools")
    for name in _CONTENT:
        below = keys.get(name)
        if below:
            if not _VISION.isdisjoint(below):
                found.add("vision")
            if not _AUDIO.isdisjoint(below):
                found.add("audio")
    if "audio" in keys:
        found.add("audio")
    for name in _SHAPED:
        if name in keys and not _SCHEMA.isdisjoint(keys[name]):
            found.add("json_schema")
    return frozenset(found)
