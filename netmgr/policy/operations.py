"""Owns: the operations of `policy update` and how a command line or the API spells them.

    add-endpoint     host:port[/path][:access[:protocol[:enforcement[:option,...]]]]
    remove-endpoint  host:port[/path]
    add-allow        host:port:METHOD:path-pattern
    add-deny         host:port:METHOD:path-pattern
    allow-operation  host:port[/path]:operation   as calls/wording.py has it
    deny-operation   host:port[/path]:operation
    remove-rule      entry
    remove-binary    path        from the entry of rule-name, or from all
    rule-name        entry       which entry the others work on
    binary           path        who may use added endpoints
    expires          when        a date, an RFC 3339 time, or never: of added or named entries
A ':' in an endpoint's path is written as %3A. Knows nothing of policies: update.py applies them.
What is inside a part (is this a host?) is judged by the schema, once the new policy is read.
"""

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.policy.expiry import parse_expiry
from netmgr.policy.hosts import parse_host
from netmgr.policy.match import BadPattern, parse_path_glob

MAX_OPERATIONS: Final = 256  # of one batch; more is a new policy, not an update

_ENDPOINT_FORM: Final = "host:port[/path][:access[:protocol[:enforcement[:options]]]]"
_PLACE_FORM: Final = "host:port[/path]"
_PROTOCOLS: Final = ("", "tcp", "sql", "rest", "websocket", "graphql", "json-rpc", "mcp")
_OPAQUE: Final = ("", "tcp", "sql")
_OPTIONS: Final = (
    "allow-encoded-slash",
    "websocket-credential-rewrite",
    "request-body-credential-rewrite",
)
_NEVER: Final = "never"
_OPERATION_FORM: Final = "host:port[/path]:operation"
_RULE_FORM: Final = "host:port:METHOD:path"


@dataclass(frozen=True, slots=True)
class AddEndpoint:
    """Allow a host and port. An access preset without a protocol means rest.

    A protocol whose requests are judged, without a preset, takes the rules of the host's other
    endpoints of that protocol, or those that the batch gives.

    Attributes:
        options: keys of an endpoint that are switched on.
        path: which requests it is for, in canonical spelling; '' for all. One with a path has its
            preset, or the rules that the batch gives.
    """

    host: str
    port: int
    access: str = ""
    protocol: str = ""
    enforcement: str = ""
    options: tuple[str, ...] = ()
    path: str = ""


@dataclass(frozen=True, slots=True)
class RemoveEndpoint:
    """Allow a host and port no longer, or what of it is for one path (where that is not '')."""

    host: str
    port: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class AddHttpRule:
    """Allow (or deny) a method and a path on a rest endpoint."""

    deny: bool
    host: str
    port: int
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class AddCallRule:
    """Allow (or deny) what is inside of requests to a graphql, json-rpc or mcp endpoint.

    Attributes:
        path: of the endpoint, where several share a host and port.
        operation: in the words of netmgr.policy.calls.wording.
    """

    deny: bool
    host: str
    port: int
    path: str
    operation: str


@dataclass(frozen=True, slots=True)
class RemoveEntry:
    """Remove a whole entry of `network_policies`."""

    entry: str


@dataclass(frozen=True, slots=True)
class UseEntry:
    """Everything else in the batch works on this entry."""

    entry: str


@dataclass(frozen=True, slots=True)
class UseBinary:
    """Endpoints that the batch adds are for this program."""

    path: str


@dataclass(frozen=True, slots=True)
class UseExpiry:
    """Entries that the batch makes or names end then; None: they do not end."""

    text: str | None


@dataclass(frozen=True, slots=True)
class RemoveBinary:
    """This program may no longer use the entries that list it."""

    path: str


Operation = (
    AddEndpoint
    | RemoveEndpoint
    | AddHttpRule
    | AddCallRule
    | RemoveEntry
    | RemoveBinary
    | UseEntry
    | UseBinary
    | UseExpiry
)

# Operations whose value is one name.
_WHOLE: Final[dict[str, Callable[[str], Operation]]] = {
    "remove-rule": RemoveEntry,
    "remove-binary": RemoveBinary,
    "rule-name": UseEntry,
    "binary": UseBinary,
}
FLAGS: Final = (
    "add-endpoint",
    "remove-endpoint",
    "add-allow",
    "add-deny",
    "allow-operation",
    "deny-operation",
    "remove-rule",
    "remove-binary",
    "rule-name",
    "binary",
    "expires",
)


def parse_operation(flag: str, value: str) -> Operation:
    """One operation from a flag (with or without `--`) and its value.

    Raises:
        BadInput: the flag is unknown, or the value does not have its form.
    """
    name = flag.removeprefix("--")
    if not value or not value.isprintable():
        raise BadInput(f"--{name}: expected a value in printable characters")
    match name:
        case "add-endpoint":
            return _parse_add_endpoint(value)
        case "remove-endpoint":
            host, place = _split(name, value, 2, 2, _PLACE_FORM)
            return RemoveEndpoint(_host(name, host), *_place(name, place))
        case "add-allow" | "add-deny":
            host, port, method, path = _split(name, value, 4, 4, _RULE_FORM, last_takes_all=True)
            deny = name == "add-deny"
            return AddHttpRule(deny, _host(name, host), _port(name, port), method.upper(), path)
        case "allow-operation" | "deny-operation":
            return _parse_call_rule(name, value)
        case "expires":
            return UseExpiry(_expiry(value))
        case _ if name in _WHOLE:
            return _WHOLE[name](value)
        case _:
            raise BadInput(f"unknown operation {name!r}{did_you_mean(name, FLAGS)}")


def parse_operations(wire: Iterable[object]) -> tuple[Operation, ...]:
    """A batch as the API carries it: `[{"op": "add-endpoint", "value": "host:443"}, ...]`.

    Raises:
        BadInput: with the number of the first bad operation.
    """
    found: list[Operation] = []
    for number, item in enumerate(wire):
        place = f"operations[{number}]"
        if number >= MAX_OPERATIONS:
            raise BadInput(f"{place}: at most {MAX_OPERATIONS} operations in one batch")
        match item:
            case {"op": str(flag), "value": str(value), **rest} if not rest:
                pass
            case _:
                raise BadInput(f"{place}: expected an object with 'op' and 'value' as words")
        try:
            found.append(parse_operation(flag, value))
        except BadInput as error:
            raise BadInput(f"{place}: {error.message}") from None
    return tuple(found)


def parse_arguments(arguments: str) -> tuple[Operation, ...]:
    """A batch as a command line's tail, such as `Decision.remedy_args`.

    Raises:
        BadInput: not pairs of flag and value, or one of them is bad.
    """
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise BadInput(f"{arguments!r}: {error}") from None
    if len(words) % 2:
        raise BadInput(f"{arguments!r}: expected pairs of flag and value")
    pairs = zip(words[::2], words[1::2], strict=True)
    return tuple(parse_operation(flag, value) for flag, value in pairs)


def _parse_add_endpoint(value: str) -> AddEndpoint:
    name = "add-endpoint"
    host, place, *rest = _split(name, value, 2, 6, _ENDPOINT_FORM)
    port, path = _place(name, place)
    access, protocol, enforcement, options = (*rest, "", "", "", "")[:4]
    if access and not protocol:
        protocol = "rest"
    if protocol not in _PROTOCOLS:
        known = ", ".join(filter(None, _PROTOCOLS))
        near = did_you_mean(protocol, _PROTOCOLS)
        raise BadInput(f"--{name}: unknown protocol {protocol!r}; expected {known}{near}")
    if path and protocol in _OPAQUE:
        raise BadInput(
            f"--{name} {value!r}: a path is for endpoints that judge requests: give an access "
            "(read-only, read-write, full) or a protocol, such as rest"
        )
    switched = _options(name, options)
    return AddEndpoint(_host(name, host), port, access, protocol, enforcement, switched, path)


def _parse_call_rule(name: str, value: str) -> AddCallRule:
    host, place, operation = _split(name, value, 3, 3, _OPERATION_FORM, last_takes_all=True)
    deny = name == "deny-operation"
    return AddCallRule(deny, _host(name, host), *_place(name, place), operation)


def _options(name: str, text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(text.split(","))) if text else ()
    for option in found:
        if option not in _OPTIONS:
            raise BadInput(f"--{name}: unknown option {option!r}{did_you_mean(option, _OPTIONS)}")
    return tuple(option.replace("-", "_") for option in found)


def _expiry(text: str) -> str | None:
    if text == _NEVER:
        return None
    try:
        return parse_expiry(text).text
    except ValueError as error:
        raise BadInput(f"--expires {error}, or {_NEVER!r}") from None


def _split(
    name: str, value: str, least: int, most: int, form: str, *, last_takes_all: bool = False
) -> list[str]:
    parts = value.split(":", most - 1) if last_takes_all else value.split(":")
    if not least <= len(parts) <= most:
        raise BadInput(f"--{name} {value!r}: expected {form}")
    return parts


def _host(name: str, text: str) -> str:
    try:
        return parse_host(text).text
    except BadPattern as error:
        raise BadInput(f"--{name}: host {error}") from None


def _place(name: str, text: str) -> tuple[int, str]:
    """The port, and the path behind it in canonical spelling; '' where it covers every path."""
    port, slash, path = text.partition("/")
    if not slash:
        return _port(name, port), ""
    try:
        glob = parse_path_glob(slash + path)
    except BadPattern as error:
        raise BadInput(f"--{name}: path {error}") from None
    return _port(name, port), glob.text if glob.specificity else ""


def _port(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise BadInput(f"--{name}: port {text!r}: expected 1 to 65535")
    return int(text)
