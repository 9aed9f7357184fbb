"""Owns: which programs an entry is for: patterns of executables, held against a `Owner`.

Knows nothing of endpoints. A pattern fits a process when it fits its executable or that of one of
its ancestors; what a process was called on its command line never counts. Patterns of paths:

    /usr/bin/curl     this file; where it is a symbolic link, also the file that it led to
    /usr/bin/*        `*`: anything within one component
    /opt/**           `**`: any number of components; `/**` is any program
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from netmgr.policy.match import BadPattern, Segment, parse_star_text, segments_fit
from netmgr.policy.owner import Chain, Fault, Owner, Program

ANY_BINARY: Final = "/**"
MAX_COMPONENTS: Final = 64  # bounds the cost of one match
_OTHER_GLOBS: Final = frozenset("?[]{}\\")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileGlob:
    """A pattern of absolute file names.

    Attributes:
        exact: no star in it.
    """

    text: str
    exact: bool
    _segments: tuple[Segment, ...]

    def matches(self, path: str) -> bool:
        """Whether the whole of `path` fits."""
        if self.exact:
            return path == self.text
        return path.startswith("/") and segments_fit(self._segments, path[1:].split("/"))


def parse_file_glob(text: str) -> FileGlob:
    """A pattern of files.

    Raises:
        BadPattern: not absolute, or of a spelling that no file can have.
    """
    if not text.startswith("/"):
        raise BadPattern(f"{text!r}: expected an absolute path, such as '/usr/bin/curl'")
    for char in text:
        if char in _OTHER_GLOBS:
            raise BadPattern(f"{text!r}: {char!r} has no meaning here; only '*' and '**' do")
    components = text[1:].split("/")
    if len(components) > MAX_COMPONENTS:
        raise BadPattern(f"more than {MAX_COMPONENTS} components")
    segments = tuple(_parse_component(text, component) for component in components)
    return FileGlob(text, "*" not in text, segments)


def _parse_component(text: str, component: str) -> Segment:
    if component in ("", ".", ".."):
        raise BadPattern(f"{text!r}: no executable's path has a component {component!r}")
    if component == "**":
        return None
    if "**" in component:
        raise BadPattern(f"{text!r}: '**' must stand alone between slashes; write '*' here")
    return parse_star_text(component.split("*")) if "*" in component else component


@dataclass(frozen=True, slots=True)
class ProgramPattern:
    """One item of `binaries`.

    Attributes:
        sha256: what its content must have, in hex; None: what it had at first.
        script: what an interpreter must have been started with.
    """

    path: FileGlob
    sha256: str | None = None
    script: FileGlob | None = None

    @property
    def any(self) -> bool:
        """Whether every program fits, whatever it is."""
        return self.path.text == ANY_BINARY and self.sha256 is None and self.script is None

    def names(self, program: Program) -> bool:
        """Whether it is meant, by its name and script; its content is another question."""
        named = self.path.matches(program.path) or self.path.text in program.links
        if not named or self.script is None:
            return named
        return program.script is not None and self.script.matches(program.script)

    def fits(self, program: Program) -> bool:
        """Whether it is meant and is what it seems. A pin stands above what ran at first."""
        if not self.names(program):
            return False
        if self.sha256 is None:
            return program.fault is None
        return self.sha256 == program.sha256 and program.fault in (None, Fault.CHANGED)

    def to_doc(self) -> dict[str, str]:
        """As it stands in a document."""
        doc = {"path": self.path.text}
        if self.sha256 is not None:
            doc["sha256"] = self.sha256
        if self.script is not None:
            doc["script"] = self.script.text
        return doc

    def __str__(self) -> str:
        return f"{self.path.text} {self.script.text}" if self.script else self.path.text


@dataclass(frozen=True, slots=True)
class Programs:
    """For whom an entry is. All endpoints of an entry share one.

    Attributes:
        any: one of the patterns fits every program: nobody has to be told apart.
    """

    patterns: tuple[ProgramPattern, ...]
    any: bool

    @classmethod
    def of(cls, patterns: tuple[ProgramPattern, ...]) -> "Programs":
        return cls(patterns, any(pattern.any for pattern in patterns))

    def admits(self, owner: Owner) -> bool:
        """Whether every process that holds the connection is meant."""
        if self.any or owner.anyone:
            return True
        return bool(owner.chains) and all(map(self._admits_chain, owner.chains))

    def admits_some(self, owner: Owner) -> bool:
        """Whether one of the processes that hold the connection is meant."""
        return any(map(self._admits_chain, owner.chains))

    def apart_from(self, other: "Programs") -> bool:
        """Whether no executable fits both by its name. A program's ancestor may still fit the
        other, so whoever relies on this has to be strict where both admit."""
        if self.any or other.any:
            return False
        names, others = (
            {pattern.path.text for pattern in programs.patterns} for programs in (self, other)
        )
        return names.isdisjoint(others) and not any("*" in name for name in names | others)

    def faults(self, owner: Owner) -> Iterator[tuple[Program, Fault]]:
        """Programs that are meant by name and are not what they seem."""
        for program in (program for chain in owner.chains for program in chain):
            for pattern in self.patterns:
                if pattern.names(program) and not pattern.fits(program):
                    yield program, program.fault or Fault.CHANGED

    def _admits_chain(self, chain: Chain) -> bool:
        return any(pattern.fits(program) for program in chain for pattern in self.patterns)

    def to_doc(self) -> list[dict[str, Any]]:
        """As it stands in a document."""
        return [pattern.to_doc() for pattern in self.patterns]

    def __str__(self) -> str:
        shown = ", ".join(str(pattern) for pattern in self.patterns[:4])
        return shown + (", ..." if len(self.patterns) > 4 else "")


ANY_PROGRAM: Final = Programs.of((ProgramPattern(parse_file_glob(ANY_BINARY)),))


def is_sha256(text: str) -> bool:
    """Whether this is a SHA-256 in lower-case hex."""
    return _SHA256.fullmatch(text) is not None
