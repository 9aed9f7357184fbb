"""Owns: the OpenAPI document that the daemon serves: FastAPI's, with what it cannot know.

FastAPI knows paths and bodies; names, answers, examples and the one shape of errors come from
`OPERATIONS`. Pure: an application in, a document out. An operation that the table lacks is served
without them; a test says which.
"""

import re
from collections.abc import Iterator
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints, is_typeddict

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from netmgr import answers, errors
from netmgr.control.operation import Operation
from netmgr.control.operations import OPERATIONS

Json = dict[str, Any]

DESCRIPTION: Final = (
    "What the command line and container runtimes ask of netmgr: HTTP/1.1 and JSON on a unix "
    "socket. Callers are known by the kernel's word. Root may do everything, the socket's group "
    "may read, and create and delete sandboxes. Every error has the one shape `Failure`."
)
TAGS: Final = (
    ("/v1/sandboxes", "sandboxes"),
    ("/v1/policy", "policies"),
    ("/v1/explain", "policies"),
    ("/v1/provider", "providers"),
    ("/v1/vault", "providers"),
    ("/v1/inference", "inference"),
    ("/v1/routing", "inference"),
)
_ALWAYS: Final = (403, 422, 500, 503)
_REASONS: Final = {
    403: (errors.Refused, "The caller may not do this."),
    404: (errors.NotFound, "What was named does not exist."),
    409: (errors.Conflict, "It exists with other parameters, has another revision, or is in use."),
    422: (errors.BadInput, "The request is wrong; the message names the place."),
    429: (errors.LimitExceeded, "A named bound is full."),
    500: (errors.HostFailed, "The kernel or the host refused or lacks something."),
    502: (errors.NotVerified, "A model provider did not answer as it should; nothing was saved."),
    503: (errors.TryLater, "Something is not ready; the same call may work in a moment."),
}
_REFERENCE: Final = "#/components/schemas/{model}"
_PLAIN: Final = {"/metrics": "text/plain", "/v1/records": "application/x-ndjson"}


def document(app: FastAPI) -> Json:
    """The document of an application, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas |= _answer_schemas()
        made["components"]["responses"] = {str(n): _error_response(n) for n in _REASONS}
        made["tags"] = [{"name": name} for name in dict.fromkeys([*dict(TAGS).values(), "daemon"])]
        for method, path, told in _operations(made):
            _complete(path, told, OPERATIONS.get((method, path)))
        app.openapi_schema = made
    return app.openapi_schema


def _operations(made: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in made["paths"].items():
        for method, told in item.items():
            yield method.upper(), path, told


def _complete(path: str, told: Json, known: Operation | None) -> None:
    """Add to one operation what FastAPI cannot know of it."""
    told["tags"] = [next((tag for start, tag in TAGS if path.startswith(start)), "daemon")]
    parameters = told.setdefault("parameters", [])
    declared = {p["name"] for p in parameters if p["in"] == "path"}
    for name in re.findall(r"{(\w+)}", path):
        if name not in declared:  # routes that serve two paths read it from the request
            text = {"type": "string"}
            parameters.append({"name": name, "in": "path", "required": True, "schema": text})
    if not parameters:
        del told["parameters"]
    statuses = (*_ALWAYS, *(known.errors if known else ()))
    for status in sorted(statuses):
        told["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}
    if known is None:
        return
    told |= {"operationId": known.name, "summary": known.summary}
    for status, answer in told["responses"].items():
        if status.startswith("2"):
            answer["description"] = "Done."
            answer["content"] = _content(path, known)
    if known.sent is not None:
        told["requestBody"]["content"]["application/json"]["example"] = known.sent
    if known.name == "sandbox_create":
        _tell_of_repeats(told)


def _content(path: str, known: Operation) -> Json:
    if path in _PLAIN:
        return {_PLAIN[path]: {"schema": {"type": "string"}}}
    schema: Json = {"type": "object"}
    if known.answer is not None:
        schema = {"$ref": _REFERENCE.format(model=known.answer.__name__)}
    return {"application/json": {"schema": schema, "example": known.got}}


def _tell_of_repeats(told: Json) -> None:
    """A creation answers 201, or 200 where the sandbox was there."""
    made = told["responses"]["201"]
    made["description"] = "Made now, or an earlier answer repeated under its idempotency key."
    made["headers"] = {
        "Idempotency-Replayed": {
            "description": "`true` where this is the answer to an earlier request.",
            "schema": {"type": "string"},
        }
    }
    told["responses"]["200"] = {
        "description": "It existed with these parameters; or, with `dry_run`, the plan.",
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": _REFERENCE.format(model=model)} for model in ("Sandbox", "Plan")
                    ]
                }
            }
        },
    }


def _error_response(status: int) -> Json:
    kind, description = _REASONS[status]
    example = {"error": {"code": kind.code, "message": "why, and what to do", "details": {}}}
    schema = {"$ref": _REFERENCE.format(model="Failure")}
    return {
        "description": description,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _answer_schemas() -> Json:
    """The schemas of all answers, by name."""
    found: Json = {}
    for kind in vars(answers).values():
        if is_typeddict(kind):
            schema = TypeAdapter(_pydantics(kind)).json_schema(ref_template=_REFERENCE)
            found |= schema.pop("$defs", {})
            found[kind.__name__] = schema
    return found


@cache
def _pydantics(kind: Any) -> Any:
    """A type with each TypedDict in it as pydantic takes them: before Python 3.12 only those of
    typing_extensions."""
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        fields = {name: _pydantics(hint) for name, hint in hints.items()}
        made: Any = TypedDict(kind.__name__, fields)  # type: ignore[misc]  # made at run time
        made.__doc__ = kind.__doc__
        return made
    origin, parts = get_origin(kind), tuple(map(_pydantics, get_args(kind)))
    if origin is UnionType:
        return reduce(or_, parts)
    if origin is None:
        return kind
    return origin[parts[0] if len(parts) == 1 else parts]
