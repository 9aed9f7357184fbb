"""A provider type's file: a type whose routes survive the wire, or `BadInput` with its place."""

from netmgr.errors import BadInput
from netmgr.inference.dialect import Dialect
from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.inference.type_file import parse_type
from netmgr.secret import Secret

WORDS = (
    b"type: acme\n",
    b"base_url: https://llm.acme.test/{team}/v2\n",
    b"auth:\n  - {style: bearer, credentials: [KEY]}\n",
    b"auth:\n  - {style: none}\n",
    b"settings:\n  TEAM: {word: team, default: red}\n",
    b"words:\n  host: {of: team, exact: {red: a}, prefix: {r: b}, otherwise: '{team}'}\n",
    b"protocols: [openai_chat_completions]\n",
    b"calls:\n  chat: {target: '/v1/{model}:go', remove: [a], add: {b: '1'}}\n",
    b"patterns:\n  - {path: '/v1/jobs/{id}', operation: job, method: GET}\n",
    b"variants:\n  - {when: {team: red}, protocols: [model_discovery]}\n",
    b"headers: {forward: [x-a], add: {x-b: c}}\n",
    b"{model}",
    b"path_prefix: /\n",
)


def fuzz(data: bytes) -> None:
    """Every problem has its place; what loads resolves, or says why not."""
    try:
        kind = parse_type(data.decode("utf-8", "replace"), "t.yaml")
    except BadInput as problem:
        lines = problem.message.split("\n")
        assert all(line.startswith("t.yaml") for line in lines), lines
        return
    keys = {name: Secret("k") for name in kind.auth[0].credentials}
    try:
        route = resolve_route(Provider("p", kind.name, keys, {}, kind), "m", route_id="r")
    except BadInput:
        return
    assert Dialect.from_wire(route.dialect.to_wire()) == route.dialect
