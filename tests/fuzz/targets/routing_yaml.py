"""A routing file: a generation that decides, the same when it is read again; or `PolicyError`."""

from netmgr.middleware.contract import StageResult, Status
from netmgr.policy.problems import MAX_SHOWN, PolicyError
from netmgr.routing.cases import run_cases
from netmgr.routing.contract import Request
from netmgr.routing.generation import Generation
from netmgr.routing.schema import parse_routing, routing_from_doc

WORDS = (
    b"version: 1\n",
    b"endpoints:\n",
    b"  near: {provider: p, model: m}\n",
    b"    facts: {residency: [eu], operated_by: self, clearance: high, context: 4096}\n",
    b"sensitivity: {order: [low, high], unlabelled: low, unscanned: high}\n",
    b"metadata:\n  guard: {required: true}\n",
    b"    promote: {local: {key: local, type: bool}}\n",
    b"    findings: {pii: {raises: high}}\n",
    b"routes: {default: [near]}\n",
    b"rules:\n",
    b"  - id: r\n",
    b"    when: {tenant: {in: [a]}}\n",
    b"    require: {operated_by: self}\n",
    b"prefer: [{by: [price_out, {capability: tools}]}]\n",
    b"failure: {attempts: 2, retry_on: [connect, 503]}\n",
    b"tests: [{name: t, given: {tenant: a}, expect: {permitted: [near]}}]\n",
    b"&a ",
    b"*a",
    b"{at_least: ",
    b"not_in: ",
)


def fuzz(data: bytes) -> None:
    """Every problem has its place; what loads decides, twice alike."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        file = parse_routing(text, "r.yaml")
    except PolicyError as problem:
        lines = problem.message.split("\n")
        assert len(lines) <= MAX_SHOWN + 1
        assert all(line.startswith("r.yaml") for line in lines), lines
        return
    again = routing_from_doc(file.doc)
    assert again.digest == file.digest
    one, other = Generation(file), Generation(again)
    run_cases(one)
    stages = [StageResult(stage.name, "m", Status.FAILED) for stage in file.stages]
    for request in (Request(), Request(tenant="a", tokens_in=10**6, needs=frozenset({"tools"}))):
        ctx = one.context(request, stages)
        plan = one.decide(ctx)
        assert plan == other.decide(ctx)
        assert set(plan.endpoints).isdisjoint(one.rejected(ctx))
