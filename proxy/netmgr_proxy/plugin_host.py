"""Owns: the process in which one installed router or scorer plug-in lives.

It is imported here, after every privilege was given up, and nowhere else: not in the daemon, and
not in a worker, whose memory has the credentials. The other side of the lines is
netmgr_proxy.line_router; whatever the plug-in does, that one does not wait for it.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Final

from netmgr.reasons import Reason
from netmgr.routing.contract import (
    API_VERSION,
    AttemptOutcome,
    Diagnostic,
    EndpointView,
    Facts,
    Health,
    RouteContext,
    RoutingSnapshot,
)

# What `do` may say -> the method that it needs.
ROUTER: Final = {
    "validate": "validate",
    "prepare": "prepare",
    "order": "order",
    "observe": "observe",
}
SCORER: Final = {"score": "score"}
KINDS: Final = {
    "router": ("netmgr.model_routers", ROUTER),
    "scorer": ("netmgr.route_scorers", SCORER),
}
_UNANSWERED: Final = frozenset(("prepare", "observe"))
_SETS: Final = ("residency", "capabilities")

JsonObject = dict[str, Any]


def load(kind: str, name: str) -> Any:
    """The plug-in, made.

    Raises:
        LookupError: no installed package has it.
        TypeError: it is none for this netmgr.
    """
    group, methods = KINDS[kind]
    points = entry_points(group=group, name=name)
    if not points:
        raise LookupError(f"{kind} {name!r} is not installed: no entry point of {group}")
    made = next(iter(points)).load()()
    version = getattr(made, "API_VERSION", None)
    if version != API_VERSION:
        raise TypeError(f"API_VERSION is {version!r}; this netmgr speaks {API_VERSION}")
    missing = [each for each in methods.values() if not callable(getattr(made, each, None))]
    if missing:
        raise TypeError(f"it has no {', '.join(missing)}")
    return made


def serve(plug_in: Any, lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """Answer until there are no more lines. One that could not prepare orders nothing."""
    unprepared = ""
    for line in lines:
        asked = json.loads(line)
        what = asked["do"]
        said = {"fault": unprepared} if unprepared and what == "order" else _said(plug_in, asked)
        if what == "prepare":
            unprepared = str(said.get("fault", ""))
        if what not in _UNANSWERED:
            write(_line(asked["id"], said))


def _said(plug_in: Any, asked: JsonObject) -> JsonObject:
    try:
        return _answer(plug_in, asked)
    except Exception as fault:
        return {"fault": f"{type(fault).__name__}: {fault}"}


def _line(number: int, said: JsonObject) -> bytes:
    try:
        text = json.dumps({"id": number, **said})
    except Exception as fault:  # what it answered is its own, too
        text = json.dumps({"id": number, "fault": f"{type(fault).__name__}: {fault}"})
    return text.encode() + b"\n"


def main(kind: str, name: str) -> int:
    """Load the plug-in and serve on standard input and output; the process's exit status."""
    # A plug-in that prints must not be taken for one that answers.
    out = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        plug_in = load(kind, name)
    except Exception as fault:
        print(f"netmgr: {kind} {name}: {type(fault).__name__}: {fault}", file=sys.stderr)
        return 1
    with os.fdopen(out, "wb", buffering=0) as answers:
        serve(plug_in, sys.stdin.buffer, answers.write)
    return 0


def _answer(plug_in: Any, asked: JsonObject) -> JsonObject:
    match asked["do"]:
        case "validate":
            found = plug_in.validate(MappingProxyType(asked["config"]), _views(asked["endpoints"]))
            return {"problems": [_problem(each) for each in found if _counts(each)]}
        case "prepare":
            snapshot = RoutingSnapshot(
                asked["generation"],
                tuple(_views(asked["endpoints"])),
                MappingProxyType(asked["config"]),
            )
            _known.clear()
            plug_in.prepare(snapshot)
        case "order":
            order = plug_in.order(_context(asked["context"]), _views(asked["permitted"]))
            if type(order) not in (list, tuple):
                raise TypeError(f"answered {type(order).__name__}, not a list of ids")
            return {"order": order}
        case "score":
            context = _context(asked["context"])
            return {"scores": [plug_in.score(context, v) for v in _views(asked["permitted"])]}
        case "observe":
            plug_in.observe(_outcome(asked["outcome"]))
    return {}


def _counts(found: Any) -> bool:
    if not isinstance(found, Diagnostic):
        raise TypeError("validate answered what is no Diagnostic")
    return found.severity == "error"


def _problem(found: Diagnostic) -> str:
    return f"{found.key}: {found.message}"


# -- values out of JSON ------------------------------------------------------------


_known: dict[str, tuple[JsonObject, EndpointView]] = {}  # the endpoints of a file: a thousand


def _views(given: Sequence[JsonObject]) -> list[EndpointView]:
    """Endpoints mostly are what they were in the question before."""
    found = []
    for each in given:
        kept = _known.get(each["id"])
        if kept is None or kept[0] != each:
            kept = _known[each["id"]] = (each, _view(each))
        found.append(kept[1])
    return found


def _view(given: JsonObject) -> EndpointView:
    health = Health(**given["health"])
    return EndpointView(given["id"], given["model"], _facts(given["facts"]), health)


def _facts(given: JsonObject) -> Facts:
    known: JsonObject = {k: frozenset(v) if k in _SETS else v for k, v in given.items()}
    return Facts(**known)


def _context(given: JsonObject) -> RouteContext:
    return RouteContext(
        request_id=given["request_id"],
        sandbox_id=given["sandbox"],
        tenant=given["tenant"],
        workload=_frozen(given["workload"]),
        protocol=given["protocol"],
        route=given["route"],
        stream=given["stream"],
        needs=frozenset(given["needs"]),
        tokens_in=given["tokens_in"],
        tokens_out_max=given["tokens_out_max"],
        label=given["label"],
        flags=frozenset(given["flags"]),
        sets=_frozen({name: frozenset(members) for name, members in given["sets"].items()}),
        unscanned=tuple(given["unscanned"]),
        exceeded=frozenset(given["exceeded"]),
        generation=given["generation"],
    )


def _outcome(given: JsonObject) -> AttemptOutcome:
    return AttemptOutcome(**{**given, "reason": Reason(given["reason"])})


def _frozen(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(given))
