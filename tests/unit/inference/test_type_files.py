"""Provider types as files: what is built in, what an operator may write, how a fault is told."""

from pathlib import Path

import pytest

from netmgr.errors import BadInput
from netmgr.inference.catalogue import built_in, load_catalogue
from netmgr.inference.dialect import Dialect
from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.inference.type_file import parse_type
from netmgr.secret import Secret
from netmgr_proxy.inference.admit import Admitted, admit
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.patterns import PATTERNS

GATEWAY = """\
type: acme
title: the gateway of the house
base_url: https://llm.acme.test/{team}/v2
auth:
  - {style: header, header: x-acme-key, credentials: [ACME_KEY]}
settings:
  ACME_TEAM: {word: team, default: red, form: "[a-z]+", expected: a team}
protocols: [openai_chat_completions]
headers: {forward: [x-acme-trace], add: {x-acme-tier: gold}}
patterns:
  - {path: /v1/rerank, operation: rerank}
  - {method: GET, path: "/v1/jobs/{id}", operation: job}
"""


def refused(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        parse_type(text, "acme.yaml")
    return caught.value.message


@pytest.mark.parametrize("kind", built_in().all(), ids=lambda kind: kind.name)
def test_every_built_in_type_is_told_of_and_calls_operations_that_exist(kind: object) -> None:
    assert kind.title  # type: ignore[attr-defined]
    assert kind.source == "built in"  # type: ignore[attr-defined]
    operations = {pattern.operation for pattern in PATTERNS}
    for variant in kind.variants:  # type: ignore[attr-defined]
        assert set(variant.calls) <= operations


def test_an_operator_s_type(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text(GATEWAY)
    (tmp_path / "notes.txt").write_text("not a type")
    kind = load_catalogue(tmp_path).get("ACME")
    assert kind.source == str(tmp_path / "acme.yaml")
    provider = Provider("p", "acme", {"ACME_KEY": Secret("k")}, {"ACME_TEAM": "blue"}, kind)
    route = resolve_route(provider, "m", route_id="r")
    assert str(route.base) == "https://llm.acme.test/blue/v2"
    assert Dialect.from_wire(route.dialect.to_wire()) == route.dialect
    assert isinstance(admit("POST", b"/v1/rerank", route), Admitted)
    job = admit("GET", b"/v1/jobs/17", route)
    assert isinstance(job, Admitted)
    assert not job.pattern.has_body
    for method, target in (("GET", b"/v1/jobs/17/log"), ("POST", b"/v1/jobs/17"), ("GET", b"/v1")):
        assert isinstance(admit(method, target, route), Refusal)


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert load_catalogue(tmp_path / "none") is built_in()
    assert load_catalogue(None) is built_in()


def test_a_built_in_name_cannot_be_taken(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GATEWAY.replace("type: acme", "type: openai"))
    with pytest.raises(BadInput) as caught:
        load_catalogue(tmp_path)
    assert "'openai' is the name of a type already (openai, built in)" in caught.value.message


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"type: a\n\xff\n")
    with pytest.raises(BadInput, match=r"a\.yaml:2: not UTF-8"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("title:", "titel:", "acme.yaml:2: titel: unknown key; did you mean 'title'?"),
        ("style: header", "style: heder", "acme.yaml:5: auth[0].style: unknown value 'heder'"),
        ("{team}", "{taem}", "acme.yaml:3: base_url: {taem} is no word of this type"),
        (
            "openai_chat_completions",
            "openai_chat",
            "acme.yaml:8: protocols[0]: unknown protocol 'openai_chat'",
        ),
        ("x-acme-trace", "x-api-key", "x-api-key carries a credential"),
        ("x-acme-tier", "Authorization", "authorization carries a credential"),
        ("path: /v1/rerank", "path: v1/rerank", "patterns[0].path: 'v1/rerank': expected a path"),
        ("path: /v1/rerank", "path: /v1/../files", "expected a path"),
        ('form: "[a-z]+"', 'form: "[a-z"', "no regular expression"),
        ("type: acme", "type: Ac me", "expected a name like my-gateway"),
        ("https://llm.acme.test/{team}/v2", "http://169.254.169.254/", "metadata service"),
        ("https://llm.acme.test/{team}/v2", "ftp://llm.acme.test", "no usable scheme"),
        ("credentials: [ACME_KEY]", "credentials: []", "expected 1 names for style header"),
        ("header: x-acme-key, ", "", "header: expected for style 'header'"),
        ("protocols: [openai_chat_completions]\n", "", "expected 'protocols'"),
    ],
)
def test_faults_are_told_with_line_and_key(before: str, after: str, said: str) -> None:
    assert before in GATEWAY
    assert said in refused(GATEWAY.replace(before, after))


def test_every_fault_is_told_at_once() -> None:
    lines = refused("type: a b\ntitel: x\nauth: []\n").splitlines()
    assert len(lines) == 4
    assert all(line.startswith("acme.yaml:") for line in lines)


@pytest.mark.parametrize("text", ["", "   \n", "[1]", "type: {", "- a", "x: &a [*a]", "!!x y"])
def test_what_is_no_type_is_refused(text: str) -> None:
    assert refused(text).startswith("acme.yaml")
