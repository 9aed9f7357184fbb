"""Owns: what is known of a credential's end: is it near, is it past.

Pure: the caller has the clock. Times are epoch seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from netmgr.errors import BadInput

MAX_MOMENT: Final = 253_402_300_799.0  # the end of the year 9999: RFC 3339 has no later one


class Outlook(StrEnum):
    """How a credential stands to its end."""

    GOOD = "good"
    EXPIRING = "expiring"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Notice:
    """A credential of which somebody should know.

    Attributes:
        key: the credential's name.
        expires: when it ends.
    """

    provider: str
    key: str
    expires: float
    outlook: Outlook

    @property
    def message(self) -> str:
        """One sentence for the operator."""
        verb = "has expired" if self.outlook is Outlook.EXPIRED else "expires"
        return f"credential {self.key} of provider {self.provider} {verb}: {moment(self.expires)}"

    @property
    def remedy(self) -> str:
        """The command that puts another in force."""
        return f"netmgr provider update {self.provider} --credential {self.key}"


def judge_expiry(expires: float | None, now: float, warn_s: float) -> Outlook:
    """How a credential stands.

    Args:
        expires: None is never.
        warn_s: seconds before the end from which on it counts as near.
    """
    if expires is None or now < expires - warn_s:
        return Outlook.GOOD
    return Outlook.EXPIRING if now < expires else Outlook.EXPIRED


def notices(
    provider: str, expires: Mapping[str, float], now: float, warn_s: float
) -> tuple[Notice, ...]:
    """What is to be said of a provider's credentials; nothing while all is well."""
    found = [Notice(provider, k, at, judge_expiry(at, now, warn_s)) for k, at in expires.items()]
    return tuple(notice for notice in found if notice.outlook is not Outlook.GOOD)


def moment(seconds: float) -> str:
    """A time as RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def parse_moment(text: str, where: str) -> float:
    """A time as an operator writes it: RFC 3339, epoch milliseconds, or 0 for never.

    Args:
        where: what the text is called in an error.

    Returns:
        epoch seconds; 0 where the credential has no end.

    Raises:
        BadInput: it is none of these, or has no time zone.
    """
    if text.isascii() and text.isdigit() and len(text) <= 16:
        seconds = int(text) / 1000
    else:
        try:
            # RFC 3339 is the part of ISO 8601 with a day, a time and a zone.
            when = datetime.fromisoformat(text) if "T" in text.upper() else None
        except ValueError:
            when = None
        if when is None or when.tzinfo is None:
            raise BadInput(
                f"{where}: {text!r}: expected a time like 2030-01-31T12:00:00Z, "
                "milliseconds since 1970, or 0 for never"
            )
        seconds = when.timestamp()
    if not 0 <= seconds <= MAX_MOMENT:
        raise BadInput(f"{where}: {text!r}: expected a time between 1970 and 9999")
    return seconds
