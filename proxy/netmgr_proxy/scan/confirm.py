"""Owns: the second look at what has the shape of a secret or of somebody's data, by well-kept
libraries: detect-secrets, python-stdnum, phonenumbers.

Each is shown one match, a kilobyte at most: their own patterns can take time out of all proportion
to a long text. All of them is imported here, and what they would import later, too: the process
that uses this has no files.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import phonenumbers
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from stdnum import iban, luhn

from netmgr_proxy.scan.shapes import MAX_MATCH, Match

_MARGIN: Final = 2  # bytes around a match that the library's patterns may want to see
_CARD_BEGINS: Final = ("2", "3", "4", "5", "6")  # ISO/IEC 7812: banking and merchandising

phonenumbers.PhoneMetadata.load_all()


def _detectors() -> dict[str, Any]:
    found: Any = get_mapping_from_secret_type_to_class().values()
    return {kind.__name__: kind() for kind in found if hasattr(kind, "denylist")}


_DETECTORS: Final = _detectors()


def confirm(text: bytes, match: Match, region: str) -> bool:
    """Whether what has the shape is the thing.

    Args:
        region: whose phone numbers are meant where they have no country's code.
    """
    if match.shape.library:
        return _is_secret(text, match)
    check = _CHECKS.get(match.shape.label)
    if check is None:
        return True
    said = text[match.start : min(match.end, match.start + MAX_MATCH)]
    return check(said.decode("ascii", "replace"), region)


def _is_secret(text: bytes, match: Match) -> bool:
    start, end = match.whole
    piece = text[max(0, start - _MARGIN) : min(end, start + MAX_MATCH) + _MARGIN]
    detector = _DETECTORS[match.shape.library]
    return any(True for _ in detector.analyze_string(piece.decode("utf-8", "replace")))


def _is_card(said: str, _: str) -> bool:
    digits = "".join(filter(str.isdigit, said))
    return digits.startswith(_CARD_BEGINS) and len(set(digits)) > 1 and bool(luhn.is_valid(digits))


def _is_iban(said: str, _: str) -> bool:
    return bool(iban.is_valid(said, check_country=False))


@lru_cache(maxsize=1024)
def _is_phone(said: str, region: str) -> bool:
    try:
        number = phonenumbers.parse(said, region or None)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_valid_number(number))


_CHECKS: Final[dict[str, Callable[[str, str], bool]]] = {
    "card": _is_card,
    "iban": _is_iban,
    "phone": _is_phone,
}
assert _is_iban("GB33BUKB20201555555555", "")  # reads the library's table while there are files
