"""Owns: frames of `application/vnd.amazon.eventstream` for the scripted model."""

import json
import struct
import zlib
from typing import Any, Final

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
_STRING: Final = 7  # a header value's type


def event_frame(kind: str, payload: dict[str, Any]) -> bytes:
    """One event of that type, as Bedrock sends it."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    head = b"".join(
        struct.pack(f">B{len(n)}sBH{len(v)}s", len(n), n.encode(), _STRING, len(v), v.encode())
        for n, v in headers.items()
    )
    body = json.dumps(payload, separators=(",", ":")).encode()
    prelude = struct.pack(">II", 16 + len(head) + len(body), len(head))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + body
    return message + struct.pack(">I", zlib.crc32(message))
