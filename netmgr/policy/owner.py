"""Owns: who opened a connection, as a policy is asked about it. Values only, and their wire form.

Knows nothing of /proc: the daemon finds out (netmgr/daemon/identity.py), the proxy carries it, and
the proxy and the dialer judge by it. What nobody could tell is `UNKNOWN`, which no list of programs
admits.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from netmgr.errors import BadInput

MAX_OWNERS: Final = 16  # processes that hold one socket; more are not told apart
MAX_CHAIN: Final = 33  # a process and 32 ancestors
MAX_TEXT: Final = 4096  # PATH_MAX


class Fault(StrEnum):
    """Why a program's name grants nothing."""

    CHANGED = "changed"  # its content is not what first ran under this name in the sandbox
    IMPOSTOR = "impostor"  # where the sandbox began, that name is another file, or none (deleted)
    UNREAD = "unread"  # its content could not be read in time


@dataclass(frozen=True, slots=True)
class Program:
    """What one process runs.

    Attributes:
        path: of the executable, as the process's own mount namespace names it.
        sha256: of its content, in hex; None where it was not read.
        links: paths of the policy that were symbolic links to it.
        script: the file that an interpreter was started with; None where that is not one.
        fault: why `path` cannot be relied on; None where it can.
    """

    path: str
    sha256: str | None = None
    links: tuple[str, ...] = ()
    script: str | None = None
    fault: Fault | None = None

    def to_doc(self) -> dict[str, Any]:
        """As JSON values, without what is not there."""
        doc: dict[str, Any] = {"path": self.path}
        if self.sha256 is not None:
            doc["sha256"] = self.sha256
        if self.links:
            doc["links"] = list(self.links)
        if self.script is not None:
            doc["script"] = self.script
        if self.fault is not None:
            doc["fault"] = self.fault.value
        return doc


Chain = tuple[Program, ...]
"""A process and its ancestors up to the sandbox's entry point, nearest first."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Every process that holds the sandbox's end of a connection.

    Attributes:
        chains: one for each; none: nobody knows.
        anyone: stands for whatever program would be let through: for questions about a policy,
            never for a connection.
    """

    chains: tuple[Chain, ...] = ()
    anyone: bool = False

    @property
    def known(self) -> bool:
        """Whether it was found out."""
        return self.anyone or bool(self.chains)

    def to_doc(self) -> list[list[dict[str, Any]]]:
        """As JSON values. `ANYONE` has no such form."""
        return [[program.to_doc() for program in chain] for chain in self.chains]


UNKNOWN: Final = Owner()
ANYONE: Final = Owner(anyone=True)


def parse_owner(doc: object) -> Owner:
    """A owner from its JSON values; None gives `UNKNOWN`.

    Raises:
        BadInput: it is none.
    """
    if doc is None:
        return UNKNOWN
    chains = _list(doc, MAX_OWNERS)
    return Owner(tuple(tuple(map(_program, _list(chain, MAX_CHAIN))) for chain in chains))


def _program(doc: object) -> Program:
    if not isinstance(doc, dict) or not doc.keys() <= _KEYS:
        raise BadInput("owner: expected a program's path and what is known of it")
    links = tuple(_text(link) for link in _list(doc.get("links", []), MAX_TEXT))
    fault = doc.get("fault")
    try:
        known = None if fault is None else Fault(_text(fault))
    except ValueError:
        raise BadInput(f"owner: unknown fault {fault!r:.80}") from None
    return Program(
        _text(doc.get("path")), _optional(doc, "sha256"), links, _optional(doc, "script"), known
    )


_KEYS: Final = frozenset(("path", "sha256", "links", "script", "fault"))


def _list(value: object, most: int) -> list[object]:
    if not isinstance(value, list) or len(value) > most:
        raise BadInput(f"owner: expected a list of at most {most}")
    return value


def _optional(doc: dict[str, object], key: str) -> str | None:
    return None if doc.get(key) is None else _text(doc[key])


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise BadInput(f"owner: expected a text of at most {MAX_TEXT} characters")
    return value
