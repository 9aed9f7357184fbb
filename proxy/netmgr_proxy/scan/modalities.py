"""Owns: what kinds of content a request carries, for routing: text, image, audio, video, document.

Told by the media type, and for a model call by the types of its content parts (OpenAI's and
Anthropic's words for them). Errs towards more: a part that is only talked about counts. Pure.
"""

from typing import Any, Final

import re2

from netmgr.middleware.request import StageRequest

_WORDS: Final = (
    ("image", rb"\"(?:image|image_url|input_image)\"|data:image/"),
    ("audio", rb"\"(?:input_audio|audio_url|audio)\"|data:audio/"),
    ("video", rb"\"(?:video|video_url|input_video)\"|data:video/"),
    ("document", rb"\"(?:document|file|input_file)\"|data:application/pdf"),
)
_OF_MEDIA: Final = ("image", "audio", "video")
_BINARY: Final = ("application/octet-stream", "application/zip", "application/gzip")


def _make_set() -> Any:
    words = re2.Set.SearchSet()
    for _, pattern in _WORDS:
        words.Add(pattern)
    words.Compile()
    return words


_SET: Final[Any] = _make_set()


def modalities_of(request: StageRequest) -> list[str]:
    """The kinds, sorted; none where there is no body."""
    if not request.body:
        return []
    media = request.header("content-type").partition(";")[0].strip().lower()
    kind = media.partition("/")[0]
    if kind in _OF_MEDIA:
        return [kind]
    if media == "application/pdf":
        return ["document"]
    if media in _BINARY:
        return ["binary"]
    found = {_WORDS[number][0] for number in _SET.Match(request.body) or ()}
    return sorted(found | {"text"})
