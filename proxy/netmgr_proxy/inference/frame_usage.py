"""Owns: counting tokens in a Bedrock stream as it passes. Never changes, delays or fails it.

InvokeModelWithResponseStream wraps each piece of the model's own JSON in base64 and tells the
counts with the last one; ConverseStream tells them in an event of their own. Knows nothing of what
else the events say.
"""

import base64
import binascii
import re
from typing import Final

from netmgr_proxy.inference.eventstream import FrameReader
from netmgr_proxy.inference.usage import UsageMeter

_WRAPPED: Final = re.compile(rb'\A\{"bytes":"([A-Za-z0-9+/=]*)"')
# The same counts under another name, for every model alike.
_METRICS: Final = b'"amazon-bedrock-invocationMetrics"'


class FrameMeter(UsageMeter):
    """A UsageMeter of a stream of frames; `at_boundary` tells whether it stands between two."""

    __slots__ = ("_reader",)

    def __init__(self) -> None:
        super().__init__()
        self._reader = FrameReader()

    @property
    def at_boundary(self) -> bool:
        """Whether the stream stands between two frames."""
        return self._reader.at_boundary

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes of the stream."""
        for frame in self._reader.feed(chunk):
            super().feed(_inner(frame.payload).replace(_METRICS, b'"usage"'))


def _inner(payload: bytes) -> bytes:
    """The JSON that a frame carries."""
    wrapped = _WRAPPED.match(payload)
    if wrapped is None:
        return payload
    try:
        return base64.b64decode(wrapped[1], validate=True)
    except binascii.Error:
        return b""
