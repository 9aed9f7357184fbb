"""The decision for any name: it says no more than the policy allows, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from netmgr.model import INFERENCE_NAME
from netmgr.policy.policy import parse_policy
from netmgr.process.view import SandboxView
from netmgr.reasons import Verdict
from netmgr_dns.answers import LOCALHOST, decide
from netmgr_dns.messages import Answer, NeedName, QType, Query, Question, Rcode

POLICY = parse_policy(
    """
version: 1
network_policies:
  web:
    endpoints:
      - {host: api.example.com, port: 443}
      - {host: "*.wild.example", port: 443}
    binaries: [{path: "/**"}]
""",
    "property.yaml",
)
NAMES = {"inference.local": "198.18.0.1", "api.example.com": "198.18.0.2"}
VIEW = SandboxView(
    "10.77.0.5", "box", None, {}, POLICY, 1, NAMES, {ip: name for name, ip in NAMES.items()}
)
WORDS = [b"api", b"example", b"com", b"wild", b"inference", b"local", b"localhost", b"host"]
WORDS += [b"openshell", b"internal", b"in-addr", b"arpa", b"198", b"18", b"0", b"2", b"*", b"-"]
LABELS = st.sampled_from(WORDS) | st.binary(min_size=1, max_size=12)
MIXED = st.tuples(LABELS, st.booleans()).map(lambda pair: pair[0].upper() if pair[1] else pair[0])
QUERIES = st.builds(
    Query,
    st.integers(0, 0xFFFF),
    st.builds(
        Question,
        st.lists(MIXED, max_size=6).map(tuple),
        st.sampled_from([*QType, 16, 255, 65000]).map(int),
        st.just(1),
    ),
    st.booleans(),
    st.booleans(),
    st.none(),
)


@given(QUERIES)
def test_an_address_is_answered_only_for_what_the_policy_allows(query: Query) -> None:
    outcome = decide(query, VIEW)
    name = query.question.name
    if isinstance(outcome, NeedName):
        assert outcome.name == name
        assert POLICY.judge_name(name).decision.permits
        assert query.question.qtype == QType.A
    elif outcome.ip is not None and name is not None:
        local = name == LOCALHOST or name.endswith("." + LOCALHOST)
        assert local or name == INFERENCE_NAME or POLICY.judge_name(name).decision.permits


@given(QUERIES)
def test_a_denial_and_its_face_go_together(query: Query) -> None:
    outcome = decide(query, VIEW)
    if isinstance(outcome, Answer) and outcome.decision is not None:
        denied = outcome.decision.verdict is Verdict.DENIED
        assert denied == (outcome.rcode is Rcode.NXDOMAIN) == (outcome.ede is not None)
        if denied:
            assert (outcome.ip, outcome.pointer, outcome.negative) == (None, None, False)


@given(QUERIES)
def test_letter_case_decides_nothing(query: Query) -> None:
    lower = tuple(label.lower() for label in query.question.labels)
    question = Question(lower, query.question.qtype, query.question.qclass)
    other = Query(query.id, question, query.recursion_desired, query.checking_disabled, None)
    assert decide(query, VIEW) == decide(other, VIEW)


@given(QUERIES, st.sampled_from([int(t) for t in QType]))
def test_whether_a_name_exists_does_not_depend_on_the_type(query: Query, qtype: int) -> None:
    question = Question(query.question.labels, qtype, 1)
    other = Query(query.id, question, query.recursion_desired, query.checking_disabled, None)
    exists = [
        isinstance(outcome, NeedName) or outcome.rcode is Rcode.NOERROR
        for outcome in (decide(query, VIEW), decide(other, VIEW))
    ]
    assert exists[0] == exists[1]
