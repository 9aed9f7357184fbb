"""Owns: graphql-core's grammar, loaded without the rest of that library.

`import graphql` loads its type system and its executor as well: 150 modules, 5 MiB in every worker
and twice the time. A reader of queries needs 48 of them. The package's own `__init__` is therefore
kept from running; whoever imports `graphql` afterwards gets the whole of it.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def _bare_package(name: str) -> Iterator[None]:
    """While this lasts a package's modules can be imported without its `__init__`.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.submodule_search_locations is None:
        yield  # it is there as a whole, or the import that follows says what is missing
        return
    bare = ModuleType(name)
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = bare
    try:
        yield
    finally:
        del sys.modules[name]


with _bare_package("graphql"):
    from graphql.error import GraphQLError
    from graphql.language import (
        DocumentNode,
        FieldNode,
        FragmentDefinitionNode,
        FragmentSpreadNode,
        InlineFragmentNode,
        OperationDefinitionNode,
        SelectionSetNode,
        parse,
    )

__all__ = [
    "DocumentNode",
    "FieldNode",
    "FragmentDefinitionNode",
    "FragmentSpreadNode",
    "GraphQLError",
    "InlineFragmentNode",
    "OperationDefinitionNode",
    "SelectionSetNode",
    "parse",
]
