"""The beginning of an object, cut anywhere: what ends it makes one object with our member last."""

import json
from typing import Any

from netmgr_proxy.inference.json_end import end_object

WORDS = (
    b'{"a":',
    b"[",
    b"\\u00",
    b'"\\',
    b"1e",
    b"-",
    b"tru",
    b"\xf0\x9f",
    b"{}",
    b",",
    b'"',
    b":",
)
MEMBER = b'"error":{"message":"x"}'


def fuzz(data: bytes) -> None:
    """Every cut of an object is ended; of what is none, nonsense may be added, never a fault."""
    end_object(data, MEMBER)
    try:
        value = json.loads(data)
        data.decode()
    except (ValueError, RecursionError):
        return
    if not isinstance(value, dict) or len(data) > 300:
        return
    data = data.strip()
    for cut in range(1, len(data)):
        ending = end_object(data[:cut], MEMBER)
        assert ending is not None, data[:cut]
        members: list[tuple[str, Any]] = json.loads(data[:cut] + ending, object_pairs_hook=list)
        assert members[-1][0] == "error", data[:cut] + ending
