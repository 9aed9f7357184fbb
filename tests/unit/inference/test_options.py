"""The config keys of every provider: what they do to a request, and what is refused."""

import pytest

from netmgr.errors import BadInput
from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.inference.route import InferenceRoute
from netmgr.secret import Secret
from netmgr_proxy.inference.admit import Admitted, admit
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.headers import request_headers
from netmgr_proxy.inference.outgoing import outgoing_target

KEY = {"OPENAI_API_KEY": Secret("sk")}


def route(**config: str) -> InferenceRoute:
    return resolve_route(Provider("p", "openai", KEY, config), "m", route_id="r")


def target(to: InferenceRoute, asked: str) -> str:
    admitted = admit("GET", asked.encode(), to)
    assert isinstance(admitted, Admitted)
    return outgoing_target(admitted, None)


@pytest.mark.parametrize(
    ("base", "prefix", "sent"),
    [
        ("https://h/api/v1/openai", "/v1", "/api/v1/openai/v1/models"),
        ("https://h/api/v1/openai", "/", "/api/v1/openai/models"),
        ("https://h", "/paas/v4", "/paas/v4/models"),
        ("https://h/", "/", "/models"),
    ],
)
def test_an_explicit_prefix_stands_for_v1(base: str, prefix: str, sent: str) -> None:
    assert target(route(OPENAI_BASE_URL=base, PATH_PREFIX=prefix), "/v1/models") == sent


@pytest.mark.parametrize(
    ("paths", "served"),
    [
        ("exact", []),
        ("slash", ["/v1/models/"]),
        ("lenient", ["/v1/models/", "/models", "/models/"]),
    ],
)
def test_spellings_of_a_path(paths: str, served: list[str]) -> None:
    to = route(PATHS=paths)
    for spelt in ("/v1/models/", "/models", "/models/"):
        admitted = admit("GET", spelt.encode(), to)
        assert isinstance(admitted, Admitted if spelt in served else Refusal), (spelt, admitted)
    assert isinstance(admit("GET", b"/files", to), Refusal)


def test_headers_are_forwarded_and_set() -> None:
    client = [(b"X-Trace", b"1"), (b"openai-beta", b"b"), (b"x-team", b"mine"), (b"x-other", b"o")]
    to = route(**{"FORWARD_HEADERS": "X-Trace, OpenAI-Beta", "SET_HEADER.X-Team": "blue team"})
    fields = request_headers(client, to, None)
    assert dict(fields) == {
        b"host": b"api.openai.com",
        b"accept-encoding": b"identity",
        b"x-trace": b"1",
        b"openai-beta": b"b",
        b"x-team": b"blue team",
        b"authorization": b"Bearer sk",
    }
    assert len(fields) == 6


@pytest.mark.parametrize(
    "name",
    ["Authorization", "x-api-key", "API-Key", "cookie", "x-amz-date", "host", "content-length",
     "transfer-encoding", "connection", "x-goog-api-key", "bad name", "proxy-authorization"],
)  # fmt: skip
def test_credentials_and_framing_are_never_the_operator_s(name: str) -> None:
    for config in ({"FORWARD_HEADERS": name}, {f"SET_HEADER.{name}": "v"}):
        with pytest.raises(BadInput):
            route(**config)


@pytest.mark.parametrize("value", ["", " a", "a\r\nx: y", "é", "a" * 5000])
def test_a_set_header_is_one_line(value: str) -> None:
    with pytest.raises(BadInput):
        route(**{"SET_HEADER.x-team": value})


@pytest.mark.parametrize(
    ("names", "sent"),
    [
        (None, "/v1/models?limit=2&b=%20"),
        ("limit", "/v1/models?limit=2"),
        ("b,zzz", "/v1/models?b=%20"),
        ("*", "/v1/models?limit=2&b=%20"),
    ],
)
def test_query_names(names: str | None, sent: str) -> None:
    to = route(FORWARD_QUERY=names) if names else route()
    asked = "/v1/models?limit=2&api_key=a&b=%20&access_token=t&%6bey=k&x-amz-signature=s&key=1"
    assert target(to, asked) == sent


@pytest.mark.parametrize("names", ["api_key", "key", "access_token", "X-Amz-Date", "a b", ",", ""])
def test_query_names_that_are_refused(names: str) -> None:
    with pytest.raises(BadInput):
        route(FORWARD_QUERY=names)


@pytest.mark.parametrize(
    ("base", "allowed"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost", True),
        ("http://host.openshell.internal:8000", True),
        ("http://192.168.1.5:8000", False),
        ("http://10.0.0.1", False),
    ],
)
def test_a_key_goes_in_the_clear_to_this_host_only(base: str, allowed: bool) -> None:
    if allowed:
        assert route(OPENAI_BASE_URL=base).base.scheme == "http"
        return
    with pytest.raises(BadInput, match="in the clear"):
        route(OPENAI_BASE_URL=base)
    assert route(OPENAI_BASE_URL=base, ALLOW_CLEARTEXT="yes").base.scheme == "http"
    keyless = Provider("p", "ollama", {}, {"OLLAMA_BASE_URL": base})
    assert resolve_route(keyless, "m", route_id="r").base.scheme == "http"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"PATHS": "lax"}, "expected one of exact, slash, lenient"),
        ({"MODELS": "synthesized"}, "did you mean 'synthesised'?"),
        ({"PATH_PREFIX": "v1"}, "expected a path"),
        ({"PATH_PREFIX": "/../v1"}, "expected a path"),
        ({"PROXY": "https://proxy.test:3128"}, "expected http://HOST:PORT"),
        ({"PROXY": "http://u:p@proxy.test:3128"}, "user information"),
        ({"PROXY": "http://169.254.169.254"}, "metadata"),
        ({"CLIENT_CERT_PEM": "x"}, "PEM text"),
        ({"BASE_URL": "https://a", "OPENAI_BASE_URL": "https://b"}, "keep one"),
        ({"OPENAI_BASE_URL": "http://169.254.169.254/v1"}, "metadata"),
        ({"OPENAI_BASE_URL": "https://u:p@h/v1"}, "user information"),
        ({"OPENAI_BASE_URL": "mock://x"}, "test mode"),
        ({"SET_HEADER.": "x"}, "unknown config key"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(config: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        route(**config)
    assert said in caught.value.message


def test_companions_come_together() -> None:
    for keys in ({"CLIENT_KEY_PEM": Secret("x")}, {"PROXY_CREDENTIAL": Secret("u:p")}):
        with pytest.raises(BadInput, match="needs the config key"):
            resolve_route(Provider("p", "openai", KEY | keys), "m", route_id="r")
