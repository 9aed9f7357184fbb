"""What holds of every routing file and every request: nothing that comes later opens anything."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from netmgr.middleware.contract import Finding, Level, StageResult, Status
from netmgr.routing.cells import axes, cells
from netmgr.routing.contract import EndpointView, Health, HealthBoard, Request, RouteContext
from netmgr.routing.explain import explained
from netmgr.routing.generation import Binding, Generation
from netmgr.routing.guarded import GuardedRouter
from netmgr.routing.order import Delegated
from netmgr.routing.schema import routing_from_doc
from netmgr.routing.sweep import Sweep

LABELS = ["public", "internal", "confidential", "restricted"]
TENANTS = ["acme", "globex", "umbrella"]
CAPABILITIES = ["tools", "vision", "json_schema", "audio"]
STAGES = ["guard", "tagger"]
IDS = ["e0", "e1", "e2", "e3", "e4", "e5"]

# A file costs a few milliseconds to draw; its values are few.
FEW = settings(max_examples=40)

facts = st.fixed_dictionaries(
    {},
    optional={
        "residency": st.lists(st.sampled_from(["eu", "us", "ch"]), min_size=1, unique=True),
        "operated_by": st.sampled_from(["self", "processor", "third_party"]),
        "retention": st.sampled_from(["none", "24h", "30d"]),
        "clearance": st.sampled_from(LABELS),
        "capabilities": st.lists(st.sampled_from(CAPABILITIES), unique=True),
        "context": st.sampled_from([1000, 32768, 131072]),
        "price": st.fixed_dictionaries(
            {"in": st.just("0.5"), "out": st.sampled_from(["1", "9.5"])}
        ),
    },
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "tenant": st.one_of(
            st.sampled_from(TENANTS),
            st.fixed_dictionaries(
                {"not_in": st.lists(st.sampled_from(TENANTS), min_size=1, unique=True)}
            ),
        ),
        "sensitivity": st.fixed_dictionaries({"at_least": st.sampled_from(LABELS)}),
        "requires_local": st.just(True),
        "topics": st.fixed_dictionaries({"any": st.just(["health", "money"])}),
        "workload": st.fixed_dictionaries({"tier": st.just(["batch"])}),
        "tokens": st.fixed_dictionaries({"at_least": st.sampled_from([500, 40000])}),
        "stream": st.booleans(),
    },
)
requirements = st.sampled_from(
    [
        {"operated_by": "self"},
        {"operated_by": ["self", "processor"]},
        {"retention": {"max": "24h"}},
        {"clearance": {"at_least": "confidential"}},
        {"context": {"min": 2000}},
        {"price_out": {"max": 2}},
        {"endpoint": {"not_in": ["e0"]}},
    ]
)
orders = st.lists(
    st.sampled_from(["price_out", "price_in", "latency_p95", "context", {"operated_by": "self"}]),
    min_size=1,
    max_size=3,
)


@st.composite
def files(draw):
    """A routing file, as a document."""
    endpoints = {
        name: {"provider": "p", "model": name, "facts": draw(facts)}
        for name in IDS[: draw(st.integers(1, 6))]
    }
    rules = [
        {"id": f"rule{number}", "when": draw(conditions), "require": draw(requirements)}
        for number in range(draw(st.integers(0, 5)))
    ]
    unlabelled = draw(st.sampled_from(LABELS))
    return {
        "version": 1,
        "sensitivity": {
            "order": LABELS,
            "unlabelled": unlabelled,
            "unscanned": draw(st.sampled_from(LABELS[LABELS.index(unlabelled) :])),
        },
        "metadata": {
            name: {
                "required": draw(st.booleans()),
                "promote": {
                    "sensitivity": {"key": "label", "type": "label"},
                    "requires_local": {"key": "local", "type": "bool"},
                    "topics": {"key": "topics", "type": "set"},
                },
                "findings": {"secret": {"raises": "restricted"}, "pii": {"raises": "confidential"}},
            }
            for name in STAGES
        },
        "endpoints": endpoints,
        "rules": rules,
        "prefer": [{"by": draw(orders)}],
    }


requests = st.builds(
    Request,
    tenant=st.sampled_from([None, *TENANTS]),
    workload=st.sampled_from([{}, {"tier": "batch"}]),
    stream=st.booleans(),
    needs=st.frozensets(st.sampled_from(CAPABILITIES), max_size=2),
    tokens_in=st.sampled_from([0, 600, 50_000, 200_000]),
)
results = st.builds(
    StageResult,
    stage=st.sampled_from([*STAGES, "unknown"]),
    middleware=st.just("m"),
    status=st.sampled_from(list(Status)),
    body=st.sampled_from([None, b""]),
    findings=st.lists(
        st.builds(
            Finding,
            type=st.sampled_from(["secret", "pii", "other"]),
            label=st.just("x"),
            confidence=st.sampled_from([Level.LOW, Level.MEDIUM, Level.HIGH]),
        ),
        max_size=2,
    ).map(tuple),
    metadata=st.fixed_dictionaries(
        {},
        optional={
            "label": st.sampled_from([*LABELS, "no label"]),
            "local": st.sampled_from(["true", "false", "perhaps"]),
            "topics": st.sampled_from(["health", "money, law", '["health"]', "[1]"]),
        },
    ),
)
stages = st.lists(results, max_size=4)
boards = st.builds(
    HealthBoard,
    tick=st.integers(0, 3),
    by_id=st.dictionaries(
        st.sampled_from(IDS),
        st.builds(Health, st.booleans(), st.sampled_from([None, 0.1, 2.0])),
    ),
)


def permitted(generation: Generation, ctx: RouteContext) -> frozenset[str]:
    return frozenset(generation.decide(ctx).endpoints)


@FEW
@given(files(), requests, stages, st.sampled_from(LABELS))
def test_raising_a_label_never_widens(doc, request, said, label):
    generation = Generation(routing_from_doc(doc))
    low = generation.context(request, said)
    high = generation.context(request, said, at_least=label)
    assert LABELS.index(high.label) >= LABELS.index(low.label)
    assert permitted(generation, high) <= permitted(generation, low)


@FEW
@given(files(), requests, stages, st.sampled_from(["requires_local", "topics"]))
def test_what_a_stage_adds_never_widens(doc, request, said, what):
    generation = Generation(routing_from_doc(doc))
    before = generation.context(request, said)
    after = (
        before._replace(flags=before.flags | {what})
        if what == "requires_local"
        else before._replace(sets={"topics": frozenset({"health", "money", "law"})})
    )
    assert permitted(generation, after) <= permitted(generation, before)


@FEW
@given(files(), requests, stages, st.randoms(use_true_random=False))
def test_the_order_of_stages_never_changes_the_route(doc, request, said, chance: random.Random):
    generation = Generation(routing_from_doc(doc))
    shuffled = list(said)
    chance.shuffle(shuffled)
    one, other = generation.context(request, said), generation.context(request, shuffled)
    assert one == other
    assert generation.decide(one) == generation.decide(other)


@FEW
@given(files(), requests, stages, results)
def test_a_stage_more_never_lowers_what_findings_raised(doc, request, said, further):
    generation = Generation(routing_from_doc(doc))
    found = [replace(each, metadata={}, status=Status.OK) for each in said]
    low = generation.context(request, found)
    high = generation.context(request, [*found, replace(further, metadata={}, status=Status.OK)])
    required = {s.name for s in generation.file.stages if s.required}
    if required <= {each.stage for each in found}:
        assert LABELS.index(high.label) >= LABELS.index(low.label)


@FEW
@given(files(), requests, stages, boards, boards)
def test_health_orders_and_never_adds(doc, request, said, one, other):
    generation = Generation(routing_from_doc(doc))
    ctx = generation.context(request, said)
    first, second = generation.decide(ctx, one), generation.decide(ctx, other)
    assert set(first.endpoints) == set(second.endpoints)
    assert len(set(first.endpoints)) == len(first.endpoints)


@FEW
@given(files(), requests, stages, boards)
def test_what_explain_says_is_what_happens(doc, request, said, board):
    file = routing_from_doc(doc)
    generation = Generation(file)
    ctx = generation.context(request, said)
    plan = generation.decide(ctx, board)
    told = explained(generation, ctx, plan, board)
    assert tuple(c["endpoint"] for c in told["candidates"] if c["permitted"]) == plan.endpoints
    routed = file.routes[ctx.route]
    assert {c["endpoint"] for c in told["candidates"]} == set(routed)
    for candidate in told["candidates"]:
        assert (candidate["rule"] is None) == candidate["permitted"]
    # A rule that is named is the one that removes: without it, nothing of that name does.
    for name, rule in generation.rejected(ctx).items():
        rest = [each for each in doc["rules"] if each["id"] != rule]
        if len(rest) < len(doc["rules"]):
            without = Generation(routing_from_doc(doc | {"rules": rest}))
            assert without.rejected(ctx).get(name) != rule


@FEW
@given(files(), requests, stages)
def test_a_remembered_decision_is_the_decision(doc, request, said):
    file = routing_from_doc(doc)
    warm, cold = Generation(file), Generation(file)
    ctx = warm.context(request, said)
    warm.decide(ctx)
    assert warm.decide(ctx._replace(request_id="another")) == cold.decide(ctx)


@FEW
@given(files(), requests, st.sampled_from(IDS))
def test_no_credential_and_no_protocol_only_remove(doc, request, endpoint):
    file = routing_from_doc(doc)
    free = Generation(file)
    for binding in (Binding(None, credential=False), Binding(frozenset({"anthropic_messages"}))):
        bound = Generation(file, bindings={endpoint: binding})
        ctx = free.context(request)
        assert permitted(bound, ctx) == permitted(free, ctx) - {endpoint}


class Anything:
    """A router that answers whatever it is told to."""

    API_VERSION = 1
    NAME = "anything"

    def __init__(self, answer) -> None:
        self.answer = answer

    def order(self, ctx, permitted: list[EndpointView]):
        return self.answer

    def observe(self, outcome) -> None:
        pass


junk = st.one_of(
    st.none(),
    st.integers(),
    st.text(),
    st.lists(st.sampled_from([*IDS, "another"])),
    st.lists(st.one_of(st.sampled_from(IDS), st.integers(), st.none())),
    st.tuples(st.sampled_from(IDS)),
    st.sets(st.sampled_from(IDS)),
    st.dictionaries(st.sampled_from(IDS), st.integers()),
)


@FEW
@given(files(), requests, junk)
def test_whatever_a_plug_in_answers_nothing_is_added(doc, request, answer):
    file = routing_from_doc(doc)
    plain = Generation(file)
    routed = Generation(file, router=Delegated(GuardedRouter(Anything(answer))))
    ctx = plain.context(request)
    default, plan = plain.decide(ctx), routed.decide(ctx)
    assert set(plan.endpoints) <= set(default.endpoints)
    assert bool(plan.endpoints) == bool(default.endpoints)
    if plan.findings:
        assert plan.endpoints == default.endpoints
    elif len(default.endpoints) > 1:
        assert plan.endpoints == tuple(answer)


@settings(max_examples=15)  # a product of the axes of two files each: half a second of CPU
@given(files(), files())
def test_the_matrix_is_swept_as_each_call_is_decided(doc, other):
    """Over the axes of two files; a label or route of the other one is nothing to this one."""
    one, two = routing_from_doc(doc), routing_from_doc(other)
    for first, second in ((one, two), (two, one)):
        over, generation = axes(first, second), Generation(second)
        sweep = Sweep(generation, over)
        swept = [sweep.ids(mask) for mask in sweep]
        decided = [permitted(generation, cell.context) for cell in cells(first, over)]
        assert swept == decided
