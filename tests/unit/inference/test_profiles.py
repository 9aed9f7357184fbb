"""Providers: exact names, settings that are judged before they are stored, resolved routes."""

import pytest

from netmgr.errors import BadInput
from netmgr.inference.profiles import (
    Provider,
    provider_type,
    validate_credential,
    validate_model,
    validate_provider,
)
from netmgr.inference.resolve import resolve_route
from netmgr.inference.route import InferenceRoute
from netmgr.secret import Secret

KEYS = ("OPENAI_API_KEY",)


def openai(**config: str) -> Provider:
    return Provider("oai", "openai", {"OPENAI_API_KEY": Secret("sk-op")}, config)


def refused(call: object, *words: str) -> None:
    with pytest.raises(BadInput) as caught:
        call()  # type: ignore[operator]
    for word in words:
        assert word in caught.value.message


def test_type_names_are_trimmed_and_lower_cased() -> None:
    assert provider_type(" OpenAI ").name == "openai"


@pytest.mark.parametrize(
    ("spelt", "name"),
    [("vertex", "google-vertex-ai"), ("bedrock", "aws-bedrock"), ("Azure", "azure-openai")],
)
def test_types_have_aliases(spelt: str, name: str) -> None:
    assert provider_type(spelt).name == name


def test_an_unknown_type_names_the_nearest() -> None:
    refused(lambda: provider_type("opnai"), "did you mean 'openai'?")


def test_a_credential_of_another_name_is_never_taken_for_the_key() -> None:
    refused(
        lambda: validate_provider("openai", ["OPENAI_KEY"], {}), "did you mean 'OPENAI_API_KEY'?"
    )
    refused(lambda: validate_provider("openai", [*KEYS, "GITHUB_TOKEN"], {}), "GITHUB_TOKEN")
    refused(lambda: validate_provider("openai", [], {}), "missing credential OPENAI_API_KEY")


def test_a_misspelt_config_key_is_an_error() -> None:
    refused(
        lambda: validate_provider("openai", KEYS, {"OPENAI_BASEURL": "https://h"}),
        "unknown config key 'OPENAI_BASEURL'",
        "did you mean 'OPENAI_BASE_URL'?",
    )
    refused(lambda: validate_provider("nvidia", ["NVIDIA_API_KEY"], {"baseUrl": "x"}), "baseUrl")


@pytest.mark.parametrize("text", ["", "0", "-1", "1e3", "abc", "99999999", "nan", " 5"])
def test_timeouts_are_plain_seconds(text: str) -> None:
    refused(lambda: validate_provider("openai", KEYS, {"IDLE_TIMEOUT": text}), "IDLE_TIMEOUT")


def test_certificates_are_read_when_they_are_given() -> None:
    refused(
        lambda: validate_provider("openai", KEYS, {"CA_PEM": "/etc/ca.pem"}),
        "PEM text",
        "CA_PEM=@FILE",
    )


@pytest.mark.parametrize("value", ["", "sec ret", "key\n", "k\r\nx: y", "schlüssel", "x" * 9000])
def test_credentials_that_cannot_stand_in_a_header_are_refused_unseen(value: str) -> None:
    with pytest.raises(BadInput) as caught:
        validate_credential("K", Secret(value))
    if value:
        assert value not in caught.value.message


@pytest.mark.parametrize("model", ["", " m", "m ", "a\nb", "m" * 300])
def test_models_are_printable_and_bounded(model: str) -> None:
    refused(lambda: validate_model(model), "model")


def test_a_route_has_the_contract_s_defaults() -> None:
    route = resolve_route(openai(), "gpt", route_id="default")
    assert str(route.base) == "https://api.openai.com/v1"
    assert (route.timeout_s, route.total_timeout_s, route.connect_timeout_s) == (60, None, 10)
    assert (route.first_byte_timeout_s, route.idle_timeout_s) == (60, 120)


def test_config_and_arguments_reach_the_route() -> None:
    provider = openai(OPENAI_BASE_URL="http://127.0.0.1:8000/v1/", IDLE_TIMEOUT="1.5")
    route = resolve_route(provider, "m", route_id="r", timeout_s=7, total_timeout_s=9)
    assert str(route.base) == "http://127.0.0.1:8000/v1"
    assert (route.timeout_s, route.first_byte_timeout_s, route.idle_timeout_s) == (7, 7, 1.5)
    assert route.total_timeout_s == 9


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1e9])
def test_a_timeout_is_bounded(value: float) -> None:
    refused(lambda: resolve_route(openai(), "m", route_id="r", timeout_s=value), "timeout")


def test_a_route_survives_the_wire() -> None:
    route = resolve_route(openai(IDLE_TIMEOUT="3"), "m", route_id="r", total_timeout_s=5)
    assert InferenceRoute.from_wire(route.to_wire(with_credential=True)) == route


def test_only_proxy_workers_get_the_key() -> None:
    route = resolve_route(openai(), "m", route_id="r")
    bare = route.to_wire(with_credential=False)
    assert "credentials" not in bare
    assert "sk-op" not in repr(bare) + repr(route)
    assert InferenceRoute.from_wire(bare).credentials == {}
