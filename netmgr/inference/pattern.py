"""Owns: one row of the table of inference requests that exist, as a value.

Knows nothing of routes and providers. The rows that every version has stand in the proxy's
inference room; an operator's provider type may add some of its own.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from netmgr.inference.protocols import SHAPE_OF, Protocol, Shape

SUBTREE: Final = "/*"
_VARIABLE: Final = re.compile(r"\{[a-z_]+\}")
# What a path of a row may be made of; the client's path is brought to this spelling first.
PATH: Final = re.compile(r"(?:/(?:\{[a-z_]+\}|[A-Za-z0-9._~:-]+))+(?:/\*)?")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One row.

    Attributes:
        path: canonical path; `{name}` stands for one segment, a final '/*' for a whole subtree.
        operation: short name for records and for a type's `calls`.
        has_body: whether the request carries a JSON object.
        may_stream: whether the answer may be a stream.
        names_object: whether the path names what the provider keeps under the operator's key.
    """

    method: str
    path: str
    protocol: Protocol
    operation: str
    has_body: bool = True
    may_stream: bool = False
    names_object: bool = False

    @property
    def shape(self) -> Shape:
        """How this API words its errors."""
        return SHAPE_OF[self.protocol]

    @property
    def exact(self) -> bool:
        """Whether only one path fits."""
        return "{" not in self.path and not self.path.endswith(SUBTREE)

    def regex(self) -> re.Pattern[str]:
        """The paths that fit, where they are more than one."""
        body = self.path.removesuffix(SUBTREE)
        parts = [re.escape(part) for part in _VARIABLE.split(body)]
        tail = "/.+" if self.path.endswith(SUBTREE) else ""
        return re.compile("[^/]+".join(parts) + tail)

    def to_wire(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "method": self.method,
            "path": self.path,
            "protocol": self.protocol.value,
            "operation": self.operation,
            "has_body": self.has_body,
            "may_stream": self.may_stream,
        }

    @classmethod
    def from_wire(cls, body: dict[str, Any]) -> "Pattern":
        """The row that `to_wire` described."""
        return cls(
            method=body["method"],
            path=body["path"],
            protocol=Protocol(body["protocol"]),
            operation=body["operation"],
            has_body=body["has_body"],
            may_stream=body["may_stream"],
        )
