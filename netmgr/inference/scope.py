"""Owns: whose model calls a route is for, and which of several routes holds in a sandbox.

A scope is one sandbox, all sandboxes with one label, or all. The narrowest holds: a sandbox's own
route, then the route of one of its labels (in the alphabetical order of `K=V`, where several have
one), then the default. Between processes a scope is a text: the sandbox's name, `K=V`, or None.
Knows nothing of what a route leads to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from netmgr.errors import BadInput

_ENDPOINT: Final = "?endpoint-"
MAX_LABEL: Final = 513  # characters of `K=V`; a sandbox's label keys and values have 256 at most


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose calls a route is for; `Scope()` is the default of all.

    Attributes:
        sandbox: name of one sandbox.
        label: `K=V` that sandboxes have. At most one of both is set.
    """

    sandbox: str | None = None
    label: str | None = None

    @property
    def key(self) -> str | None:
        """As it is called between processes. A sandbox's name has no '='."""
        return self.sandbox or self.label

    def __str__(self) -> str:
        if self.sandbox is not None:
            return f"sandbox {self.sandbox}"
        return f"sandboxes with the label {self.label}" if self.label else "all sandboxes"


def parse_scope(sandbox: str | None, label: str | None) -> Scope:
    """A scope as an operator names it.

    Raises:
        BadInput: both are given, or the label is no `K=V`.
    """
    if label is None:
        return Scope(sandbox)
    if sandbox is not None:
        raise BadInput("a route is for one sandbox or for a label, not for both")
    key, equals, _ = label.partition("=")
    if not key or not equals or len(label) > MAX_LABEL or not label.isprintable():
        raise BadInput(f"label {label!r:.80}: expected KEY=VALUE")
    return Scope(label=label)


def narrowest_first(sandbox: str, labels: Mapping[str, str]) -> tuple[str | None, ...]:
    """The keys of all scopes that a sandbox is in, the one that holds first."""
    return (sandbox, *sorted(f"{key}={value}" for key, value in labels.items()), None)


def endpoint_scope(endpoint: str) -> str:
    """The key of a routing file's endpoint, whose route is in force for no sandbox by itself. No
    sandbox can be called so, and no label."""
    return _ENDPOINT + endpoint


def endpoint_of(scope: str | None) -> str | None:
    """The endpoint whose key that is; None where it is none's."""
    if scope is None or not scope.startswith(_ENDPOINT):
        return None
    return scope.removeprefix(_ENDPOINT)
