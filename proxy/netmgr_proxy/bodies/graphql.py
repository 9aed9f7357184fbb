"""Owns: reading GraphQL requests: which operation would run, and its root fields. Pure.

graphql-core does the grammar; this file bounds it, chooses the operation and unfolds fragments.
Sources: GraphQL (September 2025) §2; GraphQL over HTTP §5, §6; the protocols graphql-transport-ws
and (the older) graphql-ws; Apollo's automatic persisted queries.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from netmgr.policy.calls.call import Call, Calls, GraphqlCall, Operation, StoredCall
from netmgr_proxy.bodies.graphql_grammar import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
)
from netmgr_proxy.bodies.strict_json import BadBody, check_keys, read_json, show

MAX_BATCH: Final = 50  # operations of one body; each is parsed and judged
# Of all documents of one body: a token takes 5 µs to read, and nothing else runs meanwhile. The
# introspection query of tools has 350.
MAX_TOKENS: Final = 5_000
MAX_COMMENTS: Final = 1_000
MAX_FIELDS: Final = 500  # different root fields of one operation

_KNOWN: Final = ("query", "operationName", "variables", "extensions")
# What clients send in place of a query's text, by the names that servers give it.
_IDS: Final = ("id", "documentId", "queryId", "doc_id", "hash")
_STORED: Final = ("version", "sha256Hash")
_NO_CALL: Final = frozenset(
    ("connection_init", "ping", "pong", "complete", "stop", "connection_terminate")
)


class Budget:
    """What is left of the tokens that one body may cost."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = MAX_TOKENS


def read_body(body: bytes, query: Mapping[str, list[str]]) -> Calls:
    """The operations of a POST: one, or a batch.

    Args:
        query: the decoded query of the URL, which servers merge with the body.

    Raises:
        BadBody: it is no such body, or one that two servers could read differently.
    """
    for key in query:
        if _plain(key) in _FOLDED:
            raise BadBody(f"the URL's query has {show(key)} beside the body's; keep one")
    value = read_json(body)
    budget = Budget()
    if isinstance(value, list):
        if not 1 <= len(value) <= MAX_BATCH:
            raise BadBody(f"a batch of {len(value)} operations; expected 1 to {MAX_BATCH}")
        return tuple(_read_request(item, budget) for item in value)
    return (_read_request(value, budget),)


def read_url(query: Mapping[str, list[str]]) -> Calls:
    """The operation of a GET.

    Raises:
        BadBody: there is none, or a parameter stands twice.
    """
    request: dict[str, Any] = {}
    for key, values in query.items():
        meant = _FOLDED.get(_plain(key))
        if meant is None:
            continue
        if meant != key or len(values) != 1:
            raise BadBody(f"the URL's query has {show(key)} twice, or in another spelling")
        text = values[0]
        if key not in ("variables", "extensions"):
            request[key] = text
        elif text:
            request[key] = read_json(text.encode("utf-8", "surrogatepass"))
    return (_read_request(request, Budget()),)


def read_message(text: bytes) -> Calls:
    """The operation that a client's WebSocket message begins; nothing where it begins none.

    Raises:
        BadBody: it is no message of either protocol.
    """
    message = read_json(text)
    if not isinstance(message, dict):
        raise BadBody("the message is no JSON object")
    check_keys(message, ("type", "id", "payload"), "the message")
    kind = message.get("type")
    if kind in ("subscribe", "start"):
        return (_read_request(message.get("payload"), Budget()),)
    if isinstance(kind, str) and kind in _NO_CALL:
        return ()
    raise BadBody(f"a message of the type {show(str(kind))}, which no GraphQL client sends")


def _read_request(request: Any, budget: Budget) -> Call:
    if not isinstance(request, dict):
        raise BadBody("a GraphQL request is a JSON object")
    check_keys(request, (*_KNOWN, *_IDS), "the request")
    for key in request:
        if key not in _KNOWN and key not in _IDS:
            raise BadBody(f"the request has the unknown key {show(key)}")
    name = _word(request, "operationName")
    text = _word(request, "query")
    key = _stored_key(request)
    if text:
        if key is not None and key != hashlib.sha256(text.encode()).hexdigest():
            raise BadBody("the request has a query, and the id of another one")
        return read_operation(text, name, budget)
    if key is None:
        raise BadBody("the request has neither 'query' nor the id of one")
    return StoredCall(key, name)


def _word(request: Mapping[str, Any], key: str) -> str:
    value = request.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadBody(f"{key!r} is no word")
    return value


def _stored_key(request: Mapping[str, Any]) -> str | None:
    """The id under which the server is to know the query; None where none is sent."""
    keys = [_word(request, key) for key in _IDS if request.get(key) is not None]
    extensions = request.get("extensions")
    if extensions is not None:
        if not isinstance(extensions, dict):
            raise BadBody("'extensions' is no JSON object")
        check_keys(extensions, ("persistedQuery",), "'extensions'")
        stored = extensions.get("persistedQuery")
        if stored is not None:
            if not isinstance(stored, dict):
                raise BadBody("'persistedQuery' is no JSON object")
            check_keys(stored, _STORED, "'persistedQuery'")
            keys.append(_word(stored, "sha256Hash"))
    if len(keys) > 1 or "" in keys:
        raise BadBody("the request names a stored query twice, or by an empty id")
    return keys[0] if keys else None


# -- documents -----------------------------------------------------------------------------


def read_operation(text: str, name: str, budget: Budget) -> GraphqlCall:
    """The operation that a server would run.

    Args:
        name: `operationName`, '' where there is none.

    Raises:
        BadBody: the text is no executable document, or does not tell which operation is meant.
    """
    document = _parse(text, budget)
    operations: list[OperationDefinitionNode] = []
    fragments: dict[str, FragmentDefinitionNode] = {}
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            operations.append(node)
        elif isinstance(node, FragmentDefinitionNode):
            if node.name.value in fragments:
                raise BadBody(f"the fragment {node.name.value} stands twice")
            fragments[node.name.value] = node
        else:
            raise BadBody("the document defines types, and is not only to be run")
    chosen = _choose(operations, name)
    fields = _root_fields(chosen.selection_set, fragments)
    own = chosen.name.value if chosen.name else ""
    return GraphqlCall(Operation(chosen.operation.value), own, fields)


def _parse(text: str, budget: Budget) -> DocumentNode:
    try:
        document = parse(
            text,
            no_location=True,
            max_tokens=budget.tokens,
            max_comments=MAX_COMMENTS,
            allow_empty_selection_sets=False,
        )
    except GraphQLError as error:
        raise BadBody(f"the GraphQL document: {error.message[:200]}") from None
    except RecursionError:
        raise BadBody("the GraphQL document is nested too deeply") from None
    budget.tokens = max(budget.tokens - document.token_count, 1)
    return document


def _choose(operations: list[OperationDefinitionNode], name: str) -> OperationDefinitionNode:
    named = [node.name.value if node.name else "" for node in operations]
    if not operations:
        raise BadBody("the GraphQL document has no operation")
    if len(set(named)) != len(named) or (len(named) > 1 and "" in named):
        raise BadBody("the operations of the GraphQL document cannot be told apart by their names")
    if name:
        if name not in named:
            raise BadBody(f"no operation {show(name)} in the GraphQL document")
        return operations[named.index(name)]
    if len(operations) > 1:
        raise BadBody("several operations: 'operationName' has to say which one is meant")
    return operations[0]


def _root_fields(
    selections: SelectionSetNode | None, fragments: Mapping[str, FragmentDefinitionNode]
) -> tuple[str, ...]:
    """The root fields by their own names, in order. Each fragment is unfolded once."""
    found: dict[str, None] = {}
    unfolded: set[str] = set()
    left: list[SelectionSetNode | None] = [selections]
    while left:
        current = left.pop()
        for node in current.selections if current is not None else ():
            match node:
                case FieldNode():
                    found[node.name.value] = None
                case InlineFragmentNode():
                    left.append(node.selection_set)
                case FragmentSpreadNode() if node.name.value not in unfolded:
                    unfolded.add(node.name.value)
                    left.append(_fragment(fragments, node.name.value).selection_set)
    if not found:
        raise BadBody("the operation has no field")
    if len(found) > MAX_FIELDS:
        raise BadBody(f"the operation has more than {MAX_FIELDS} different root fields")
    return tuple(found)


def _fragment(fragments: Mapping[str, FragmentDefinitionNode], name: str) -> FragmentDefinitionNode:
    if name not in fragments:
        raise BadBody(f"no fragment {show(name)} in the GraphQL document")
    return fragments[name]


def _plain(key: str) -> str:
    """A parameter's name as lenient frameworks read it: `query[]` and `query.x` are `query`."""
    return key.partition("[")[0].partition(".")[0].strip().casefold()


def _fold(keys: Iterable[str]) -> dict[str, str]:
    return {key.casefold(): key for key in keys}


_FOLDED: Final = _fold((*_KNOWN, *_IDS))
