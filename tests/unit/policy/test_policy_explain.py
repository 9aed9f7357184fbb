"""explain: forms of a target, stages, and the JSON it gives."""

import pytest

from netmgr.errors import BadInput
from netmgr.policy.decision import Target
from netmgr.policy.explain import explain, parse_question
from netmgr.policy.policy import Policy, parse_policy
from netmgr.reasons import Reason

POLICY = """
version: 1
network_policies:
  web:
    endpoints:
      - {host: api.anthropic.com, port: 443}
      - {host: api.test, ports: [80, 443], protocol: rest, access: read-only}
    binaries: [{path: /**}]
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(POLICY, "policy.yaml")


@pytest.mark.parametrize(
    ("text", "target", "request_target"),
    [
        ("https://API.test/a?b", Target("api.test", None, 443), "/a?b"),
        ("http://api.test", Target("api.test", None, 80), "/"),
        ("https://api.test:8443/", Target("api.test", None, 8443), "/"),
        ("api.test:22", Target("api.test", None, 22), None),
        ("203.0.113.9:22", Target(None, "203.0.113.9", 22), None),
        ("[2001:db8::1]:443", Target(None, "2001:db8::1", 443), None),
        ("http://203.0.113.9/x", Target(None, "203.0.113.9", 80), "/x"),
    ],
)
def test_forms_of_a_target(text: str, target: Target, request_target: str | None) -> None:
    question = parse_question(text)
    assert (question.target, question.target_text) == (target, request_target)


@pytest.mark.parametrize(
    "text",
    ["", "api.test", "api.test:0", "api.test:x", "api.test:443/x", "ftp://api.test/", "https://",
     "https://u:p@api.test/", "https://[::1/", "a b:443", "https://a_b..c/", ":443", "x:99999"],
)  # fmt: skip
def test_other_targets_are_refused_with_the_forms(policy: Policy, text: str) -> None:
    with pytest.raises(BadInput):
        explain(policy, text)


@pytest.mark.parametrize("method", ["", "A B", "GÉT"])
def test_a_bad_method_is_refused(policy: Policy, method: str) -> None:
    with pytest.raises(BadInput, match="is no HTTP method"):
        explain(policy, "https://api.test/", method)


STAGES = {
    "api.entropics.com:443": ("name", Reason.NO_MATCHING_RULE),
    "https://api.entropics.com/": ("name", Reason.NO_MATCHING_RULE),
    "api.anthropic.com:443": ("connection", Reason.ALLOWED),
    "https://api.anthropic.com/v1": ("connection", Reason.ALLOWED),
    "api.anthropic.com:80": ("connection", Reason.PORT_NOT_ALLOWED),
    "198.51.100.1:443": ("connection", Reason.RAW_IP),
    "api.test:443": ("connection", Reason.ALLOWED),
    "https://api.test/x": ("request", Reason.ALLOWED),
    "https://api.test/x%00": ("request", Reason.MALFORMED_REQUEST),
    "https://inference.local/v1/models": ("inference", Reason.ALLOWED),
    "inference.local:80": ("inference", Reason.ALLOWED),
    "inference.local:22": ("inference", Reason.PORT_NOT_ALLOWED),
}


@pytest.mark.parametrize("text", STAGES)
def test_stages(policy: Policy, text: str) -> None:
    explanation = explain(policy, text)
    assert (explanation.stage, explanation.decision.reason) == STAGES[text]


def test_the_document_for_a_sandbox(policy: Policy) -> None:
    assert explain(policy, "api.entropics.com:443").to_doc("web", 3) == {
        "target": "api.entropics.com:443",
        "stage": "name",
        "verdict": "denied",
        "reason": "no_matching_rule",
        "rule": None,
        "nearest": "api.anthropic.com",
        "message": "no rule names api.entropics.com; the nearest is api.anthropic.com",
        "remedy": "netmgr policy update web --add-endpoint api.entropics.com:443",
        "hint": None,
        "source": None,
        "treatment": None,
        "expires": None,
        "middlewares": [],
        "policy_revision": 3,
    }


def test_the_document_of_a_request_in_a_file(policy: Policy) -> None:
    doc = explain(policy, "https://api.test/a/../b?q=1", "post").to_doc(None)
    assert doc["target"] == "POST api.test:443/a/../b?q=1"
    assert (doc["verdict"], doc["reason"]) == ("denied", "method_not_allowed")
    assert doc["rule"] == "web.endpoints[1]"
    assert doc["remedy"] == "--add-allow api.test:443:POST:/b --rule-name web"
    allowed = explain(policy, "https://api.test/b").to_doc(None)
    assert (allowed["treatment"], allowed["remedy"]) == ("terminate", None)
