"""Owns: the TLS alerts that a connection is refused with before any handshake.

Source: RFC 8446 §6 (record type 21, fatal level 2; codes of §6.2).
"""

from typing import Final


def _alert(code: int) -> bytes:
    return bytes((21, 3, 3, 0, 2, 2, code))


ACCESS_DENIED: Final = _alert(49)
DECODE_ERROR: Final = _alert(50)
INTERNAL_ERROR: Final = _alert(80)
UNRECOGNIZED_NAME: Final = _alert(112)
NO_APPLICATION_PROTOCOL: Final = _alert(120)
