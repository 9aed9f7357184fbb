"""The OpenAPI document: valid, complete, with examples that fit, told in docs/api.md."""

import inspect
import re
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from netmgr import account_calls, calls, provider_calls, routing_calls
from netmgr.control.app import make_app
from netmgr.control.office import Office
from netmgr.control.operations import OPERATIONS
from netmgr.routing.schema import parse_routing
from netmgr.verbs import Verbs

DOCS = Path(__file__).parents[2] / "docs" / "api.md"


class _NoDesks:
    """An office whose desks nobody turns to: routes only keep them."""

    def __getattr__(self, name: str) -> "_NoDesks":
        return self


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return make_app(cast(Office, _NoDesks())).openapi()


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): told
        for path, item in document["paths"].items()
        for method, told in item.items()
    }


def fits(document: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    """Raises ValidationError where the value does not fit the schema."""
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole).validate(value)


def test_it_is_an_openapi_document(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")


def test_every_operation_is_described_and_none_besides(document: dict[str, Any]) -> None:
    assert set(operations(document)) == set(OPERATIONS)
    for where, told in operations(document).items():
        assert told["summary"] == OPERATIONS[where].summary, where
        assert ("requestBody" in told) == (OPERATIONS[where].sent is not None), where


def test_operations_have_the_names_of_the_clients_calls(document: dict[str, Any]) -> None:
    modules = (calls, provider_calls, account_calls, routing_calls)
    known = {
        name
        for module in modules
        for name, call in inspect.getmembers(module, inspect.isfunction)
        if str(inspect.signature(call).return_annotation).startswith(("Call[", "netmgr.calls.Call"))
    }
    names = [told["operationId"] for told in operations(document).values()]
    assert len(names) == len(set(names))
    assert known == {name for name in dir(Verbs) if not name.startswith("_")}
    # The scope of a policy is an argument of the call; metrics are for Prometheus.
    same = {name.removesuffix("_global") for name in names} - {"metrics", "policy_delete"}
    assert same | {"sandbox_plan", "policy_delete_global"} == known


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    for where, told in operations(document).items():
        bodies = [told["requestBody"]] if "requestBody" in told else []
        bodies += [a for status, a in told["responses"].items() if status.startswith("2")]
        for body in bodies:
            for content in body.get("content", {}).values():
                if "example" in content:
                    fits(document, content["schema"], content["example"])
                else:
                    assert (
                        where in [("GET", "/metrics"), ("GET", "/v1/records")]
                        or "anyOf" in (content["schema"])
                    ), where


def test_every_error_has_the_one_shape(document: dict[str, Any]) -> None:
    for where, told in operations(document).items():
        bad = {s: a for s, a in told["responses"].items() if not s.startswith("2")}
        assert {"403", "422", "500", "503"} <= set(bad), where
        for status, answer in bad.items():
            assert answer == {"$ref": f"#/components/responses/{status}"}
    for answer in document["components"]["responses"].values():
        content = answer["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Failure"}
        fits(document, content["schema"], content["example"])


def test_the_documentation_names_every_operation(document: dict[str, Any]) -> None:
    text = DOCS.read_text()
    told = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^` ]*)`", text))
    assert told == set(operations(document))


def test_the_example_of_a_routing_file_is_one() -> None:
    sent = OPERATIONS["PUT", "/v1/routing"].sent
    assert sent is not None
    text = sent["text"]
    assert parse_routing(text, "example").routes.keys() == {"default"}
