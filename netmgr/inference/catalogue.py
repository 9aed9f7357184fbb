"""Owns: which provider types there are: the built-in ones, and those of the operator's files.

An operator's file may not take the name of a built-in type: what `openai` means is the same on
every host. Knows nothing of what a type says (netmgr.inference.provider_type).
"""

import functools
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.inference.provider_type import ProviderType
from netmgr.inference.type_file import MAX_FILE, parse_type

BUILT_IN: Final = "built in"
MAX_FILES: Final = 256  # in the operator's directory


class Catalogue:
    """Provider types by name and alias. Immutable.

    Raises:
        BadInput: two types claim one name.
    """

    def __init__(self, types: Iterable[ProviderType]) -> None:
        self._types: dict[str, ProviderType] = {}
        self._names: dict[str, ProviderType] = {}
        for kind in types:
            for name in (kind.name, *kind.aliases):
                taken = self._names.get(name)
                if taken is not None:
                    raise BadInput(
                        f"{kind.source}: type: {name!r} is the name of a type already "
                        f"({taken.name}, {taken.source})"
                    )
                self._names[name] = kind
            self._types[kind.name] = kind

    def all(self) -> tuple[ProviderType, ...]:
        """Every type, by name."""
        return tuple(self._types[name] for name in sorted(self._types))

    def get(self, name: str) -> ProviderType:
        """The type called `name` (blanks around it and case do not matter).

        Raises:
            BadInput: there is no such type; names the nearest.
        """
        wanted = name.strip().lower()
        found = self._names.get(wanted)
        if found is None:
            raise BadInput(
                f"unknown provider type {name!r}; expected one of "
                + ", ".join(sorted(self._types))
                + did_you_mean(wanted, self._names)
            )
        return found


@functools.cache
def built_in() -> Catalogue:
    """The types that every version of netmgr has."""
    folder = resources.files("netmgr.inference") / "types"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    found = [parse_type(file.read_text(encoding="utf-8"), file.name) for file in files]
    return Catalogue(_as_built_in(kind) for kind in found)


def load_catalogue(directory: Path | None, *, mock: bool = False) -> Catalogue:
    """The built-in types and those of a directory's `*.yaml` files.

    Args:
        directory: one that is not there holds no types; None is no directory.
        mock: whether providers may be made up.

    Raises:
        BadInput: a file cannot be read or says something wrong, as `file:line: key: problem`.
    """
    mine = list(_read_directory(directory)) if directory is not None else []
    if not mine and not mock:
        return built_in()
    return Catalogue(replace(kind, mock=mock) for kind in (*built_in().all(), *mine))


def _read_directory(directory: Path) -> Iterable[ProviderType]:
    try:
        files = sorted(directory.glob("*.yaml"))
        if len(files) > MAX_FILES:
            raise BadInput(f"{directory}: {len(files)} files; {MAX_FILES} are read")
        for path in files:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
            try:
                yield parse_type(data.decode(), str(path))
            except UnicodeDecodeError as problem:
                line = data[: problem.start].count(b"\n") + 1
                raise BadInput(f"{path}:{line}: not UTF-8") from None
    except OSError as problem:
        raise BadInput(f"{problem.filename or directory}: {problem.strerror}") from None


def _as_built_in(kind: ProviderType) -> ProviderType:
    return replace(kind, source=BUILT_IN)
