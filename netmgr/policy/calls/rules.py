"""Owns: what an endpoint says about calls: rules for GraphQL and JSON-RPC, presets, bounds.

Knows nothing of endpoints, files or bytes. A rule says of one call whether it covers it, once as an
allow rule (all of it must fit) and once as a deny rule (any of it is enough).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from netmgr.policy.calls.call import TOOLS_CALL, Call, GraphqlCall, Operation, RpcCall
from netmgr.policy.http_rules import Access
from netmgr.policy.query import TextGlob

DEFAULT_BODY: Final = 65_536  # the modelled system's
MAX_BODY: Final = 8 * 1024 * 1024  # of a body that is read whole before it is judged
ANY_TYPE: Final = "*"
# What a client may ask of an MCP server: the specifications of 2024-11-05 to 2025-11-25.
_MCP_METHODS: Final = """
    initialize ping tools/list tools/call resources/list resources/read resources/templates/list
    resources/subscribe resources/unsubscribe prompts/list prompts/get completion/complete
    logging/setLevel tasks/get tasks/list tasks/result tasks/cancel notifications/initialized
    notifications/cancelled notifications/progress notifications/roots/list_changed
    notifications/tasks/status
"""
MCP_METHODS: Final = frozenset(_MCP_METHODS.split())
STRICT_TOOL: Final = re.compile("[A-Za-z0-9_.-]{1,128}")
"""What a tool may be called where names are strict."""


@dataclass(frozen=True, slots=True)
class GraphqlRule:
    """GraphQL operations of this type (or `*`), perhaps with certain names or root fields.

    Attributes:
        place: `rules[0]`, `deny_rules[2]` or `access`, within the endpoint.
        kind: an operation's kind, or `*`.
        name: None: any, also none.
        fields: none: any.
    """

    place: str
    kind: str
    name: TextGlob | None = None
    fields: tuple[TextGlob, ...] = ()

    def allows(self, call: Call) -> bool:
        """Whether it covers every root field of the operation."""
        if not isinstance(call, GraphqlCall) or not self._is_about(call):
            return False
        if not self.fields:
            return True
        return bool(call.fields) and all(self._names(field) for field in call.fields)

    def denies(self, call: Call) -> bool:
        """Whether it covers any root field of the operation. Fields not known may be any."""
        if not isinstance(call, GraphqlCall) or not self._is_about(call):
            return False
        return not (self.fields and call.fields) or any(map(self._names, call.fields))

    def _is_about(self, call: GraphqlCall) -> bool:
        if self.kind not in (ANY_TYPE, call.kind.value):
            return False
        return self.name is None or self.name.matches(call.name)

    def _names(self, field: str) -> bool:
        return any(glob.matches(field) for glob in self.fields)

    def to_doc(self) -> dict[str, Any]:
        """As it stands in a document."""
        doc: dict[str, Any] = {"operation_type": self.kind}
        if self.name is not None:
            doc["operation_name"] = self.name.text
        if self.fields:
            doc["fields"] = [glob.text for glob in self.fields]
        return doc


@dataclass(frozen=True, slots=True)
class ArgumentTest:
    """What one argument of a tool has to be.

    Attributes:
        globs: a value fits where one of them does.
        listed: written as `any`, though it may have one pattern only.
    """

    key: str
    globs: tuple[TextGlob, ...]
    listed: bool = False

    def allows(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the argument is there, and all of its values are texts that fit."""
        if self.key not in arguments:
            return False
        value = arguments[self.key]
        values = value if isinstance(value, list) else [value]
        return bool(values) and all(map(self._fits, values))

    def denies(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the argument is there, in any case, and some value of it fits.

        What is no text, nor a list of texts, may mean anything to the tool: it fits.
        """
        folded = self.key.casefold()
        for key, value in arguments.items():
            if key.casefold() != folded:
                continue
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict | list) or self._fits(item):
                    return True
        return False

    def _fits(self, value: Any) -> bool:
        return any(glob.matches(text) for text in _spellings(value) for glob in self.globs)

    def to_doc(self) -> Any:
        """As it stands in a document."""
        texts = [glob.text for glob in self.globs]
        return {"any": texts} if self.listed else texts[0]


@dataclass(frozen=True, slots=True)
class RpcRule:
    """JSON-RPC calls with this method, perhaps of certain tools with certain arguments.

    Attributes:
        place: `rules[0]` or `deny_rules[2]`, within the endpoint.
        tool: None: any; else only calls of a tool fit.
    """

    place: str
    method: TextGlob
    tool: TextGlob | None = None
    arguments: tuple[ArgumentTest, ...] = ()

    def allows(self, call: Call) -> bool:
        """Whether it covers the call with each of the arguments that it names."""
        if not self.is_about(call):
            return False
        arguments = call.arguments if isinstance(call, RpcCall) else None
        return all(test.allows(arguments or {}) for test in self.arguments)

    def denies(self, call: Call) -> bool:
        """Whether it covers the call with all arguments that it names."""
        if not self.is_about(call):
            return False
        arguments = call.arguments if isinstance(call, RpcCall) else None
        return all(test.denies(arguments or {}) for test in self.arguments)

    def is_about(self, call: Call) -> bool:
        """Whether it covers the call, whatever its arguments."""
        if not isinstance(call, RpcCall) or not self.method.matches(call.method):
            return False
        if self.tool is None:
            return not self.arguments or call.method == TOOLS_CALL
        return call.tool is not None and self.tool.matches(call.tool)

    def to_doc(self) -> dict[str, Any]:
        """As it stands in a document."""
        doc: dict[str, Any] = {"method": self.method.text}
        if self.tool is not None:
            doc["tool"] = self.tool.text
        if self.arguments:
            doc["arguments"] = {test.key: test.to_doc() for test in self.arguments}
        return doc


CallRule = GraphqlRule | RpcRule


@dataclass(frozen=True, slots=True)
class Inside:
    """What may be asked inside of an endpoint's requests.

    Attributes:
        max_body: bytes of one body (or message) that is read to be judged.
        registered: GraphQL operations by the id that is sent in their place.
        strict_tools: names of tools are of a form that no two servers read differently.
        profile: every known MCP method is allowed, and tools where no rule names any.
    """

    allow: tuple[CallRule, ...] = ()
    deny: tuple[CallRule, ...] = ()
    max_body: int = DEFAULT_BODY
    registered: Mapping[str, GraphqlCall] = field(default_factory=dict)
    strict_tools: bool = True
    profile: bool = False

    def allowing(self, call: Call) -> str | None:
        """The place of what allows the call, or None."""
        for rule in self.allow:
            if rule.allows(call):
                return rule.place
        if not (self.profile and isinstance(call, RpcCall) and call.method in MCP_METHODS):
            return None
        return None if call.method == TOOLS_CALL and self.allow else "mcp"

    def denying(self, call: Call) -> str | None:
        """The place of what denies the call, or None."""
        return next((rule.place for rule in self.deny if rule.denies(call)), None)

    def graphql_doc(self) -> dict[str, Any]:
        """Its keys of a GraphQL endpoint, without what is the default."""
        doc: dict[str, Any] = {}
        if self.registered:
            doc["persisted_queries"] = "allow_registered"
            doc["graphql_persisted_queries"] = {
                key: _registered_doc(call) for key, call in self.registered.items()
            }
        if self.max_body != DEFAULT_BODY:
            doc["graphql_max_body_bytes"] = self.max_body
        return doc

    def rpc_doc(self) -> dict[str, Any]:
        """The mapping `mcp` or `json_rpc`, without what is the default."""
        doc: dict[str, Any] = {}
        if self.max_body != DEFAULT_BODY:
            doc["max_body_bytes"] = self.max_body
        if not self.strict_tools:
            doc["strict_tool_names"] = False
        if self.profile:
            doc["allow_all_known_mcp_methods"] = True
        return doc


_PRESET_KINDS: Final[dict[Access, tuple[str, ...]]] = {
    Access.READ_ONLY: (Operation.QUERY.value,),
    Access.READ_WRITE: (Operation.QUERY.value, Operation.MUTATION.value),
    Access.FULL: (ANY_TYPE,),
}
GRAPHQL_PRESETS: Final[dict[Access, tuple[GraphqlRule, ...]]] = {
    access: tuple(GraphqlRule("access", kind) for kind in kinds)
    for access, kinds in _PRESET_KINDS.items()
}


def _registered_doc(call: GraphqlCall) -> dict[str, Any]:
    doc: dict[str, Any] = {"operation_type": call.kind.value}
    if call.name:
        doc["operation_name"] = call.name
    if call.fields:
        doc["fields"] = list(call.fields)
    return doc


def _spellings(value: Any) -> tuple[str, ...]:
    """A scalar as its rule sees it: words as they are, the others as JSON writes them."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, float) and value.is_integer():
        return (json.dumps(value), str(int(value)))  # 1e0 is 1 to most readers
    if value is None or isinstance(value, bool | int | float):
        return (json.dumps(value),)
    return ()
