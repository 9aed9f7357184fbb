"""Owns: what may be said on an HTTP endpoint: one rule, the presets, a request as rules see it.

Knows nothing of endpoints or files.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final

from netmgr.policy.decision import Request, Target
from netmgr.policy.match import PathGlob, method_matches, parse_path_glob
from netmgr.policy.path import slashes_decoded
from netmgr.policy.query import Query, QueryTest, parse_query


class Access(StrEnum):
    """Presets instead of rules."""

    READ_ONLY = "read-only"
    READ_WRITE = "read-write"
    FULL = "full"


class Reading:
    """A request as rules see it. The query is decoded when the first rule asks for it.

    Attributes:
        target: where it goes.
        method: in upper case. Methods are case-sensitive (RFC 9110 §9.1), but a server behind us
            may not know: `delete` must meet the rules for DELETE.
        slashed: the path as a server reads it that decodes `%2F`; None where there is none.
    """

    __slots__ = ("_query", "_raw_query", "method", "path", "slashed", "target")

    def __init__(self, target: Target, request: Request) -> None:
        self.target = target
        method = request.method
        self.method = method if method.isupper() else method.upper()
        self.path = request.path
        self.slashed = slashes_decoded(request.path)
        self._raw_query = request.query
        self._query: Query | None = None

    @property
    def query(self) -> Query:
        """Its decoded keys and values.

        Raises:
            MalformedTarget: two servers could read it differently.
        """
        if self._query is None:
            self._query = parse_query(self._raw_query)
        return self._query

    @property
    def spellings(self) -> tuple[str, ...]:
        """The path in every way that a server may read it."""
        return (self.path,) if self.slashed is None else (self.path, self.slashed)


class Fit(IntEnum):
    """How far an allow rule covers a request whose path it covers: more is nearer."""

    PATH = 1  # but not its method
    METHOD = 2  # and its method, but not its query
    ALL = 3


@dataclass(frozen=True, slots=True)
class HttpRule:
    """Requests with this method (or `*`) on paths that fit, perhaps with a certain query.

    Attributes:
        place: `rules[0]`, `deny_rules[2]` or `access`, within the endpoint.
        query: one test per key. Keys without a test are free.
    """

    method: str
    path: PathGlob
    place: str
    query: tuple[QueryTest, ...] = ()

    def allows(self, reading: Reading) -> Fit:
        """How far it covers a request whose path fits: every key with all of its values.

        Raises:
            MalformedTarget: the query has to be looked at and cannot be read.
        """
        if not method_matches(self.method, reading.method):
            return Fit.PATH
        if self.query and not all(test.all_fit(reading.query) for test in self.query):
            return Fit.METHOD
        return Fit.ALL

    def denies(self, reading: Reading) -> bool:
        """Whether it covers a request whose path fits: every key with any of its values.

        Raises:
            MalformedTarget: the query has to be looked at and cannot be read.
        """
        return method_matches(self.method, reading.method) and (
            not self.query or all(test.any_fits(reading.query) for test in self.query)
        )

    def to_doc(self) -> dict[str, Any]:
        """As it stands in a document."""
        doc: dict[str, Any] = {"method": self.method, "path": self.path.text}
        if self.query:
            doc["query"] = {test.key: test.to_doc() for test in self.query}
        return doc


EVERY_PATH: Final = parse_path_glob("/**")
_PRESET_METHODS: Final[dict[Access, tuple[str, ...]]] = {
    Access.READ_ONLY: ("GET", "HEAD", "OPTIONS"),
    Access.READ_WRITE: ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"),
    Access.FULL: ("*",),
}
# A client's messages have no method; rules call them so. GET is the handshake.
WEBSOCKET_TEXT: Final = "WEBSOCKET_TEXT"
_SOCKET_METHODS: Final[dict[Access, tuple[str, ...]]] = {
    Access.READ_ONLY: ("GET",),
    Access.READ_WRITE: ("GET", WEBSOCKET_TEXT),
    Access.FULL: ("*",),
}
SOCKET_PRESETS: Final[dict[Access, tuple[HttpRule, ...]]] = {
    access: tuple(HttpRule(method, EVERY_PATH, "access") for method in methods)
    for access, methods in _SOCKET_METHODS.items()
}
PRESET_RULES: Final[dict[Access, tuple[HttpRule, ...]]] = {
    access: tuple(HttpRule(method, EVERY_PATH, "access") for method in methods)
    for access, methods in _PRESET_METHODS.items()
}
